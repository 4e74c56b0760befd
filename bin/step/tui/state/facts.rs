//! What is asked for again and again, computed once.

use super::timeline::Place;
use crate::step::record::Recording;
use crate::step::record::stats::Stats;
use rayon::prelude::*;

/// Summaries and who contributes to what.
pub struct Facts {
    /// Of the value of each tensor.
    pub values: Vec<Stats>,
    /// Of the gradient of each tensor.
    pub grads: Vec<Option<Stats>>,
    /// Contributions to the gradient of each tensor: step of the backward pass, and position in it.
    pub parts: Vec<Vec<(usize, usize)>>,
    /// The first step with a value that is not finite.
    pub first_non_finite: Option<Place>,
}

impl Facts {
    /// Of a recording.
    pub fn of(recording: &Recording) -> Facts {
        let slots = &recording.tensors;
        let values = slots.par_iter().map(|slot| Stats::of(slot.value.data())).collect();
        let grads = slots.par_iter().map(|slot| Some(Stats::of(slot.grad.as_ref()?.data()))).collect();
        let mut parts = vec![vec![]; slots.len()];
        for (at, step) in recording.backward.iter().enumerate() {
            for (i, part) in step.contributions.iter().enumerate() {
                parts[part.to].push((at, i));
            }
        }
        let first = recording.first_non_finite();
        let first_non_finite = first.map(|found| Place { pass: found.pass, step: found.step });
        Facts { values, grads, parts, first_non_finite }
    }
}

/// Largest magnitude of the finite values; 0 if there are none.
pub fn reach(stats: &Stats) -> f64 {
    stats.min.abs().max(stats.max.abs()).max(0.0)
}
