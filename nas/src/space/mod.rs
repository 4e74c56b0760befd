//! Search spaces as data.
//!
//! A [`Space`] prints to TOML and parses back. Built in are those of [`NAMES`].

mod aggregation;
mod count;
mod mbconv;
mod nb201;
mod tree_cell;

pub use aggregation::{Aggregation, Join};
pub(crate) use mbconv::MbPlace;
pub use mbconv::{MbConv, MbStage};
pub(crate) use nb201::EDGES;
pub use nb201::Nb201;
pub use tree_cell::{Merge, TreeCell};
pub(crate) use tree_cell::{TreeEdge, TreePlace};

use crate::network::{Derived, Kept, Skeleton};
use crate::{Arch, Block, Error, Op, Supernet};
use engine::rng::{Rng, purpose};
use nn::{Builder, Model, Network};
use serde::{Deserialize, Serialize};

/// The spaces that have names.
pub const NAMES: &[&str] = &[
    "mbconv",
    "mbconv-small",
    "nb201",
    "nb201-small",
    "aggregation",
    "aggregation-sum",
    "tree-cell",
    "tree-cell-small",
];

/// A place in the network where one of several operations is chosen.
#[derive(Clone, Debug, PartialEq)]
pub struct Edge {
    /// As in `block3`.
    pub name: String,
    /// What can be chosen, at least one.
    pub candidates: Vec<Op>,
}

impl Edge {
    /// Position of `op` among the candidates.
    pub fn index_of(&self, op: &Op) -> Option<usize> {
        self.candidates.iter().position(|candidate| candidate == op)
    }

    /// The candidates for people: `mb3x3e6, zero`.
    pub fn list(&self) -> String {
        self.candidates.iter().map(Op::to_string).collect::<Vec<_>>().join(", ")
    }
}

/// A search space: a family of networks that differ in the operations on their edges.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Space {
    /// Chains of inverted residuals (ProxylessNAS).
    Mbconv(MbConv),
    /// Stacks of one cell (NAS-Bench-201).
    Nb201(Nb201),
    /// Layers that choose which earlier outputs they gather.
    Aggregation(Aggregation),
    /// PyramidNet with trees of operations (ProxylessNAS on CIFAR).
    TreeCell(TreeCell),
}

/// What a kind of space says about itself.
pub(crate) trait Definition {
    /// # Errors
    /// If there is nothing to build.
    fn check(&self) -> Result<(), Error>;

    /// See [`Space::edges`].
    fn edges(&self) -> Vec<Edge>;

    /// See [`Space::with_candidates`]; `None` if there are not as many.
    fn with_candidates(&self, k: usize) -> Option<Space>;

    /// Candidates an edge can have at most.
    fn most_candidates(&self) -> usize;

    /// See [`Space::resolution`].
    fn resolution(&self) -> usize;

    /// Every fixed layer, and every candidate in every place of its edge.
    fn blocks(&self, classes: usize) -> Vec<Block>;

    /// The network with the candidates that `kept` names.
    fn skeleton(&self, classes: usize, builder: &mut Builder, kept: &Kept) -> Box<dyn Skeleton>;

    /// The network with these choices alone.
    ///
    /// # Errors
    /// If it would be too large.
    fn build(&self, choices: &[Op], classes: usize, builder: &mut Builder) -> Result<Box<dyn Network>, Error> {
        let index = |(edge, op): (&Edge, &Op)| edge.index_of(op).expect("a candidate of its edge");
        let indices: Vec<usize> = self.edges().iter().zip(choices).map(index).collect();
        Ok(Box::new(Derived(self.skeleton(classes, builder, &Kept::Only(&indices)))))
    }

    /// How choices are printed.
    fn arch_string(&self, choices: &[Op]) -> String {
        choices.iter().map(Op::to_string).collect::<Vec<_>>().join(",")
    }

    /// The choices that [`arch_string`](Definition::arch_string) printed.
    ///
    /// # Errors
    /// If they are none.
    fn parse_arch(&self, text: &str) -> Result<Vec<Op>, Error> {
        parse_list(text)
    }
}

/// `mb3x3e6,zero`
fn parse_list(text: &str) -> Result<Vec<Op>, Error> {
    text.trim().split(',').map(|op| op.trim().parse()).collect()
}

/// # Errors
/// If `value` is not from 1 to `most`.
fn in_range(name: &str, value: usize, most: usize) -> Result<(), Error> {
    if (1..=most).contains(&value) {
        return Ok(());
    }
    Err(Error::Space(format!("{name} is {value}; it must be from 1 to {most}")))
}

/// # Errors
/// If `resolution` is too large, or cannot be halved twice.
fn check_resolution(resolution: usize) -> Result<(), Error> {
    in_range("resolution", resolution, 1024)?;
    if resolution.is_multiple_of(4) {
        return Ok(());
    }
    Err(Error::Space(format!("resolution is {resolution}; it is halved twice, so it must be a multiple of 4")))
}

/// # Errors
/// If a candidate is listed twice, or is none of those that the space `takes`, such as `examples`.
fn check_candidates(candidates: &[Op], takes: impl Fn(&Op) -> bool, examples: &[Op]) -> Result<(), Error> {
    for (i, op) in candidates.iter().enumerate() {
        if !takes(op) {
            let examples = examples.iter().map(Op::to_string).collect::<Vec<_>>().join(", ");
            return Err(Error::Space(format!("`{op}` is no candidate of such a space; it takes {examples}")));
        }
        if candidates[..i].contains(op) {
            return Err(Error::Space(format!("the candidate `{op}` is listed twice; remove one")));
        }
    }
    Ok(())
}

/// Rows of a map after a convolution of this stride that keeps the size at stride 1.
fn reduced(resolution: usize, stride: usize) -> usize {
    resolution.div_ceil(stride)
}

impl Space {
    fn definition(&self) -> &dyn Definition {
        match self {
            Space::Mbconv(space) => space,
            Space::Nb201(space) => space,
            Space::Aggregation(space) => space,
            Space::TreeCell(space) => space,
        }
    }

    /// The space of that name, one of [`NAMES`].
    ///
    /// # Errors
    /// If there is none.
    pub fn named(name: &str) -> Result<Space, Error> {
        Ok(match name {
            "mbconv" => Space::Mbconv(MbConv::cifar()),
            "mbconv-small" => Space::Mbconv(MbConv::small()),
            "nb201" => Space::Nb201(Nb201::benchmark()),
            "nb201-small" => Space::Nb201(Nb201::small()),
            "aggregation" => Space::Aggregation(Aggregation::concat()),
            "aggregation-sum" => Space::Aggregation(Aggregation::sum()),
            "tree-cell" => Space::TreeCell(TreeCell::paper()),
            "tree-cell-small" => Space::TreeCell(TreeCell::small()),
            _ => {
                let names = NAMES.join(", ");
                return Err(Error::Space(format!(
                    "none is called `{name}`; there are {names}, and files ending in .toml"
                )));
            }
        })
    }

    /// The space that a TOML text describes.
    ///
    /// # Errors
    /// If the text is no TOML, has other keys or values than a space has, or the space cannot be searched.
    pub fn from_toml(text: &str) -> Result<Space, Error> {
        let space: Space = toml::from_str(text).map_err(|e| {
            let line = e.span().map_or(1, |span| 1 + text.bytes().take(span.start).filter(|&b| b == b'\n').count());
            Error::Space(format!("line {line}: {}", e.message().lines().collect::<Vec<_>>().join(" ")))
        })?;
        space.check()?;
        Ok(space)
    }

    /// The text that [`from_toml`](Space::from_toml) reads.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("strings, numbers and lists of them")
    }

    /// # Errors
    /// If an edge has no candidates, or a size is out of range.
    pub fn check(&self) -> Result<(), Error> {
        self.definition().check()?;
        match self.edges().iter().find(|edge| edge.candidates.is_empty()) {
            Some(edge) => Err(Error::Space(format!(
                "edge `{}` has no candidates; give it at least one operation that it can take",
                edge.name
            ))),
            None => Ok(()),
        }
    }

    /// `mbconv`, `tree-cell`, `aggregation` or `nb201`.
    pub fn name(&self) -> &'static str {
        match self {
            Space::Mbconv(_) => "mbconv",
            Space::Nb201(_) => "nb201",
            Space::Aggregation(_) => "aggregation",
            Space::TreeCell(_) => "tree-cell",
        }
    }

    /// The edges, in the order of an architecture's choices.
    pub fn edges(&self) -> Vec<Edge> {
        self.definition().edges()
    }

    /// The same with the first `k` candidates of each edge.
    ///
    /// # Errors
    /// If there are not as many.
    pub fn with_candidates(&self, k: usize) -> Result<Space, Error> {
        let most = self.definition().most_candidates();
        let space = if k == 0 { None } else { self.definition().with_candidates(k) };
        space.ok_or_else(|| {
            Error::Space(format!("an edge of `{}` can have 1 to {most} candidates, not {k}", self.name()))
        })
    }

    /// Rows and columns of an image.
    pub fn resolution(&self) -> usize {
        self.definition().resolution()
    }

    /// How many architectures there are, exactly, as a decimal number.
    pub fn count(&self) -> String {
        count::product(self.edges().iter().map(|edge| edge.candidates.len()))
    }

    /// The decimal logarithm of [`count`](Space::count).
    pub fn log10_count(&self) -> f64 {
        self.edges().iter().map(|edge| libm::log10(edge.candidates.len() as f64)).sum()
    }

    /// Every fixed layer, and every candidate of every edge in every place it has: what a latency table needs.
    pub fn blocks(&self, classes: usize) -> Vec<Block> {
        self.definition().blocks(classes)
    }

    /// The blocks of one network, in the order of the forward pass.
    pub fn blocks_of(&self, arch: &Arch, classes: usize) -> Vec<Block> {
        let chosen = arch.indices();
        let is_there = |block: &Block| block.candidate.is_none_or(|(edge, candidate)| chosen[edge] == candidate);
        self.blocks(classes).into_iter().filter(is_there).collect()
    }

    /// The derived network: `arch` alone, with fresh weights.
    ///
    /// # Errors
    /// If `arch` is of another space, or the network would be too large.
    pub fn build(&self, arch: &Arch, classes: usize, builder: &mut Builder) -> Result<Model, Error> {
        let arch = Arch::new(self, arch.choices().to_vec())?;
        let network = self.definition().build(arch.choices(), classes, builder)?;
        Ok(Model::of(&format!("{}:{arch}", self.name()), classes, network))
    }

    /// The supernet: fresh weights for every candidate of every edge.
    pub fn supernet(&self, classes: usize, builder: &mut Builder) -> Supernet {
        let edges = self.edges();
        let skeleton = self.definition().skeleton(classes, builder, &Kept::All);
        Supernet::new(self.clone(), classes, edges, skeleton)
    }

    /// Uniformly random choices. The same `(seed, index)` gives the same.
    pub fn random(&self, seed: u64, index: u64) -> Arch {
        let mut rng = Rng::new(seed, &[purpose::SEARCH, 0, index]);
        let choices = self.edges().into_iter().map(|edge| edge.candidates[rng.below(edge.candidates.len())].clone());
        Arch::new(self, choices.collect()).expect("candidates of the edges")
    }

    /// `arch` with one random choice changed to another candidate; the same where no edge has two.
    ///
    /// # Errors
    /// If `arch` is of another space.
    pub fn mutate(&self, arch: &Arch, rng: &mut Rng) -> Result<Arch, Error> {
        let edges = self.edges();
        let mut choices = Arch::new(self, arch.choices().to_vec())?.choices().to_vec();
        let open: Vec<usize> = (0..edges.len()).filter(|&e| edges[e].candidates.len() > 1).collect();
        if !open.is_empty() {
            let edge = open[rng.below(open.len())];
            let others: Vec<&Op> = edges[edge].candidates.iter().filter(|op| **op != choices[edge]).collect();
            choices[edge] = others[rng.below(others.len())].clone();
        }
        Arch::new(self, choices)
    }

    /// The architecture that a string names.
    ///
    /// # Errors
    /// If it is none of this space.
    pub fn parse_arch(&self, text: &str) -> Result<Arch, Error> {
        Arch::new(self, self.definition().parse_arch(text)?)
    }

    pub(crate) fn arch_string(&self, choices: &[Op]) -> String {
        self.definition().arch_string(choices)
    }
}

#[cfg(test)]
mod tests;
