use crate::context::Context;
use crate::init::Builder;
use crate::layers::{BatchNorm2d, Conv2d};
use crate::module::{Module, Visitor};
use engine::Lazy;

/// What a shortcut does where a block changes the shape (He et al. 2015, section 4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShortcutKind {
    /// Every `stride`-th row and column, and zero channels: no parameters.
    A,
    /// A 1x1 convolution.
    B,
}

/// The path around a residual function.
pub enum Shortcut {
    /// The input itself.
    Identity,
    /// Option A.
    Pad {
        /// Of the rows and columns that are kept.
        stride: usize,
        /// Zero channels in front and behind: half each, as akamaster's published weights expect.
        channels: (usize, usize),
    },
    /// Option B, pre-activation.
    Conv(Conv2d),
    /// Option B, post-activation.
    ConvBn(Conv2d, BatchNorm2d),
}

impl Shortcut {
    /// The shortcut of a block from `c_in` to `c_out` channels that keeps every `stride`-th pixel. A projection is followed by a
    /// batch norm if `normalise`.
    pub fn new(
        b: &mut Builder,
        kind: ShortcutKind,
        (c_in, c_out): (usize, usize),
        stride: usize,
        normalise: bool,
    ) -> Shortcut {
        match kind {
            _ if c_in == c_out && stride == 1 => Shortcut::Identity,
            ShortcutKind::A if c_out >= c_in => {
                let extra = c_out - c_in;
                Shortcut::Pad { stride, channels: (extra / 2, extra - extra / 2) }
            }
            _ if normalise => Shortcut::ConvBn(b.conv(c_in, c_out, 1, stride), b.batch_norm(c_out)),
            _ => Shortcut::Conv(b.conv(c_in, c_out, 1, stride)),
        }
    }

    /// What is added to the residual function, for a block whose input is `x` and whose pre-activated input is `a` (the same, for
    /// a post-activation block). A projection reads `a`, anything else `x`.
    ///
    /// # Shapes
    /// - `x`, `a`: `(N, H, W, C_in)`; returns `(N, H / stride, W / stride, C_out)`, rounded up
    pub fn forward(&self, x: &Lazy, a: &Lazy, ctx: &Context) -> Lazy {
        match self {
            Shortcut::Identity => x.clone(),
            Shortcut::Pad { stride, channels } => {
                let kept = x.materialise().subsample2d(*stride);
                kept.pad(&[(0, 0), (0, 0), (0, 0), *channels]).into()
            }
            Shortcut::Conv(conv) => conv.forward_unmeasured(a.clone(), ctx).into(),
            Shortcut::ConvBn(conv, bn) => bn.forward(conv.forward(a.clone(), ctx), ctx),
        }
    }
}

/// A projection is called `0` and its batch norm `1`: in PyTorch they are a `Sequential`.
impl Module for Shortcut {
    fn visit(&self, visitor: &mut Visitor) {
        match self {
            Shortcut::Identity | Shortcut::Pad { .. } => {}
            Shortcut::Conv(conv) => visitor.module("0", conv),
            Shortcut::ConvBn(conv, bn) => {
                visitor.module("0", conv);
                visitor.module("1", bn);
            }
        }
    }
}
