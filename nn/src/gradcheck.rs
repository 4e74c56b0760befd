//! Checks the gradients of a whole network, by name, against finite differences of its `f64` replay.
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
//! assert!(entries.iter().all(|entry| entry.kink || entry.rel_error < 1e-3));
//! # Ok::<(), nn::Error>(())
//! ```

use crate::param::Param;
use engine::replay::Replay;
use engine::rng::{Rng, purpose};
use engine::{Gradients, Tensor};
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
    /// Whether a ReLU or a maximum changes its choice within the step, so that there is no derivative to compare with.
    pub kink: bool,
}

/// A check of the gradients of one value with respect to named parameters, entry by entry.
pub struct Check {
    replay: Replay,
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
        Check::of(&loss(), &gradients, vec![1.0], params, entries, seed)
    }

    fn of(
        output: &Tensor,
        gradients: &Gradients,
        weights: Vec<f32>,
        params: &[(String, Param)],
        entries: usize,
        seed: u64,
    ) -> Check {
        let leaves: Vec<Tensor> = params.iter().map(|(_, param)| param.value()).collect();
        let gradients: Vec<Option<Tensor>> = leaves.iter().map(|leaf| gradients.get(leaf).cloned()).collect();
        let magnitudes: Vec<f64> = gradients.iter().map(|grad| grad.as_ref().map_or(0.0, largest)).collect();
        let floor = magnitudes.iter().fold(f64::MIN_POSITIVE, |most, m| most.max(1e-3 * m));
        let chosen = leaves.iter().zip(&gradients).enumerate().flat_map(|(i, (leaf, grad))| {
            let mut rng = Rng::new(seed, &[purpose::TEST, 2, i as u64]);
            sample(leaf.elements(), grad.as_ref(), entries, &mut rng).into_iter().map(move |index| (i, index))
        });
        Check {
            entries: chosen.collect(),
            replay: Replay::new(output, &leaves),
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

    /// The value by the `f64` replay.
    pub fn value(&self) -> f64 {
        self.replay.output().data.iter().zip(&self.weights).map(|(y, w)| y * f64::from(*w)).sum()
    }

    /// Checks some of the entries, in parallel. Each costs two to six runs of what follows its parameter, in `f64`.
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
/// If `output` is not on the tape or depends on a leaf that is not among `params`, or more entries lie at kinks than not.
#[track_caller]
pub fn check(output: &Tensor, params: &[(String, Param)], entries: usize, each: impl FnMut(Entry)) {
    let mut rng = Rng::new(0, &[purpose::TEST, 2]);
    let weights = Tensor::from_fn(output.shape(), |_| rng.uniform() + 0.5);
    let mut steps = output.backward_steps(weights.clone()).keep_tape();
    steps.by_ref().for_each(drop);
    let check = Check::of(output, &steps.into_gradients(), weights.data().to_vec(), params, entries, 0);
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
        let check = Check::of(&loss(), &gradients, vec![1.0], &params, 3, 0);
        let entries = check.run(0..check.len());
        let worst = worst(&entries).expect("some");
        assert!(worst.rel_error > 0.5 && worst.tensor != "c", "{worst:?}");
    }
}
