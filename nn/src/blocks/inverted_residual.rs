//! The units of MobileNets: a depthwise convolution and 1x1 convolutions around it.

use crate::context::Context;
use crate::init::Builder;
use crate::layers::{BatchNorm2d, Conv2d, relu, relu6};
use crate::module::{Layer, Module, Visitor};
use engine::ops::sum_lazy;
use engine::{Activation, Lazy};

/// `y = relu(bn2(conv2(relu(bn1(conv1(x))))))`: `conv1` 3x3 depthwise, `conv2` 1x1.
///
/// # Source
/// Howard et al. 2017 (arXiv:1704.04861), figure 3; names of kuangliu/pytorch-cifar.
pub struct SeparableBlock {
    conv1: Conv2d,
    bn1: BatchNorm2d,
    conv2: Conv2d,
    bn2: BatchNorm2d,
}

impl SeparableBlock {
    /// A unit from `c_in` to `c_out` channels; `stride` is that of the depthwise convolution.
    pub fn new(b: &mut Builder, c_in: usize, c_out: usize, stride: usize) -> SeparableBlock {
        SeparableBlock {
            conv1: b.depthwise_conv(c_in, 3, stride),
            bn1: b.batch_norm(c_in),
            conv2: b.conv(c_in, c_out, 1, 1),
            bn2: b.batch_norm(c_out),
        }
    }
}

impl Layer for SeparableBlock {
    fn forward(&self, x: &Lazy, ctx: &Context) -> Lazy {
        let z = self.conv1.forward(x.clone(), ctx);
        let z = self.conv2.forward(relu(self.bn1.forward(z, ctx)), ctx);
        relu(self.bn2.forward(z, ctx))
    }
}

impl Module for SeparableBlock {
    fn visit(&self, visitor: &mut Visitor) {
        visitor.module("conv1", &self.conv1);
        visitor.module("bn1", &self.bn1);
        visitor.module("conv2", &self.conv2);
        visitor.module("bn2", &self.bn2);
    }
}

/// `y = bn3(conv3(relu6(bn2(conv2(relu6(bn1(conv1(x))))))))`, plus `x` where shapes allow: `conv1` 1x1 to `expansion` times the
/// channels (absent if that is 1), `conv2` depthwise, `conv3` 1x1. There is no activation behind the last batch norm: the
/// bottleneck is linear.
///
/// # Source
/// Sandler et al. 2018 (arXiv:1801.04381), table 1 and figure 4; names of kuangliu/pytorch-cifar.
pub struct InvertedResidual {
    expand: Option<(Conv2d, BatchNorm2d)>,
    conv2: Conv2d,
    bn2: BatchNorm2d,
    conv3: Conv2d,
    bn3: BatchNorm2d,
    residual: bool,
}

impl InvertedResidual {
    /// A unit from `c_in` to `c_out` channels; kernel and `stride` are those of the depthwise convolution.
    pub fn new(
        b: &mut Builder,
        (c_in, c_out): (usize, usize),
        kernel_size: usize,
        stride: usize,
        expansion: usize,
    ) -> InvertedResidual {
        let inner = expansion * c_in;
        InvertedResidual {
            expand: (expansion != 1).then(|| (b.conv(c_in, inner, 1, 1), b.batch_norm(inner))),
            conv2: b.depthwise_conv(inner, kernel_size, stride),
            bn2: b.batch_norm(inner),
            conv3: b.conv(inner, c_out, 1, 1),
            bn3: b.batch_norm(c_out),
            residual: stride == 1 && c_in == c_out,
        }
    }
}

impl Layer for InvertedResidual {
    fn forward(&self, x: &Lazy, ctx: &Context) -> Lazy {
        let expanded = match &self.expand {
            Some((conv1, bn1)) => relu6(bn1.forward(conv1.forward(x.clone(), ctx), ctx)),
            None => x.clone(),
        };
        let z = self.conv2.forward(expanded, ctx);
        let z = self.conv3.forward(relu6(self.bn2.forward(z, ctx)), ctx);
        let y = self.bn3.forward(z, ctx);
        // Without a sum the last batch norm is left to the next unit's first convolution.
        if self.residual { sum_lazy(&[y, x.clone()], Activation::Identity, false).into() } else { y }
    }
}

impl Module for InvertedResidual {
    fn visit(&self, visitor: &mut Visitor) {
        if let Some((conv1, bn1)) = &self.expand {
            visitor.module("conv1", conv1);
            visitor.module("bn1", bn1);
        }
        visitor.module("conv2", &self.conv2);
        visitor.module("bn2", &self.bn2);
        visitor.module("conv3", &self.conv3);
        visitor.module("bn3", &self.bn3);
    }
}
