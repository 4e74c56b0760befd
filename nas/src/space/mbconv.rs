//! Chains of inverted residuals whose kernel and expansion are chosen block by block.

use super::{Definition, Edge, Space, in_range, reduced};
use crate::block::{Block, BlockKey};
use crate::network::{Kept, MbConvNet, Skeleton, mbconv};
use crate::{Error, Op};
use nn::Builder;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The MBConv space: stem 3x3 conv-BN-ReLU6, a fixed inverted residual of expansion 1, stages of blocks to choose, 1x1
/// conv-BN-ReLU6, global average pool, linear.
///
/// A block of stride 1 that keeps its width has an identity shortcut, and can be [`Op::Zero`]: then the shortcut alone is left.
///
/// # Source
/// Cai et al. 2019 (arXiv:1812.00332), section 4.2; the strides of the stem and the second stage are those of MobileNetV2 on
/// 32x32 images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MbConv {
    /// Rows and columns of an image.
    pub resolution: usize,
    /// Channels of the stem.
    pub stem: usize,
    /// Channels of the fixed first block.
    pub first: usize,
    /// Channels of the last convolution.
    pub head: usize,
    /// Most candidates of an edge: the first so many of those it can take; all if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// What a block can be, `zero` only where there is a shortcut.
    pub candidates: Vec<Op>,
    /// The blocks to choose.
    pub stages: Vec<MbStage>,
}

/// Blocks of one width.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MbStage {
    /// Channels.
    pub width: usize,
    /// Number of blocks.
    pub blocks: usize,
    /// Of the first block.
    pub stride: usize,
}

/// A block of the chain.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MbPlace {
    pub c_in: usize,
    pub c_out: usize,
    pub stride: usize,
    /// Rows of the input.
    pub resolution: usize,
}

impl MbPlace {
    pub fn has_shortcut(&self) -> bool {
        self.stride == 1 && self.c_in == self.c_out
    }

    fn key(&self, op: &Op) -> BlockKey {
        let out = reduced(self.resolution, self.stride);
        let (kernel, expansion) = match op {
            Op::MbConv { kernel, expansion } => (*kernel, *expansion),
            _ => (1, 1),
        };
        BlockKey {
            op: op.to_string(),
            input: [self.resolution, self.resolution, self.c_in],
            output: [out, out, self.c_out],
            expansion,
            kernel,
            stride: self.stride,
            skip: self.has_shortcut(),
        }
    }
}

impl MbConv {
    /// ProxylessNAS's search space, for 32x32 images: 21 blocks of widths 24 to 320.
    pub fn cifar() -> MbConv {
        let widths = [(24, 4, 1), (40, 4, 2), (80, 4, 2), (96, 4, 1), (192, 4, 2), (320, 1, 1)];
        MbConv::of(32, 16, 1280, &widths)
    }

    /// A reduced space that can be searched on two cores within minutes: 9 blocks of widths 16 to 64.
    pub fn small() -> MbConv {
        MbConv::of(16, 8, 256, &[(16, 3, 2), (32, 3, 2), (64, 3, 2)])
    }

    /// A space with {3, 5, 7} x {6, 3} and zero, from the widths of its fixed parts and (width, blocks, stride) of its stages. The
    /// widest operations come first, so that no network needs more memory than that of each block's first candidate.
    pub fn of(stem: usize, first: usize, head: usize, stages: &[(usize, usize, usize)]) -> MbConv {
        let mut candidates = kernels(6);
        candidates.extend(kernels(3));
        candidates.push(Op::Zero);
        let stages = stages.iter().map(|&(width, blocks, stride)| MbStage { width, blocks, stride }).collect();
        MbConv { resolution: 32, stem, first, head, limit: None, candidates, stages }
    }

    /// The blocks to choose, in order.
    pub(crate) fn places(&self) -> Vec<MbPlace> {
        let (mut c_in, mut resolution) = (self.first, self.resolution);
        let mut places = vec![];
        for stage in &self.stages {
            for i in 0..stage.blocks {
                let stride = if i == 0 { stage.stride } else { 1 };
                places.push(MbPlace { c_in, c_out: stage.width, stride, resolution });
                (c_in, resolution) = (stage.width, reduced(resolution, stride));
            }
        }
        places
    }

    fn candidates_at(&self, place: MbPlace) -> Vec<Op> {
        let can_be = |op: &&Op| **op != Op::Zero || place.has_shortcut();
        self.candidates.iter().filter(can_be).take(self.limit.unwrap_or(usize::MAX)).cloned().collect()
    }

    /// The candidates and what else can be added to them.
    fn extended(&self) -> Vec<Op> {
        let extra = kernels(4).into_iter().filter(|op| !self.candidates.contains(op));
        self.candidates.iter().cloned().chain(extra).collect()
    }
}

fn kernels(expansion: usize) -> Vec<Op> {
    [3, 5, 7].into_iter().map(|kernel| Op::MbConv { kernel, expansion }).collect()
}

impl Definition for MbConv {
    fn check(&self) -> Result<(), Error> {
        in_range("resolution", self.resolution, 1024)?;
        for (name, width) in [("stem", self.stem), ("first", self.first), ("head", self.head)] {
            in_range(name, width, 8192)?;
        }
        for (i, stage) in (1..).zip(&self.stages) {
            in_range(&format!("the width of stage {i}"), stage.width, 8192)?;
            in_range(&format!("the number of blocks of stage {i}"), stage.blocks, 100)?;
            in_range(&format!("the stride of stage {i}"), stage.stride, 2)?;
        }
        if self.stages.is_empty() {
            return Err(Error::Space("it has no stages, so there is nothing to choose; add [[stages]]".into()));
        }
        let examples = [Op::MbConv { kernel: 3, expansion: 6 }, Op::Zero];
        super::check_candidates(&self.candidates, |op| matches!(op, Op::MbConv { .. } | Op::Zero), &examples)
    }

    fn edges(&self) -> Vec<Edge> {
        let edge = |(i, place): (usize, MbPlace)| Edge {
            name: format!("block{}", i + 1),
            candidates: self.candidates_at(place),
        };
        self.places().into_iter().enumerate().map(edge).collect()
    }

    fn most_candidates(&self) -> usize {
        self.extended().iter().filter(|op| **op != Op::Zero).count()
    }

    fn with_candidates(&self, k: usize) -> Option<Space> {
        let mut space = MbConv { limit: Some(k), ..self.clone() };
        let fewest = |space: &MbConv| space.edges().iter().map(|edge| edge.candidates.len()).min().unwrap_or(0);
        if fewest(&space) < k {
            space.candidates = self.extended();
        }
        (fewest(&space) == k).then_some(Space::Mbconv(space))
    }

    fn resolution(&self) -> usize {
        self.resolution
    }

    fn blocks(&self, classes: usize) -> Vec<Block> {
        let places = self.places();
        let last = *places.last().expect("at least one stage");
        let (full, end) = (self.resolution, reduced(last.resolution, last.stride));
        let key = |op: &str, [h, c, h_out, c_out]: [usize; 4], kernel| BlockKey {
            op: op.into(),
            input: [h, h, c],
            output: [h_out, h_out, c_out],
            expansion: 1,
            kernel,
            stride: 1,
            skip: false,
        };
        let (stem, first, head, width) = (self.stem, self.first, self.head, last.c_out);
        let first_place = MbPlace { c_in: stem, c_out: first, stride: 1, resolution: full };
        let first_op = Op::MbConv { kernel: 3, expansion: 1 };
        let mut blocks = vec![
            Block::fixed("stem", key("stem", [full, 3, full, stem], 3), move |b| mbconv::stem(b, 3, stem)),
            Block::fixed("first", first_place.key(&first_op), move |b| mbconv::candidate(b, first_place, &first_op)),
        ];
        for (i, place) in places.into_iter().enumerate() {
            for (j, op) in self.candidates_at(place).into_iter().enumerate() {
                blocks.push(Block {
                    place: format!("block{}", i + 1),
                    key: place.key(&op),
                    candidate: Some((i, j)),
                    free: op == Op::Zero,
                    build: Arc::new(move |b| mbconv::candidate(b, place, &op)),
                });
            }
        }
        let mix = key("mix", [end, width, end, head], 1);
        blocks.push(Block::fixed("mix", mix, move |b| mbconv::mix(b, width, head)));
        let classifier = key("classifier", [end, head, 1, classes], 1);
        blocks.push(Block::fixed("classifier", classifier, move |b| mbconv::classifier(b, head, classes)));
        blocks
    }

    fn skeleton(&self, classes: usize, builder: &mut Builder, kept: &Kept) -> Box<dyn Skeleton> {
        Box::new(MbConvNet::new(builder, self, classes, kept))
    }
}
