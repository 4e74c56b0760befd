//! What a search step holds, for any number of candidates.

use crate::supernet::{Gate, Route, Supernet};
use crate::{Error, Space};
use engine::rng::{Rng, purpose};
use engine::{Tensor, memory};
use nn::optim::{Optimizer, OptimizerConfig};
use nn::{Builder, Context};
use std::fmt;

/// Kinds of search steps, by the paths that are in memory at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// A weight step: one path.
    OnePath,
    /// An architecture step by gradients: one path, and one that it is compared with.
    TwoPaths,
    /// A step on the mixture of all candidates, as DARTS makes it.
    AllPaths,
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Held::OnePath => "one path",
            Held::TwoPaths => "two paths",
            Held::AllPaths => "all paths",
        })
    }
}

/// Exact bytes of a supernet and of its most demanding step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepMemory {
    /// Weights of all candidates.
    pub weights: usize,
    /// What the optimiser remembers of them (one value each: momentum).
    pub optimizer: usize,
    /// Most that a step holds besides: activations, and gradients of what is on the tape. The largest over steps in which every edge
    /// takes its first, its second, ... candidate.
    pub activation_peak: usize,
}

/// Makes steps on `batch` random images with the first `candidates` of each edge of `space`, and counts.
///
/// # Errors
/// If the space has no edges of so many candidates.
pub fn step_memory(space: &Space, candidates: usize, held: Held, batch: usize) -> Result<StepMemory, Error> {
    let space = space.with_candidates(candidates)?;
    let supernet = space.supernet(10, &mut Builder::new(0));
    let live = || memory::stats().live;
    let before = live();
    let mut optimizer = Optimizer::new(OptimizerConfig::sgd(0.0), supernet.params(), true);
    let of_optimizer = live() - before;
    let resolution = space.resolution();
    let mut rng = Rng::new(0, &[purpose::TEST]);
    let images = Tensor::from_fn([batch, resolution, resolution, 3], |_| rng.normal());
    let labels: Vec<usize> = (0..batch).map(|i| i % 10).collect();
    let turns = if held == Held::AllPaths { 1 } else { candidates };
    let mut peak = 0;
    for turn in 0..turns {
        // A buffer that is used again can be a little longer than asked for: without any, the count is exact.
        memory::trim();
        let before = live();
        memory::reset_peak();
        step(&supernet, &mut optimizer, held, turn, &images, &labels);
        peak = peak.max(memory::stats().peak - before);
    }
    let weights = supernet.params().iter().map(|(_, p)| p.shape().elements() * size_of::<f32>()).sum();
    Ok(StepMemory { weights, optimizer: of_optimizer, activation_peak: peak })
}

fn step(supernet: &Supernet, optimizer: &mut Optimizer, held: Held, turn: usize, images: &Tensor, labels: &[usize]) {
    let gates = supernet.edges().iter().map(|edge| {
        let k = edge.candidates.len();
        let (first, second) = (turn % k, (turn + 1) % k);
        match held {
            Held::TwoPaths if first != second => Gate::binary(vec![first, second], 0),
            // One gate that is always open: a search would not even record such a step.
            Held::TwoPaths => Gate::binary(vec![first], 0),
            Held::OnePath => Gate::Path(first),
            Held::AllPaths => Gate::mixed((0..k).collect(), &vec![1.0 / k as f64; k]),
        }
    });
    let route = Route::new(gates.collect());
    let ctx = Context::train(0, 1).untracked();
    let ctx = if held == Held::TwoPaths { ctx.frozen() } else { ctx };
    let loss = supernet.forward(images, &route, &ctx).cross_entropy(labels, 0.0);
    if loss.is_recorded() {
        let gradients = loss.backward();
        if held != Held::TwoPaths {
            optimizer.step(&gradients, 1e-3);
        }
    }
}
