//! From a training step's tape to plain ops: each fused op runs again as the plain ops that it stands for.

use super::names::{Names, axes};
use super::{Contribution, Forward, Fused, Leaf, Op, Recording, Role, Slot, Step, stats};
use engine::autograd::{Input, Node, observe, tape};
use engine::grad::GradOutput;
use engine::{Array, Backward, Grads, OpDoc, Tensor};
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

/// Runs `f` and returns, with its result, the output of every op that it put on the tape.
fn watched<T>(f: impl FnOnce() -> T) -> (T, Vec<Tensor>) {
    let made: Rc<RefCell<Vec<Tensor>>> = Rc::default();
    let sink = made.clone();
    let keep = move |output: &Tensor, _: OpDoc| {
        if output.is_recorded() {
            sink.borrow_mut().push(output.clone());
        }
    };
    let result = observe(keep, f);
    (result, made.take())
}

fn id(tensor: &Tensor) -> u64 {
    tensor.node().map_or(0, |node| node.id())
}

/// A forward pass that has run: its tape, and the value of every op on it.
pub struct Watched {
    forward: Forward,
    values: HashMap<u64, Tensor>,
}

impl Watched {
    /// Runs `forward`.
    pub fn run(forward: impl FnOnce() -> Forward) -> Watched {
        let (forward, made) = watched(forward);
        let values = made.into_iter().map(|tensor| (id(&tensor), tensor.detach())).collect();
        Watched { forward, values }
    }

    /// Walks the backward pass and takes both passes apart.
    ///
    /// # Panics
    /// As [`Recording::of`].
    #[track_caller]
    pub fn take_apart(self, leaves: &[Leaf]) -> Recording {
        take_apart(leaves, self)
    }
}

#[track_caller]
fn take_apart(leaves: &[Leaf], Watched { forward: Forward { loss, named }, values }: Watched) -> Recording {
    assert_eq!(loss.elements(), 1, "record: the loss must be one element, it has shape {}", loss.shape());
    let named: HashMap<u64, String> = named.into_iter().map(|(name, tensor)| (id(&tensor), name)).collect();

    let mut build = Build { recording: Recording::empty(), slots: HashMap::new(), names: Names::default() };
    let mut now: HashMap<u64, Tensor> = HashMap::new();
    for leaf in leaves {
        now.insert(id(&leaf.tensor), leaf.tensor.clone());
    }
    let nodes = tape(&loss);
    for leaf in leaves.iter().filter(|leaf| nodes.iter().any(|node| node.id() == id(&leaf.tensor))) {
        build.leaf(leaf);
    }
    for node in nodes.iter().filter(|node| !node.is_leaf()) {
        let op = node.op().expect("the tape is whole: no backward pass has come by");
        let inputs: Vec<Tensor> = node.inputs().iter().map(|input| build.current(input, &now)).collect();
        let inputs: Vec<&Tensor> = inputs.iter().collect();
        let (output, made) = watched(|| {
            op.again(&inputs).unwrap_or_else(|| {
                let value = values
                    .get(&node.id())
                    .cloned()
                    .unwrap_or_else(|| narrow(&op.reference(&widen(&inputs).iter().collect::<Vec<_>>())));
                value.record(&inputs, Held(op.clone()))
            })
        });
        let value = values.get(&node.id());
        build.take(node, op.doc(), &made, value.zip(Some(&output)), named.get(&node.id()).map(String::as_str));
        now.insert(node.id(), output);
    }
    let loss = &now[&id(&loss)];
    let mut recording = build.recording;
    recording.loss = build.slots[&id(loss)];
    walk(&mut recording, &build.slots, loss);
    for i in 0..recording.tensors.len() {
        let slot = &recording.tensors[i];
        let op = slot.maker.map(|maker| recording.ops[maker].doc.name);
        recording.tensors[i].axes = axes(&slot.name, slot.role, slot.value.shape().len(), op);
    }
    recording
}

impl Recording {
    fn empty() -> Recording {
        Recording { tensors: vec![], ops: vec![], backward: vec![], fused: vec![], loss: 0 }
    }
}

/// A recording while it is made.
struct Build {
    recording: Recording,
    /// Tensors by node.
    slots: HashMap<u64, usize>,
    names: Names,
}

impl Build {
    fn leaf(&mut self, leaf: &Leaf) {
        let slot = self.slot(leaf.name.clone(), leaf.role, &leaf.tensor, None);
        self.slots.insert(id(&leaf.tensor), slot);
    }

    /// The tensor that now stands where `input` stood.
    #[track_caller]
    fn current(&self, input: &Input, now: &HashMap<u64, Tensor>) -> Tensor {
        match input {
            Input::Constant(tensor) => tensor.clone(),
            Input::Node(node) => {
                now.get(&node.id()).expect("record: the loss depends on a leaf that is not named").clone()
            }
        }
    }

    fn slot(&mut self, name: String, role: Role, value: &Tensor, maker: Option<usize>) -> usize {
        let tensors = &mut self.recording.tensors;
        let name = self.names.unique(name);
        tensors.push(Slot { name, role, value: value.detach(), grad: None, axes: vec![], maker, readers: vec![] });
        tensors.len() - 1
    }

    fn input(&mut self, input: &Input) -> usize {
        let tensor = match input {
            Input::Node(node) => return self.slots[&node.id()],
            Input::Constant(tensor) => tensor,
        };
        // The same constant read twice is one tensor.
        let is_it = |slot: &Slot| {
            slot.role == Role::Constant
                && slot.value.shape() == tensor.shape()
                && std::ptr::eq(slot.value.data(), tensor.data())
        };
        if let Some(slot) = self.recording.tensors.iter().position(is_it) {
            return slot;
        }
        self.slot("constant".into(), Role::Constant, tensor, None)
    }

    /// Takes in the plain ops that stand for one op of the step. `values` are the step's output and theirs.
    fn take(
        &mut self,
        node: &Arc<Node>,
        doc: OpDoc,
        made: &[Tensor],
        values: Option<(&Tensor, &Tensor)>,
        given: Option<&str>,
    ) {
        let first = self.recording.ops.len();
        let fused = (made.len() > 1).then_some(self.recording.fused.len());
        for (i, output) in made.iter().enumerate() {
            let plain = output.node().expect("watched: on the tape").clone();
            let inputs: Vec<usize> = plain.inputs().iter().map(|input| self.input(input)).collect();
            let op = plain.op().expect("nothing has walked this tape");
            let place = self.recording.ops.len();
            let given = given.filter(|_| i + 1 == made.len());
            let (path, block, name) = self.names.of(&self.recording, op.doc().name, &inputs, given);
            let role = if output.elements() == 1 { Role::Scalar } else { Role::Activation };
            let slot = self.slot(name, role, output, Some(place));
            self.slots.insert(plain.id(), slot);
            for (position, &input) in inputs.iter().enumerate() {
                self.recording.tensors[input].readers.push((place, position));
            }
            self.recording.ops.push(Op { doc: op.doc(), op, path, block, inputs, output: slot, fused });
        }
        if fused.is_some() {
            let ops: Vec<usize> = (first..self.recording.ops.len()).collect();
            let path = self.names.module_of(&self.recording, &ops);
            let max_difference = values.map_or(f64::NAN, |(step, plain)| difference(step, plain));
            self.recording.fused.push(Fused { op: doc.name, path, ops, max_difference });
        }
        debug_assert!(made.is_empty() || made.iter().any(|t| t.shape() == node.shape()));
    }
}

/// Largest difference over the largest magnitude of `a`.
fn difference(a: &Tensor, b: &Tensor) -> f64 {
    let (mut most, mut reach) = (0.0f64, f64::MIN_POSITIVE);
    for (&a, &b) in a.data().iter().zip(b.data()) {
        // Values that are not finite differ unless both are alike.
        let gap = if a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan()) { 0.0 } else { f64::from((a - b).abs()) };
        most = if gap.is_nan() { f64::INFINITY } else { most.max(gap) };
        reach = reach.max(f64::from(a.abs()));
    }
    most / reach
}

/// The backward pass, with the contributions of each op.
fn walk(recording: &mut Recording, slots: &HashMap<u64, usize>, loss: &Tensor) {
    let steps = loss.backward_steps(Tensor::full(loss.shape(), 1.0)).keep_tape();
    for step in steps {
        let (Some(&slot), Some(grad)) = (slots.get(&step.node.id()), step.grad_output) else { continue };
        let op = recording.tensors[slot].maker;
        if let Some(op) = op {
            let parts = step.node.contributions(&grad).into_iter().enumerate();
            let contribution = |(input, value): (usize, Option<Tensor>)| {
                let value = value?;
                let to = recording.ops[op].inputs[input];
                Some(Contribution { input, to, norm: stats::norm(value.data()), value, share: 1.0 })
            };
            let contributions = parts.filter_map(contribution).collect();
            recording.backward.push(Step { op, contributions });
        }
        recording.tensors[slot].grad = Some(grad);
    }
    let mut totals = vec![(0.0, 0usize); recording.tensors.len()];
    for part in recording.backward.iter().flat_map(|step| &step.contributions) {
        totals[part.to].0 += part.norm;
        totals[part.to].1 += 1;
    }
    for part in recording.backward.iter_mut().flat_map(|step| &mut step.contributions) {
        let (total, count) = totals[part.to];
        part.share = if total > 0.0 { part.norm / total } else { 1.0 / count as f64 };
        if count == 1
            && let Some(grad) = &recording.tensors[part.to].grad
        {
            // One contribution is the gradient: the memory is shared.
            part.value = grad.clone();
        }
    }
}

pub(super) fn widen(tensors: &[&Tensor]) -> Vec<Array> {
    tensors.iter().map(|tensor| Array::from_tensor(tensor)).collect()
}

pub(super) fn narrow(array: &Array) -> Tensor {
    Tensor::from_fn(array.shape, |i| array.data[i] as f32)
}

/// An op that cannot repeat itself, as it was in the step.
struct Held(Arc<dyn Backward>);

impl Backward for Held {
    fn doc(&self) -> OpDoc {
        self.0.doc()
    }

    fn backward(&self, grad_output: GradOutput, grads: &mut Grads) {
        self.0.backward(grad_output, grads);
    }

    fn reference(&self, inputs: &[&Array]) -> Array {
        self.0.reference(inputs)
    }

    fn inputs(&self) -> Vec<String> {
        self.0.inputs()
    }

    fn attributes(&self) -> Vec<(&'static str, String)> {
        self.0.attributes()
    }

    fn choices(&self, inputs: &[&Array]) -> Vec<u32> {
        self.0.choices(inputs)
    }

    fn chosen(&self) -> Option<Vec<u32>> {
        self.0.chosen()
    }

    fn held(&self, inputs: &[&Array], choices: &[u32]) -> Array {
        self.0.held(inputs, choices)
    }
}
