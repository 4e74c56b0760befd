//! ShuffleNets, for CIFAR.

use super::{Built, Family, ModelInfo};
use crate::blocks::{DownUnit, ShuffleUnit, SplitUnit};
use crate::context::Context;
use crate::init::Builder;
use crate::layers::{BatchNorm2d, Conv2d, GlobalAvgPool, Linear, Sequential, relu};
use crate::module::{Layer, Module, Network, Visitor};
use engine::{Lazy, Tensor};

/// `shufflenet-g2` and `shufflenet-g3`, by groups; `shufflenetv2-x0.5`, `-x1` and `-x1.5`, by width.
pub(super) const FAMILY: Family = Family { listed, build };

/// Parameters have its names. Its first ShuffleNet begins with a 1x1 convolution, where the paper has 3x3.
const REFERENCE: &str = "kuangliu/pytorch-cifar";

fn listed() -> Vec<ModelInfo> {
    let info = |name: &str, page| ModelInfo { name: name.into(), reference: REFERENCE, page, published_error: None };
    let (first, second) = ("https://arxiv.org/abs/1707.01083", "https://arxiv.org/abs/1807.11164");
    vec![
        info("shufflenet-g2", first),
        info("shufflenet-g3", first),
        info("shufflenetv2-x0.5", second),
        info("shufflenetv2-x1", second),
        info("shufflenetv2-x1.5", second),
    ]
}

fn build(name: &str, classes: usize, b: &mut Builder) -> Option<Built> {
    Some(Ok(Box::new(match name {
        "shufflenet-g2" => ShuffleNet::v1(b, 2, [200, 400, 800], classes),
        "shufflenet-g3" => ShuffleNet::v1(b, 3, [240, 480, 960], classes),
        "shufflenetv2-x0.5" => ShuffleNet::v2(b, [48, 96, 192], classes),
        "shufflenetv2-x1" => ShuffleNet::v2(b, [116, 232, 464], classes),
        "shufflenetv2-x1.5" => ShuffleNet::v2(b, [176, 352, 704], classes),
        _ => return None,
    })))
}

const STEM: usize = 24;

/// Stem conv-BN-ReLU to 24 channels, three stages of 4, 8 and 4 units, in the second version a 1x1 conv-BN-ReLU to 1024 channels, global
/// average pool, linear.
///
/// # Source
/// Zhang et al. 2017 (arXiv:1707.01083), Ma et al. 2018 (arXiv:1807.11164); kuangliu/pytorch-cifar.
pub struct ShuffleNet {
    conv1: Conv2d,
    bn1: BatchNorm2d,
    stages: Vec<Sequential>,
    last: Option<(Conv2d, BatchNorm2d)>,
    linear: Linear,
}

impl ShuffleNet {
    /// The first version.
    pub fn v1(b: &mut Builder, groups: usize, widths: [usize; 3], classes: usize) -> ShuffleNet {
        let (conv1, bn1) = (b.conv(3, STEM, 1, 1), b.batch_norm(STEM));
        let mut channels = STEM;
        let stages = widths.into_iter().zip([4, 8, 4]).map(|(width, units)| {
            let unit = |i| {
                let stride = if i == 0 { 2 } else { 1 };
                let unit = ShuffleUnit::new(b, (channels, width), stride, groups, channels == STEM);
                channels = width;
                unit
            };
            (0..units).map(unit).collect()
        });
        let stages = stages.collect();
        ShuffleNet { conv1, bn1, stages, last: None, linear: b.linear(widths[2], classes) }
    }

    /// The second version.
    pub fn v2(b: &mut Builder, widths: [usize; 3], classes: usize) -> ShuffleNet {
        const LAST: usize = 1024;
        let (conv1, bn1) = (b.conv(3, STEM, 3, 1), b.batch_norm(STEM));
        let mut channels = STEM;
        let mut stages = vec![];
        for (width, units) in widths.into_iter().zip([3, 7, 3]) {
            let mut stage = Sequential::default();
            stage.push(DownUnit::new(b, channels, width));
            for _ in 0..units {
                stage.push(SplitUnit::new(b, width));
            }
            channels = width;
            stages.push(stage);
        }
        let last = Some((b.conv(channels, LAST, 1, 1), b.batch_norm(LAST)));
        ShuffleNet { conv1, bn1, stages, last, linear: b.linear(LAST, classes) }
    }
}

impl Network for ShuffleNet {
    fn forward(&self, images: &Tensor, ctx: &Context) -> Tensor {
        let stem = relu(self.bn1.forward(self.conv1.forward(images, ctx), ctx));
        let mut x = self.stages.iter().fold(Lazy::from(stem.materialise()), |x, stage| stage.forward(&x, ctx));
        if let Some((conv2, bn2)) = &self.last {
            x = relu(bn2.forward(conv2.forward(x, ctx), ctx));
        }
        self.linear.forward(&GlobalAvgPool.forward(&x), ctx)
    }
}

impl Module for ShuffleNet {
    fn visit(&self, visitor: &mut Visitor) {
        visitor.module("conv1", &self.conv1);
        visitor.module("bn1", &self.bn1);
        for (i, stage) in self.stages.iter().enumerate() {
            visitor.module(&format!("layer{}", i + 1), stage);
        }
        if let Some((conv2, bn2)) = &self.last {
            visitor.module("conv2", conv2);
            visitor.module("bn2", bn2);
        }
        visitor.module("linear", &self.linear);
    }
}
