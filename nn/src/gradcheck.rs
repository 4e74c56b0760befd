//! Checks the gradients of a whole network, by name, against finite differences of its `f64` replay.
//!
//! The differences are taken around the values of the `f32` run and on the smooth piece that it was on: what its ReLUs and maxima chose is
//! held (see [`engine::replay`]). That these values and choices are right is checked apart, op by op: [`Check::ops`].
//!
//! ```
//! use nn::gradcheck::Check;
//! use nn::{Context, Model};
//!
//! let model = Model::new("resnet8", 10, 0)?;
//! let images = engine::gradcheck::sample([2, 8, 8, 3]);
//! let loss = || model.forward(&images, &Context::train(0, 1)).cross_entropy(&[3, 7], 0.0);
//! let check = Check::new(loss, &model.params(), 1, 0);
//! let entries = check.run(0..check.len());
//! assert!(entries.iter().all(|entry| entry.rel_error < 1e-3));
//! assert!(check.ops().iter().all(|op| op.error < 1e-4));
//! # Ok::<(), nn::Error>(())
//! ```

use crate::param::Param;
use engine::autograd::Input;
use engine::forward_check::Watched;
use engine::replay::{Replay, Turned};
use engine::rng::{Rng, purpose};
use engine::{Gradients, Shape, Tensor};
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::ops::Range;

/// One checked entry of one tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Name of the parameter.
    pub tensor: String,
    /// Flat index into it, in the layout of [`Param`].
    pub index: usize,
    /// By the backward pass, in `f32`.
    pub analytic: f64,
    /// By central differences of the `f64` replay.
    pub numeric: f64,
    /// `|analytic - numeric|` over the largest gradient of that tensor, or a thousandth of the largest of all: smaller ones are what
    /// remains of terms that cancel, and hold their rounding. Infinite if either is not a number.
    pub rel_error: f64,
    /// Whether an op that does not say what it chose changes its choice within the step, so that there is no derivative to compare with.
    /// No op of this crate does.
    pub kink: bool,
}

/// The values of one op of the forward pass, compared with its `f64` reference.
#[derive(Clone, Debug, PartialEq)]
pub struct OpValues {
    /// Name of the op.
    pub op: &'static str,
    /// The module whose parameter it reads, if it reads one.
    pub module: Option<String>,
    /// Its place in the forward pass, counted from 1.
    pub place: usize,
    /// Of its output.
    pub shape: Shape,
    /// Largest `|value - reference|`, over the largest `|reference|`.
    pub error: f64,
}

/// A check of the gradients of one value with respect to named parameters, entry by entry.
pub struct Check {
    replay: Replay,
    ops: Vec<OpValues>,
    weights: Vec<f32>,
    names: Vec<String>,
    gradients: Vec<Option<Tensor>>,
    /// What errors of each parameter are measured by.
    scales: Vec<f64>,
    /// Parameter and flat index, in the order of the parameters.
    entries: Vec<(usize, usize)>,
}

impl Check {
    /// Of `entries` entries of each of `params` (all if it has no more): the one with the largest gradient, and random ones drawn from
    /// `seed`. `loss` is run twice, and must be the same scalar both times: the gradients come from a backward pass as in training,
    /// the differences from a second, whole tape.
    ///
    /// # Panics
    /// If the loss is not on the tape or depends on a leaf that is not among `params`.
    #[track_caller]
    pub fn new(loss: impl Fn() -> Tensor, params: &[(String, Param)], entries: usize, seed: u64) -> Check {
        let gradients = loss().backward();
        let watched = Watched::run(loss);
        let leaves: Vec<Tensor> = params.iter().map(|(_, param)| param.value()).collect();
        let replay = Replay::around(&watched, &leaves);
        Check {
            ops: values_of(&watched, &leaves, params),
            ..Check::of(replay, &leaves, &gradients, vec![1.0], params, entries, seed)
        }
    }

    fn of(
        replay: Replay,
        leaves: &[Tensor],
        gradients: &Gradients,
        weights: Vec<f32>,
        params: &[(String, Param)],
        entries: usize,
        seed: u64,
    ) -> Check {
        let gradients: Vec<Option<Tensor>> = leaves.iter().map(|leaf| gradients.get(leaf).cloned()).collect();
        let magnitudes: Vec<f64> = gradients.iter().map(|grad| grad.as_ref().map_or(0.0, largest)).collect();
        let floor = magnitudes.iter().fold(f64::MIN_POSITIVE, |most, m| most.max(1e-3 * m));
        let chosen = leaves.iter().zip(&gradients).enumerate().flat_map(|(i, (leaf, grad))| {
            let mut rng = Rng::new(seed, &[purpose::TEST, 2, i as u64]);
            sample(leaf.elements(), grad.as_ref(), entries, &mut rng).into_iter().map(move |index| (i, index))
        });
        Check {
            entries: chosen.collect(),
            replay,
            ops: vec![],
            weights,
            names: params.iter().map(|(name, _)| name.clone()).collect(),
            scales: magnitudes.iter().map(|m| m.max(floor)).collect(),
            gradients,
        }
    }

    /// Number of entries to check.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Every op of the forward pass, in order: how far its values are from its reference, given the inputs that it had. Beyond 1e-4 an op
    /// is wrong, and what it chose should not be held.
    pub fn ops(&self) -> &[OpValues] {
        &self.ops
    }

    /// How many choices (of ReLUs, maxima) come out otherwise in `f64`; the differences are taken with those of the `f32` run.
    pub fn turned(&self) -> Turned {
        self.replay.turned()
    }

    /// The value by the `f64` replay, free to choose.
    pub fn value(&self) -> f64 {
        self.replay.output().data.iter().zip(&self.weights).map(|(y, w)| y * f64::from(*w)).sum()
    }

    /// Checks some of the entries, in parallel. Each costs two runs or a few more of what follows its parameter, in `f64`.
    ///
    /// # Panics
    /// If there are not as many.
    #[track_caller]
    pub fn run(&self, which: Range<usize>) -> Vec<Entry> {
        self.entries[which].par_iter().map(|&(param, index)| self.entry(param, index)).collect()
    }

    fn entry(&self, param: usize, index: usize) -> Entry {
        let difference = self.replay.derivative(param, index, &self.weights);
        let numeric = difference.slope;
        let analytic = self.gradients[param].as_ref().map_or(0.0, |grad| f64::from(grad.data()[index]));
        // A gradient that is 0 by mistake is not measured by itself.
        let error = (analytic - numeric).abs() / self.scales[param].max(numeric.abs());
        let rel_error = if error.is_nan() { f64::INFINITY } else { error };
        Entry { tensor: self.names[param].clone(), index, analytic, numeric, rel_error, kink: difference.kink }
    }
}

fn values_of(watched: &Watched, leaves: &[Tensor], params: &[(String, Param)]) -> Vec<OpValues> {
    let module = |input: &Input| {
        let Input::Node(node) = input else { return None };
        let read = leaves.iter().position(|leaf| leaf.node().is_some_and(|leaf| leaf.id() == node.id()))?;
        Some(params[read].0.rsplit_once('.').map_or("", |(module, _)| module).to_string())
    };
    let errors = watched.errors(leaves).into_iter();
    errors
        .map(|it| OpValues {
            op: it.op,
            module: it.node.inputs().iter().find_map(module).filter(|module| !module.is_empty()),
            place: it.place,
            shape: it.shape,
            error: it.error,
        })
        .collect()
}

fn largest(grad: &Tensor) -> f64 {
    grad.data().iter().fold(0.0, |most, g| most.max(f64::from(g.abs())))
}

/// The entry with the largest gradient, and random others.
fn sample(elements: usize, grad: Option<&Tensor>, entries: usize, rng: &mut Rng) -> Vec<usize> {
    if elements <= entries {
        return (0..elements).collect();
    }
    let larger = |best: (usize, f32), (i, g): (usize, &f32)| if g.abs() > best.1 { (i, g.abs()) } else { best };
    let most = grad.map(|grad| grad.data().iter().enumerate().fold((0, -1.0), larger).0);
    let mut chosen: Vec<usize> = most.into_iter().take(entries).collect();
    while chosen.len() < entries {
        let index = rng.below(elements);
        if !chosen.contains(&index) {
            chosen.push(index);
        }
    }
    chosen
}

/// Checks the gradients of `sum(output * weight)`, for fixed random weights between 0.5 and 1.5: `entries` of each of `params`, or all if
/// it has no more. Hands those that do not lie at a kink to `each`.
///
/// # Panics
/// If `output` is not on the tape or depends on a leaf that is not among `params`, its values are not those of the replay, or more entries
/// lie at kinks than not.
#[track_caller]
pub fn check(output: &Tensor, params: &[(String, Param)], entries: usize, each: impl FnMut(Entry)) {
    let mut rng = Rng::new(0, &[purpose::TEST, 2]);
    let weights = Tensor::from_fn(output.shape(), |_| rng.uniform() + 0.5);
    let mut steps = output.backward_steps(weights.clone()).keep_tape();
    steps.by_ref().for_each(drop);
    let leaves: Vec<Tensor> = params.iter().map(|(_, param)| param.value()).collect();
    let replay = Replay::new(output, &leaves);
    let check = Check::of(replay, &leaves, &steps.into_gradients(), weights.data().to_vec(), params, entries, 0);
    let reference = check.replay.output();
    let reach = reference.data.iter().fold(f64::MIN_POSITIVE, |most, v| most.max(v.abs()));
    let gaps = reference.data.iter().zip(output.data()).map(|(r, &v)| (r - f64::from(v)).abs());
    assert!(gaps.into_iter().all(|gap| gap < 1e-4 * reach), "gradcheck: values differ from the f64 replay");
    let (kinks, smooth): (Vec<Entry>, Vec<Entry>) = check.run(0..check.len()).into_iter().partition(|entry| entry.kink);
    assert!(kinks.len() <= smooth.len(), "gradcheck: {} entries lie at kinks and {} do not", kinks.len(), smooth.len());
    smooth.into_iter().for_each(each);
}

/// The entry that is furthest off, kinks apart.
pub fn worst(entries: &[Entry]) -> Option<&Entry> {
    entries.iter().filter(|entry| !entry.kink).max_by(|a, b| a.rel_error.total_cmp(&b.rel_error))
}

/// Entries by parameter, in the order of the names.
pub fn by_tensor(entries: &[Entry]) -> BTreeMap<&str, Vec<&Entry>> {
    let mut tensors: BTreeMap<&str, Vec<&Entry>> = BTreeMap::new();
    for entry in entries {
        tensors.entry(&entry.tensor).or_default().push(entry);
    }
    tensors
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ParamKind;
    use engine::autograd::Node;
    use engine::gradcheck::sample;
    use engine::ops::fold_batch_norm;
    use engine::{Activation, Array, Backward, Conv2d, GradOutput, Grads, Lazy, OpDoc};
    use std::sync::Arc;

    fn params() -> Vec<(String, Param)> {
        let param = |values: &[f32]| Param::new(Tensor::from_slice([values.len()], values), ParamKind::Bias);
        vec![("a".into(), param(&[1.0, -2.0, 0.5])), ("b".into(), param(&[3.0, 1.0, 2.0])), ("c".into(), param(&[0.0]))]
    }

    #[test]
    fn right_gradients_agree_and_unused_parameters_have_none() {
        let params = params();
        let loss = || params[0].1.value().mul(&params[1].1.value()).tanh().sum();
        let check = Check::new(loss, &params, 2, 0);
        assert_eq!(check.len(), 2 + 2 + 1);
        let entries = check.run(0..check.len());
        assert!(entries.iter().all(|entry| entry.rel_error < 1e-6), "{entries:?}");
        let of: Vec<&str> = by_tensor(&entries).into_keys().collect();
        assert_eq!(of, ["a", "b", "c"]);
        assert_eq!((entries[4].analytic, entries[4].numeric), (0.0, 0.0));
    }

    #[test]
    fn a_wrong_gradient_is_found_and_named() {
        let params = params();
        let loss = || params[0].1.value().mul(&params[1].1.value()).sum();
        let gradients = params[0].1.value().mul(&params[0].1.value()).sum().backward();
        let leaves: Vec<Tensor> = params.iter().map(|(_, param)| param.value()).collect();
        let replay = Replay::new(&loss(), &leaves);
        let check = Check::of(replay, &leaves, &gradients, vec![1.0], &params, 3, 0);
        let entries = check.run(0..check.len());
        let worst = worst(&entries).expect("some");
        assert!(worst.rel_error > 0.5 && worst.tensor != "c", "{worst:?}");
    }

    /// An op with a mistake in what it adds to the gradient of one input; its values and its reference are right.
    struct Off {
        right: Arc<Node>,
        input: usize,
        mistake: fn(&Tensor, &Tensor) -> Tensor,
    }

    /// What `right` made of `inputs`, with `mistake` in the gradient of one of them: given the right one, and that of the output.
    fn off(right: &Tensor, inputs: &[&Tensor], input: usize, mistake: fn(&Tensor, &Tensor) -> Tensor) -> Tensor {
        let node = right.node().expect("recorded").clone();
        right.detach().record(inputs, Off { right: node, input, mistake })
    }

    impl Off {
        fn op(&self) -> Arc<dyn Backward> {
            self.right.op().expect("not walked")
        }
    }

    impl Backward for Off {
        fn doc(&self) -> OpDoc {
            self.op().doc()
        }

        fn backward(&self, grad_output: GradOutput, grads: &mut Grads) {
            let incoming = grad_output.into_tensor();
            for (i, part) in self.right.contributions(&incoming).into_iter().enumerate() {
                let part = part.map(|part| if i == self.input { (self.mistake)(&part, &incoming) } else { part });
                part.into_iter().for_each(|part| grads.add(i, part));
            }
        }

        fn reference(&self, inputs: &[&Array]) -> Array {
            self.op().reference(inputs)
        }

        fn choices(&self, inputs: &[&Array]) -> Vec<u32> {
            self.op().choices(inputs)
        }

        fn chosen(&self) -> Option<Vec<u32>> {
            self.op().chosen()
        }

        fn held(&self, inputs: &[&Array], choices: &[u32]) -> Array {
            self.op().held(inputs, choices)
        }
    }

    fn named(tensors: &[(&str, Tensor)]) -> Vec<(String, Param)> {
        let param =
            |(name, value): &(&str, Tensor)| (name.to_string(), Param::new(value.clone(), ParamKind::ConvWeight));
        tensors.iter().map(param).collect()
    }

    /// Largest error over two convolutions with what `between` puts between them.
    fn error(between: impl Fn(&Tensor) -> Tensor) -> f64 {
        let params = named(&[("conv1.weight", sample([3, 3, 3, 8])), ("conv2.weight", sample([1, 1, 8, 4]))]);
        let images = sample([4, 6, 6, 3]);
        let conv = Conv2d { padding: 1, ..Conv2d::default() };
        let loss = || {
            let x = between(&images.conv2d(&params[0].1.value(), None, conv));
            x.conv2d(&params[1].1.value(), None, Conv2d::default())
                .scale(0.1)
                .global_avg_pool()
                .cross_entropy(&[0, 1, 2, 3], 0.0)
        };
        let check = Check::new(loss, &params, 8, 0);
        assert!(check.ops().iter().all(|op| op.error < 1e-5), "{:?}", check.ops());
        worst(&check.run(0..check.len())).expect("some").rel_error
    }

    #[test]
    fn wrong_gates_are_caught_though_choices_are_held() {
        let relu6 = |mistake| error(move |x| off(&x.relu6(), &[x], 0, mistake));
        assert!(error(Tensor::relu6) < 1e-4);
        assert!(relu6(|right, _| right.clone()) < 1e-4);
        let mistakes: [fn(&Tensor, &Tensor) -> Tensor; 3] =
            [|_, incoming| incoming.clone(), |right, _| right.scale(-1.0), |right, _| right.scale(1.01)];
        for (i, mistake) in mistakes.into_iter().enumerate() {
            assert!(relu6(mistake) > 1e-3, "mistake {i}");
        }
    }

    #[test]
    fn a_mistake_of_a_hundredth_in_one_path_of_a_batch_norm_is_caught() {
        let norm = |x: &Tensor, wrong: bool| {
            let moments = x.moments();
            let moments = if wrong { off(&moments, &[x], 0, |right, _| right.scale(1.01)) } else { moments };
            let affine = fold_batch_norm(&[&moments], &Tensor::full([8], 1.0), &Tensor::full([8], 0.5), 1e-5);
            Lazy { affine: Some(affine), activation: Activation::Relu, ..Lazy::from(x) }.materialise()
        };
        assert!(error(|x| norm(x, false)) < 1e-4);
        // A twelfth of this gradient comes by that path; 5e-4 is what `pleach gradcheck` lets pass.
        assert!(error(|x| norm(x, true)) > 5e-4);
    }

    #[test]
    fn wrong_values_are_named_where_they_were_made() {
        let params = named(&[("conv1.weight", sample([3, 3, 3, 8]))]);
        let images = sample([2, 4, 4, 3]);
        let loss = || {
            let y = images.conv2d(&params[0].1.value(), None, Conv2d::default());
            let node = y.node().expect("recorded").clone();
            let wrong = Tensor::from_fn(y.shape(), |i| y.data()[i] * if i == 3 { 0.9 } else { 1.0 });
            let same = |right: &Tensor, _: &Tensor| right.clone();
            wrong.record(&[&images, &params[0].1.value()], Off { right: node, input: 1, mistake: same }).relu().sum()
        };
        let check = Check::new(loss, &params, 2, 0);
        let wrong: Vec<&OpValues> = check.ops().iter().filter(|op| op.error > 1e-4).collect();
        let [op] = wrong[..] else { panic!("{wrong:?}") };
        assert_eq!((op.op, op.module.as_deref(), op.place), ("conv2d", Some("conv1"), 1));
    }
}
