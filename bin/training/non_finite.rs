//! Finding where the first NaN or infinity of a step came from, by taking the step again and watching.

use engine::autograd::{self, Input, Node, tape};
use engine::{OpDoc, Shape, Tensor};
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
    let found: Rc<RefCell<Option<Found>>> = Rc::default();
    // Up to the one that is found.
    let made: Rc<RefCell<Vec<Tensor>>> = Rc::default();
    let loss = {
        let (found, made, modules) = (found.clone(), made.clone(), modules.clone());
        let mut last = None;
        let watch = move |output: &Tensor, doc: OpDoc| {
            let mut found = found.borrow_mut();
            if found.is_some() {
                return;
            }
            made.borrow_mut().push(output.clone());
            let own = output.node().and_then(|node| modules.read_by(node));
            if !is_clean(output.data()) {
                *found = Some(Found {
                    op: doc.name,
                    shape: output.shape(),
                    step: None,
                    module: own.clone(),
                    last: last.clone(),
                });
            }
            last = own.or(last.take());
        };
        autograd::observe(watch, forward)
    };
    match found.take() {
        None => first_of_backward(params, &modules, &loss),
        Some(seen) => step_of(params, &modules, &loss, &made.take()).unwrap_or(seen).told(),
    }
}

/// Name of a plain op, shape of its output, and whether that is finite.
type Plain = (&'static str, Shape, bool);

/// An op of the forward pass whose output is not finite.
struct Found {
    op: &'static str,
    /// Of its output.
    shape: Shape,
    /// As `pleach step` counts them, from 1; none if the op is not on the tape.
    step: Option<usize>,
    /// Whose parameter it reads, and the last one before it.
    module: Option<String>,
    last: Option<String>,
}

impl Found {
    fn told(self) -> String {
        let Found { op, shape, .. } = self;
        let step = self.step.map_or_else(String::new, |step| format!(", step {step} of the forward pass"));
        let place = match (self.module, self.last) {
            (Some(own), _) => format!(", in {own}"),
            (None, Some(last)) => format!(", after {last}"),
            _ => String::new(),
        };
        format!("the first op with a non-finite output is {op} {shape}{step}{place}")
    }
}

/// The first plain op whose output is not finite, among those that the ops of `made` stand for: a fused op runs again as these, and `pleach
/// step` shows and counts them. `None` if the last of `made` is not on the tape.
fn step_of(params: &[(String, Param)], modules: &Modules, loss: &Tensor, made: &[Tensor]) -> Option<Found> {
    let params = params.iter().map(|(_, param)| param.value());
    let known = made.iter().cloned().chain(params).filter_map(|tensor| Some((tensor.node()?.id(), tensor)));
    let known: HashMap<u64, Tensor> = known.collect();
    let end = made.last()?.node()?.id();
    let (mut steps, mut last) = (0, None);
    for node in tape(loss).into_iter().filter(|node| !node.is_leaf()) {
        let input = |input: &Input| match input {
            Input::Node(node) => known.get(&node.id()).map(Tensor::requires_grad),
            Input::Constant(tensor) => Some(tensor.clone()),
        };
        let inputs: Vec<Tensor> = node.inputs().iter().map(input).collect::<Option<_>>()?;
        let op = node.op()?;
        let plain: Rc<RefCell<Vec<Plain>>> = Rc::default();
        let sink = plain.clone();
        let watch = move |output: &Tensor, doc: OpDoc| {
            if output.is_recorded() {
                sink.borrow_mut().push((doc.name, output.shape(), is_clean(output.data())));
            }
        };
        let again = autograd::observe(watch, || op.again(&inputs.iter().collect::<Vec<_>>()));
        let plain = if again.is_some() { plain.take() } else { vec![(op.doc().name, node.shape(), node.id() != end)] };
        let module = modules.read_by(&node);
        let bad = plain.iter().position(|(_, _, clean)| !clean);
        // Rounding may leave the plain ops finite where the fused one was not, by a hair.
        if let Some(at) = bad.or((node.id() == end).then(|| plain.len().saturating_sub(1))) {
            let &(op, shape, _) = plain.get(at)?;
            return Some(Found { op, shape, step: Some(steps + at + 1), module, last });
        }
        steps += plain.len();
        last = module.or(last);
    }
    None
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
    use crate::step::record::{Leaf, Recording, Role};
    use engine::gradcheck::sample;
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
        assert_eq!(message, "the first op with a non-finite output is scale (2), step 2 of the forward pass");
    }

    #[test]
    fn the_module_is_named_by_what_it_reads() {
        let params =
            vec![("block.0.fc.weight".to_string(), Param::new(Tensor::full([2, 2], 1e30), ParamKind::LinearWeight))];
        let w = params[0].1.value();
        let x = Tensor::full([1, 2], 1e20);
        let message = first(&params, || x.matmul(&w).sum());
        assert!(message.ends_with("is matmul (1, 2), step 1 of the forward pass, in block.0.fc"), "{message}");
        let message = first(&params, || w.scale(1e-30).scale(1e38).scale(1e38).sum());
        assert!(message.ends_with("step 3 of the forward pass, after block.0.fc"), "{message}");
    }

    #[test]
    fn the_step_and_its_op_are_those_that_pleach_step_opens_at() {
        for size in [1e36, 1e37, 1e38, 3e38] {
            let model = nn::Model::new("resnet8", 10, 0).expect("in the zoo");
            let params = model.params();
            let (_, weight) = params.iter().find(|(name, _)| name == "layer2.0.bn1.weight").expect("a batch norm");
            weight.set(&vec![size; weight.shape().elements()]);
            let images = sample([2, 8, 8, 3]);
            let loss = |images: &Tensor| model.forward(images, &nn::Context::train(0, 1)).cross_entropy(&[3, 7], 0.0);
            let message = first(&params, || loss(&images));
            let images = images.requires_grad();
            let leaf = |(name, param): &(String, Param)| Leaf {
                name: name.clone(),
                role: Role::Parameter,
                tensor: param.value(),
            };
            let mut leaves: Vec<Leaf> = params.iter().map(leaf).collect();
            leaves.push(Leaf { name: "images".into(), role: Role::Input, tensor: images.clone() });
            let recording = Recording::of(&leaves, || loss(&images).into());
            let found = recording.first_non_finite().expect("it overflows");
            let name = recording.ops[found.step].doc.name;
            let start = format!("the first op with a non-finite output is {name} ");
            let step = format!(", step {} of the forward pass, ", found.step + 1);
            assert!(message.starts_with(&start) && message.contains(&step), "{message}, but {name}{step}");
        }
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
