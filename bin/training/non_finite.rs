//! Finding where the first NaN or infinity of a step came from, by taking the step again and watching.

use engine::Tensor;
use engine::autograd::{self, Input, Node};
use nn::Param;
use std::cell::RefCell;
use std::collections::HashMap;
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
    let modules = Modules::of(params);
    let found: Rc<RefCell<Option<String>>> = Rc::default();
    let loss = {
        let (found, modules) = (found.clone(), modules.clone());
        let (mut count, mut last) = (0, None);
        let watch = move |output: &Tensor, doc: engine::OpDoc| {
            let mut found = found.borrow_mut();
            if found.is_some() {
                return;
            }
            count += 1;
            let own = output.node().and_then(|node| modules.read_by(node));
            if !is_clean(output.data()) {
                let place = match (&own, &last) {
                    (Some(own), _) => format!(", in {own}"),
                    (None, Some(last)) => format!(", after {last}"),
                    _ => String::new(),
                };
                let (name, shape) = (doc.name, output.shape());
                let text = format!(
                    "the first op with a non-finite output is {name} {shape}, op {count} of the forward pass{place}"
                );
                *found = Some(text);
            }
            last = own.or(last.take());
        };
        autograd::observe(watch, forward)
    };
    found.take().unwrap_or_else(|| first_of_backward(params, &modules, &loss))
}

/// The modules of a network, by the tape's leaves.
#[derive(Clone)]
struct Modules(HashMap<u64, String>);

impl Modules {
    fn of(params: &[(String, Param)]) -> Modules {
        let module = |(name, param): &(String, Param)| {
            let (module, _) = name.rsplit_once('.')?;
            Some((param.value().node()?.id(), module.to_string()))
        };
        Modules(params.iter().filter_map(module).collect())
    }

    /// The module whose parameter a node reads.
    fn read_by(&self, node: &Node) -> Option<String> {
        node.inputs().iter().find_map(|input| match input {
            Input::Node(leaf) => self.0.get(&leaf.id()).cloned(),
            Input::Constant(_) => None,
        })
    }
}

fn first_of_backward(params: &[(String, Param)], modules: &Modules, loss: &Tensor) -> String {
    let mut steps = loss.backward_steps(Tensor::full(loss.shape(), 1.0)).keep_tape();
    let called = |node: &Node| {
        let name = node.op().map(|op| op.doc().name)?;
        Some(modules.read_by(node).map_or_else(|| name.to_string(), |module| format!("{name} in {module}")))
    };
    let mut before = "the loss".to_string();
    let bad = steps.find_map(|step| {
        if step.grad_output.as_ref().is_some_and(|g| !is_clean(g.data())) {
            return Some(step.node);
        }
        before = called(&step.node).unwrap_or(std::mem::take(&mut before));
        None
    });
    let Some(node) = bad else { return "taken again, every value was finite".into() };
    let of = match called(&node) {
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
    fn the_module_is_named_by_what_it_reads() {
        let params =
            vec![("block.0.fc.weight".to_string(), Param::new(Tensor::full([2, 2], 1e30), ParamKind::LinearWeight))];
        let w = params[0].1.value();
        let x = Tensor::full([1, 2], 1e20);
        let message = first(&params, || x.matmul(&w).sum());
        assert!(message.ends_with("is matmul (1, 2), op 1 of the forward pass, in block.0.fc"), "{message}");
        let message = first(&params, || w.scale(1e-30).scale(1e38).scale(1e38).sum());
        assert!(message.ends_with("op 3 of the forward pass, after block.0.fc"), "{message}");
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
