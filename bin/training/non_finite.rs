//! Finding where the first NaN or infinity of a step came from, by taking the step again and watching.

use engine::{Shape, Tensor, autograd};
use nn::Param;
use std::cell::RefCell;
use std::rc::Rc;

/// Whether every value is finite: only then is each 0 times itself, and their sum, 0. (This vectorises; a search does not.)
pub fn is_clean(values: &[f32]) -> bool {
    values.chunks(64).all(|chunk| chunk.iter().map(|v| v * 0.0).sum::<f32>() == 0.0)
}

/// Takes the forward pass `forward` and, if its loss is finite, the backward pass; names the first that is not finite.
pub fn first(params: &[(String, Param)], forward: impl FnOnce() -> Tensor) -> String {
    if let Some((name, _)) = params.iter().find(|(_, param)| !is_clean(param.value().data())) {
        return format!("{name} was already not finite before the step, so the update before was too large");
    }
    let found: Rc<RefCell<Option<(&'static str, Shape)>>> = Rc::default();
    let count = Rc::new(RefCell::new(0usize));
    let loss = {
        let (found, count) = (found.clone(), count.clone());
        let watch = move |output: &Tensor, doc: engine::OpDoc| {
            let mut found = found.borrow_mut();
            if found.is_none() {
                *count.borrow_mut() += 1;
                if !is_clean(output.data()) {
                    *found = Some((doc.name, output.shape()));
                }
            }
        };
        autograd::observe(watch, forward)
    };
    if let Some((name, shape)) = found.take() {
        let nth = count.take();
        return format!("the first op with a non-finite output is {name} {shape}, op {nth} of the forward pass");
    }
    first_of_backward(params, &loss)
}

fn first_of_backward(params: &[(String, Param)], loss: &Tensor) -> String {
    let mut steps = loss.backward_steps(Tensor::full(loss.shape(), 1.0)).keep_tape();
    let mut before = "the loss";
    let bad = steps.find_map(|step| {
        let clean = step.grad_output.as_ref().is_none_or(|g| is_clean(g.data()));
        let op = step.node.op().map(|op| op.doc().name);
        if clean {
            before = op.unwrap_or(before);
            return None;
        }
        Some((step.node, op))
    });
    let Some((node, op)) = bad else { return "taken again, every value was finite".into() };
    let of = match op {
        Some(op) => format!("the output of {op} {}", node.shape()),
        None => {
            let is_it = |param: &Param| param.value().node().is_some_and(|leaf| leaf.id() == node.id());
            let name = params.iter().find(|(_, param)| is_it(param)).map_or("a leaf", |(name, _)| name.as_str());
            format!("{name} {}", node.shape())
        }
    };
    format!("the first non-finite gradient is that of {of}, met in the backward pass after {before}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use nn::ParamKind;

    fn param(value: f32) -> Vec<(String, Param)> {
        vec![("w".into(), Param::new(Tensor::full([2], value), ParamKind::Bias))]
    }

    #[test]
    fn a_chunk_with_nan_or_infinity_is_found() {
        let mut values = vec![f32::MAX; 200];
        assert!(is_clean(&values));
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            values[199] = bad;
            assert!(!is_clean(&values));
        }
    }

    #[test]
    fn the_first_op_of_the_forward_pass_is_named() {
        let params = param(1e30);
        let w = params[0].1.value();
        let message = first(&params, || w.relu().scale(1e30).relu().sum());
        assert_eq!(message, "the first op with a non-finite output is scale (2), op 2 of the forward pass");
    }

    #[test]
    fn a_weight_that_was_spoilt_before_is_named() {
        let params = param(f32::NAN);
        let message = first(&params, || params[0].1.value().sum());
        assert!(message.starts_with("w was already not finite before the step"), "{message}");
    }

    #[test]
    fn a_gradient_that_overflows_is_named() {
        let params = param(1e-30);
        let w = params[0].1.value();
        let message = first(&params, || w.scale(1e30).scale(1e30).scale(1e-20).sum());
        assert!(message.starts_with("the first non-finite gradient is that of"), "{message}");
    }
}
