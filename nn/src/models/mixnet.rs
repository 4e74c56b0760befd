//! Mixed Link Networks for CIFAR: half of a layer's output is added to the last channels, half is appended.

use super::spec::Spec;
use super::{Aggregation, Built, Family, ModelInfo};
use crate::aggregation::{Gather, How};
use crate::init::Builder;

/// The family `mixnet100-12-12`, `mixnet250-24-24`: depth `6n + 4`, channels added and appended. `mixnet100`, `mixnet250` and `mixnet190`
/// are those of the paper.
pub(super) const FAMILY: Family = Family { listed, build };

const PAPER: &str = "https://arxiv.org/abs/1802.01808";
/// Its code is Lua; branches are called `inner` and `outer`, the rest as in andreasveit/densenet-pytorch.
const REFERENCE: &str = "DeepInsight-PCALab/MixNet";

fn listed() -> Vec<ModelInfo> {
    let info = |name: &str, published_error| ModelInfo {
        name: name.into(),
        reference: REFERENCE,
        page: PAPER,
        published_error,
    };
    vec![
        info("mixnet40-12-12", None),
        info("mixnet40-24-24", None),
        info("mixnet100", Some(4.19)),
        info("mixnet250", Some(3.32)),
        info("mixnet190", Some(3.13)),
    ]
}

fn build(name: &str, classes: usize, b: &mut Builder) -> Option<Built> {
    let spec = Spec::parse(name, name.strip_prefix("mixnet")?)?;
    spec.is_done().then(|| mixed(&spec, Gather::All, How::MixedLink, classes, b))
}

pub(super) fn mixed(spec: &Spec, gather: Gather, how: How, classes: usize, b: &mut Builder) -> Built {
    let (added, appended) = match (spec.depth, &spec.growths[..]) {
        (100, []) => (12, 12),
        (250, []) => (24, 24),
        (190, []) => (40, 40),
        (_, &[added, appended]) => (added, appended),
        _ => return Err(spec.impossible("give the channels that a layer adds and appends, as in 40-12-12")),
    };
    let of = Aggregation::mixed(gather, how, spec.layers(6, 4)?, added, appended);
    of.build(b, classes)
}
