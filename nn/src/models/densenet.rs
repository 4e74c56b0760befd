//! DenseNet for CIFAR: every layer reads all earlier outputs of its stage, concatenated.

use super::spec::Spec;
use super::{Aggregation, Built, Family, ModelInfo};
use crate::aggregation::Gather;
use crate::init::Builder;

/// The family `densenet40-12`, `densenet100-24`, ...: depth `3n + 4` and growth; `densenet-bc100-12`: depth `6n + 4`, bottlenecks and
/// halving transitions. The first convolution has 16 channels, as in the paper, or twice the growth with bottlenecks; `-stem24`
/// gives it 24, as the published code and SparseNet's comparisons have for growth 12. `densenet200-12` is the network that
/// code makes of depth 200, which is of neither form: 65 layers a stage, 199 in all.
pub(super) const FAMILY: Family = Family { listed, build };

const PAPER: &str = "https://arxiv.org/abs/1608.06993";
/// The authors' code is Lua; parameters are named as here.
const REFERENCE: &str = "andreasveit/densenet-pytorch";

fn listed() -> Vec<ModelInfo> {
    let info = |name: &str, published_error| ModelInfo {
        name: name.into(),
        reference: REFERENCE,
        page: PAPER,
        published_error,
    };
    vec![
        info("densenet40-12", Some(5.24)),
        info("densenet40-12-stem24", Some(5.39)),
        info("densenet100-12", Some(4.10)),
        info("densenet100-12-stem24", Some(4.28)),
        info("densenet100-24", Some(3.74)),
        info("densenet100-24-stem48", Some(4.04)),
        info("densenet200-12", None),
        info("densenet-bc40-36", Some(4.58)),
        info("densenet-bc40-48", Some(3.99)),
        info("densenet-bc40-60", Some(4.01)),
        info("densenet-bc100-12", Some(4.51)),
        info("densenet-bc250-24", Some(3.62)),
        info("densenet-bc190-40", Some(3.46)),
    ]
}

fn build(name: &str, classes: usize, b: &mut Builder) -> Option<Built> {
    let rest = name.strip_prefix("densenet")?;
    let bottleneck = rest.starts_with("-bc");
    let mut spec = Spec::parse(name, rest.strip_prefix("-bc").unwrap_or(rest))?;
    let stem = spec.option("stem");
    spec.is_done().then(|| {
        let growth = spec.growth_per_stage()?;
        let layers = concat_layers(&spec, bottleneck)?;
        let mut of = Aggregation::concat(Gather::All, layers, growth, bottleneck);
        of.stem = stem.unwrap_or(if bottleneck { of.stem } else { 16 });
        of.build(b, classes)
    })
}

/// Layers per stage of a plain or bottleneck network that concatenates.
pub(super) fn concat_layers(spec: &Spec, bottleneck: bool) -> Result<usize, crate::Error> {
    if !bottleneck && spec.depth == 200 {
        return Ok(65); // (200 - 4) / 3, rounded down
    }
    spec.layers(if bottleneck { 6 } else { 3 }, 4)
}
