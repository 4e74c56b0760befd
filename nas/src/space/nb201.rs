//! The cell of NAS-Bench-201.

use super::{Definition, Edge, Space, check_resolution, in_range, reduced};
use crate::block::{Block, BlockKey};
use crate::network::nb201::{self, Nb201Net};
use crate::network::{Kept, Skeleton};
use crate::{Error, Op};
use nn::Builder;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The NAS-Bench-201 space: one cell, whose four nodes are joined by six edges, is stacked `cells` times in each of three stages.
///
/// Node 0 is the cell's input, node 3 its output; node `i` sums what the edges from all nodes before it bring. `conv1x1` and `conv3x3`
/// are ReLU-conv-BN.
///
/// # Source
/// Dong and Yang 2020 (arXiv:2001.00326); D-X-Y/AutoDL-Projects.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nb201 {
    /// Rows and columns of an image.
    pub resolution: usize,
    /// Channels of the first stage; they double from stage to stage.
    pub channels: usize,
    /// Cells in each stage.
    pub cells: usize,
    /// Most candidates of an edge: the first so many; all if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// What an edge can be.
    pub candidates: Vec<Op>,
}

/// The edges of a cell, (to, from), in the order of the arch string.
pub(crate) const EDGES: [(usize, usize); 6] = [(1, 0), (2, 0), (2, 1), (3, 0), (3, 1), (3, 2)];

/// What the arch string calls the operations.
const NAMES: [(&str, Op); 5] = [
    ("nor_conv_3x3", Op::Conv { kernel: 3 }),
    ("nor_conv_1x1", Op::Conv { kernel: 1 }),
    ("avg_pool_3x3", Op::AvgPool),
    ("skip_connect", Op::Skip),
    ("none", Op::Zero),
];

impl Nb201 {
    /// Of the benchmark: 16 channels, five cells a stage.
    pub fn benchmark() -> Nb201 {
        let candidates = NAMES.map(|(_, op)| op).to_vec();
        Nb201 { resolution: 32, channels: 16, cells: 5, limit: None, candidates }
    }

    /// One cell a stage of half the width: networks that train in minutes.
    pub fn small() -> Nb201 {
        Nb201 { channels: 8, cells: 1, ..Nb201::benchmark() }
    }

    fn ops(&self) -> Vec<Op> {
        self.candidates.iter().take(self.limit.unwrap_or(usize::MAX)).cloned().collect()
    }

    /// Channels and resolution of a stage.
    pub(crate) fn stage(&self, stage: usize) -> (usize, usize) {
        let resolution = (0..stage).fold(self.resolution, |resolution, _| reduced(resolution, 2));
        (self.channels << stage, resolution)
    }
}

fn name(op: &Op) -> &'static str {
    NAMES.iter().find(|(_, named)| named == op).map_or("none", |(name, _)| name)
}

impl Definition for Nb201 {
    fn check(&self) -> Result<(), Error> {
        check_resolution(self.resolution)?;
        in_range("channels", self.channels, 2048)?;
        in_range("cells", self.cells, 100)?;
        super::check_candidates(&self.candidates, |op| NAMES.iter().any(|(_, named)| named == op), &{
            NAMES.map(|(_, op)| op)
        })
    }

    fn edges(&self) -> Vec<Edge> {
        EDGES.map(|(to, from)| Edge { name: format!("{from}to{to}"), candidates: self.ops() }).to_vec()
    }

    fn most_candidates(&self) -> usize {
        self.candidates.len()
    }

    fn with_candidates(&self, k: usize) -> Option<Space> {
        (k <= self.candidates.len()).then(|| Space::Nb201(Nb201 { limit: Some(k), ..self.clone() }))
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
            stride: if h == h_out { 1 } else { 2 },
            skip: false,
        };
        let channels = self.channels;
        let stem = key("stem", (3, self.resolution), self.stage(0), 3);
        let mut blocks = vec![Block::fixed("stem", stem, move |b| nb201::stem(b, channels))];
        for stage in 0..3 {
            let place = self.stage(stage);
            if stage > 0 {
                let before = self.stage(stage - 1).0;
                let key = BlockKey { skip: true, ..key("reduce", self.stage(stage - 1), place, 3) };
                blocks.push(Block::fixed(&format!("reduce{stage}"), key, move |b| nb201::reduction(b, before)));
            }
            for cell in 0..self.cells {
                for (edge, (to, from)) in EDGES.into_iter().enumerate() {
                    for (i, op) in self.ops().into_iter().enumerate() {
                        let kernel = match op {
                            Op::Conv { kernel } => kernel,
                            Op::AvgPool => 3,
                            _ => 1,
                        };
                        blocks.push(Block {
                            place: format!("stage{}.cell{}.{from}to{to}", stage + 1, cell + 1),
                            key: key(&op.to_string(), place, place, kernel),
                            candidate: Some((edge, i)),
                            free: matches!(op, Op::Skip | Op::Zero),
                            build: Arc::new(move |b| nb201::candidate(b, place.0, &op)),
                        });
                    }
                }
            }
        }
        let last = self.stage(2);
        let classifier = key("classifier", last, (classes, 1), 1);
        let classifier = BlockKey { stride: 1, ..classifier };
        blocks.push(Block::fixed("classifier", classifier, move |b| nb201::classifier(b, last.0, classes)));
        blocks
    }

    fn skeleton(&self, classes: usize, builder: &mut Builder, kept: &Kept) -> Box<dyn Skeleton> {
        Box::new(Nb201Net::new(builder, self, classes, kept))
    }

    /// `|nor_conv_3x3~0|+|none~0|skip_connect~1|+|...|`
    fn arch_string(&self, choices: &[Op]) -> String {
        let node = |to: usize| {
            let edges = EDGES.iter().zip(choices).filter(|((target, _), _)| *target == to);
            let parts: Vec<String> = edges.map(|((_, from), op)| format!("{}~{from}", name(op))).collect();
            format!("|{}|", parts.join("|"))
        };
        [1, 2, 3].map(node).join("+")
    }

    fn parse_arch(&self, text: &str) -> Result<Vec<Op>, Error> {
        let text = text.trim();
        if !text.starts_with('|') {
            return super::parse_list(text);
        }
        let wrong = |what: String| {
            Error::Arch(format!("`{text}`: {what}, as in |nor_conv_3x3~0|+|none~0|skip_connect~1|+|...|"))
        };
        let nodes: Vec<&str> = text.split('+').collect();
        let parts = nodes.iter().enumerate().flat_map(|(i, node)| {
            let inner = node.strip_prefix('|').and_then(|node| node.strip_suffix('|')).unwrap_or(node);
            inner.split('|').map(move |part| (i + 1, part))
        });
        let parts: Vec<(usize, &str)> = parts.collect();
        if parts.len() != EDGES.len() {
            return Err(wrong(format!("a cell has six edges, not {}", parts.len())));
        }
        let op = |((to, from), (node, part)): ((usize, usize), (usize, &str))| {
            let (op, source) = part.split_once('~').unwrap_or((part, ""));
            if node != to || source != from.to_string() {
                return Err(wrong(format!("`{part}` stands where the edge from node {from} to node {to} belongs")));
            }
            let named = NAMES.iter().find(|(name, _)| *name == op).map(|(_, op)| op.clone());
            named.ok_or_else(|| wrong(format!("there is no operation `{op}`")))
        };
        EDGES.into_iter().zip(parts).map(op).collect()
    }
}
