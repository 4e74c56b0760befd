//! A recorded tape in `f64`, and its derivatives by central differences.
//!
//! Every op brings a naive `f64` forward ([`Backward::reference`]). [`Replay`] runs them once for a whole tape. To differentiate by one
//! entry of a leaf, a change of that entry is followed through the ops after it, each differenced along the change of its inputs: the
//! chain rule forward, with every factor measured. Where the values of the `f32` run are known, the differences are taken around those:
//! a network of ill-conditioned ops (a batch norm over few values) has another derivative where rounding has moved its values,
//! which no backward pass in `f32` can know of.
//!
//! A network of ReLUs is a patchwork of smooth pieces, and a gradient belongs to one of them. Rounding alone puts an `f64` run on another
//! piece than the `f32` run that it should check, wherever a value lies within rounding of a corner; in a deep network one such value
//! moves every gradient before it by percents. So the differences are taken on the piece of the `f32` run: the choices that it made
//! ([`Backward::chosen`]) are held, in `f64` and on both sides of a difference ([`Backward::held`]). How many choices rounding turned,
//! [`Replay::turned`] tells; whether the values that they were made from are right, [`crate::forward_check`].
//!
//! Of an op that does not say what was chosen, the replay makes the choices itself, and tells when they change within the step.

use crate::autograd::{Backward, Input, tape};
use crate::forward_check::Watched;
use crate::reference::Array;
use crate::tensor::Tensor;
use std::collections::HashMap;
use std::sync::Arc;

/// The step of a difference in units of what is usual in the tensor. Truncation grows with its square, rounding with its inverse; 1e-5
/// balances both in `f64`.
const STEP: f64 = 1e-5;
/// The same for one op alone. Its input may hold entries far below what is usual in it, as a batch norm's variances do, so the step is
/// smaller; there are fewer sums for rounding to gather in.
const OP_STEP: f64 = 1e-6;
/// A kink within the step is stepped around with a smaller one, as long as rounding leaves four digits.
const SHRINK: [f64; 3] = [1.0, 0.1, 0.01];
/// A change of an op's output below this share of it holds too few digits of `f64`, and a larger step is taken.
const RESOLVED: f64 = 1e-10;
/// Larger steps.
const WIDEN: [f64; 8] = [1e3, 1e6, 1e9, 1e12, 1e15, 1e18, 1e21, 1e24];
/// As long as no input moves by more than this.
const WIDEST: f64 = 1e-4;

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

/// An op on the smooth piece that its forward pass was on.
pub struct Piece {
    op: Arc<dyn Backward>,
    chosen: Option<Vec<u32>>,
}

impl Piece {
    /// Of an op, by what it saved.
    pub fn of(op: &Arc<dyn Backward>) -> Piece {
        Piece { op: op.clone(), chosen: op.chosen() }
    }

    /// The op in `f64` with its choices held; of an op that does not say what they were, with the choices that it makes.
    pub fn at(&self, inputs: &[&Array]) -> (Array, Vec<u32>) {
        match &self.chosen {
            Some(chosen) => (self.op.held(inputs, chosen), vec![]),
            None => (self.op.reference(inputs), self.op.choices(inputs)),
        }
    }

    /// The derivative of the op's output along a change of its inputs, by central differences; the step, in units of that change; and
    /// whether there is a kink within it.
    pub fn along(&self, inputs: &[&Array], moving: &[Option<&Array>]) -> (Array, f64, bool) {
        let rates = inputs.iter().zip(moving).filter_map(|(x, change)| Some(rate(x, (*change)?)));
        let rate = rates.fold(0.0, f64::max);
        if rate == 0.0 {
            return (Array::zeros(self.at(inputs).0.shape), 0.0, false);
        }
        let side = |h: f64| {
            let moved: Vec<Option<Array>> = inputs
                .iter()
                .zip(moving)
                .map(|(x, change)| change.map(|c| Array::from_fn(x.shape, |k| x.data[k] + h * c.data[k])))
                .collect();
            let both = inputs.iter().zip(&moved);
            self.at(&both.map(|(x, moved)| moved.as_ref().unwrap_or(x)).collect::<Vec<_>>())
        };
        let most = |values: &mut dyn Iterator<Item = f64>| values.fold(0.0, |most: f64, v| most.max(v.abs()));
        let largest = most(&mut moving.iter().flatten().flat_map(|change| change.data.iter().copied()));
        let difference = |h: f64| {
            let ((above, up), (below, down)) = (side(h), side(-h));
            // Values that do not move cancel, infinite ones too.
            let gap = |k: usize| if above.data[k] == below.data[k] { 0.0 } else { above.data[k] - below.data[k] };
            let moved = most(&mut (0..above.data.len()).map(gap));
            let resolved = moved >= RESOLVED * most(&mut above.data.iter().copied());
            (Array::from_fn(above.shape, |k| gap(k) / (2.0 * h)), up != down, resolved)
        };
        let mut last = (Array::zeros([0]), 0.0, true);
        for shrink in SHRINK {
            let h = shrink * OP_STEP / rate;
            let (slope, kink, resolved) = difference(h);
            last = (slope, h, kink);
            if kink {
                continue;
            }
            if !resolved {
                // Inputs near zero of an op that has a scale of its own, as the logits of a cross-entropy: their step drowns in rounding.
                let steps = WIDEN.iter().map(|widen| widen * h).take_while(|h| h * largest <= WIDEST);
                let mut wider = steps.map(|h| (h, difference(h)));
                if let Some((h, (slope, ..))) = wider.find(|(_, (_, kink, resolved))| !kink && *resolved) {
                    last = (slope, h, false);
                }
            }
            break;
        }
        last
    }
}

/// Where an op finds an input.
enum Source {
    Node(usize),
    Constant(Array),
}

struct Place {
    /// None for a leaf.
    piece: Option<Piece>,
    inputs: Vec<Source>,
}

/// Choices of a forward pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Turned {
    /// How many come out otherwise in `f64`.
    pub turned: usize,
    /// How many there are.
    pub of: usize,
}

/// The tape of a tensor, run in `f64`.
pub struct Replay {
    /// Oldest first; the last is the output.
    places: Vec<Place>,
    /// That differences are taken around: of the `f32` run where they are known, else in `f64` with choices held.
    values: Vec<Array>,
    /// With choices made in `f64`.
    output: Array,
    turned: Turned,
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
        Replay::from(output, leaves, &widened, None)
    }

    /// The same for a forward pass whose values were kept: its derivatives are taken around them.
    ///
    /// # Panics
    /// As [`Replay::new`].
    #[track_caller]
    pub fn around(watched: &Watched, leaves: &[Tensor]) -> Replay {
        let widened = leaves.iter().filter_map(|leaf| Some((leaf.node()?.id(), Array::from_tensor(leaf)))).collect();
        Replay::from(&watched.output, leaves, &widened, Some(watched))
    }

    /// The same with the values of the leaves given in `f64`, by node.
    #[track_caller]
    pub(crate) fn from(
        output: &Tensor,
        leaves: &[Tensor],
        widened: &HashMap<u64, Array>,
        watched: Option<&Watched>,
    ) -> Replay {
        let mut replay = Replay {
            places: vec![],
            values: vec![],
            output: Array::zeros([0]),
            turned: Turned::default(),
            leaves: vec![],
        };
        let mut at: HashMap<u64, usize> = HashMap::new();
        // Values that differ where all is computed in f64 and choices are made anew, by place.
        let mut free: HashMap<usize, Array> = HashMap::new();
        for node in tape(output) {
            let source = |input: &Input| match input {
                Input::Node(node) => Source::Node(at[&node.id()]),
                Input::Constant(tensor) => Source::Constant(Array::from_tensor(tensor)),
            };
            let inputs = node.inputs().iter().map(source).collect();
            let op = (!node.is_leaf()).then(|| node.op().expect("replay: the tape was freed by a backward pass"));
            let place = Place { piece: op.as_ref().map(Piece::of), inputs };
            let here = replay.places.len();
            let value = match &place.piece {
                None => widened.get(&node.id()).expect("replay: a leaf without values").clone(),
                Some(piece) => {
                    let inputs = replay.inputs(&place, &free);
                    let chosen = piece.chosen.as_deref().unwrap_or_default();
                    let made = if chosen.is_empty() { vec![] } else { piece.op.choices(&inputs) };
                    let turned = chosen.iter().zip(&made).filter(|(chosen, made)| chosen != made).count();
                    let comes_free = |source: &Source| matches!(source, Source::Node(i) if free.contains_key(i));
                    let known = watched.and_then(|watched| watched.value(&node));
                    let differs = turned > 0 || known.is_some() || place.inputs.iter().any(comes_free);
                    let value = differs.then(|| piece.op.reference(&inputs));
                    let held = match known {
                        Some(value) => Array::from_tensor(value),
                        None => piece.at(&replay.inputs(&place, &HashMap::new())).0,
                    };
                    replay.turned.of += chosen.len();
                    replay.turned.turned += turned;
                    free.extend(value.map(|value| (here, value)));
                    held
                }
            };
            at.insert(node.id(), here);
            replay.places.push(place);
            replay.values.push(value);
        }
        assert!(!replay.places.is_empty(), "replay: the output is not on the tape");
        let last = replay.places.len() - 1;
        replay.output = free.remove(&last).unwrap_or_else(|| replay.values[last].clone());
        let place = |leaf: &Tensor| leaf.node().and_then(|node| at.get(&node.id()).copied());
        replay.leaves = leaves.iter().map(|leaf| (place(leaf), leaf.detach())).collect();
        replay
    }

    /// What the tape computes in `f64`, making its choices anew.
    pub fn output(&self) -> &Array {
        &self.output
    }

    /// How many choices of the `f32` run come out otherwise in `f64`: the differences are taken with those of the `f32` run.
    pub fn turned(&self) -> Turned {
        self.turned
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

    /// The derivative of `sum(output * weights)` with respect to one entry of the leaf at position `leaf` among those given, on the piece
    /// of the `f32` run.
    ///
    /// # Panics
    /// If there is no such leaf or entry, or not a weight for each value of the output.
    #[track_caller]
    pub fn derivative(&self, leaf: usize, entry: usize, weights: &[f32]) -> Difference {
        assert_eq!(weights.len(), self.output().data.len(), "derivative: a weight for each value of the output");
        let (place, tensor) = &self.leaves[leaf];
        let h = Difference::step(f64::from(tensor.data()[entry]), tensor.data());
        let Some(place) = *place else { return Difference { slope: 0.0, h, kink: false } };
        let mut change = Array::zeros(self.values[place].shape);
        change.data[entry] = 1.0;
        let mut changes = HashMap::from([(place, change)]);
        let mut kink = false;
        for i in self.downstream(place) {
            let (change, bent) = self.follow(i, &changes);
            kink |= bent;
            changes.insert(i, change);
        }
        let change = changes.remove(&(self.places.len() - 1));
        let slope = change.map_or(0.0, |change| change.data.iter().zip(weights).map(|(c, w)| c * f64::from(*w)).sum());
        Difference { slope, h, kink }
    }

    /// The change of an op's output, given those of its inputs (by place), and whether there is a kink on the way.
    fn follow(&self, i: usize, changes: &HashMap<usize, Array>) -> (Array, bool) {
        let place = &self.places[i];
        let piece = place.piece.as_ref().expect("a leaf depends on nothing");
        let unmoved = HashMap::new();
        let inputs = self.inputs(place, &unmoved);
        let change = |source: &Source| match source {
            Source::Node(j) => changes.get(j),
            Source::Constant(_) => None,
        };
        let moving: Vec<Option<&Array>> = place.inputs.iter().map(change).collect();
        let (change, _, kink) = piece.along(&inputs, &moving);
        (change, kink)
    }
}

/// The largest change in units of the entry, or of what is usual in the tensor if that is more.
fn rate(x: &Array, change: &Array) -> f64 {
    let squares: f64 = x.data.iter().map(|v| v * v).sum();
    let usual = (squares / x.data.len().max(1) as f64).sqrt();
    let usual = if usual.is_finite() && usual > 0.0 { usual } else { 1.0 };
    let pairs = x.data.iter().zip(&change.data);
    pairs.map(|(x, c)| c.abs() / if x.is_finite() { x.abs().max(usual) } else { usual }).fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::autograd::{Grads, OpDoc};
    use crate::grad::GradOutput;
    use crate::ops::Pool2d;

    #[test]
    fn only_what_follows_runs_again() {
        let x = Tensor::from_slice([3], &[1.0, 1e-9, -2.0]).requires_grad();
        let w = Tensor::from_slice([3], &[2.0, 3.0, 4.0]).requires_grad();
        let unused = Tensor::zeros([2]).requires_grad();
        let y = x.relu().mul(&w).sum();
        let replay = Replay::new(&y, &[x, w, unused]);
        assert_eq!(replay.output().data, [2.0 + 3.0 * f64::from(1e-9f32)]);
        let slope = |leaf, entry| replay.derivative(leaf, entry, &[1.0]);
        assert!((slope(0, 0).slope - 2.0).abs() < 1e-9 && !slope(0, 0).kink);
        // The corner lies within any step, and the choice is held.
        assert!((slope(0, 1).slope - 3.0).abs() < 1e-9 && !slope(0, 1).kink, "{:?}", slope(0, 1));
        assert_eq!((slope(0, 2).slope, slope(0, 2).kink), (0.0, false));
        assert!((slope(1, 0).slope - 1.0).abs() < 1e-9);
        assert_eq!(slope(2, 0).slope, 0.0, "nothing depends on it");
    }

    #[test]
    fn inputs_near_zero_of_an_op_with_a_scale_of_its_own_get_a_step_that_shows() {
        let logits = Tensor::from_slice([1, 2], &[1e-20, -1e-20]).requires_grad();
        let loss = logits.cross_entropy(&[0], 0.0);
        let slope = Replay::new(&loss, &[logits]).derivative(0, 1, &[1.0]).slope;
        assert!((slope - 0.5).abs() < 1e-6, "{slope}");
    }

    #[test]
    fn choices_of_the_f32_run_are_held_in_f64_and_those_that_turn_are_counted() {
        // In f32, 1 + 2^-30 is 1, and 1 - 1 is not positive; in f64 the sum is.
        let tiny = 2f32.powi(-30);
        let x = Tensor::from_slice([2], &[tiny, 1.0]).requires_grad();
        let y = x.add_scalar(1.0).add_scalar(-1.0).relu().sum();
        let replay = Replay::new(&y, std::slice::from_ref(&x));
        assert_eq!(replay.turned(), Turned { turned: 1, of: 2 });
        assert_eq!(replay.output().data, [1.0 + f64::from(tiny)], "free to choose");
        assert_eq!(replay.derivative(0, 0, &[1.0]).slope, 0.0, "as the f32 run chose");
        assert!((replay.derivative(0, 1, &[1.0]).slope - 1.0).abs() < 1e-9);
        // The same of a maximum: both values are 1 in f32, and the first is taken.
        let x = Tensor::from_slice([1, 2, 1, 1], &[0.0, tiny]).requires_grad();
        let window = Pool2d { kernel_size: 2, stride: 1, padding: 1 };
        let y = x.add_scalar(1.0).max_pool2d(window).sum();
        let replay = Replay::new(&y, &[x]);
        assert_eq!(replay.turned(), Turned { turned: 2, of: 6 });
        let slopes = [0, 1].map(|entry| replay.derivative(0, entry, &[1.0]).slope.round());
        assert_eq!(slopes, [4.0, 2.0]);
    }

    /// `|x|`, which does not say what it chose.
    struct Magnitude(Tensor);

    impl Backward for Magnitude {
        fn doc(&self) -> OpDoc {
            OpDoc { name: "magnitude", formula: "y = |x|", gradient: "grad_x = grad_output * sign(x)" }
        }

        fn backward(&self, grad_output: GradOutput, grads: &mut Grads) {
            let grad = grad_output.into_tensor();
            grads.add(0, Tensor::from_fn(grad.shape(), |i| grad.data()[i] * self.0.data()[i].signum()));
        }

        fn reference(&self, inputs: &[&Array]) -> Array {
            inputs[0].map(f64::abs)
        }

        fn choices(&self, inputs: &[&Array]) -> Vec<u32> {
            inputs[0].data.iter().map(|v| u32::from(*v > 0.0)).collect()
        }
    }

    #[test]
    fn kinks_of_an_op_that_does_not_say_what_it_chose_are_told() {
        let x = Tensor::from_slice([2], &[1e-9, -2.0]).requires_grad();
        let y = Tensor::from_fn(x.shape(), |i| x.data()[i].abs()).record(&[&x], Magnitude(x.detach())).sum();
        let replay = Replay::new(&y, &[x]);
        assert!(replay.derivative(0, 0, &[1.0]).kink);
        let slope = replay.derivative(0, 1, &[1.0]);
        assert!(!slope.kink && (slope.slope + 1.0).abs() < 1e-9);
    }
}
