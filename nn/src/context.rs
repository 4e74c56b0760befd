//! How a forward pass is run: training or evaluation, and which random numbers it draws.

use crate::param::Param;
use engine::rng::{Rng, purpose};
use engine::{Algorithm, ConvSize, Tensor};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// The mode of one forward pass, handed to every layer. Make a new one for each step.
pub struct Context {
    /// Batch norm uses the batch's own moments and tracks them; dropout drops.
    pub train: bool,
    /// How convolutions are computed.
    pub algorithm: Algorithm,
    tracks: bool,
    frozen: bool,
    written_out: bool,
    seed: u64,
    step: u64,
    /// Streams handed out so far, so that each dropout of a pass has its own.
    streams: AtomicU64,
    costs: Option<Mutex<Counted>>,
    contributions: Option<Mutex<Vec<Contribution>>>,
}

/// What one earlier output gives to a sum: noted by a pass that [watches sums](Context::watching_sums).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Contribution {
    /// Stages met before in the pass.
    pub stage: usize,
    /// Index of the layer that reads the sum; the stage's exit comes after its last layer.
    pub layer: usize,
    /// Index of the output.
    pub source: usize,
    /// Its Frobenius norm over the batch, with its gate if it has one.
    pub norm: f64,
}

/// What a counting pass has met.
#[derive(Default)]
struct Counted {
    costs: Costs,
    convolutions: Vec<ConvSize>,
}

/// What one image costs in the forward pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Costs {
    /// Multiply-accumulates of convolutions and linear layers.
    pub macs: u64,
    /// Convolutions and linear layers, those of shortcuts included.
    pub layers: usize,
}

impl Context {
    /// Training step `step` of a run seeded by `seed`: the same pair draws the same numbers.
    pub fn train(seed: u64, step: u64) -> Context {
        Context { train: true, tracks: true, seed, step, ..Context::eval() }
    }

    /// Evaluation: running statistics, no dropout, nothing random.
    pub fn eval() -> Context {
        Context {
            train: false,
            algorithm: Algorithm::Auto,
            tracks: false,
            frozen: false,
            written_out: false,
            seed: 0,
            step: 0,
            streams: AtomicU64::new(0),
            costs: None,
            contributions: None,
        }
    }

    /// Evaluation in which convolutions and linear layers only note what they would cost and return zeros: the wiring itself
    /// is what is counted, and even a thousand layers take no time.
    pub fn counting() -> Context {
        Context { costs: Some(Mutex::default()), ..Context::eval() }
    }

    /// The same, with convolutions computed by `algorithm`.
    pub fn with_algorithm(self, algorithm: Algorithm) -> Context {
        Context { algorithm, ..self }
    }

    /// The same, except that batch norms leave their running statistics alone: those of a supernet would mix its paths.
    pub fn untracked(self) -> Context {
        Context { tracks: false, ..self }
    }

    /// The same with parameters as constants, which get no gradient: for steps that learn something else.
    pub fn frozen(self) -> Context {
        Context { frozen: true, ..self }
    }

    /// The same in plain ops: every concatenation, every normalised and every rectified map is written out, as most frameworks
    /// do. What the lists and lazy maps of the ordinary pass are tested against, and what their memory is compared with.
    pub fn written_out(self) -> Context {
        Context { written_out: true, ..self }
    }

    /// Whether maps are written out.
    pub fn writes_out(&self) -> bool {
        self.written_out
    }

    /// The same, noting what each earlier output gives to each sum.
    pub fn watching_sums(self) -> Context {
        Context { contributions: Some(Mutex::default()), ..self }
    }

    /// What sums were noted, in the order of the pass.
    pub fn contributions(&self) -> Vec<Contribution> {
        let lock = self.contributions.as_ref().map(|noted| noted.lock().unwrap_or_else(|e| e.into_inner()));
        lock.map_or_else(Vec::new, |noted| noted.clone())
    }

    /// Whether sums are noted.
    pub(crate) fn watches_sums(&self) -> bool {
        self.contributions.is_some()
    }

    /// Notes the sums of one stage.
    pub(crate) fn note_stage(&self, sums: impl FnOnce(usize) -> Vec<Contribution>) {
        if let Some(noted) = &self.contributions {
            let mut noted = noted.lock().unwrap_or_else(|e| e.into_inner());
            let stage = noted.last().map_or(0, |last| last.stage + 1);
            noted.extend(sums(stage));
        }
    }

    /// For running a part of this pass again: the same mode, and random streams from the start.
    pub fn again(&self) -> Context {
        let Context { train, algorithm, tracks, frozen, written_out, seed, step, .. } = *self;
        Context { train, algorithm, tracks, frozen, written_out, seed, step, ..Context::eval() }
    }

    /// Whether batch norms track the batch's moments.
    pub fn tracks(&self) -> bool {
        self.tracks
    }

    /// A parameter as this pass takes it: a leaf of the tape, or a constant where parameters are frozen.
    pub fn value(&self, param: &Param) -> Tensor {
        let value = param.value();
        if self.frozen { value.detach() } else { value }
    }

    /// A random stream of its own for the next layer of this pass that asks.
    pub fn rng(&self) -> Rng {
        let stream = self.streams.fetch_add(1, Ordering::Relaxed);
        Rng::new(self.seed, &[purpose::DROPOUT, self.step, stream])
    }

    /// What was counted; zeros unless this is [`counting`](Context::counting).
    pub fn costs(&self) -> Costs {
        self.counted(|counted| counted.costs).unwrap_or_default()
    }

    /// The convolutions that were counted, in the order of the pass.
    pub fn convolutions(&self) -> Vec<ConvSize> {
        self.counted(|counted| counted.convolutions.clone()).unwrap_or_default()
    }

    /// Whether layers only note what they would cost.
    pub fn is_counting(&self) -> bool {
        self.costs.is_some()
    }

    /// Notes a layer of `macs` multiply-accumulates an image. True if that is all this pass wants from it.
    pub fn count(&self, macs: u64) -> bool {
        self.counted(|counted| {
            counted.costs.macs += macs;
            counted.costs.layers += 1;
        })
        .is_some()
    }

    /// Notes a convolution. True if that is all this pass wants from it.
    pub fn count_convolution(&self, size: ConvSize) -> bool {
        self.counted(|counted| counted.convolutions.push(size));
        self.count((size.macs() / size.n.max(1)) as u64)
    }

    fn counted<T>(&self, change: impl FnOnce(&mut Counted) -> T) -> Option<T> {
        let counted = self.costs.as_ref()?;
        Some(change(&mut counted.lock().unwrap_or_else(|e| e.into_inner())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_layer_of_a_pass_draws_its_own_numbers_and_a_repeat_the_same() {
        let draw = |ctx: &Context| ctx.rng().bits();
        let (first, again, other) = (Context::train(1, 7), Context::train(1, 7), Context::train(1, 8));
        let drawn = draw(&first);
        assert_eq!(drawn, draw(&again));
        assert_ne!(drawn, draw(&first));
        assert_ne!(drawn, draw(&other));
    }
}
