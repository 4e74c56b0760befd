//! What follows from another value of one entry.

use crate::step::record::{Change, Precision, Recording};
use engine::{Array, Tensor};

/// A tensor that depends on the changed entry.
pub struct Follower {
    /// Its id.
    pub tensor: usize,
    /// Its value now.
    pub after: Tensor,
    /// What was added to its value.
    pub change: Tensor,
    /// How many of its entries changed.
    pub changed: usize,
    /// The largest change in magnitude.
    pub largest: f64,
}

/// A changed entry, and what follows.
pub struct Altered {
    /// The tensor.
    pub tensor: usize,
    /// Flat index into it.
    pub entry: usize,
    /// Value before.
    pub from: f64,
    /// Value now.
    pub to: f64,
    /// Loss before.
    pub loss_before: f64,
    /// Loss now.
    pub loss: f64,
    /// The loss that the gradient alone predicts, if one arrives there.
    pub predicted: Option<f64>,
    /// The changed tensor and those that depend on it, in the order they were made.
    pub followers: Vec<Follower>,
}

impl Altered {
    /// Changes one entry to `value`, and runs what follows by the engine's own ops.
    pub fn of(recording: &Recording, tensor: usize, entry: usize, value: f64) -> Altered {
        let it = recording.what_if(&[Change { tensor, entry, value }], Precision::F32);
        let slot = &recording.tensors[tensor];
        let from = f64::from(slot.value.data()[entry]);
        let slope = slot.grad.as_ref().map(|grad| f64::from(grad.data()[entry]));
        let predicted = slope.map(|slope| it.loss_before + slope * (value - from));
        let mut followers: Vec<Follower> =
            it.tensors.iter().map(|(&id, (before, after))| follower(id, before, after)).collect();
        // A leaf has an id of its own, ops number their outputs in order.
        followers.sort_by_key(|f| (f.tensor != tensor, recording.tensors[f.tensor].maker));
        Altered { tensor, entry, from, to: value, loss_before: it.loss_before, loss: it.loss, predicted, followers }
    }

    /// What follows for one tensor.
    pub fn follower(&self, tensor: usize) -> Option<&Follower> {
        self.followers.iter().find(|follower| follower.tensor == tensor)
    }
}

fn follower(tensor: usize, before: &Array, after: &Array) -> Follower {
    let pairs = || before.data.iter().zip(&after.data);
    // NaN from NaN is no change.
    let changed = |a: f64, b: f64| a != b && !(a.is_nan() && b.is_nan());
    let most = |most: f64, change: f64| if most.is_nan() || change.is_nan() { f64::NAN } else { most.max(change) };
    Follower {
        tensor,
        after: Tensor::from_fn(after.shape, |i| after.data[i] as f32),
        change: Tensor::from_fn(after.shape, |i| (after.data[i] - before.data[i]) as f32),
        changed: pairs().filter(|(a, b)| changed(**a, **b)).count(),
        largest: pairs().filter(|(a, b)| changed(**a, **b)).map(|(a, b)| (b - a).abs()).fold(0.0, most),
    }
}
