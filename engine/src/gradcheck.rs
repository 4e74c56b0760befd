//! Compares recorded ops with their `f64` references, values and gradients. Public: people's own ops are checked
//! the same way.
//!
//! PyTorch's gradcheck differentiates the code under test numerically, so it needs that code in `f64`. Here every
//! op brings a naive `f64` forward, and central differences of *that* check the `f32` gradients: what is left is the `f32`
//! rounding of the gradients themselves. (The parameters of a whole network: `nn::gradcheck`, and `pleach gradcheck`.)
//!
//! An op of your own, and its check:
//!
//! ```
//! use engine::gradcheck::{gradcheck, sample};
//! use engine::{Array, Backward, GradOutput, Grads, OpDoc, Tensor};
//!
//! /// `y = x^3`. Saves `x`.
//! fn cube(x: &Tensor) -> Tensor {
//!     let y = Tensor::from_fn(x.shape(), |i| x.data()[i].powi(3));
//!     y.record(&[x], Cube { x: x.detach() })
//! }
//!
//! struct Cube {
//!     x: Tensor,
//! }
//!
//! impl Backward for Cube {
//!     fn doc(&self) -> OpDoc {
//!         OpDoc { name: "cube", formula: "y = x^3", gradient: "grad_x = 3 * x^2 * grad_output" }
//!     }
//!
//!     fn backward(&self, grad_output: GradOutput, grads: &mut Grads) {
//!         let g = grad_output.into_tensor();
//!         let slope = |i: usize| 3.0 * self.x.data()[i].powi(2);
//!         grads.add(0, Tensor::from_fn(g.shape(), |i| slope(i) * g.data()[i]));
//!     }
//!
//!     fn reference(&self, inputs: &[&Array]) -> Array {
//!         inputs[0].map(|x| x.powi(3)) // naive, and in f64
//!     }
//! }
//!
//! gradcheck(&[sample([2, 3])], |x| cube(&x[0])); // panics, naming the worst entry, if anything is off
//! ```

use crate::reference::Array;
use crate::replay::Replay;
use crate::rng::{Rng, purpose};
use crate::shape::Shape;
use crate::tensor::Tensor;
use std::collections::HashMap;

/// The outcome of a [`check`].
#[derive(Clone, Debug)]
pub struct Report {
    /// Largest `|value - reference| / max(1, max |reference|)`.
    pub value_error: f64,
    /// The entry whose gradient is furthest off.
    pub worst: Option<Entry>,
    /// Entries compared.
    pub checked: usize,
    /// Entries that lie at a kink (of a ReLU, a maximum), where there is no derivative to compare with.
    pub kinks: usize,
}

/// One checked entry.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Which input.
    pub input: usize,
    /// Flat index into it.
    pub index: usize,
    /// By the backward pass, `f32`.
    pub analytic: f64,
    /// By central differences of the `f64` replay.
    pub numeric: f64,
    /// `|analytic - numeric|` over the largest gradient of that input (at least 1e-3).
    pub relative_error: f64,
}

/// Replays the tape of `output` in `f64`, with the values of `leaves` (by node id) in place of the recorded ones.
///
/// # Panics
/// If a leaf is missing from `leaves`, or the tape was walked by a backward pass that freed it.
pub fn replay(output: &Tensor, leaves: &HashMap<u64, Array>) -> Array {
    Replay::from(output, &[], leaves, None).output().clone()
}

/// Checks `f` at `inputs`: its values against the replay, and the gradient of `sum(f(x) * r)`, for a fixed random `r`, against
/// central differences, in every entry of an input up to 64 elements and in 64 random entries of a larger one.
pub fn check(inputs: &[Tensor], f: impl Fn(&[Tensor]) -> Tensor) -> Report {
    const ENTRIES: usize = 64;
    let leaves: Vec<Tensor> = inputs.iter().map(Tensor::requires_grad).collect();
    let output = f(&leaves);
    let replay = Replay::new(&output, &leaves);
    let reference = replay.output();
    assert_eq!(reference.shape, output.shape(), "gradcheck: the f64 reference has another shape than the op");
    let scale = reference.data.iter().fold(1.0f64, |m, v| m.max(v.abs()));
    let value_error = reference
        .data
        .iter()
        .zip(output.data())
        .fold(0.0f64, |m, (r, v)| m.max(nan_as_infinity((r - f64::from(*v)).abs() / scale)));

    let mut rng = Rng::new(0, &[purpose::TEST, 1]);
    let weights = Tensor::from_fn(output.shape(), |_| rng.uniform() + 0.5);
    let mut steps = output.backward_steps(weights.clone()).keep_tape();
    steps.by_ref().for_each(drop);
    let gradients = steps.into_gradients();

    let mut report = Report { value_error, worst: None, checked: 0, kinks: 0 };
    for (input, leaf) in leaves.iter().enumerate() {
        let n = leaf.elements();
        let indices: Vec<usize> =
            if n <= ENTRIES { (0..n).collect() } else { (0..ENTRIES).map(|_| rng.below(n)).collect() };
        let analytic = |i: usize| gradients.get(leaf).map_or(0.0, |g| f64::from(g.data()[i]));
        let differences = indices.into_iter().map(|index| (index, replay.derivative(input, index, weights.data())));
        let (kinks, smooth): (Vec<_>, Vec<_>) = differences.partition(|(_, difference)| difference.kink);
        report.kinks += kinks.len();
        let scale = smooth.iter().fold(1e-3f64, |m, (_, difference)| m.max(difference.slope.abs()));
        for (index, difference) in smooth {
            let (analytic, numeric) = (analytic(index), difference.slope);
            let relative_error = nan_as_infinity((analytic - numeric).abs() / scale);
            report.checked += 1;
            if report.worst.as_ref().is_none_or(|w| relative_error > w.relative_error) {
                report.worst = Some(Entry { input, index, analytic, numeric, relative_error });
            }
        }
    }
    report
}

fn nan_as_infinity(v: f64) -> f64 {
    if v.is_nan() { f64::INFINITY } else { v }
}

/// [`check`], and panics if a value is off by more than 1e-5 or a gradient by more than 1e-4 of the largest: sums of a few
/// hundred `f32` products stay well below, a wrong formula does not. Panics too if most entries lie at kinks: move them
/// [away](Tensor::away_from).
#[track_caller]
pub fn gradcheck(inputs: &[Tensor], f: impl Fn(&[Tensor]) -> Tensor) {
    let report = check(inputs, f);
    assert!(report.kinks <= report.checked, "most inputs lie at kinks, where there is no derivative: {report:?}");
    assert!(report.value_error < 1e-5, "value differs from the f64 reference: {report:?}");
    let worst = report.worst.as_ref().map_or(0.0, |w| w.relative_error);
    assert!(worst < 1e-4, "gradient differs from central differences: {report:?}");
}

/// Standard normal values for a test, the same at every call with this shape.
pub fn sample(shape: impl Into<Shape>) -> Tensor {
    let shape = shape.into();
    let stream: Vec<u64> = std::iter::once(purpose::TEST).chain(shape.iter().map(|&d| d as u64)).collect();
    let mut rng = Rng::new(1, &stream);
    Tensor::from_fn(shape, |_| rng.normal())
}

impl Tensor {
    /// These values with those within 0.1 of `kink` moved 0.1 away: a place without a derivative spoils finite differences.
    pub fn away_from(&self, kink: f32) -> Tensor {
        Tensor::from_fn(self.shape(), |i| {
            let v = self.data()[i];
            if (v - kink).abs() < 0.1 { kink + if v < kink { -0.1 } else { 0.1 } } else { v }
        })
    }
}
