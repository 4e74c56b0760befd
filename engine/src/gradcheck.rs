//! Compares recorded ops with their `f64` references, values and gradients. Public: people's own ops are checked
//! the same way.
//!
//! PyTorch's gradcheck differentiates the code under test numerically, so it needs that code in `f64`. Here every
//! op brings a naive `f64` forward, and central differences of *that* check the `f32` gradients: what is left is the `f32`
//! rounding of the gradients themselves.

use crate::autograd::{Input, tape};
use crate::reference::Array;
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
    /// Entries checked.
    pub checked: usize,
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
    let mut values: HashMap<u64, Array> = HashMap::new();
    let nodes = tape(output);
    for node in &nodes {
        let value = if node.is_leaf() {
            leaves.get(&node.id()).expect("replay: a leaf without values").clone()
        } else {
            let constants: Vec<Option<Array>> = node
                .inputs()
                .iter()
                .map(|input| match input {
                    Input::Node(_) => None,
                    Input::Constant(tensor) => Some(Array::from_tensor(tensor)),
                })
                .collect();
            let inputs: Vec<&Array> = node
                .inputs()
                .iter()
                .zip(&constants)
                .map(|(input, constant)| match (input, constant) {
                    (Input::Node(node), _) => &values[&node.id()],
                    (_, Some(constant)) => constant,
                    (Input::Constant(_), None) => unreachable!("every constant was widened above"),
                })
                .collect();
            node.op().expect("replay: the tape was freed").reference(&inputs)
        };
        values.insert(node.id(), value);
    }
    let last = nodes.last().expect("replay: the output is not on the tape");
    values.remove(&last.id()).expect("just inserted")
}

/// Checks `f` at `inputs`: its values against the replay, and the gradient of `sum(f(x) * r)`, for a fixed random `r`, against
/// central differences, in every entry of an input up to 64 elements and in 64 random entries of a larger one.
pub fn check(inputs: &[Tensor], f: impl Fn(&[Tensor]) -> Tensor) -> Report {
    const STEP: f64 = 1e-5;
    const ENTRIES: usize = 64;
    let leaves: Vec<Tensor> = inputs.iter().map(Tensor::requires_grad).collect();
    let output = f(&leaves);
    let id = |leaf: &Tensor| leaf.node().expect("a leaf").id();
    let mut values: HashMap<u64, Array> = leaves.iter().map(|l| (id(l), Array::from_tensor(l))).collect();

    let reference = replay(&output, &values);
    assert_eq!(reference.shape, output.shape(), "gradcheck: the f64 reference has another shape than the op");
    let scale = reference.data.iter().fold(1.0f64, |m, v| m.max(v.abs()));
    let value_error = reference
        .data
        .iter()
        .zip(output.data())
        .fold(0.0f64, |m, (r, v)| m.max(nan_as_infinity((r - f64::from(*v)).abs() / scale)));

    let mut rng = Rng::new(0, &[purpose::TEST, 1]);
    let weights = Tensor::from_fn(output.shape(), |_| rng.uniform() + 0.5);
    let weighted = |y: &Array| -> f64 { y.data.iter().zip(weights.data()).map(|(y, w)| y * f64::from(*w)).sum() };
    let mut steps = output.backward_steps(weights.clone()).keep_tape();
    steps.by_ref().for_each(drop);
    let gradients = steps.into_gradients();

    let mut report = Report { value_error, worst: None, checked: 0 };
    for (input, leaf) in leaves.iter().enumerate() {
        let n = leaf.elements();
        let indices: Vec<usize> =
            if n <= ENTRIES { (0..n).collect() } else { (0..ENTRIES).map(|_| rng.below(n)).collect() };
        let analytic = |i: usize| gradients.get(leaf).map_or(0.0, |g| f64::from(g.data()[i]));
        let mut entries = vec![];
        for index in indices {
            let mut at = |offset: f64| {
                let array = values.get_mut(&id(leaf)).expect("inserted above");
                let before = array.data[index];
                array.data[index] = before + offset;
                let y = weighted(&replay(&output, &values));
                values.get_mut(&id(leaf)).expect("inserted above").data[index] = before;
                y
            };
            let numeric = (at(STEP) - at(-STEP)) / (2.0 * STEP);
            entries.push((index, analytic(index), numeric));
        }
        let scale = entries.iter().fold(1e-3f64, |m, e| m.max(e.2.abs()));
        for (index, analytic, numeric) in entries {
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
/// hundred `f32` products stay well below, a wrong formula does not.
#[track_caller]
pub fn gradcheck(inputs: &[Tensor], f: impl Fn(&[Tensor]) -> Tensor) {
    let report = check(inputs, f);
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
