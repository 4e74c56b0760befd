//! Checks the gradients of a whole network, by name, against finite differences of its `f64` replay.

use crate::param::Param;
use engine::gradcheck::replay;
use engine::rng::{Rng, purpose};
use engine::{Array, Tensor};
use std::collections::HashMap;

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
    /// `|analytic - numeric|` over the largest checked gradient of that tensor, or a thousandth of the largest of all: smaller ones
    /// are what remains of terms that cancel, and hold their rounding.
    pub rel_error: f64,
}

/// Checks the gradients of `sum(output * weight)`, for fixed random weights between 0.5 and 1.5: `entries` random ones of each of
/// `params`, or all if it has no more. Hands them to `each` tensor by tensor; an entry costs two replays of the tape.
///
/// # Panics
/// If `output` is not on the tape or depends on a leaf that is not among `params`.
pub fn check(output: &Tensor, params: &[(String, Param)], entries: usize, mut each: impl FnMut(Entry)) {
    const STEP: f64 = 1e-5;
    let mut rng = Rng::new(0, &[purpose::TEST, 2]);
    let weights = Tensor::from_fn(output.shape(), |_| rng.uniform() + 0.5);
    let id = |param: &Param| param.value().node().map_or(0, |node| node.id());
    let mut values: HashMap<u64, Array> = params.iter().map(|(_, p)| (id(p), Array::from_tensor(&p.value()))).collect();
    let weighted = |values: &HashMap<u64, Array>| -> f64 {
        let y = replay(output, values);
        y.data.iter().zip(weights.data()).map(|(y, w)| y * f64::from(*w)).sum()
    };
    let mut steps = output.backward_steps(weights.clone()).keep_tape();
    steps.by_ref().for_each(drop);
    let gradients = steps.into_gradients();
    let largest = |t: &Tensor| t.data().iter().fold(0.0, |m: f64, g| m.max(f64::from(g.abs())));
    let floor = params.iter().filter_map(|(_, p)| gradients.get(&p.value())).map(largest).fold(0.0, f64::max) * 1e-3;
    let put = |values: &mut HashMap<u64, Array>, id: u64, index: usize, v: f64| {
        values.entry(id).and_modify(|array| array.data[index] = v);
    };
    for (name, param) in params {
        let value = param.value();
        let n = value.elements();
        let indices: Vec<usize> =
            if n <= entries { (0..n).collect() } else { (0..entries).map(|_| rng.below(n)).collect() };
        let mut checked = vec![];
        for index in indices {
            let before = f64::from(value.data()[index]);
            put(&mut values, id(param), index, before + STEP);
            let above = weighted(&values);
            put(&mut values, id(param), index, before - STEP);
            let below = weighted(&values);
            put(&mut values, id(param), index, before);
            let numeric = (above - below) / (2.0 * STEP);
            let analytic = gradients.get(&value).map_or(0.0, |g| f64::from(g.data()[index]));
            checked.push((index, analytic, numeric));
        }
        let scale = checked.iter().fold(floor, |m, (.., numeric)| m.max(numeric.abs()));
        for (index, analytic, numeric) in checked {
            let error = (analytic - numeric).abs() / scale.max(f64::MIN_POSITIVE);
            let rel_error = if error.is_nan() { f64::INFINITY } else { error };
            each(Entry { tensor: name.clone(), index, analytic, numeric, rel_error });
        }
    }
}
