//! MobileNets: depthwise separable convolutions (2017), inverted residuals with linear bottlenecks (2018).

use super::{Built, Family, ModelInfo};
use crate::blocks::{InvertedResidual, SeparableBlock};
use crate::context::Context;
use crate::init::Builder;
use crate::layers::{BatchNorm2d, Conv2d, GlobalAvgPool, Linear, Sequential, relu, relu6};
use crate::module::{Layer, Module, Network, Visitor};
use engine::Tensor;

/// `mobilenetv1` and `mobilenetv2`, with kuangliu's strides for 32x32 images.
pub(super) const FAMILY: Family = Family { listed, build };

/// Parameters have its names. Its MobileNetV2 differs from the paper's, and ours: it has ReLU for ReLU6, an expansion even where
/// that is by 1, and projections in some shortcuts.
const REFERENCE: &str = "kuangliu/pytorch-cifar";

fn listed() -> Vec<ModelInfo> {
    let info = |name: &str, page| ModelInfo { name: name.into(), reference: REFERENCE, page, published_error: None };
    vec![
        info("mobilenetv1", "https://arxiv.org/abs/1704.04861"),
        info("mobilenetv2", "https://arxiv.org/abs/1801.04381"),
    ]
}

fn build(name: &str, classes: usize, b: &mut Builder) -> Option<Built> {
    Some(Ok(match name {
        "mobilenetv1" => Box::new(MobileNetV1::new(b, classes)),
        "mobilenetv2" => Box::new(MobileNetV2::new(b, classes)),
        _ => return None,
    }))
}

/// Stem conv-BN-ReLU to 32 channels, thirteen [`SeparableBlock`]s, global average pool, linear.
///
/// # Source
/// Howard et al. 2017 (arXiv:1704.04861), table 1; the stem and one block fewer halve the resolution, for CIFAR.
pub struct MobileNetV1 {
    conv1: Conv2d,
    bn1: BatchNorm2d,
    layers: Sequential,
    linear: Linear,
}

impl MobileNetV1 {
    /// A network of full width.
    pub fn new(b: &mut Builder, classes: usize) -> MobileNetV1 {
        /// Output channels and stride.
        const BLOCKS: [(usize, usize); 13] = [
            (64, 1),
            (128, 2),
            (128, 1),
            (256, 2),
            (256, 1),
            (512, 2),
            (512, 1),
            (512, 1),
            (512, 1),
            (512, 1),
            (512, 1),
            (1024, 2),
            (1024, 1),
        ];
        let (conv1, bn1) = (b.conv(3, 32, 3, 1), b.batch_norm(32));
        let mut c_in = 32;
        let block = |(c_out, stride)| SeparableBlock::new(b, std::mem::replace(&mut c_in, c_out), c_out, stride);
        let layers = BLOCKS.into_iter().map(block).collect();
        MobileNetV1 { conv1, bn1, layers, linear: b.linear(1024, classes) }
    }
}

impl Network for MobileNetV1 {
    fn forward(&self, images: &Tensor, ctx: &Context) -> Tensor {
        let stem = relu(self.bn1.forward(self.conv1.forward(images, ctx), ctx));
        let x = self.layers.forward(&stem, ctx);
        self.linear.forward(&GlobalAvgPool.forward(&x), ctx)
    }
}

impl Module for MobileNetV1 {
    fn visit(&self, visitor: &mut Visitor) {
        visitor.module("conv1", &self.conv1);
        visitor.module("bn1", &self.bn1);
        visitor.module("layers", &self.layers);
        visitor.module("linear", &self.linear);
    }
}

/// Stem conv-BN-ReLU6 to 32 channels, seventeen [`InvertedResidual`]s, 1x1 conv-BN-ReLU6 to 1280 channels, global average pool,
/// linear.
///
/// # Source
/// Sandler et al. 2018 (arXiv:1801.04381), table 2; the stem and the second group keep the resolution, for CIFAR.
pub struct MobileNetV2 {
    conv1: Conv2d,
    bn1: BatchNorm2d,
    layers: Sequential,
    conv2: Conv2d,
    bn2: BatchNorm2d,
    linear: Linear,
}

impl MobileNetV2 {
    /// A network of full width.
    pub fn new(b: &mut Builder, classes: usize) -> MobileNetV2 {
        /// Expansion, output channels, blocks, and the first block's stride.
        const GROUPS: [(usize, usize, usize, usize); 7] =
            [(1, 16, 1, 1), (6, 24, 2, 1), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)];
        let (conv1, bn1) = (b.conv(3, 32, 3, 1), b.batch_norm(32));
        let mut c_in = 32;
        let mut layers = Sequential::default();
        for (expansion, c_out, blocks, first_stride) in GROUPS {
            for i in 0..blocks {
                let stride = if i == 0 { first_stride } else { 1 };
                layers.push(InvertedResidual::new(b, (c_in, c_out), 3, stride, expansion));
                c_in = c_out;
            }
        }
        let (conv2, bn2) = (b.conv(c_in, 1280, 1, 1), b.batch_norm(1280));
        MobileNetV2 { conv1, bn1, layers, conv2, bn2, linear: b.linear(1280, classes) }
    }
}

impl Network for MobileNetV2 {
    fn forward(&self, images: &Tensor, ctx: &Context) -> Tensor {
        let stem = relu6(self.bn1.forward(self.conv1.forward(images, ctx), ctx));
        let x = self.layers.forward(&stem, ctx);
        let x = relu6(self.bn2.forward(self.conv2.forward(x, ctx), ctx));
        self.linear.forward(&GlobalAvgPool.forward(&x), ctx)
    }
}

impl Module for MobileNetV2 {
    fn visit(&self, visitor: &mut Visitor) {
        visitor.module("conv1", &self.conv1);
        visitor.module("bn1", &self.bn1);
        visitor.module("layers", &self.layers);
        visitor.module("conv2", &self.conv2);
        visitor.module("bn2", &self.bn2);
        visitor.module("linear", &self.linear);
    }
}
