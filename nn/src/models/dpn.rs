//! Dual Path Networks: a residual path of fixed width beside a dense path that grows.

use super::{Built, Depth, Family, ModelInfo, bottleneck_depth};
use crate::aggregation::{Gather, How, Map, Widths, Wiring};
use crate::blocks::{DualPathConfig, DualPathUnit, Stage};
use crate::context::Context;
use crate::error::Error;
use crate::init::Builder;
use crate::layers::{BatchNorm2d, Conv2d, Conv2dConfig, Linear, relu};
use crate::module::{Module, Network, Visitor};
use engine::ops::sum_lazy;
use engine::{Activation, Lazy, Tensor};

/// `dpn26` and `dpn92`, the post-activation form that kuangliu trains on CIFAR; `dpn-small29`, `dpn-small38`, ...: depth `9n + 2`, ours,
/// pre-activation as in the paper, three stages.
pub(super) const FAMILY: Family = Family { listed, build };

const PAPER: &str = "https://arxiv.org/abs/1707.01629";

fn listed() -> Vec<ModelInfo> {
    let info = |name: &str, reference, published_error| ModelInfo {
        name: name.into(),
        reference,
        page: PAPER,
        published_error,
    };
    vec![
        info("dpn26", "kuangliu/pytorch-cifar", None),
        info("dpn92", "kuangliu/pytorch-cifar", Some(4.84)),
        info("dpn-small29", "cypw/DPNs", None),
        info("dpn-small56", "cypw/DPNs", None),
    ]
}

fn build(name: &str, classes: usize, b: &mut Builder) -> Option<Built> {
    if let Some(depth) = Depth::parse(name, "dpn-small") {
        let small = |n| Ok(Box::new(SmallDpn::new(b, n, classes)?) as _);
        return depth.suffix.is_empty().then(|| bottleneck_depth(name, depth.layers).and_then(small));
    }
    let depth = Depth::parse(name, "dpn").filter(|depth| depth.suffix.is_empty())?;
    Some(match depth.layers {
        26 => Ok(Box::new(Dpn::new(b, [2, 2, 2, 2], classes))),
        92 => Ok(Box::new(Dpn::new(b, [3, 4, 20, 3], classes))),
        _ => {
            let reason = "DPN comes with 26 or 92 layers, or as dpn-small with 9n + 2".into();
            Err(Error::ImpossibleModel { name: name.into(), reason })
        }
    })
}

/// Channels of the residual path, of the 3x3 convolutions, and that each unit appends, in four stages.
const STAGES: [(usize, usize, usize); 4] = [(256, 96, 16), (512, 192, 32), (1024, 384, 24), (2048, 768, 128)];
const GROUPS: usize = 32;

/// Stem conv-BN-ReLU, four stages of post-activation units, global average pool, linear.
///
/// # Source
/// kuangliu/pytorch-cifar: the projection of a stage gives one increment to the dense path, the paper's two.
pub struct Dpn {
    conv1: Conv2d,
    bn1: BatchNorm2d,
    stages: Vec<Vec<PostActUnit>>,
    linear: Linear,
}

impl Dpn {
    /// A network with these numbers of units.
    pub fn new(b: &mut Builder, units: [usize; 4], classes: usize) -> Dpn {
        let (conv1, bn1) = (b.conv(3, 64, 3, 1), b.batch_norm(64));
        let mut channels = 64;
        let mut stages = vec![];
        for (stage, ((added, inner, appended), n)) in STAGES.into_iter().zip(units).enumerate() {
            let unit = |i| {
                let stride = if i == 0 && stage > 0 { 2 } else { 1 };
                let config = DualPathConfig { inner, groups: GROUPS, added, appended, stride };
                let unit = PostActUnit::new(b, channels, config, i == 0);
                channels = added + (i + 2) * appended;
                unit
            };
            stages.push((0..n).map(unit).collect());
        }
        Dpn { conv1, bn1, stages, linear: b.linear(channels, classes) }
    }
}

impl Network for Dpn {
    fn forward(&self, images: &Tensor, ctx: &Context) -> Tensor {
        let stem = relu(self.bn1.forward(self.conv1.forward(images, ctx), ctx));
        let mut x = vec![stem.materialise()];
        for unit in self.stages.iter().flatten() {
            x = unit.forward(&x, ctx);
        }
        self.linear.forward(&list(&x).global_avg_pool(), ctx)
    }
}

impl Module for Dpn {
    fn visit(&self, visitor: &mut Visitor) {
        visitor.module("conv1", &self.conv1);
        visitor.module("bn1", &self.bn1);
        for (stage, units) in (1..).zip(&self.stages) {
            for (i, unit) in units.iter().enumerate() {
                visitor.module(&format!("layer{stage}.{i}"), unit);
            }
        }
        visitor.module("linear", &self.linear);
    }
}

/// `y = bn3(conv3(relu(bn2(conv2(relu(bn1(conv1(x)))))))`; with `s` the shortcut, what leaves is
/// `relu([s[..added] + y[..added], s[added..], y[added..]])`. The state is a list: what is appended is never copied again.
struct PostActUnit {
    convs: [Conv2d; 3],
    bns: [BatchNorm2d; 3],
    shortcut: Option<(Conv2d, BatchNorm2d)>,
    added: usize,
}

impl PostActUnit {
    fn new(b: &mut Builder, c_in: usize, config: DualPathConfig, first: bool) -> PostActUnit {
        let DualPathConfig { inner, groups, added, appended, stride } = config;
        let grouped = Conv2dConfig { stride, groups, ..Conv2dConfig::default() };
        let (conv1, bn1) = (b.conv(c_in, inner, 1, 1), b.batch_norm(inner));
        let (conv2, bn2) = (Conv2d::new(b, inner, inner, grouped), b.batch_norm(inner));
        let (conv3, bn3) = (b.conv(inner, added + appended, 1, 1), b.batch_norm(added + appended));
        let shortcut = first.then(|| (b.conv(c_in, added + appended, 1, stride), b.batch_norm(added + appended)));
        PostActUnit { convs: [conv1, conv2, conv3], bns: [bn1, bn2, bn3], shortcut, added }
    }

    fn forward(&self, x: &[Tensor], ctx: &Context) -> Vec<Tensor> {
        let ([conv1, conv2, conv3], [bn1, bn2, bn3]) = (&self.convs, &self.bns);
        let y = relu(bn1.forward(conv1.forward(list(x), ctx), ctx));
        let y = relu(bn2.forward(conv2.forward(y, ctx), ctx));
        let (y_added, y_appended) = split(&bn3.forward(conv3.forward(y, ctx), ctx), self.added);
        let (residual, mut dense) = match &self.shortcut {
            Some((conv, bn)) => {
                let (residual, dense) = split(&bn.forward(conv.forward(list(x), ctx), ctx), self.added);
                (residual, vec![relu(dense).materialise()])
            }
            None => (Lazy::from(&x[0]), x[1..].to_vec()),
        };
        dense.push(relu(y_appended).materialise());
        dense.insert(0, sum_lazy(&[residual, y_added], Activation::Relu, false));
        dense
    }
}

/// Maps that are read as their concatenation.
fn list(maps: &[Tensor]) -> Lazy {
    Lazy { maps: maps.to_vec(), affine: None, activation: Activation::Identity }
}

/// The channels up to `at`, and those from there, of a normalised map.
fn split(x: &Lazy, at: usize) -> (Lazy, Lazy) {
    let channels = x.shape().channels();
    let part = |from: usize, to: usize| Lazy {
        maps: x.maps.iter().map(|map| map.slice_channels(from..to)).collect(),
        affine: x.affine.as_ref().map(|affine| affine.slice_channels(from..to)),
        activation: x.activation,
    };
    (part(0, at), part(at, channels))
}

impl Module for PostActUnit {
    fn visit(&self, visitor: &mut Visitor) {
        for (i, (conv, bn)) in (1..).zip(self.convs.iter().zip(&self.bns)) {
            visitor.module(&format!("conv{i}"), conv);
            visitor.module(&format!("bn{i}"), bn);
        }
        if let Some((conv, bn)) = &self.shortcut {
            visitor.module("shortcut.0", conv);
            visitor.module("shortcut.1", bn);
        }
    }
}

/// Stem conv, three stages of `n` [`DualPathUnit`]s that read all earlier outputs, BN-ReLU, global average pool, linear. Each stage
/// begins with a projection `conv(relu(bn(x)))` to its residual width and two increments.
///
/// # Source
/// The rule of cypw/DPNs at a size for CIFAR, which is ours.
pub struct SmallDpn {
    conv1: Conv2d,
    projections: Vec<(BatchNorm2d, Conv2d)>,
    stages: Vec<Stage>,
    bn: BatchNorm2d,
    linear: Linear,
}

impl SmallDpn {
    /// A network with `n` units per stage.
    ///
    /// # Errors
    /// If there are none, or too many.
    pub fn new(b: &mut Builder, n: usize, classes: usize) -> Result<SmallDpn, Error> {
        const APPENDED: usize = 16;
        let wiring = Wiring::new(&Gather::All, n)?;
        let conv1 = b.conv(3, 16, 3, 1);
        let mut channels = 16;
        let (mut projections, mut stages) = (vec![], vec![]);
        for (stage, (added, inner)) in [(64, 32), (128, 64), (256, 128)].into_iter().enumerate() {
            let crossing = if stage == 0 { 1 } else { 2 };
            let input = added + 2 * APPENDED;
            projections.push((b.batch_norm(channels), b.conv(channels, input, 1, crossing)));
            let widths = Widths { input, added, appended: APPENDED };
            let made = Stage::new(wiring.clone(), How::DualPath, widths, |layer, c_in| {
                let (c_in, stride) = if layer == 1 { (channels, crossing) } else { (c_in, 1) };
                let config = DualPathConfig { inner, groups: 8, added, appended: APPENDED, stride };
                Box::new(DualPathUnit::new(b, c_in, config))
            })?;
            channels = made.channels();
            stages.push(made);
        }
        Ok(SmallDpn { conv1, projections, stages, bn: b.batch_norm(channels), linear: b.linear(channels, classes) })
    }
}

impl Network for SmallDpn {
    fn forward(&self, images: &Tensor, ctx: &Context) -> Tensor {
        let mut x = vec![Map::from(self.conv1.forward(images, ctx))];
        for ((bn, conv), stage) in self.projections.iter().zip(&self.stages) {
            let projected = conv.forward(relu(bn.forward_maps(&x, ctx)), ctx);
            x = stage.forward_from(&x, vec![projected.into()], ctx);
        }
        let x = relu(self.bn.forward_maps(&x, ctx));
        self.linear.forward(&x.global_avg_pool(), ctx)
    }
}

impl Module for SmallDpn {
    fn visit(&self, visitor: &mut Visitor) {
        visitor.module("conv1", &self.conv1);
        for (i, ((bn, conv), stage)) in (1..).zip(self.projections.iter().zip(&self.stages)) {
            visitor.module(&format!("layer{i}.projection.bn"), bn);
            visitor.module(&format!("layer{i}.projection.conv"), conv);
            visitor.module(&format!("layer{i}"), stage);
        }
        visitor.module("bn", &self.bn);
        visitor.module("linear", &self.linear);
    }
}
