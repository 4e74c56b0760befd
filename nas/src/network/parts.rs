//! Layers that the spaces' networks share.

use crate::Op;
use engine::ops::Pool2d;
use engine::{Lazy, Tensor};
use nn::layers::{AvgPool2d, BatchNorm2d, Conv2d, GlobalAvgPool, Linear, MaxPool2d, relu};
use nn::{Builder, Context, Layer, Module, Visitor};

/// `y = x`
pub(crate) struct Identity;

impl Layer for Identity {
    fn forward(&self, x: &Lazy, _ctx: &Context) -> Lazy {
        x.clone()
    }
}

impl Module for Identity {
    fn visit(&self, _visitor: &mut Visitor) {}
}

/// `y = 0`, of every `stride`-th row and column.
pub(crate) struct Zeros {
    pub stride: usize,
}

impl Layer for Zeros {
    fn forward(&self, x: &Lazy, _ctx: &Context) -> Lazy {
        let shape = x.shape();
        let [h, w] = [shape[1], shape[2]].map(|n| n.div_ceil(self.stride));
        Tensor::zeros([shape[0], h, w, shape[3]]).into()
    }
}

impl Module for Zeros {
    fn visit(&self, _visitor: &mut Visitor) {}
}

/// A 3x3 pool that keeps the size at stride 1; a mean does not count the padding.
pub(crate) fn pool3x3(op: &Op, stride: usize) -> Box<dyn Layer> {
    let window = Pool2d { kernel_size: 3, stride, padding: 1 };
    match op {
        Op::MaxPool => Box::new(MaxPool2d(window)),
        _ => Box::new(AvgPool2d { window, count_include_pad: false }),
    }
}

/// `y = mean of 2x2`
pub(crate) fn halve(x: &Lazy) -> Tensor {
    x.materialise().avg_pool2d(Pool2d { kernel_size: 2, stride: 2, padding: 0 }, true)
}

/// `logits = linear(mean over pixels of relu(bn(x)))`, of a list of maps.
pub(crate) struct Head {
    pub bn: BatchNorm2d,
    pub linear: Linear,
}

impl Head {
    pub fn new(b: &mut Builder, channels: usize, classes: usize) -> Head {
        Head { bn: b.batch_norm(channels), linear: b.linear(channels, classes) }
    }

    pub fn logits(&self, x: &Lazy, ctx: &Context) -> Tensor {
        self.linear.forward(&GlobalAvgPool.forward(&relu(self.bn.forward(x.clone(), ctx))), ctx)
    }
}

impl Layer for Head {
    fn forward(&self, x: &Lazy, ctx: &Context) -> Lazy {
        as_map(self.logits(x, ctx))
    }
}

impl Module for Head {
    fn visit(&self, visitor: &mut Visitor) {
        visitor.module("bn", &self.bn);
        visitor.module("linear", &self.linear);
    }
}

/// Logits `(N, classes)` as maps `(N, 1, 1, classes)`.
pub(crate) fn as_map(logits: Tensor) -> Lazy {
    let [n, classes] = logits.dims();
    logits.reshape([n, 1, 1, classes]).into()
}

/// `y = bn(conv(x))`, 3x3: a stem.
pub(crate) struct ConvBn {
    pub conv: Conv2d,
    pub bn: BatchNorm2d,
}

impl ConvBn {
    pub fn new(b: &mut Builder, c_in: usize, c_out: usize, kernel_size: usize) -> ConvBn {
        ConvBn { conv: b.conv(c_in, c_out, kernel_size, 1), bn: b.batch_norm(c_out) }
    }
}

impl Layer for ConvBn {
    fn forward(&self, x: &Lazy, ctx: &Context) -> Lazy {
        self.bn.forward(self.conv.forward(x.clone(), ctx), ctx)
    }
}

impl Module for ConvBn {
    fn visit(&self, visitor: &mut Visitor) {
        visitor.module("0", &self.conv);
        visitor.module("1", &self.bn);
    }
}
