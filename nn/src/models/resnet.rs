//! The residual network of 2015, for CIFAR.

use super::{Built, Depth, Family, ModelInfo, basic_depth, bottleneck_depth, residual_stages};
use crate::blocks::{BasicBlock, Bottleneck, ShortcutKind};
use crate::context::Context;
use crate::init::Builder;
use crate::layers::{BatchNorm2d, Conv2d, GlobalAvgPool, Linear, Sequential, relu};
use crate::module::{Layer, Module, Network, Visitor};
use engine::{Lazy, Tensor};

/// The family `resnet20`, `resnet32`, ...: depth `6n + 2`, post-activation, shortcut option A; `-b` for option B; `-bottleneck` for
/// bottleneck units, depth `9n + 2`, option B.
pub(super) const FAMILY: Family = Family { listed, build };

const PAPER: &str = "https://arxiv.org/abs/1512.03385";
/// Its parameter names, and option A's zeros half in front and half behind, are ours, so that its published weights load.
const REFERENCE: &str = "akamaster/pytorch_resnet_cifar10";

fn listed() -> Vec<ModelInfo> {
    let info = |name: &str, published_error| ModelInfo {
        name: name.into(),
        reference: REFERENCE,
        page: PAPER,
        published_error,
    };
    // Errors of the paper's table 6; option B was not trained on CIFAR there.
    vec![
        info("resnet20", Some(8.75)),
        info("resnet32", Some(7.51)),
        info("resnet44", Some(7.17)),
        info("resnet56", Some(6.97)),
        info("resnet110", Some(6.43)),
        info("resnet1202", Some(7.93)),
        info("resnet20-b", None),
        info("resnet110-b", None),
        info("resnet164-bottleneck", None),
    ]
}

fn build(name: &str, classes: usize, b: &mut Builder) -> Option<Built> {
    let depth = Depth::parse(name, "resnet")?;
    Some(match depth.suffix {
        "" => basic_depth(name, depth.layers).map(|n| ResNet::boxed(b, n, Unit::Basic(ShortcutKind::A), classes)),
        "-b" => basic_depth(name, depth.layers).map(|n| ResNet::boxed(b, n, Unit::Basic(ShortcutKind::B), classes)),
        "-bottleneck" => bottleneck_depth(name, depth.layers).map(|n| ResNet::boxed(b, n, Unit::Bottleneck, classes)),
        _ => return None,
    })
}

/// The repeated unit of a [`ResNet`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Two 3x3 convolutions; stages of 16, 32, 64 channels.
    Basic(ShortcutKind),
    /// 1x1, 3x3, 1x1 with projections; stages of 64, 128, 256 channels.
    Bottleneck,
}

/// Stem conv-BN-ReLU to 16 channels, three stages of `n` units, global average pool, linear.
///
/// # Source
/// He et al. 2015 (arXiv:1512.03385), section 4.2.
pub struct ResNet {
    conv1: Conv2d,
    bn1: BatchNorm2d,
    stages: [Sequential; 3],
    linear: Linear,
}

impl ResNet {
    /// A network with `n` units per stage.
    pub fn new(b: &mut Builder, n: usize, unit: Unit, classes: usize) -> ResNet {
        let (conv1, bn1) = (b.conv(3, 16, 3, 1), b.batch_norm(16));
        let (stages, features) = match unit {
            Unit::Basic(kind) => (
                residual_stages(n, [16, 32, 64], |c_in, c_out, stride| BasicBlock::new(b, c_in, c_out, stride, kind)),
                64,
            ),
            Unit::Bottleneck => (
                residual_stages(n, [64, 128, 256], |c_in, c_out, stride| {
                    Bottleneck::new(b, c_in, c_out, stride, ShortcutKind::B)
                }),
                256,
            ),
        };
        ResNet { conv1, bn1, stages, linear: b.linear(features, classes) }
    }

    fn boxed(b: &mut Builder, n: usize, unit: Unit, classes: usize) -> Box<dyn Network> {
        Box::new(ResNet::new(b, n, unit, classes))
    }
}

impl Network for ResNet {
    fn forward(&self, images: &Tensor, ctx: &Context) -> Tensor {
        // Written out, because both the first convolution and the first shortcut read it.
        let stem = relu(self.bn1.forward(self.conv1.forward(images, ctx), ctx)).materialise();
        let x = self.stages.iter().fold(Lazy::from(stem), |x, stage| stage.forward(&x, ctx));
        self.linear.forward(&GlobalAvgPool.forward(&x), ctx)
    }
}

impl Module for ResNet {
    fn visit(&self, visitor: &mut Visitor) {
        visitor.module("conv1", &self.conv1);
        visitor.module("bn1", &self.bn1);
        for (i, stage) in self.stages.iter().enumerate() {
            visitor.module(&format!("layer{}", i + 1), stage);
        }
        visitor.module("linear", &self.linear);
    }
}
