//! The zoo: networks by name.

mod aggregated;
mod densenet;
mod dpn;
mod inception;
mod mixnet;
mod mobilenet;
mod preact_resnet;
mod resnet;
mod shufflenet;
mod sparse_sum;
mod sparsenet;
mod spec;
mod utilisation;
mod vgg;
mod wide_resnet;
mod wired;
mod wiring_file;

pub use aggregated::{Aggregated, Aggregation, Crossing};
pub use dpn::{Dpn, SmallDpn};
pub use inception::GoogLeNet;
pub use mobilenet::{MobileNetV1, MobileNetV2};
pub use preact_resnet::PreActResNet;
pub use resnet::{ResNet, Unit};
pub use shufflenet::ShuffleNet;
pub use sparse_sum::SparseSum;
pub use utilisation::{Measure, Use, Wired, norm_shares};
pub use vgg::Vgg;
pub use wiring_file::{PerStage, WiringFile, anchored};

use crate::error::Error;
use crate::init::Builder;
use crate::layers::Sequential;
use crate::module::{Layer, Network};

/// A listed model.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelInfo {
    /// As `Model::new` takes it.
    pub name: String,
    /// The implementation on GitHub that it follows, and whose parameter names it has.
    pub reference: &'static str,
    /// The paper.
    pub page: &'static str,
    /// Published test error on CIFAR-10 with standard augmentation, in percent.
    pub published_error: Option<f32>,
}

/// A network, or why a name of the family is none.
type Built = Result<Box<dyn Network>, Error>;

/// A family of models. To add one: a file here with its `FAMILY`, and an entry in [`FAMILIES`].
struct Family {
    /// The members worth a line in a table.
    listed: fn() -> Vec<ModelInfo>,
    /// The network of a name; `None` if the name is not of this family.
    build: fn(&str, usize, &mut Builder) -> Option<Built>,
}

const FAMILIES: &[Family] = &[
    resnet::FAMILY,
    preact_resnet::FAMILY,
    wide_resnet::FAMILY,
    densenet::FAMILY,
    sparsenet::FAMILY,
    mixnet::FAMILY,
    dpn::FAMILY,
    wired::FAMILY,
    vgg::FAMILY,
    mobilenet::FAMILY,
    inception::FAMILY,
    shufflenet::FAMILY,
];

/// The listed models, all of which can be built; most families exist in any fitting depth besides.
pub fn zoo() -> Vec<ModelInfo> {
    FAMILIES.iter().flat_map(|family| (family.listed)()).collect()
}

/// The network called `name`, or described in the file of that name if it ends in `.toml`.
///
/// # Errors
/// If there is none: the message names the nearest that exists.
pub(crate) fn build(name: &str, classes: usize, builder: &mut Builder) -> Built {
    if !(2..=100_000).contains(&classes) {
        let rule = "a network tells at least 2 classes apart, and at most 100,000";
        return Err(Error::Setting { setting: "the number of classes", value: classes.to_string(), rule });
    }
    if wiring_file::is_path(name) {
        return wiring_file::build(name, classes, builder);
    }
    let found = FAMILIES.iter().find_map(|family| (family.build)(name, classes, builder));
    found.unwrap_or_else(|| Err(Error::UnknownModel { name: name.into(), nearest: nearest(name) }))
}

/// The listed name that the fewest insertions, deletions and replacements lead to.
fn nearest(name: &str) -> String {
    let name = name.to_lowercase();
    let by_distance = |info: &ModelInfo| (distance(&name, &info.name), info.name.len());
    zoo().into_iter().min_by_key(by_distance).map_or(String::new(), |info| info.name)
}

/// Levenshtein distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, &y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

/// A name of the form `<family><layers><suffix>`.
struct Depth<'a> {
    layers: usize,
    suffix: &'a str,
}

impl Depth<'_> {
    fn parse<'a>(name: &'a str, family: &str) -> Option<Depth<'a>> {
        let rest = name.strip_prefix(family)?;
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        Some(Depth { layers: rest[..digits].parse().ok()?, suffix: &rest[digits..] })
    }
}

/// Units per stage of a residual network whose units are two convolutions deep.
fn basic_depth(name: &str, layers: usize) -> Result<usize, Error> {
    units(name, layers, 6, 2)
}

/// Units per stage of a residual network whose units are three convolutions deep.
fn bottleneck_depth(name: &str, layers: usize) -> Result<usize, Error> {
    units(name, layers, 9, 2)
}

/// The `n` of a depth of `per_n * n + ends` layers.
fn units(name: &str, layers: usize, per_n: usize, ends: usize) -> Result<usize, Error> {
    const DEEPEST: usize = 10_000;
    let n = layers.saturating_sub(ends) / per_n;
    if n > 0 && n * per_n + ends == layers && layers <= DEEPEST {
        return Ok(n);
    }
    let below = n.clamp(1, (DEEPEST - ends) / per_n - 1) * per_n + ends;
    let reason =
        format!("the depth must be {per_n}n + {ends}, at most {DEEPEST}; near it are {below} and {}", below + per_n);
    Err(Error::ImpossibleModel { name: name.into(), reason })
}

/// Three stages of `n` units; the first unit of the second and third halves the resolution. `unit` makes one from its input and
/// output channels and its stride. The stem has 16 channels.
fn residual_stages<L: Layer + 'static>(
    n: usize,
    widths: [usize; 3],
    mut unit: impl FnMut(usize, usize, usize) -> L,
) -> [Sequential; 3] {
    let mut channels = 16;
    let mut resolution_change = 1;
    widths.map(|width| {
        let stage = (0..n).map(|i| {
            let stride = if i == 0 { resolution_change } else { 1 };
            let layer = unit(channels, width, stride);
            channels = width;
            layer
        });
        let stage = stage.collect();
        resolution_change = 2;
        stage
    })
}

#[cfg(test)]
mod tests;
