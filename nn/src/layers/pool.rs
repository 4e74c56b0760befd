use crate::context::Context;
use crate::module::{Layer, Module, Visitor};
use engine::ops::Pool2d;
use engine::{Lazy, Tensor};

/// Largest value of each window.
///
/// # Shapes
/// - `x`: `(N, H, W, C)`; returns `(N, H_out, W_out, C)`
///
/// # Source
/// `torch.nn.MaxPool2d`
pub struct MaxPool2d(pub Pool2d);

impl Module for MaxPool2d {
    fn visit(&self, _visitor: &mut Visitor) {}
}

impl Layer for MaxPool2d {
    fn forward(&self, x: &Lazy, _ctx: &Context) -> Lazy {
        x.max_pool2d(self.0).into()
    }
}

/// Mean of each window.
///
/// # Shapes
/// - `x`: `(N, H, W, C)`; returns `(N, H_out, W_out, C)`
///
/// # Source
/// `torch.nn.AvgPool2d`
pub struct AvgPool2d {
    /// The window.
    pub window: Pool2d,
    /// Whether zeros of the padding count in the divisor.
    pub count_include_pad: bool,
}

impl Module for AvgPool2d {
    fn visit(&self, _visitor: &mut Visitor) {}
}

impl Layer for AvgPool2d {
    fn forward(&self, x: &Lazy, _ctx: &Context) -> Lazy {
        x.materialise().avg_pool2d(self.window, self.count_include_pad).into()
    }
}

/// Mean of each channel: from maps to features.
///
/// # Shapes
/// - `x`: `(N, H, W, C)`; returns `(N, C)`
pub struct GlobalAvgPool;

impl GlobalAvgPool {
    /// See [`GlobalAvgPool`].
    pub fn forward(&self, x: &Lazy) -> Tensor {
        x.global_avg_pool()
    }
}
