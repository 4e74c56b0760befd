use super::stage::Unit;
use crate::aggregation::{Map, Output};
use crate::context::Context;
use crate::init::Builder;
use crate::layers::{BatchNorm2d, Conv2d, Conv2dConfig, relu};
use crate::module::{Module, Visitor};

/// A pre-activation bottleneck, `conv3(relu(bn3(conv2(relu(bn2(conv1(relu(bn1(x)))))))))`: 1x1, 3x3 in groups, 1x1. The first
/// channels of its output are added to the residual path, the rest is appended to the dense path.
///
/// # Source
/// Chen et al. 2017, Dual Path Networks (arXiv:1707.01629); cypw/DPNs.
pub struct DualPathUnit {
    bn1: BatchNorm2d,
    conv1: Conv2d,
    bn2: BatchNorm2d,
    conv2: Conv2d,
    bn3: BatchNorm2d,
    conv3: Conv2d,
    added: usize,
}

/// Sizes of a [`DualPathUnit`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DualPathConfig {
    /// Channels of the 3x3 convolution.
    pub inner: usize,
    /// Its groups.
    pub groups: usize,
    /// Channels that are added.
    pub added: usize,
    /// Channels that are appended.
    pub appended: usize,
    /// Of the 3x3 convolution.
    pub stride: usize,
}

impl DualPathUnit {
    /// A unit that reads `c_in` channels.
    pub fn new(b: &mut Builder, c_in: usize, config: DualPathConfig) -> DualPathUnit {
        let DualPathConfig { inner, groups, added, appended, stride } = config;
        DualPathUnit {
            bn1: b.batch_norm(c_in),
            conv1: b.conv(c_in, inner, 1, 1),
            bn2: b.batch_norm(inner),
            conv2: Conv2d::new(b, inner, inner, Conv2dConfig { stride, groups, ..Conv2dConfig::default() }),
            bn3: b.batch_norm(inner),
            conv3: b.conv(inner, added + appended, 1, 1),
            added,
        }
    }
}

impl Unit for DualPathUnit {
    fn forward(&self, x: &[Map], ctx: &Context) -> Output {
        let y = self.conv1.forward(relu(self.bn1.forward_maps(x, ctx)), ctx);
        let y = self.conv2.forward(relu(self.bn2.forward(y, ctx)), ctx);
        let y = Map::from(self.conv3.forward_unmeasured(relu(self.bn3.forward(y, ctx)), ctx));
        let part = |channels| Some(y.slice(channels));
        Output::Layer { added: part(0..self.added), appended: part(self.added..y.channels()) }
    }
}

impl Module for DualPathUnit {
    fn visit(&self, visitor: &mut Visitor) {
        visitor.module("bn1", &self.bn1);
        visitor.module("conv1", &self.conv1);
        visitor.module("bn2", &self.bn2);
        visitor.module("conv2", &self.conv2);
        visitor.module("bn3", &self.bn3);
        visitor.module("conv3", &self.conv3);
    }
}
