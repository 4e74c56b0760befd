//! Three stages, wired by data: DenseNet, SparseNet, MixNet and what else there is between them.

use super::{SparseSum, Wired};
use crate::aggregation::{Gather, How, Map, Widths, Wiring};
use crate::blocks::{DenseUnit, MixedLinkUnit, ResidualFunction, Stage, Transition, Unit};
use crate::context::Context;
use crate::error::Error;
use crate::init::Builder;
use crate::layers::{BatchNorm2d, Conv2d, Linear, relu};
use crate::module::{Module, Network, Visitor};
use engine::Tensor;

/// A network as data.
#[derive(Clone, Debug, PartialEq)]
pub struct Aggregation {
    /// Which earlier outputs a layer reads.
    pub gather: Gather,
    /// How they are put together.
    pub how: How,
    /// Layers in each stage. With [`How::Sum`] they are two 3x3 convolutions, with [`How::Concat`] one (or a bottleneck), else two
    /// bottlenecks side by side.
    pub layers: usize,
    /// Channels of the first convolution.
    pub stem: usize,
    /// Channels that a layer of each stage adds; zero with [`How::Concat`].
    pub added: [usize; 3],
    /// Channels that a layer of each stage appends; zero with [`How::Sum`].
    pub appended: [usize; 3],
    /// Whether a layer that concatenates has a 1x1 convolution to four times its growth in front.
    pub bottleneck: bool,
    /// Whether a transition halves the channels, rounded down. It gives at least what the next stage's layers add.
    pub halve: bool,
    /// How one stage leads to the next.
    pub crossing: Crossing,
}

/// What lies between two stages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crossing {
    /// BN-ReLU-conv1x1 and a 2x2 average pool, as in DenseNet.
    Convolution,
    /// Every second pixel and zero channels, as in ResNet with shortcut option A: no parameters, for sums alone.
    Padding,
}

impl Aggregation {
    /// DenseNet and SparseNet: concatenation, with halving transitions if there are bottlenecks (BC); the stem has twice the first
    /// stage's growth.
    pub fn concat(gather: Gather, layers: usize, growth: [usize; 3], bottleneck: bool) -> Aggregation {
        let stem = 2 * growth[0];
        Aggregation {
            gather,
            how: How::Concat,
            layers,
            stem,
            added: [0; 3],
            appended: growth,
            bottleneck,
            halve: bottleneck,
            crossing: Crossing::Convolution,
        }
    }

    /// Sums of 16, 32 and 64 channels.
    pub fn sum(gather: Gather, layers: usize, crossing: Crossing) -> Aggregation {
        Aggregation {
            gather,
            how: How::Sum,
            layers,
            stem: 16,
            added: [16, 32, 64],
            appended: [0; 3],
            bottleneck: false,
            halve: false,
            crossing,
        }
    }

    /// MixNet, and its like with a fixed place for the sum: bottlenecks, halving transitions.
    pub fn mixed(gather: Gather, how: How, layers: usize, added: usize, appended: usize) -> Aggregation {
        Aggregation {
            gather,
            how,
            layers,
            stem: added.max(2 * appended),
            added: [added; 3],
            appended: [appended; 3],
            bottleneck: true,
            halve: true,
            crossing: Crossing::Convolution,
        }
    }

    /// The network.
    ///
    /// # Errors
    /// If its links or widths do not go together.
    pub fn build(&self, b: &mut Builder, classes: usize) -> Result<Box<dyn Network>, Error> {
        Ok(match self.crossing {
            Crossing::Convolution => Box::new(Aggregated::new(b, self, classes)?),
            Crossing::Padding => Box::new(SparseSum::new(b, self, classes)?),
        })
    }

    /// The links of each stage.
    ///
    /// # Errors
    /// If the rule wires no stage of so many layers.
    pub fn wiring(&self) -> Result<Wiring, Error> {
        Wiring::new(&self.gather, self.layers)
    }

    /// Whether links and widths go together; the network may still be too large to build.
    ///
    /// # Errors
    /// If they do not.
    pub fn check(&self) -> Result<(), Error> {
        self.channels(&self.wiring()?).map(drop)
    }

    /// Input channels of each stage, and of the head.
    fn channels(&self, wiring: &Wiring) -> Result<[usize; 4], Error> {
        let mut channels = [self.stem; 4];
        for stage in 0..3 {
            let widths = self.widths(stage, channels[stage]);
            self.how.check(widths)?;
            if self.gather == Gather::Learned && !matches!(self.how, How::Sum | How::Concat) {
                return Err(Error::Wiring(format!(
                    "a learned selection goes with sum or concat, not with {}",
                    self.how
                )));
            }
            let exit = self.how.channels(wiring.sources(wiring.exit()), widths);
            channels[stage + 1] = match (stage, self.how) {
                (2, _) => exit,
                (_, How::Sum) => self.added[stage + 1],
                _ => (if self.halve { exit / 2 } else { exit }).max(self.added[stage + 1]).max(1),
            };
        }
        let [w1, w2, w3] = self.added;
        if self.crossing == Crossing::Padding && (self.how != How::Sum || w1 > w2 || w2 > w3) {
            return Err(Error::Wiring(
                "only sums whose channels do not become fewer can cross stages by padding; cross by convolution".into(),
            ));
        }
        Ok(channels)
    }

    pub(super) fn widths(&self, stage: usize, input: usize) -> Widths {
        Widths { input, added: self.added[stage], appended: self.appended[stage] }
    }

    /// # Errors
    /// As [`Aggregation::check`], or if the weights, with gradient and momentum, would take gigabytes: better said than found out.
    pub(super) fn sized(&self, wiring: &Wiring) -> Result<[usize; 4], Error> {
        const MOST: f64 = 3e8;
        let channels = self.channels(wiring)?;
        let mut weights = 0.0;
        for (stage, &input) in channels[..3].iter().enumerate() {
            let widths = self.widths(stage, input);
            let wide = (1..=wiring.exit()).map(|layer| self.how.channels(wiring.sources(layer), widths) as f64);
            let width = (widths.added + widths.appended) as f64;
            // The fewest that any of the units has for each input channel.
            weights += wide.sum::<f64>() * width * if self.bottleneck { 4.0 } else { 9.0 };
        }
        if weights <= MOST {
            return Ok(channels);
        }
        Err(Error::Wiring(format!(
            "the network would have about {:.0} million parameters, and 300 million is the limit; take fewer layers or channels",
            weights / 1e6
        )))
    }
}

/// Stem conv, three [`Stage`]s with a BN-ReLU-conv1x1-pool [`Transition`] after the first two, BN-ReLU, global average pool, linear.
///
/// # Source
/// Huang et al. 2017 (arXiv:1608.06993), Zhu et al. 2018 (arXiv:1801.05895), Wang et al. 2018 (arXiv:1802.01808); names of
/// andreasveit/densenet-pytorch.
pub struct Aggregated {
    conv1: Conv2d,
    stages: [Stage; 3],
    transitions: [Transition; 2],
    bn1: BatchNorm2d,
    fc: Linear,
    of: Aggregation,
}

impl Aggregated {
    /// The network that `of` describes, whatever its crossing.
    ///
    /// # Errors
    /// If its links or widths do not go together.
    pub fn new(b: &mut Builder, of: &Aggregation, classes: usize) -> Result<Aggregated, Error> {
        let wiring = of.wiring()?;
        let channels = of.sized(&wiring)?;
        let conv1 = b.conv(3, of.stem, 3, 1);
        let stage = |b: &mut Builder, i: usize| -> Result<Stage, Error> {
            let widths = of.widths(i, channels[i]);
            let stage = Stage::new(wiring.clone(), of.how, widths, |_, c_in| unit(b, of, c_in, widths))?;
            Ok(if of.gather == Gather::Learned { stage.with_gates(b) } else { stage })
        };
        let first = stage(b, 0)?;
        let trans1 = Transition::new(b, first.channels(), channels[1]);
        let second = stage(b, 1)?;
        let trans2 = Transition::new(b, second.channels(), channels[2]);
        let third = stage(b, 2)?;
        let (bn1, fc) = (b.batch_norm(channels[3]), b.linear(channels[3], classes));
        let of = of.clone();
        Ok(Aggregated { conv1, stages: [first, second, third], transitions: [trans1, trans2], bn1, fc, of })
    }

    /// The stages, whose wiring the forward pass follows.
    pub fn stages(&self) -> &[Stage] {
        &self.stages
    }
}

fn unit(b: &mut Builder, of: &Aggregation, c_in: usize, widths: Widths) -> Box<dyn Unit> {
    match of.how {
        How::Sum => Box::new(ResidualFunction::new(b, c_in, widths.added, 1)),
        How::Concat => Box::new(DenseUnit::new(b, c_in, widths.appended, of.bottleneck)),
        How::MixedLink | How::DualPath => Box::new(MixedLinkUnit::new(b, c_in, widths.added, widths.appended)),
    }
}

impl Network for Aggregated {
    fn forward(&self, images: &Tensor, ctx: &Context) -> Tensor {
        let [first, second, third] = &self.stages;
        let [trans1, trans2] = &self.transitions;
        let x = vec![Map::from(self.conv1.forward(images, ctx))];
        let x = vec![trans1.forward(&first.forward(x, ctx), ctx)];
        let x = vec![trans2.forward(&second.forward(x, ctx), ctx)];
        let x = relu(self.bn1.forward_maps(&third.forward(x, ctx), ctx));
        self.fc.forward(&x.global_avg_pool(), ctx)
    }

    fn wired(&self) -> Option<Wired<'_>> {
        let [trans1, trans2] = &self.transitions;
        let exits = [trans1.reading(), trans2.reading(), self.fc.weight.clone()].map(Some).to_vec();
        Some(Wired { of: &self.of, stages: &self.stages, exits })
    }
}

impl Module for Aggregated {
    fn visit(&self, visitor: &mut Visitor) {
        visitor.module("conv1", &self.conv1);
        for (i, stage) in self.stages.iter().enumerate() {
            visitor.module(&format!("block{}.layer", i + 1), stage);
            if let Some(transition) = self.transitions.get(i) {
                visitor.module(&format!("trans{}", i + 1), transition);
            }
        }
        visitor.module("bn1", &self.bn1);
        visitor.module("fc", &self.fc);
    }
}
