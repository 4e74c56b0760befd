//! A recorded tape in `f64`, and its derivatives by central differences.
//!
//! Every op brings a naive `f64` forward ([`Backward::reference`]). [`Replay`] runs them once for a whole tape; to differentiate by one
//! entry of a leaf, only the ops after that leaf run again. [`Backward::piece`] tells when a ReLU or a maximum changes its choice
//! within the step: there, a difference means nothing.

use crate::autograd::{Backward, Input, tape};
use crate::reference::Array;
use crate::tensor::Tensor;
use std::collections::HashMap;
use std::sync::Arc;

/// The step of a difference in units of what is usual in the tensor. Truncation grows with its square, rounding with its inverse; 1e-5
/// balances both in `f64`.
const STEP: f64 = 1e-5;
/// A kink within the step is stepped around with a smaller one, as long as rounding leaves four digits.
const SHRINK: [f64; 3] = [1.0, 0.1, 0.01];

/// A slope by values on both sides of a point.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Difference {
    /// `(f(x + h) - f(x - h)) / 2h`.
    pub slope: f64,
    /// The step.
    pub h: f64,
    /// Whether `f` has a kink between both sides.
    pub kink: bool,
}

impl Difference {
    /// At the largest step, from `h` down to a hundredth of it, without a kink; at the smallest if all have one. `sides(h)` gives the slope
    /// over `h` and whether there is a kink within it.
    pub fn around_kinks(h: f64, mut sides: impl FnMut(f64) -> (f64, bool)) -> Difference {
        let mut last = Difference { slope: f64::NAN, h, kink: true };
        for shrink in SHRINK {
            let (slope, kink) = sides(h * shrink);
            last = Difference { slope, h: h * shrink, kink };
            if !kink {
                break;
            }
        }
        last
    }

    /// A step for an entry with the value `at` of a tensor with these values.
    pub fn step(at: f64, values: &[f32]) -> f64 {
        let squares: f64 = values.iter().map(|v| f64::from(*v).powi(2)).sum();
        let usual = (squares / values.len().max(1) as f64).sqrt();
        let scale = [at.abs(), usual].into_iter().filter(|s| s.is_finite()).fold(0.0, f64::max);
        STEP * if scale > 0.0 { scale } else { 1.0 }
    }
}

/// Where an op finds an input.
enum Source {
    Node(usize),
    Constant(Array),
}

struct Place {
    /// None for a leaf.
    op: Option<Arc<dyn Backward>>,
    inputs: Vec<Source>,
}

/// The tape of a tensor, run in `f64`.
pub struct Replay {
    /// Oldest first; the last is the output.
    places: Vec<Place>,
    values: Vec<Array>,
    /// The place of each of the leaves that were given, if it is on the tape, and a step for its entries.
    leaves: Vec<(Option<usize>, Tensor)>,
}

impl Replay {
    /// Runs the tape of `output` in `f64`, from the values of `leaves`.
    ///
    /// # Panics
    /// If `output` is not on the tape, depends on a leaf that is not among `leaves`, or its tape was freed by a backward pass.
    #[track_caller]
    pub fn new(output: &Tensor, leaves: &[Tensor]) -> Replay {
        let widened = leaves.iter().filter_map(|leaf| Some((leaf.node()?.id(), Array::from_tensor(leaf)))).collect();
        Replay::from(output, leaves, &widened)
    }

    /// The same with the values of the leaves given in `f64`, by node.
    #[track_caller]
    pub(crate) fn from(output: &Tensor, leaves: &[Tensor], widened: &HashMap<u64, Array>) -> Replay {
        let mut replay = Replay { places: vec![], values: vec![], leaves: vec![] };
        let mut at: HashMap<u64, usize> = HashMap::new();
        for node in tape(output) {
            let source = |input: &Input| match input {
                Input::Node(node) => Source::Node(at[&node.id()]),
                Input::Constant(tensor) => Source::Constant(Array::from_tensor(tensor)),
            };
            let inputs = node.inputs().iter().map(source).collect();
            let op = (!node.is_leaf()).then(|| node.op().expect("replay: the tape was freed by a backward pass"));
            let place = Place { op, inputs };
            let value = match &place.op {
                None => widened.get(&node.id()).expect("replay: a leaf without values").clone(),
                Some(op) => op.reference(&replay.inputs(&place, &HashMap::new())),
            };
            at.insert(node.id(), replay.places.len());
            replay.places.push(place);
            replay.values.push(value);
        }
        assert!(!replay.places.is_empty(), "replay: the output is not on the tape");
        let place = |leaf: &Tensor| leaf.node().and_then(|node| at.get(&node.id()).copied());
        replay.leaves = leaves.iter().map(|leaf| (place(leaf), leaf.detach())).collect();
        replay
    }

    /// What the tape computes, in `f64`.
    pub fn output(&self) -> &Array {
        self.values.last().expect("not empty: `new` saw to it")
    }

    fn inputs<'a>(&'a self, place: &'a Place, changed: &'a HashMap<usize, Array>) -> Vec<&'a Array> {
        let value = |source: &'a Source| match source {
            Source::Constant(array) => array,
            Source::Node(i) => changed.get(i).unwrap_or_else(|| &self.values[*i]),
        };
        place.inputs.iter().map(value).collect()
    }

    /// The places that depend on one, in order.
    fn downstream(&self, from: usize) -> Vec<usize> {
        let mut touched = vec![false; self.places.len()];
        touched[from] = true;
        let mut order = vec![];
        for (i, place) in self.places.iter().enumerate().skip(from + 1) {
            if place.inputs.iter().any(|source| matches!(source, Source::Node(j) if touched[*j])) {
                touched[i] = true;
                order.push(i);
            }
        }
        order
    }

    /// The derivative of `sum(output * weights)` with respect to one entry of the leaf at position `leaf` among those given.
    ///
    /// # Panics
    /// If there is no such leaf or entry, or not a weight for each value of the output.
    #[track_caller]
    pub fn derivative(&self, leaf: usize, entry: usize, weights: &[f32]) -> Difference {
        assert_eq!(weights.len(), self.output().data.len(), "derivative: a weight for each value of the output");
        let (place, tensor) = &self.leaves[leaf];
        let h = Difference::step(f64::from(tensor.data()[entry]), tensor.data());
        let Some(place) = *place else { return Difference { slope: 0.0, h, kink: false } };
        let order = self.downstream(place);
        let at = self.values[place].data[entry];
        let side = |value: f64| {
            let mut leaf = self.values[place].clone();
            leaf.data[entry] = value;
            let mut changed = HashMap::from([(place, leaf)]);
            let mut pieces = Vec::with_capacity(order.len());
            for &i in &order {
                let place = &self.places[i];
                let inputs = self.inputs(place, &changed);
                let op = place.op.as_ref().expect("a leaf depends on nothing");
                pieces.push(op.piece(&inputs));
                let value = op.reference(&inputs);
                changed.insert(i, value);
            }
            (changed.remove(&(self.places.len() - 1)), pieces)
        };
        Difference::around_kinks(h, |h| {
            let ((above, up), (below, down)) = (side(at + h), side(at - h));
            let (Some(above), Some(below)) = (above, below) else { return (0.0, false) };
            // Differences first: values that do not move cancel exactly.
            let moved = above.data.iter().zip(&below.data).zip(weights);
            let total: f64 = moved.map(|((a, b), w)| if a == b { 0.0 } else { (a - b) * f64::from(*w) }).sum();
            (total / (2.0 * h), up != down)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_follows_runs_again_and_kinks_are_told() {
        let x = Tensor::from_slice([3], &[1.0, 1e-9, -2.0]).requires_grad();
        let w = Tensor::from_slice([3], &[2.0, 3.0, 4.0]).requires_grad();
        let unused = Tensor::zeros([2]).requires_grad();
        let y = x.relu().mul(&w).sum();
        let replay = Replay::new(&y, &[x, w, unused]);
        assert_eq!(replay.output().data, [2.0 + 3.0 * f64::from(1e-9f32)]);
        let slope = |leaf, entry| replay.derivative(leaf, entry, &[1.0]);
        assert!((slope(0, 0).slope - 2.0).abs() < 1e-9 && !slope(0, 0).kink);
        assert!(slope(0, 1).kink, "the ReLU changes its mind within any step");
        assert_eq!((slope(0, 2).slope, slope(0, 2).kink), (0.0, false));
        assert!((slope(1, 0).slope - 1.0).abs() < 1e-9);
        assert_eq!(slope(2, 0).slope, 0.0, "nothing depends on it");
    }
}
