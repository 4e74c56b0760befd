//! Gradients against central differences in `f64`, on the piece that the step was on: what its ReLUs and maxima chose is held.

use super::Recording;
use engine::Array;
use engine::replay::{Difference, Piece};
use engine::rng::{Rng, purpose};
use rayon::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// A larger relative error fails. Gradients are sums in `f32` of up to some thousand terms, off by some 1e-6 of the largest entry;
/// entries down to a thousandth of that are compared at this.
pub const TOLERANCE: f64 = 1e-3;

/// What is differentiated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// `sum(y * g)` of one op, for the gradient `g` of its output: checks the op's contribution.
    Op,
    /// The loss, through everything that follows: checks the whole gradient.
    Loss,
}

/// One entry of a gradient, compared.
#[derive(Clone, Debug)]
pub struct Check {
    /// Id of the tensor.
    pub tensor: usize,
    /// The op's input that the contribution is to; with [`Scope::Op`].
    pub input: Option<usize>,
    /// Flat index into the tensor.
    pub entry: usize,
    /// What was differentiated.
    pub scope: Scope,
    /// By the backward pass.
    pub analytic: f64,
    /// By a central difference.
    pub numeric: f64,
    /// Its step.
    pub h: f64,
    /// `|analytic - numeric|` over the larger of both and a thousandth of the largest entry of the gradient; infinite if not a number.
    pub rel_error: f64,
    /// The difference in units in the last place of `numeric`, as `f32`.
    pub ulp: f64,
    /// Whether a kink lies within the step: of an op that does not say what it chose, for else the choices are held.
    pub kink: bool,
}

impl Check {
    /// Whether they agree; none at a kink.
    pub fn passed(&self) -> Option<bool> {
        (!self.kink).then_some(self.rel_error <= TOLERANCE)
    }
}

impl Recording {
    /// Compares what `op` contributes to `entry` of its input at `position`. `None` if no gradient is wanted there.
    pub fn check(&self, op: usize, position: usize, entry: usize) -> Option<Check> {
        let part = self.contribution(op, position)?;
        let analytic = part.value.data().get(entry).copied().map(f64::from)?;
        let largest = largest(part.value.data());
        Some(self.check_claim(op, position, entry, analytic, largest))
    }

    /// The same for a gradient that is only claimed to be right.
    pub(super) fn check_claim(&self, op: usize, position: usize, entry: usize, analytic: f64, largest: f64) -> Check {
        let it = &self.ops[op];
        let inputs: Vec<Array> = it.inputs.iter().map(|&i| Array::from_tensor(&self.tensors[i].value)).collect();
        let incoming = self.tensors[it.output].grad.as_ref().map_or(&[][..], |grad| grad.data());
        let tensor = it.inputs[position];
        let mut change = Array::zeros(inputs[position].shape);
        change.data[entry] = 1.0;
        let moving: Vec<Option<&Array>> = (0..inputs.len()).map(|i| (i == position).then_some(&change)).collect();
        let (slopes, h, kink) = Piece::of(&it.op).along(&inputs.iter().collect::<Vec<_>>(), &moving);
        let moved = slopes.data.iter().zip(incoming).filter(|(slope, _)| **slope != 0.0);
        let difference = Difference { slope: moved.map(|(slope, g)| slope * f64::from(*g)).sum(), h, kink };
        compare(tensor, Some(position), entry, Scope::Op, analytic, difference, largest)
    }

    /// Compares the whole gradient of the loss at `entry` of a tensor. `None` if none arrives there.
    pub fn check_loss(&self, tensor: usize, entry: usize) -> Option<Check> {
        let grad = self.tensors[tensor].grad.as_ref()?;
        let analytic = f64::from(*grad.data().get(entry)?);
        let order = self.downstream(&BTreeSet::from([tensor]));
        let pieces: Vec<Piece> = order.iter().map(|&op| Piece::of(&self.ops[op].op)).collect();
        let (at, h) = self.start(tensor, entry);
        let slope = |h: f64| {
            let side = |value: f64| {
                let mut array = Array::from_tensor(&self.tensors[tensor].value);
                array.data[entry] = value;
                let mut choices = vec![];
                let mut pieces = pieces.iter();
                let values = self.replay_by(BTreeMap::from([(tensor, array)]), &order, |_, inputs| {
                    let (output, made) = pieces.next().expect("one for each op").at(inputs);
                    choices.push(made);
                    output
                });
                (values.get(&self.loss).map_or(value, |loss| loss.data[0]), choices)
            };
            let ((above, up), (below, down)) = (side(at + h), side(at - h));
            ((above - below) / (2.0 * h), up != down)
        };
        let difference = Difference::around_kinks(h, slope);
        Some(compare(tensor, None, entry, Scope::Loss, analytic, difference, largest(grad.data())))
    }

    /// Checks `entries` entries of every contribution of every op: the largest, and random ones. In the order of the ops.
    pub fn check_ops(&self, entries: usize) -> Vec<Vec<Check>> {
        let one = |op: usize| {
            let Some(step) = self.backward_step(op) else { return vec![] };
            let parts = &self.backward[step].contributions;
            let of = |input: usize| {
                self.sample(op, input, entries).into_iter().filter_map(move |e| self.check(op, input, e))
            };
            parts.iter().flat_map(|part| of(part.input)).collect()
        };
        (0..self.ops.len()).into_par_iter().map(one).collect()
    }

    /// Entries to check of a contribution.
    fn sample(&self, op: usize, input: usize, entries: usize) -> Vec<usize> {
        let Some(part) = self.contribution(op, input) else { return vec![] };
        let values = part.value.data();
        if values.len() <= entries {
            return (0..values.len()).collect();
        }
        let mut chosen: Vec<usize> = vec![];
        if entries > 0 {
            chosen.push(position_of_largest(values.iter().copied()));
        }
        let mut rng = Rng::new(0, &[purpose::TEST, op as u64, input as u64]);
        while chosen.len() < entries {
            let entry = rng.below(values.len());
            if !chosen.contains(&entry) {
                chosen.push(entry);
            }
        }
        chosen
    }

    /// Value of an entry, and a step for it.
    fn start(&self, tensor: usize, entry: usize) -> (f64, f64) {
        let value = &self.tensors[tensor].value;
        let at = f64::from(value.data()[entry]);
        (at, Difference::step(at, value.data()))
    }
}

/// The largest magnitude's position; that of the first NaN if there is one.
pub(super) fn position_of_largest(values: impl Iterator<Item = f32>) -> usize {
    let key = |v: f32| if v.is_nan() { f32::INFINITY } else { v.abs() };
    let larger = |best: (usize, f32), (i, v): (usize, f32)| if key(v) > best.1 { (i, key(v)) } else { best };
    values.enumerate().fold((0, -1.0), larger).0
}

pub(super) fn largest(values: &[f32]) -> f64 {
    values.iter().filter(|v| v.is_finite()).fold(0.0, |most, v| f64::max(most, f64::from(v.abs())))
}

fn compare(
    tensor: usize,
    input: Option<usize>,
    entry: usize,
    scope: Scope,
    analytic: f64,
    Difference { slope: numeric, h, kink }: Difference,
    largest: f64,
) -> Check {
    let gap = (analytic - numeric).abs();
    let scale = analytic.abs().max(numeric.abs()).max(1e-3 * largest).max(f64::MIN_POSITIVE);
    let relative = if gap == 0.0 { 0.0 } else { gap / scale };
    let rel_error = if relative.is_nan() { f64::INFINITY } else { relative };
    let spacing = f64::from(f32::EPSILON) * numeric.abs().max(f64::from(f32::MIN_POSITIVE)).log2().floor().exp2();
    let ulp = if gap.is_nan() { f64::INFINITY } else { gap / spacing };
    Check { tensor, input, entry, scope, analytic, numeric, h, rel_error, ulp, kink }
}
