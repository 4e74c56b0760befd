//! GoogLeNet with batch norm, for CIFAR.

use super::{Built, Family, ModelInfo};
use crate::blocks::{Inception, InceptionConfig};
use crate::context::Context;
use crate::init::Builder;
use crate::layers::{BatchNorm2d, Conv2d, Conv2dConfig, GlobalAvgPool, Linear, relu};
use crate::module::{Layer, Module, Network, Visitor};
use engine::ops::Pool2d;
use engine::{Lazy, Tensor};

/// `googlenet`: convolutions without bias, which the batch norm behind makes useless; `googlenet-bias` is kuangliu's, which have one.
pub(super) const FAMILY: Family = Family { listed, build };

fn listed() -> Vec<ModelInfo> {
    let info = |name: &str| ModelInfo {
        name: name.into(),
        reference: "kuangliu/pytorch-cifar",
        page: "https://arxiv.org/abs/1409.4842",
        published_error: None,
    };
    vec![info("googlenet"), info("googlenet-bias")]
}

fn build(name: &str, classes: usize, b: &mut Builder) -> Option<Built> {
    let bias = match name {
        "googlenet" => false,
        "googlenet-bias" => true,
        _ => return None,
    };
    Some(Ok(Box::new(GoogLeNet::new(b, bias, classes))))
}

/// Table 1 of the paper, names of the reference.
const BLOCKS: [(&str, InceptionConfig); 9] = [
    ("a3", widths(64, (96, 128), (16, 32), 32)),
    ("b3", widths(128, (128, 192), (32, 96), 64)),
    ("a4", widths(192, (96, 208), (16, 48), 64)),
    ("b4", widths(160, (112, 224), (24, 64), 64)),
    ("c4", widths(128, (128, 256), (24, 64), 64)),
    ("d4", widths(112, (144, 288), (32, 64), 64)),
    ("e4", widths(256, (160, 320), (32, 128), 128)),
    ("a5", widths(256, (160, 320), (32, 128), 128)),
    ("b5", widths(384, (192, 384), (48, 128), 128)),
];

const fn widths(one: usize, three: (usize, usize), five: (usize, usize), pool: usize) -> InceptionConfig {
    InceptionConfig { one, three, five, pool }
}

/// Stem conv-BN-ReLU to 192 channels, nine [`Inception`] blocks with a 3x3 max pool of stride 2 in front of the third and the eighth,
/// global average pool, linear.
///
/// # Source
/// Szegedy et al. 2014 (arXiv:1409.4842); kuangliu/pytorch-cifar.
pub struct GoogLeNet {
    conv: Conv2d,
    bn: BatchNorm2d,
    blocks: Vec<Inception>,
    linear: Linear,
}

impl GoogLeNet {
    /// A network whose convolutions have a bias if `bias`.
    pub fn new(b: &mut Builder, bias: bool, classes: usize) -> GoogLeNet {
        let conv = Conv2d::new(b, 3, 192, Conv2dConfig { bias, ..Conv2dConfig::default() });
        let bn = b.batch_norm(192);
        let mut channels = 192;
        let block = |(_, config): (_, InceptionConfig)| {
            let block = Inception::new(b, channels, config, bias);
            channels = config.channels();
            block
        };
        let blocks = BLOCKS.into_iter().map(block).collect();
        GoogLeNet { conv, bn, blocks, linear: b.linear(channels, classes) }
    }
}

impl Network for GoogLeNet {
    fn forward(&self, images: &Tensor, ctx: &Context) -> Tensor {
        let mut x = relu(self.bn.forward(self.conv.forward(images, ctx), ctx));
        for ((name, _), block) in BLOCKS.iter().zip(&self.blocks) {
            if matches!(*name, "a4" | "a5") {
                let pooled = x.materialise().max_pool2d(Pool2d { kernel_size: 3, stride: 2, padding: 1 });
                x = Lazy::from(pooled);
            }
            x = block.forward(&x, ctx);
        }
        self.linear.forward(&GlobalAvgPool.forward(&x), ctx)
    }
}

impl Module for GoogLeNet {
    fn visit(&self, visitor: &mut Visitor) {
        visitor.module("pre_layers.0", &self.conv);
        visitor.module("pre_layers.1", &self.bn);
        for ((name, _), block) in BLOCKS.iter().zip(&self.blocks) {
            visitor.module(name, block);
        }
        visitor.module("linear", &self.linear);
    }
}
