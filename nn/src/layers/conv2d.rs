use crate::context::Context;
use crate::init::{Builder, Init};
use crate::module::{Layer, Module, Visitor};
use crate::param::{Param, ParamKind};
use engine::{Fused, Lazy, Tensor};

/// Everything about a convolution but its channels. The default is a 3x3 window, stride 1, that keeps the size, without bias.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv2dConfig {
    /// `K_h = K_w`.
    pub kernel_size: usize,
    /// In both directions.
    pub stride: usize,
    /// Zeros on each side.
    pub padding: usize,
    /// Distance between the taps of the window.
    pub dilation: usize,
    /// Groups of channels that do not see each other.
    pub groups: usize,
    /// Whether a learned constant is added to each output channel. A batch norm behind makes it useless.
    pub bias: bool,
}

impl Default for Conv2dConfig {
    fn default() -> Conv2dConfig {
        Conv2dConfig { kernel_size: 3, stride: 1, padding: 1, dilation: 1, groups: 1, bias: false }
    }
}

/// Convolution: `y = conv2d(x, weight) + bias`.
///
/// # Shapes
/// - `x`: `(N, H, W, C_in)`, in any number of maps, possibly with a batch norm and an activation still to be applied
/// - returns `(N, H_out, W_out, C_out)`
///
/// # Source
/// `torch.nn.Conv2d`; weights start as He et al. (fan-out), the bias at 0.
pub struct Conv2d {
    /// `(K_h, K_w, C_in / groups, C_out)`
    pub weight: Param,
    /// `(C_out)`
    pub bias: Option<Param>,
    /// Stride, padding, dilation and groups.
    pub config: engine::Conv2d,
}

impl Conv2d {
    /// A convolution with fresh weights.
    ///
    /// # Panics
    /// If `groups` does not divide both channel counts.
    #[track_caller]
    pub fn new(builder: &mut Builder, c_in: usize, c_out: usize, config: Conv2dConfig) -> Conv2d {
        let Conv2dConfig { kernel_size, stride, padding, dilation, groups, bias } = config;
        assert!(
            groups > 0 && c_in.is_multiple_of(groups) && c_out.is_multiple_of(groups),
            "conv2d: {groups} groups do not divide {c_in} input and {c_out} output channels"
        );
        let shape = [kernel_size, kernel_size, c_in / groups, c_out];
        Conv2d {
            weight: builder.param(shape, ParamKind::ConvWeight, Init::HeNormal),
            bias: bias.then(|| builder.param([c_out], ParamKind::Bias, Init::Constant(0.0))),
            config: engine::Conv2d { stride, padding, dilation, groups },
        }
    }

    /// `conv(x)`, for a batch norm to read: in training its moments are measured while the output is hot.
    #[track_caller]
    pub fn forward(&self, x: impl Into<Lazy>, ctx: &Context) -> Tensor {
        self.run(&x.into(), None, ctx.train, ctx)
    }

    /// `conv(x)`, for anything but a batch norm to read.
    #[track_caller]
    pub fn forward_unmeasured(&self, x: impl Into<Lazy>, ctx: &Context) -> Tensor {
        self.run(&x.into(), None, false, ctx)
    }

    /// `conv(x) + shortcut` in one pass, for a batch norm to read.
    #[track_caller]
    pub fn forward_add(&self, x: impl Into<Lazy>, shortcut: &Tensor, ctx: &Context) -> Tensor {
        self.run(&x.into(), Some(shortcut), ctx.train, ctx)
    }

    #[track_caller]
    fn run(&self, x: &Lazy, add: Option<&Tensor>, measure: bool, ctx: &Context) -> Tensor {
        let weight = ctx.value(&self.weight);
        let size = self.config.size(x.shape(), weight.shape());
        if ctx.count_convolution(size) {
            return Tensor::zeros([size.n, size.h_out, size.w_out, size.c_out]);
        }
        let bias = self.bias.as_ref().map(|bias| ctx.value(bias));
        let written;
        let (x, measure) = if ctx.writes_out() {
            written = Lazy::from(x.materialise());
            (&written, false)
        } else {
            (x, measure)
        };
        x.conv2d(&weight, self.config, Fused { bias: bias.as_ref(), add, measure, algorithm: ctx.algorithm })
    }
}

impl Module for Conv2d {
    fn visit(&self, visitor: &mut Visitor) {
        visitor.param("weight", &self.weight);
        if let Some(bias) = &self.bias {
            visitor.param("bias", bias);
        }
    }
}

impl Layer for Conv2d {
    fn forward(&self, x: &Lazy, ctx: &Context) -> Lazy {
        Conv2d::forward(self, x.clone(), ctx).into()
    }
}

impl Builder {
    /// A convolution without bias, padded to keep the size at stride 1: what residual networks are made of.
    pub fn conv(&mut self, c_in: usize, c_out: usize, kernel_size: usize, stride: usize) -> Conv2d {
        let config = Conv2dConfig { kernel_size, stride, padding: kernel_size / 2, ..Conv2dConfig::default() };
        Conv2d::new(self, c_in, c_out, config)
    }

    /// The same with each channel on its own.
    pub fn depthwise_conv(&mut self, channels: usize, kernel_size: usize, stride: usize) -> Conv2d {
        let padding = kernel_size / 2;
        let config = Conv2dConfig { kernel_size, stride, padding, groups: channels, ..Conv2dConfig::default() };
        Conv2d::new(self, channels, channels, config)
    }
}
