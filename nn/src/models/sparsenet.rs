//! SparseNet for CIFAR: a layer reads the outputs at offsets 1, c, c², ... alone.

use super::densenet::concat_layers;
use super::spec::Spec;
use super::{Aggregation, Built, Crossing, Family, ModelInfo};
use crate::aggregation::Gather;
use crate::init::Builder;

/// The family `sparsenet40-12`, `sparsenet100-16-32-64` (a growth per stage; also written `sparsenet100-{16,32,64}`): concatenation,
/// depth `3n + 4`; `sparsenet-bc100-24`: depth `6n + 4`, bottlenecks and halving transitions; `sparsenet-sum44`: sums of 16, 32 and 64
/// channels. `-base3` takes powers of 3 instead of 2.
///
/// A sum of depth `6n + 2`, counted as ResNet counts, crosses stages without parameters and has exactly ResNet's
/// ([`SparseSum`](super::SparseSum)). One of depth `6n + 4`, `sparsenet-sum40`, has two 1x1 convolutions there, as the concatenating nets do.
///
/// The first convolution has twice the first growth: the published code says once, which its author calls a mistake left in.
pub(super) const FAMILY: Family = Family { listed, build };

const PAPER: &str = "https://arxiv.org/abs/1801.05895";
/// The wiring; parameters are named as in andreasveit/densenet-pytorch.
const REFERENCE: &str = "Lyken17/SparseNet";

fn listed() -> Vec<ModelInfo> {
    let info = |name: &str, published_error| ModelInfo {
        name: name.into(),
        reference: REFERENCE,
        page: PAPER,
        published_error,
    };
    vec![
        info("sparsenet40-12", None),
        // The paper's table prints this error beside a growth of 12: a typing error by its author's word.
        info("sparsenet40-24", Some(5.47)),
        info("sparsenet100-12", None),
        info("sparsenet100-24", Some(4.44)),
        info("sparsenet100-24-base3", None),
        info("sparsenet100-24-base4", None),
        info("sparsenet100-36", Some(4.34)),
        info("sparsenet100-16-32-64", Some(4.11)),
        info("sparsenet100-32-64-128", Some(3.88)),
        info("sparsenet200-12", None),
        info("sparsenet400-12", None),
        info("sparsenet1000-12", None),
        info("sparsenet-bc100-12", None),
        info("sparsenet-bc100-24", Some(4.03)),
        info("sparsenet-bc100-36", Some(3.91)),
        info("sparsenet-bc100-16-32-64", Some(3.43)),
        info("sparsenet-bc100-32-64-128", Some(3.22)),
        info("sparsenet-sum20", None),
        info("sparsenet-sum40", None),
        info("sparsenet-sum110", None),
        info("sparsenet-sum1202", None),
    ]
}

fn build(name: &str, classes: usize, b: &mut Builder) -> Option<Built> {
    let rest = name.strip_prefix("sparsenet")?;
    let (form, rest) = match rest.split_at(rest.find(|c: char| c.is_ascii_digit())?) {
        ("" | "-", rest) => ("", rest),
        parts => parts,
    };
    let mut spec = Spec::parse(name, rest)?;
    let gather = Gather::Base(spec.option("base").unwrap_or(2));
    if !spec.is_done() {
        return None;
    }
    match form {
        "" | "-bc" => Some(concat(&spec, gather, form == "-bc", classes, b)),
        "-sum" => Some(sum(&spec, gather, classes, b)),
        _ => None,
    }
}

pub(super) fn concat(spec: &Spec, gather: Gather, bottleneck: bool, classes: usize, b: &mut Builder) -> Built {
    let of = Aggregation::concat(gather, concat_layers(spec, bottleneck)?, spec.growth_per_stage()?, bottleneck);
    of.build(b, classes)
}

pub(super) fn sum(spec: &Spec, gather: Gather, classes: usize, b: &mut Builder) -> Built {
    if !spec.growths.is_empty() {
        return Err(spec.impossible("a sum has 16, 32 and 64 channels and takes no growth"));
    }
    if let Ok(layers) = spec.layers(6, 4) {
        return Aggregation::sum(gather, layers, Crossing::Convolution).build(b, classes);
    }
    let layers = spec.layers(6, 2).map_err(|_| {
        let below = (spec.depth.clamp(8, 6_000) - 2) / 6 * 6 + 2;
        spec.impossible(&format!(
            "the depth must be 6n + 2 or 6n + 4, at most 6004; near it are {below} and {}",
            below + 2
        ))
    })?;
    Aggregation::sum(gather, layers, Crossing::Padding).build(b, classes)
}
