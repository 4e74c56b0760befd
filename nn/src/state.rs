//! Weights under PyTorch's names and in PyTorch's layout.

use crate::error::Error;
use crate::module::{Entry, Module, Visitor};
use crate::param::ParamKind;
use engine::{Shape, Tensor};
use std::collections::{BTreeMap, BTreeSet};

/// Name, shape and values of a tensor, as files hold it.
pub type State = (String, Shape, Vec<f32>);

/// Tensors by name.
pub type StateDict = BTreeMap<String, (Shape, Vec<f32>)>;

/// Every parameter and running statistic of `module`.
pub fn state(module: &dyn Module) -> Vec<State> {
    let mut state = vec![];
    for (name, entry) in Visitor::walk(module) {
        match entry {
            Entry::Param(param) => {
                let (shape, values) = to_file(param.kind(), &param.value());
                state.push((name, shape, values));
            }
            Entry::Running(running) => {
                let both = running.get();
                let channels = both.shape().channels();
                let (mean, variance) = both.data().split_at(channels);
                state.push((format!("{name}.running_mean"), Shape::from([channels]), mean.to_vec()));
                state.push((format!("{name}.running_var"), Shape::from([channels]), variance.to_vec()));
            }
        }
    }
    state
}

/// Overwrites every parameter and running statistic of `module`. Ignores PyTorch's `num_batches_tracked`, and the `module.` in
/// front of every name that `DataParallel` leaves.
///
/// # Errors
/// If a tensor is missing, unknown or of another shape: one message names them. Then nothing is changed.
pub fn load_state(what: &str, module: &dyn Module, given: &StateDict) -> Result<(), Error> {
    let renamed: StateDict;
    let mut given = given;
    let is_wrapped = |name: &String| name.starts_with("module.");
    let is_counter = |name: &String| name.ends_with(".num_batches_tracked");
    if given.keys().any(is_counter) || given.keys().all(is_wrapped) {
        let wrapped = given.keys().all(is_wrapped);
        let strip = |name: &String| if wrapped { name["module.".len()..].to_owned() } else { name.clone() };
        let kept = given.iter().filter(|(name, _)| !is_counter(name));
        renamed = kept.map(|(name, tensor)| (strip(name), tensor.clone())).collect();
        given = &renamed;
    }
    check_fit(what, &state(module), given)?;
    for (name, entry) in Visitor::walk(module) {
        match entry {
            Entry::Param(param) => {
                param.set(from_file(param.kind(), param.shape(), &given[&name].1).data());
            }
            Entry::Running(running) => {
                let (_, mean) = &given[&format!("{name}.running_mean")];
                let (_, variance) = &given[&format!("{name}.running_var")];
                running.set(mean, variance);
            }
        }
    }
    Ok(())
}

/// # Errors
/// If `given` does not hold exactly the names and shapes of `expected`.
pub(crate) fn check_fit(what: &str, expected: &[State], given: &StateDict) -> Result<(), Error> {
    let known: BTreeSet<&str> = expected.iter().map(|(name, ..)| name.as_str()).collect();
    let (mut missing, mut misshapen) = (vec![], vec![]);
    for (name, shape, values) in expected {
        match given.get(name) {
            None => missing.push(name.clone()),
            Some((found, _)) if found != shape => misshapen.push(format!("{name} is {found}, expected {shape}")),
            Some((_, found)) if found.len() != values.len() => {
                misshapen.push(format!("{name} holds {} values, expected {}", found.len(), values.len()));
            }
            Some(_) => {}
        }
    }
    let extra: Vec<String> = given.keys().filter(|name| !known.contains(name.as_str())).cloned().collect();
    let mut problems = vec![];
    let mut report = |list: Vec<String>, is: &str| {
        if !list.is_empty() {
            problems.push(format!("{} {is} ({})", list.len(), first_few(&list)));
        }
    };
    report(missing, "missing");
    report(extra, "that it does not have");
    report(misshapen, "of another shape");
    if problems.is_empty() {
        return Ok(());
    }
    Err(Error::State(format!(
        "the tensors do not fit {what}: {}; was it saved from another model?",
        problems.join(", ")
    )))
}

fn first_few(list: &[String]) -> String {
    const SHOWN: usize = 3;
    let shown = list[..list.len().min(SHOWN)].join("; ");
    if list.len() > SHOWN { format!("{shown}; ...") } else { shown }
}

/// The shape and values that a parameter, or a tensor laid out like it, has in files.
pub(crate) fn to_file(kind: ParamKind, value: &Tensor) -> (Shape, Vec<f32>) {
    let (shape, x) = (value.shape(), value.data());
    match (kind, &*shape) {
        (ParamKind::ConvWeight, &[k_h, k_w, c_in, c_out]) => {
            (Shape::from([c_out, c_in, k_h, k_w]), transposed(x, k_h * k_w, c_in, c_out))
        }
        (ParamKind::LinearWeight, &[inputs, outputs]) => {
            (Shape::from([outputs, inputs]), transposed(x, 1, inputs, outputs))
        }
        _ => (shape, x.to_vec()),
    }
}

/// The inverse of [`to_file`]: the tensor of `shape` whose file values are `x`.
pub(crate) fn from_file(kind: ParamKind, shape: Shape, x: &[f32]) -> Tensor {
    match (kind, &*shape) {
        (ParamKind::ConvWeight, &[k_h, k_w, c_in, c_out]) => {
            Tensor::from_slice(shape, &transposed(x, c_out, c_in, k_h * k_w))
        }
        (ParamKind::LinearWeight, &[inputs, outputs]) => Tensor::from_slice(shape, &transposed(x, outputs, inputs, 1)),
        _ => Tensor::from_slice(shape, x),
    }
}

/// `(a, b, c)` with its dimensions reversed: `(c, b, a)`.
fn transposed(x: &[f32], a: usize, b: usize, c: usize) -> Vec<f32> {
    let mut y = Vec::with_capacity(x.len());
    for k in 0..c {
        for j in 0..b {
            y.extend((0..a).map(|i| x[(i * b + j) * c + k]));
        }
    }
    y
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_hold_oihw_and_out_in() {
        // (K_h, K_w, C_in, C_out) = (1, 2, 2, 3): value 100*k_w + 10*c_in + c_out
        let conv = Tensor::from_fn([1, 2, 2, 3], |i| (100 * (i / 6) + 10 * (i / 3 % 2) + i % 3) as f32);
        let (shape, values) = to_file(ParamKind::ConvWeight, &conv);
        assert_eq!(shape, Shape::from([3, 2, 1, 2]));
        assert_eq!(values, [0., 100., 10., 110., 1., 101., 11., 111., 2., 102., 12., 112.]);
        assert_eq!(from_file(ParamKind::ConvWeight, conv.shape(), &values).data(), conv.data());

        let linear = Tensor::from_fn([2, 3], |i| i as f32);
        let (shape, values) = to_file(ParamKind::LinearWeight, &linear);
        assert_eq!((shape, &values[..]), (Shape::from([3, 2]), &[0., 3., 1., 4., 2., 5.][..]));
        assert_eq!(from_file(ParamKind::LinearWeight, linear.shape(), &values).data(), linear.data());
    }
}
