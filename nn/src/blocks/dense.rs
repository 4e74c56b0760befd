//! What is appended: the layers of DenseNet and SparseNet, and the transition between their stages.

use super::stage::Unit;
use crate::aggregation::{Map, Output};
use crate::context::Context;
use crate::init::Builder;
use crate::layers::{BatchNorm2d, Conv2d, relu};
use crate::module::{Module, Visitor};
use crate::param::Param;
use engine::Tensor;
use engine::ops::Pool2d;

/// `y = conv1(relu(bn1(x)))`, 3x3; with a bottleneck `y = conv2(relu(bn2(conv1(relu(bn1(x))))))`, 1x1 to four times as many channels
/// and 3x3. `x` is a list: its concatenation, its normalised and its rectified form are never stored.
///
/// # Shapes
/// - `x`: maps `(N, H, W, C_i)`, `sum C_i = C_in`; `y`: `(N, H, W, growth)`
///
/// # Source
/// Huang et al. 2017 (arXiv:1608.06993); names of andreasveit/densenet-pytorch.
pub struct DenseUnit {
    bn1: BatchNorm2d,
    conv1: Conv2d,
    bottleneck: Option<(BatchNorm2d, Conv2d)>,
}

impl DenseUnit {
    /// A layer that adds `growth` channels.
    pub fn new(b: &mut Builder, c_in: usize, growth: usize, bottleneck: bool) -> DenseUnit {
        let bn1 = b.batch_norm(c_in);
        if bottleneck {
            let conv1 = b.conv(c_in, 4 * growth, 1, 1);
            let bottleneck = Some((b.batch_norm(4 * growth), b.conv(4 * growth, growth, 3, 1)));
            return DenseUnit { bn1, conv1, bottleneck };
        }
        DenseUnit { bn1, conv1: b.conv(c_in, growth, 3, 1), bottleneck: None }
    }

    /// The weight that reads the list.
    pub(super) fn reading(&self) -> Param {
        self.conv1.weight.clone()
    }

    pub(super) fn run(&self, x: &[Map], ctx: &Context) -> Tensor {
        let y = self.conv1.forward(relu(self.bn1.forward_maps(x, ctx)), ctx);
        match &self.bottleneck {
            None => y,
            Some((bn2, conv2)) => conv2.forward(relu(bn2.forward(y, ctx)), ctx),
        }
    }
}

impl Unit for DenseUnit {
    fn forward(&self, x: &[Map], ctx: &Context) -> Output {
        Output::Layer { added: None, appended: Some(self.run(x, ctx).into()) }
    }

    fn reading(&self) -> Vec<Param> {
        vec![self.reading()]
    }
}

impl Module for DenseUnit {
    fn visit(&self, visitor: &mut Visitor) {
        visitor.module("bn1", &self.bn1);
        visitor.module("conv1", &self.conv1);
        if let Some((bn2, conv2)) = &self.bottleneck {
            visitor.module("bn2", bn2);
            visitor.module("conv2", conv2);
        }
    }
}

/// `y = conv1(mean of 2x2 (relu(bn1(x))))`, 1x1.
///
/// The paper convolves and then takes means. Both are linear and a 1x1 convolution treats pixels alike, so they commute; this order needs
/// a quarter of the multiplications, and no map of the full size. [`macs`](crate::Model::macs) count the paper's order,
/// and a pass that is [written out](Context::written_out) keeps to it.
///
/// # Shapes
/// - `x`: maps `(N, H, W, C_i)`; `y`: `(N, H / 2, W / 2, C_out)`, rounded down
pub struct Transition {
    bn1: BatchNorm2d,
    conv1: Conv2d,
}

impl Transition {
    /// A transition from `c_in` to `c_out` channels.
    pub fn new(b: &mut Builder, c_in: usize, c_out: usize) -> Transition {
        Transition { bn1: b.batch_norm(c_in), conv1: b.conv(c_in, c_out, 1, 1) }
    }

    /// The weight that reads the list.
    pub fn reading(&self) -> Param {
        self.conv1.weight.clone()
    }

    /// See [`Transition`].
    pub fn forward(&self, x: &[Map], ctx: &Context) -> Map {
        let x = relu(self.bn1.forward_maps(x, ctx));
        if ctx.is_counting() || ctx.writes_out() {
            let y = self.conv1.forward_unmeasured(x, ctx);
            return y.avg_pool2d(Pool2d { kernel_size: 2, stride: 2, padding: 0 }, true).into();
        }
        self.conv1.forward_unmeasured(x.avg_pool2d(2), ctx).into()
    }
}

impl Module for Transition {
    fn visit(&self, visitor: &mut Visitor) {
        visitor.module("bn1", &self.bn1);
        visitor.module("conv1", &self.conv1);
    }
}
