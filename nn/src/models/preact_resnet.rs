//! The residual network of 2016: batch norm and ReLU in front of each convolution, an identity from first unit to last.

use super::{Built, Depth, Family, ModelInfo, basic_depth, bottleneck_depth, residual_stages};
use crate::blocks::{PreActBasicBlock, PreActBottleneck, ShortcutKind};
use crate::context::Context;
use crate::init::Builder;
use crate::layers::{BatchNorm2d, Conv2d, GlobalAvgPool, Linear, Sequential, relu};
use crate::module::{Layer, Module, Network, Visitor};
use engine::{Lazy, Tensor};

/// The family `preact-resnet110`, ...: depth `6n + 2`, projections where the shape changes (option B); `-a` for option A. Depths 164
/// and 1001, as in the paper, and any `9n + 2` with `-bottleneck`, have bottleneck units.
pub(super) const FAMILY: Family = Family { listed, build };

const PAPER: &str = "https://arxiv.org/abs/1603.05027";
/// The authors' code is Lua; parameters are named as in kuangliu's `PreActResNet`, plus `bn`, the last batch norm, which that lacks.
const REFERENCE: &str = "KaimingHe/resnet-1k-layers";

fn listed() -> Vec<ModelInfo> {
    let info = |name: &str, published_error| ModelInfo {
        name: name.into(),
        reference: REFERENCE,
        page: PAPER,
        published_error,
    };
    vec![
        info("preact-resnet20", None),
        info("preact-resnet32", None),
        info("preact-resnet44", None),
        info("preact-resnet56", None),
        info("preact-resnet110", Some(6.37)),
        info("preact-resnet164", Some(5.46)),
        info("preact-resnet1001", Some(4.92)),
        info("preact-resnet1202", None),
        info("preact-resnet20-a", None),
        info("preact-resnet110-a", None),
        info("preact-resnet29-bottleneck", None),
    ]
}

fn build(name: &str, classes: usize, b: &mut Builder) -> Option<Built> {
    let depth = Depth::parse(name, "preact-resnet")?;
    let basic = |b: &mut Builder, kind| {
        basic_depth(name, depth.layers).map(|n| PreActResNet::boxed(PreActResNet::basic(b, n, 16, kind, classes)))
    };
    Some(match (depth.suffix, depth.layers) {
        ("-bottleneck", layers) | ("", layers @ (164 | 1001)) => {
            bottleneck_depth(name, layers).map(|n| PreActResNet::boxed(PreActResNet::bottleneck(b, n, classes)))
        }
        ("" | "-b", _) => basic(b, ShortcutKind::B),
        ("-a", _) => basic(b, ShortcutKind::A),
        _ => return None,
    })
}

/// Stem conv to 16 channels, three stages of `n` units, BN-ReLU, global average pool, linear.
///
/// # Source
/// He et al. 2016 (arXiv:1603.05027).
pub struct PreActResNet {
    conv1: Conv2d,
    stages: [Sequential; 3],
    bn: BatchNorm2d,
    linear: Linear,
}

impl PreActResNet {
    /// `n` basic units per stage of `width`, `2*width`, `4*width` channels: 16, or more for a wide residual network.
    pub fn basic(b: &mut Builder, n: usize, width: usize, kind: ShortcutKind, classes: usize) -> PreActResNet {
        let conv1 = b.conv(3, 16, 3, 1);
        let stages = residual_stages(n, [width, 2 * width, 4 * width], |c_in, c_out, stride| {
            PreActBasicBlock::new(b, c_in, c_out, stride, kind)
        });
        PreActResNet { conv1, stages, bn: b.batch_norm(4 * width), linear: b.linear(4 * width, classes) }
    }

    /// `n` bottleneck units per stage of 64, 128, 256 channels.
    pub fn bottleneck(b: &mut Builder, n: usize, classes: usize) -> PreActResNet {
        let conv1 = b.conv(3, 16, 3, 1);
        let stages = residual_stages(n, [64, 128, 256], |c_in, c_out, stride| {
            PreActBottleneck::new(b, c_in, c_out, stride, ShortcutKind::B)
        });
        PreActResNet { conv1, stages, bn: b.batch_norm(256), linear: b.linear(256, classes) }
    }

    pub(super) fn boxed(self) -> Box<dyn Network> {
        Box::new(self)
    }
}

impl Network for PreActResNet {
    fn forward(&self, images: &Tensor, ctx: &Context) -> Tensor {
        let stem = self.conv1.forward(images, ctx);
        let x = self.stages.iter().fold(Lazy::from(stem), |x, stage| stage.forward(&x, ctx));
        let x = relu(self.bn.forward(x, ctx));
        self.linear.forward(&GlobalAvgPool.forward(&x), ctx)
    }
}

impl Module for PreActResNet {
    fn visit(&self, visitor: &mut Visitor) {
        visitor.module("conv1", &self.conv1);
        for (i, stage) in self.stages.iter().enumerate() {
            visitor.module(&format!("layer{}", i + 1), stage);
        }
        visitor.module("bn", &self.bn);
        visitor.module("linear", &self.linear);
    }
}
