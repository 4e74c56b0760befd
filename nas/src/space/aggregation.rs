//! Which earlier outputs each layer gathers: aggregation itself as what is searched.

use super::{Definition, Edge, Space, check_resolution, in_range};
use crate::block::{Block, BlockKey};
use crate::network::aggregation::{self, AggregationNet};
use crate::network::{Kept, Skeleton};
use crate::{Error, Op};
use nn::aggregation::{Edges, Gather, How, Widths};
use nn::models::{Aggregation as Wired, Crossing};
use nn::{Builder, Network};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::Arc;

/// The aggregation space: three stages of layers, each of which chooses which earlier outputs of its stage it reads, by sum or by
/// concatenation. All stages are wired alike. The layer before is always among what is read, so that no layer is left out.
///
/// Networks of the space are [`nn::models::Aggregation`]s with a list of edges; [`wiring_toml`](Aggregation::wiring_toml) writes them
/// as the wiring files that any command takes for a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Aggregation {
    /// Rows and columns of an image.
    pub resolution: usize,
    /// How what is gathered is put together.
    pub how: Join,
    /// Layers in each stage.
    pub layers: usize,
    /// Channels that a layer of each stage appends (concatenation) or adds (sum).
    pub widths: [usize; 3],
    /// Channels of the first convolution; with sums, those of the first stage.
    pub stem: usize,
    /// Whether layers that concatenate have a 1x1 convolution in front, and transitions halve the channels.
    pub bottleneck: bool,
    /// What the exit of a stage reads; not chosen, for it fixes the width of the next stage.
    pub exit: String,
    /// Most candidates of a layer: the first so many of those that differ there; all if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// What a layer can read: `all`, `previous`, `base:2`, the name of a rule, or offsets back as in `from1+3`.
    pub candidates: Vec<String>,
}

/// The two ways to put outputs together that are searched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Join {
    /// As in DenseNet. A candidate has weights of its own, for it reads other channels.
    Concat,
    /// As in ResNet. What follows the sum is shared.
    Sum,
}

impl Join {
    pub(crate) fn how(self) -> How {
        match self {
            Join::Concat => How::Concat,
            Join::Sum => How::Sum,
        }
    }
}

impl Aggregation {
    /// Layers that concatenate, of the size of SparseNet-40-12.
    pub fn concat() -> Aggregation {
        Aggregation {
            resolution: 32,
            how: Join::Concat,
            layers: 12,
            widths: [12; 3],
            stem: 24,
            bottleneck: false,
            exit: "base:2".into(),
            limit: None,
            candidates: RULES.map(str::to_owned).to_vec(),
        }
    }

    /// Layers that sum, of the widths of ResNet.
    pub fn sum() -> Aggregation {
        Aggregation { how: Join::Sum, layers: 6, widths: [16, 32, 64], stem: 16, ..Aggregation::concat() }
    }

    /// Offsets back that `layer` reads by the rule `name`, nearest first; `None` if there is no such rule.
    fn offsets(name: &str, layer: usize) -> Option<Vec<usize>> {
        let mut offsets: Vec<usize> = match name.parse() {
            Ok(Op::Gather(offsets)) => offsets.into_iter().filter(|offset| *offset <= layer).collect(),
            _ => name.parse::<Gather>().ok()?.sources(layer).into_iter().map(|source| layer - source).collect(),
        };
        offsets.sort_unstable();
        Some(offsets)
    }

    fn candidates_at(&self, layer: usize) -> Vec<Op> {
        let mut seen = BTreeSet::new();
        let rules = self.candidates.iter().filter_map(|name| Aggregation::offsets(name, layer));
        let different = rules.filter(|offsets| seen.insert(offsets.clone()));
        different.take(self.limit.unwrap_or(usize::MAX)).map(Op::Gather).collect()
    }

    /// What the exit reads, nearest first.
    pub(crate) fn exit_sources(&self) -> Vec<usize> {
        let exit = self.layers + 1;
        let offsets = Aggregation::offsets(&self.exit, exit).unwrap_or_default();
        offsets.into_iter().map(|offset| exit - offset).collect()
    }

    pub(crate) fn widths(&self, stage: usize, input: usize) -> Widths {
        match self.how {
            Join::Concat => Widths { input, added: 0, appended: self.widths[stage] },
            Join::Sum => Widths { input, added: self.widths[stage], appended: 0 },
        }
    }

    /// Channels of the input of each stage and of the head, and of what each transition reads.
    pub(crate) fn channels(&self) -> ([usize; 4], [usize; 3]) {
        let (mut inputs, mut exits) = ([self.stem; 4], [0; 3]);
        for stage in 0..3 {
            exits[stage] = self.how.how().channels(&self.exit_sources(), self.widths(stage, inputs[stage]));
            inputs[stage + 1] = match (stage, self.how) {
                (2, _) => exits[stage],
                (_, Join::Sum) => self.widths[stage + 1],
                (_, Join::Concat) => (if self.bottleneck { exits[stage] / 2 } else { exits[stage] }).max(1),
            };
        }
        (inputs, exits)
    }

    /// The links of the network with these choices.
    fn pairs(&self, choices: &[Op]) -> Vec<(usize, usize)> {
        let layer = |(layer, op): (usize, &Op)| {
            let offsets = match op {
                Op::Gather(offsets) => offsets.clone(),
                _ => vec![],
            };
            offsets.into_iter().map(move |offset| (layer - offset, layer)).collect::<Vec<_>>()
        };
        let exit = self.exit_sources().into_iter().map(|source| (source, self.layers + 1));
        (1..).zip(choices).flat_map(layer).chain(exit).collect()
    }

    fn wired(&self, gather: Gather) -> Wired {
        match self.how {
            Join::Concat => {
                Wired { stem: self.stem, ..Wired::concat(gather, self.layers, self.widths, self.bottleneck) }
            }
            Join::Sum => {
                Wired { added: self.widths, stem: self.stem, ..Wired::sum(gather, self.layers, Crossing::Convolution) }
            }
        }
    }

    /// The network with these choices as a wiring file.
    pub fn wiring_toml(&self, choices: &[Op]) -> String {
        let [a, b, c] = self.widths;
        let widths = match self.how {
            Join::Concat => format!("how = \"concat\"\ngrowth = [{a}, {b}, {c}]\nbottleneck = {}", self.bottleneck),
            Join::Sum => format!("how = \"sum\"\nadded = [{a}, {b}, {c}]\ncrossing = \"convolution\""),
        };
        let pairs: Vec<String> = self.pairs(choices).iter().map(|(from, to)| format!("[{from}, {to}]")).collect();
        format!("layers = {}\n{widths}\nstem = {}\nedges = [{}]\n", self.layers, self.stem, pairs.join(", "))
    }
}

/// What a layer can read. The densest comes first, and needs most memory.
const RULES: [&str; 9] =
    ["all", "base:2", "base:3", "base:4", "fibonacci", "from1+2+3", "from1+2", "from1+3", "previous"];

impl Definition for Aggregation {
    fn check(&self) -> Result<(), Error> {
        check_resolution(self.resolution)?;
        in_range("layers", self.layers, 200)?;
        in_range("stem", self.stem, 4096)?;
        self.widths.iter().try_for_each(|&width| in_range("a width", width, 4096))?;
        if self.how == Join::Sum && (self.bottleneck || self.stem != self.widths[0]) {
            return Err(Error::Space(
                "with sums, stem and first width must be equal, and there is no bottleneck; set bottleneck = false"
                    .into(),
            ));
        }
        for rule in self.candidates.iter().chain([&self.exit]) {
            for layer in 1..=self.layers + 1 {
                let offsets = Aggregation::offsets(rule, layer).ok_or_else(|| {
                    Error::Space(format!(
                        "`{rule}` is not a way to gather; there are all, previous, base:2 (or 3, 4, ...), fibonacci, and offsets \
                         back as in from1+3"
                    ))
                })?;
                if offsets.first() != Some(&1) {
                    return Err(Error::Space(format!(
                        "by `{rule}` layer {layer} does not read the layer before it, which nobody might read then; add offset 1"
                    )));
                }
            }
        }
        let all = self.wired(Gather::All);
        Ok(all.check()?)
    }

    fn edges(&self) -> Vec<Edge> {
        let edge = |layer| Edge { name: format!("layer{layer}"), candidates: self.candidates_at(layer) };
        (1..=self.layers).map(edge).collect()
    }

    fn most_candidates(&self) -> usize {
        self.candidates.len().max(RULES.len())
    }

    /// A layer has fewer where rules do not differ.
    fn with_candidates(&self, k: usize) -> Option<Space> {
        let mut space = Aggregation { limit: Some(k), ..self.clone() };
        if k > space.candidates.len() {
            let more: Vec<String> =
                RULES.iter().filter(|rule| !space.candidates.iter().any(|c| c == *rule)).map(|r| (*r).into()).collect();
            space.candidates.extend(more);
        }
        (k <= space.candidates.len()).then_some(Space::Aggregation(space))
    }

    fn resolution(&self) -> usize {
        self.resolution
    }

    fn blocks(&self, classes: usize) -> Vec<Block> {
        let key = |op: &str, (c_in, h): (usize, usize), (c_out, h_out): (usize, usize), kernel| BlockKey {
            op: op.into(),
            input: [h, h, c_in],
            output: [h_out, h_out, c_out],
            expansion: 1,
            kernel,
            stride: h / h_out,
            skip: false,
        };
        let (stem, bottleneck, how) = (self.stem, self.bottleneck, self.how);
        let (inputs, exits) = self.channels();
        let mut h = self.resolution;
        let mut blocks =
            vec![Block::fixed("stem", key("stem", (3, h), (stem, h), 3), move |b| aggregation::stem(b, stem))];
        for stage in 0..3 {
            let (widths, width) = (self.widths(stage, inputs[stage]), self.widths[stage]);
            for layer in 1..=self.layers {
                let place = format!("stage{}.layer{layer}", stage + 1);
                for (i, op) in self.candidates_at(layer).into_iter().enumerate() {
                    let Op::Gather(offsets) = &op else { continue };
                    let sources: Vec<usize> = offsets.iter().map(|offset| layer - offset).collect();
                    let (c_in, count) = (how.how().channels(&sources, widths), sources.len());
                    let sum = how == Join::Sum;
                    let name = if sum { format!("sum{count}") } else { "dense3x3".into() };
                    blocks.push(Block {
                        place: place.clone(),
                        key: key(&name, (c_in, h), (width, h), if sum { 1 } else { 3 }),
                        candidate: Some((layer - 1, i)),
                        free: sum && count == 1,
                        build: Arc::new(move |b| match how {
                            Join::Concat => aggregation::dense(b, c_in, width, bottleneck),
                            Join::Sum => aggregation::sum_of(count),
                        }),
                    });
                }
                if how == Join::Sum {
                    let key = key("residual3x3", (width, h), (width, h), 3);
                    blocks.push(Block::fixed(&place, key, move |b| aggregation::residual(b, width)));
                }
            }
            if stage < 2 {
                let (c_in, c_out) = (exits[stage], inputs[stage + 1]);
                let key = key("transition", (c_in, h), (c_out, h / 2), 1);
                h /= 2;
                blocks.push(Block::fixed(&format!("transition{}", stage + 1), key, move |b| {
                    aggregation::transition(b, c_in, c_out)
                }));
            }
        }
        let width = exits[2];
        let key = BlockKey { stride: 1, ..key("classifier", (width, h), (classes, 1), 1) };
        blocks.push(Block::fixed("classifier", key, move |b| aggregation::classifier(b, width, classes)));
        blocks
    }

    fn skeleton(&self, classes: usize, builder: &mut Builder, kept: &Kept) -> Box<dyn Skeleton> {
        Box::new(AggregationNet::new(builder, self, classes, kept))
    }

    fn build(&self, choices: &[Op], classes: usize, builder: &mut Builder) -> Result<Box<dyn Network>, Error> {
        let gather = Gather::Edges(Edges::new(&self.pairs(choices))?);
        Ok(self.wired(gather).build(builder, classes)?)
    }
}
