//! PyramidNet with a tree of operations in every block.

use super::{Definition, Edge, Space, check_resolution, in_range, reduced};
use crate::block::{Block, BlockKey};
use crate::network::tree_cell::{self, TreeNet};
use crate::network::{Kept, Skeleton};
use crate::{Error, Op};
use nn::Builder;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// ProxylessNAS's space for CIFAR: PyramidNet with bottlenecks, whose 3x3 convolutions are replaced by tree-structured cells. Every
/// block has its own.
///
/// A node of a tree hands its input to two branches: each is an edge with an operation, then, but at the last level, a further node.
/// Branches of [`Merge::Add`] read the same input and are added; those of [`Merge::Concat`] read half the channels each. Where a block
/// halves the resolution, the first level of its tree does; there `skip` is the mean of 2x2.
///
/// # Source
/// Cai et al. 2019 (arXiv:1812.00332), section 4.1; Cai et al. 2018 (arXiv:1806.02639); Han et al. 2017 (arXiv:1610.02915). The search
/// script was not published; the optional batch norm and path dropping of branches are left out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TreeCell {
    /// Rows and columns of an image.
    pub resolution: usize,
    /// Channels of the stem.
    pub start: usize,
    /// Channels that the blocks' inner width gains from first to last.
    pub alpha: usize,
    /// Blocks in each of three groups.
    pub blocks: usize,
    /// Outer over inner width of a block.
    pub expansion: usize,
    /// Levels of edges in a tree.
    pub depth: usize,
    /// How branches meet.
    pub merge: Merge,
    /// Most candidates of an edge: the first so many; all if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// What an edge can be.
    pub candidates: Vec<Op>,
}

/// How the branches of a tree's node are split and merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Merge {
    /// Copied and added.
    Add,
    /// Split and concatenated.
    Concat,
}

/// A block of the backbone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TreePlace {
    pub c_in: usize,
    /// Channels of the cell.
    pub inner: usize,
    pub c_out: usize,
    pub stride: usize,
    /// Rows of the input.
    pub resolution: usize,
}

/// An edge of a tree: channels in and out, stride, rows of its input.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TreeEdge {
    pub channels: usize,
    pub stride: usize,
    pub resolution: usize,
}

impl TreeCell {
    /// As in the paper: 54 blocks with trees of three levels.
    pub fn paper() -> TreeCell {
        let mut candidates: Vec<Op> = [7, 5, 3].map(|kernel| Op::Separable { kernel }).to_vec();
        candidates.extend([Op::Conv { kernel: 1 }, Op::MaxPool, Op::AvgPool, Op::Skip]);
        TreeCell {
            resolution: 32,
            start: 16,
            alpha: 84,
            blocks: 18,
            expansion: 4,
            depth: 3,
            merge: Merge::Add,
            limit: None,
            candidates,
        }
    }

    /// Six blocks with trees of two levels.
    pub fn small() -> TreeCell {
        TreeCell { alpha: 24, blocks: 2, depth: 2, ..TreeCell::paper() }
    }

    /// The candidates and what else can be added to them.
    fn extended(&self) -> Vec<Op> {
        let extra = [Op::Conv { kernel: 3 }, Op::Zero].into_iter().filter(|op| !self.candidates.contains(op));
        self.candidates.iter().cloned().chain(extra).collect()
    }

    pub(crate) fn ops(&self) -> Vec<Op> {
        self.candidates.iter().take(self.limit.unwrap_or(usize::MAX)).cloned().collect()
    }

    /// The blocks, in order: block `j`, from 1, has inner width `start + j*alpha / (3*blocks)`, rounded, and even enough to be split.
    pub(crate) fn places(&self) -> Vec<TreePlace> {
        let (mut c_in, mut resolution) = (self.start, self.resolution);
        let mut places = vec![];
        let n = 3 * self.blocks;
        let parts = if self.merge == Merge::Concat { 1 << self.depth } else { 1 };
        for j in 1..=n {
            let stride = if j > 1 && (j - 1) % self.blocks == 0 { 2 } else { 1 };
            let width = self.start + (2 * j * self.alpha + n) / (2 * n);
            let inner = (width / parts * parts).max(parts);
            let c_out = (self.expansion * inner).max(c_in);
            places.push(TreePlace { c_in, inner, c_out, stride, resolution });
            (c_in, resolution) = (c_out, reduced(resolution, stride));
        }
        places
    }

    /// The edges of a block's tree, in the order in which they are numbered: each followed by those of the node behind it.
    pub(crate) fn tree(&self, place: TreePlace) -> Vec<TreeEdge> {
        fn node(of: &TreeCell, level: usize, input: TreeEdge, edges: &mut Vec<TreeEdge>) {
            let channels = if of.merge == Merge::Concat { input.channels / 2 } else { input.channels };
            for _ in 0..2 {
                edges.push(TreeEdge { channels, ..input });
                if level < of.depth {
                    let resolution = reduced(input.resolution, input.stride);
                    node(of, level + 1, TreeEdge { channels, stride: 1, resolution }, edges);
                }
            }
        }
        let mut edges = vec![];
        let input = TreeEdge { channels: place.inner, stride: place.stride, resolution: place.resolution };
        node(self, 1, input, &mut edges);
        edges
    }
}

impl Definition for TreeCell {
    fn check(&self) -> Result<(), Error> {
        check_resolution(self.resolution)?;
        in_range("start", self.start, 1024)?;
        in_range("blocks", self.blocks, 100)?;
        in_range("expansion", self.expansion, 16)?;
        in_range("depth", self.depth, 4)?;
        if self.alpha > 2048 {
            return Err(Error::Space(format!("alpha is {}; it must be at most 2048", self.alpha)));
        }
        if self.merge == Merge::Concat && self.start < 1 << self.depth {
            return Err(Error::Space(format!(
                "a tree of depth {} splits its channels into {}, but it starts with {}; make `start` larger",
                self.depth,
                1 << self.depth,
                self.start
            )));
        }
        let takes = |op: &Op| !matches!(op, Op::MbConv { .. } | Op::Gather(_));
        super::check_candidates(&self.candidates, takes, &self.extended())
    }

    fn edges(&self) -> Vec<Edge> {
        let per_tree = (2 << self.depth) - 2;
        let name = |i: usize| format!("block{}.edge{}", i / per_tree + 1, i % per_tree + 1);
        (0..3 * self.blocks * per_tree).map(|i| Edge { name: name(i), candidates: self.ops() }).collect()
    }

    fn most_candidates(&self) -> usize {
        self.extended().len()
    }

    fn with_candidates(&self, k: usize) -> Option<Space> {
        let candidates = if k > self.candidates.len() { self.extended() } else { self.candidates.clone() };
        (k <= candidates.len()).then(|| Space::TreeCell(TreeCell { limit: Some(k), candidates, ..self.clone() }))
    }

    fn resolution(&self) -> usize {
        self.resolution
    }

    fn blocks(&self, classes: usize) -> Vec<Block> {
        let key = |op: &str, [h, c, h_out, c_out]: [usize; 4], kernel| BlockKey {
            op: op.into(),
            input: [h, h, c],
            output: [h_out, h_out, c_out],
            expansion: 1,
            kernel,
            stride: if h == h_out { 1 } else { 2 },
            skip: false,
        };
        let (start, h) = (self.start, self.resolution);
        let mut blocks =
            vec![Block::fixed("stem", key("stem", [h, 3, h, start], 3), move |b| tree_cell::stem(b, start))];
        let (mut edge, mut last) = (0, (self.start, self.resolution));
        for (i, place) in self.places().into_iter().enumerate() {
            let TreePlace { c_in, inner, c_out, stride, resolution: h } = place;
            let name = format!("block{}", i + 1);
            blocks.push(Block::fixed(&format!("{name}.in"), key("in1x1", [h, c_in, h, inner], 1), move |b| {
                tree_cell::enter(b, c_in, inner)
            }));
            for (k, at) in self.tree(place).into_iter().enumerate() {
                for (candidate, op) in self.ops().into_iter().enumerate() {
                    let out = reduced(at.resolution, at.stride);
                    let kernel = match op {
                        Op::Separable { kernel } | Op::Conv { kernel } => kernel,
                        Op::MaxPool | Op::AvgPool => 3,
                        _ => at.stride,
                    };
                    blocks.push(Block {
                        place: format!("{name}.edge{}", k + 1),
                        key: key(&op.to_string(), [at.resolution, at.channels, out, at.channels], kernel),
                        candidate: Some((edge, candidate)),
                        free: op == Op::Zero || (op == Op::Skip && at.stride == 1),
                        build: Arc::new(move |b| tree_cell::candidate(b, at, &op)),
                    });
                }
                edge += 1;
            }
            let out = reduced(h, stride);
            blocks.push(Block::fixed(&format!("{name}.out"), key("out1x1", [out, inner, out, c_out], 1), move |b| {
                tree_cell::leave(b, inner, c_out)
            }));
            last = (c_out, out);
        }
        let (width, h) = last;
        let key = BlockKey { stride: 1, ..key("classifier", [h, width, 1, classes], 1) };
        blocks.push(Block::fixed("classifier", key, move |b| tree_cell::classifier(b, width, classes)));
        blocks
    }

    fn skeleton(&self, classes: usize, builder: &mut Builder, kept: &Kept) -> Box<dyn Skeleton> {
        Box::new(TreeNet::new(builder, self, classes, kept))
    }
}
