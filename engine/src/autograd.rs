//! All of reverse-mode automatic differentiation.
//!
//! An op that has a differentiable input calls [`Tensor::record`]; the result then holds a [`Node`]: the op (with exactly
//! what it saved) and the nodes of its inputs. [`Tensor::backward_steps`] walks the nodes from the newest to the oldest, an
//! order in which every node has its whole gradient before its turn. Training drains that iterator
//! ([`Tensor::backward`]); a debugger steps it.

use crate::grad::GradOutput;
use crate::kernels::lazy_sum::TermSums;
use crate::reference::Array;
use crate::shape::Shape;
use crate::tensor::Tensor;
use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// What an op says about itself, for people.
#[derive(Clone, Copy, Debug)]
pub struct OpDoc {
    /// Name of the op, as in `conv2d`.
    pub name: &'static str,
    /// The forward formula, as in `y = max(x, 0)`; the notation is that of [`crate::formula`].
    pub formula: &'static str,
    /// The vector-Jacobian product, as in `grad_x = grad_output * (y > 0)`: a statement for each input.
    pub gradient: &'static str,
}

/// The backward half of an op. The fields of the implementing struct are exactly what is saved for it.
pub trait Backward: Send + Sync {
    /// Name and formulas.
    fn doc(&self) -> OpDoc;

    /// Turns the gradient of the output into gradients of the inputs, handed to `grads` by position. Skips inputs for
    /// which [`Grads::needs`] is false.
    fn backward(&self, grad_output: GradOutput, grads: &mut Grads);

    /// This, for an op that computes more at once where it knows what made its input.
    fn as_any(&self) -> Option<&dyn Any> {
        None
    }

    /// The forward pass again, naively and in `f64`.
    fn reference(&self, inputs: &[&Array]) -> Array;

    /// What the formulas call the inputs, in order; empty if the op does not say.
    fn inputs(&self) -> Vec<String> {
        vec![]
    }

    /// Settings of the op, such as `stride` and `2`.
    fn attributes(&self) -> Vec<(&'static str, String)> {
        vec![]
    }

    /// The same computation of other inputs, recorded: a plain op repeats itself, a fused one runs as the plain ops that it stands
    /// for. `None` if the op does not say how.
    fn again(&self, _inputs: &[&Tensor]) -> Option<Tensor> {
        None
    }

    /// The choices that the op makes at these inputs, in a fixed order: whether a ReLU lets a value through (0 below, 1, 2 above a
    /// ceiling), where in its window a maximum lies. Between two inputs with the same choices the op is smooth; between others
    /// there is a kink, and a finite difference across it means nothing. Smooth ops make no choices.
    fn choices(&self, _inputs: &[&Array]) -> Vec<u32> {
        vec![]
    }

    /// The choices that the forward pass made, as [`backward`](Backward::backward) takes them: from what was saved, in `f32`. `None`
    /// if there are none to make, or the op does not say; then differences are only taken where both sides choose alike.
    fn chosen(&self) -> Option<Vec<u32>> {
        None
    }

    /// [`reference`](Backward::reference) with the choices given instead of made: one smooth function of the inputs. Needed by an op
    /// that says what was [`chosen`](Backward::chosen).
    fn held(&self, inputs: &[&Array], _choices: &[u32]) -> Array {
        self.reference(inputs)
    }
}

/// Where an input of a node came from.
#[derive(Clone)]
pub enum Input {
    /// Made by another node, or a leaf.
    Node(Arc<Node>),
    /// Not differentiable.
    Constant(Tensor),
}

/// One entry of the tape.
pub struct Node {
    id: u64,
    shape: Shape,
    inputs: Vec<Input>,
    /// How many inputs of other nodes this is.
    readers: AtomicUsize,
    /// Taken by the backward pass, which so frees what was saved; `None` from the start for a leaf.
    op: Mutex<Option<Arc<dyn Backward>>>,
    leaf: bool,
}

impl Node {
    /// Increases along the tape; an input's id is smaller than its consumer's.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Shape of the node's output.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// The inputs, in the op's order. Empty for a leaf.
    pub fn inputs(&self) -> &[Input] {
        &self.inputs
    }

    /// Whether this is a leaf: a tensor that [`Tensor::requires_grad`] was called on.
    pub fn is_leaf(&self) -> bool {
        self.leaf
    }

    /// The op, unless this is a leaf or the backward pass has come by.
    pub fn op(&self) -> Option<Arc<dyn Backward>> {
        self.op.lock().unwrap_or_else(|e| e.into_inner()).clone()
    }

    /// What this op alone contributes to the gradient of each input, given that of its output: the vector-Jacobian product.
    /// An input that is read twice gets two contributions; `None` where no gradient is wanted.
    ///
    /// # Panics
    /// If there is no op (any more), or `grad_output` has another shape.
    #[track_caller]
    pub fn contributions(&self, grad_output: &Tensor) -> Vec<Option<Tensor>> {
        assert_eq!(grad_output.shape(), self.shape, "contributions: grad_output must have the output's shape");
        let op = self.op().expect("contributions: a leaf, or an op that the backward pass has freed");
        // Each place has a stand-in of its own, which the op's gradients are gathered in.
        let stand_ins = self.inputs.iter().map(|input| match input {
            Input::Constant(tensor) => Input::Constant(tensor.clone()),
            Input::Node(node) => Input::Node(Arc::new(Node {
                id: next_id(),
                shape: node.shape,
                inputs: vec![],
                readers: AtomicUsize::new(0),
                op: Mutex::new(None),
                leaf: true,
            })),
        });
        let stand_ins: Vec<Input> = stand_ins.collect();
        let mut pending = BTreeMap::new();
        let mut grads = Grads { inputs: &stand_ins, pending: &mut pending, all_shown: true };
        op.backward(GradOutput::from(grad_output.detach()), &mut grads);
        let gathered = |input: &Input| match input {
            Input::Constant(_) => None,
            Input::Node(node) => pending.remove(&node.id).map(|Pending { grad, .. }| grad.into_tensor()),
        };
        stand_ins.iter().map(gathered).collect()
    }
}

impl Drop for Node {
    /// Unlinks the chain in a loop: recursion would overflow the stack on networks of a thousand layers.
    fn drop(&mut self) {
        let mut stack = std::mem::take(&mut self.inputs);
        while let Some(input) = stack.pop() {
            if let Input::Node(node) = input
                && let Some(mut node) = Arc::into_inner(node)
            {
                stack.append(&mut node.inputs);
            }
        }
    }
}

thread_local! {
    static RECORDING: Cell<bool> = const { Cell::new(true) };
}

/// Runs `f` without recording: its tensors are off the tape, and what ops would save is dropped at once.
pub fn no_grad<T>(f: impl FnOnce() -> T) -> T {
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            RECORDING.set(self.0);
        }
    }
    let _restore = Restore(RECORDING.replace(false));
    f()
}

/// Sees the output of every op as it is made.
type Observer = Box<dyn FnMut(&Tensor, OpDoc)>;

thread_local! {
    static OBSERVER: RefCell<Option<Observer>> = const { RefCell::new(None) };
}

/// Runs `f` while `observer` is shown the output of every op that this thread computes, recorded or not, with what the op says
/// about itself: to find the first value that is not finite. The observer must not compute with tensors itself.
pub fn observe<T>(observer: impl FnMut(&Tensor, OpDoc) + 'static, f: impl FnOnce() -> T) -> T {
    struct Restore(Option<Observer>);
    impl Drop for Restore {
        fn drop(&mut self) {
            OBSERVER.set(self.0.take());
        }
    }
    let _restore = Restore(OBSERVER.replace(Some(Box::new(observer))));
    f()
}

fn next_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

impl Tensor {
    /// The same values as a leaf of the tape: gradients flow to it, and [`Gradients::get`] finds them by it and its clones.
    pub fn requires_grad(&self) -> Tensor {
        let (shape, inputs, readers) = (self.shape(), vec![], AtomicUsize::new(0));
        let node = Node { id: next_id(), shape, inputs, readers, op: Mutex::new(None), leaf: true };
        self.detach().with_node(node)
    }

    /// Whether gradients flow to or through this tensor.
    pub fn is_recorded(&self) -> bool {
        self.node.is_some()
    }

    /// The tape node that made this tensor.
    pub fn node(&self) -> Option<&Arc<Node>> {
        self.node.as_ref()
    }

    /// Puts the op that made this tensor on the tape, unless no input is differentiable or [`no_grad`] is in force. `op` must
    /// not own this tensor's node (save a [`detach`](Tensor::detach)ed clone of an output).
    pub fn record(self, inputs: &[&Tensor], op: impl Backward + 'static) -> Tensor {
        let doc = OBSERVER.with_borrow(|observer| observer.is_some().then(|| op.doc()));
        let output = self.attach(inputs, op);
        if let Some(doc) = doc {
            OBSERVER.with_borrow_mut(|observer| {
                if let Some(observer) = observer {
                    observer(&output, doc);
                }
            });
        }
        output
    }

    fn attach(self, inputs: &[&Tensor], op: impl Backward + 'static) -> Tensor {
        if !RECORDING.get() || inputs.iter().all(|t| t.node.is_none()) {
            return self.detach();
        }
        let inputs = inputs.iter().map(|t| match &t.node {
            Some(node) => {
                node.readers.fetch_add(1, Ordering::Relaxed);
                Input::Node(node.clone())
            }
            None => Input::Constant((*t).clone()),
        });
        let node = Node {
            id: next_id(),
            shape: self.shape(),
            inputs: inputs.collect(),
            readers: AtomicUsize::new(0),
            op: Mutex::new(Some(Arc::new(op))),
            leaf: false,
        };
        self.with_node(node)
    }

    /// Gradients of this scalar with respect to every leaf it depends on. What the ops saved is freed on the way.
    ///
    /// # Panics
    /// If this is not a single element, is not on the tape, or its tape was walked before.
    #[track_caller]
    pub fn backward(&self) -> Gradients {
        assert_eq!(self.elements(), 1, "backward: the loss must be a scalar, it has shape {}", self.shape());
        let mut steps = self.backward_steps(Tensor::full(self.shape(), 1.0));
        steps.by_ref().for_each(drop);
        steps.into_gradients()
    }

    /// The backward pass from this tensor, one node a step, given the gradient of the (unnamed) loss with respect to it.
    ///
    /// # Panics
    /// If this tensor is not on the tape or `grad_output` has another shape.
    #[track_caller]
    pub fn backward_steps(&self, grad_output: Tensor) -> BackwardSteps {
        let node = self.node.as_ref().expect("backward: the tensor is not on the tape");
        assert_eq!(
            grad_output.shape(),
            self.shape(),
            "backward: grad_output {} does not match the tensor {}",
            grad_output.shape(),
            self.shape()
        );
        let pending = Pending { node: node.clone(), grad: GradOutput::from(grad_output.detach()), read: 0 };
        BackwardSteps {
            pending: BTreeMap::from([(node.id, pending)]),
            gradients: Gradients::default(),
            keep_tape: false,
        }
    }
}

/// A node whose gradient is being gathered.
struct Pending {
    node: Arc<Node>,
    grad: GradOutput,
    /// How many of its readers have been walked.
    read: usize,
}

/// The backward pass as an iterator; see [`Tensor::backward_steps`].
pub struct BackwardSteps {
    pending: BTreeMap<u64, Pending>,
    gradients: Gradients,
    keep_tape: bool,
}

/// One step of the backward pass, already carried out.
pub struct BackwardStep {
    /// The node that was walked.
    pub node: Arc<Node>,
    /// The whole gradient of its output; only in a walk that [keeps the tape](BackwardSteps::keep_tape).
    pub grad_output: Option<Tensor>,
}

impl BackwardSteps {
    /// Leaves the saved values in place, so that the tape can be replayed or walked again, and reports each step's
    /// `grad_output`. Costs the memory that the walk would have freed.
    pub fn keep_tape(mut self) -> BackwardSteps {
        self.keep_tape = true;
        self
    }

    /// The gradients gathered so far; complete when the iterator has ended.
    pub fn into_gradients(self) -> Gradients {
        self.gradients
    }
}

impl Iterator for BackwardSteps {
    type Item = BackwardStep;

    fn next(&mut self) -> Option<BackwardStep> {
        let (id, Pending { node, grad, .. }) = self.pending.pop_last()?;
        if node.leaf {
            let grad = grad.into_tensor();
            let grad_output = self.keep_tape.then(|| grad.clone());
            self.gradients.0.insert(id, grad);
            return Some(BackwardStep { node, grad_output });
        }
        let op = {
            let mut op = node.op.lock().unwrap_or_else(|e| e.into_inner());
            if self.keep_tape { op.clone() } else { op.take() }
        };
        let op = op.expect("backward: this tape was walked before, and what its ops saved is gone");
        let (grad, grad_output) = if self.keep_tape {
            let whole = grad.into_tensor();
            (GradOutput::from(whole.clone()), Some(whole))
        } else {
            (grad, None)
        };
        let mut grads = Grads { inputs: &node.inputs, pending: &mut self.pending, all_shown: self.keep_tape };
        op.backward(grad, &mut grads);
        for input in &node.inputs {
            if let Input::Node(input) = input
                && let Some(pending) = self.pending.get_mut(&input.id)
            {
                pending.read += 1;
            }
        }
        Some(BackwardStep { node, grad_output })
    }
}

/// Where an op puts the gradients of its inputs. The tape owns their sums.
pub struct Grads<'a> {
    inputs: &'a [Input],
    pending: &'a mut BTreeMap<u64, Pending>,
    /// Whether somebody looks at the gradient of each input.
    all_shown: bool,
}

impl Grads<'_> {
    /// Whether input `i` wants a gradient.
    pub fn needs(&self, i: usize) -> bool {
        matches!(self.inputs[i], Input::Node(_))
    }

    /// The op that made input `i`, if this is the last contribution to that op's gradient, all of which is explicit: what the op does first
    /// with it may then be done here ([`masked`](Grads::masked)). Not while somebody looks at each gradient.
    pub(crate) fn last_from(&self, i: usize) -> Option<Arc<dyn Backward>> {
        let Input::Node(node) = &self.inputs[i] else { return None };
        let pending = self.pending.get(&node.id);
        let read = pending.map_or(0, |pending| pending.read);
        let explicit = pending.is_none_or(|pending| !pending.grad.has_affine());
        let last = read + 1 == node.readers.load(Ordering::Relaxed);
        if last && explicit && !self.all_shown { node.op() } else { None }
    }

    /// Says that the gradient of input `i` is complete and has been through the residual sum that made it.
    pub(crate) fn masked(&mut self, i: usize, sums: Vec<Option<TermSums>>) {
        if let Some(slot) = self.slot(i) {
            slot.set_masked(sums);
        }
    }

    fn slot(&mut self, i: usize) -> Option<&mut GradOutput> {
        let Input::Node(node) = &self.inputs[i] else { return None };
        let pending = self.pending.entry(node.id).or_insert_with(|| Pending {
            node: node.clone(),
            grad: GradOutput::empty(node.shape),
            read: 0,
        });
        Some(&mut pending.grad)
    }

    /// Adds `grad`, of input `i`'s shape, to that input's gradient.
    #[track_caller]
    pub fn add(&mut self, i: usize, grad: Tensor) {
        if let Some(slot) = self.slot(i) {
            slot.add(grad);
        }
    }

    /// Adds `grad * scale[c]`, without computing it now.
    #[track_caller]
    pub fn add_scaled(&mut self, i: usize, grad: Tensor, scale: Tensor) {
        if let Some(slot) = self.slot(i) {
            slot.add_scaled(grad, scale);
        }
    }

    /// Adds `slope[c] * map + offset[c]`, without computing it now; `coefficients` is `(2, C)`: slopes, then offsets.
    #[track_caller]
    pub fn add_affine_of(&mut self, i: usize, map: Tensor, coefficients: Tensor) {
        if let Some(slot) = self.slot(i) {
            slot.add_affine_of(map, coefficients);
        }
    }

    /// Lets an op add into the tape's own buffer in place: `write(buffer, fresh)` must store its contribution where
    /// `fresh`, and add it otherwise. Not called for an input that needs no gradient.
    pub fn accumulate(&mut self, i: usize, write: impl FnOnce(&mut [f32], bool)) {
        let shape = match &self.inputs[i] {
            Input::Node(node) => node.shape,
            Input::Constant(_) => return,
        };
        let grad = match self.slot(i).and_then(GradOutput::take) {
            None => Tensor::build(shape, |out| write(out, true)),
            Some(mut grad) => {
                write(grad.data_mut(), false);
                grad
            }
        };
        self.add(i, grad);
    }

    /// [`accumulate`](Grads::accumulate) for several inputs at once: `write` is handed, for each of the first `n` inputs that needs
    /// a gradient, its buffer and whether that is fresh. It must store its contribution into a fresh buffer and
    /// add to another. For maps with many readers (dense blocks), where separate tensors would cost a pass each.
    pub fn accumulate_all(&mut self, n: usize, write: impl FnOnce(Vec<Option<(&mut [f32], bool)>>)) {
        // Taken out of the tape meanwhile; a map that is read twice gets a second, fresh buffer.
        let mut taken: Vec<Option<(Tensor, bool)>> = (0..n)
            .map(|i| {
                let Input::Node(node) = &self.inputs[i] else { return None };
                let shape = node.shape;
                let grad = self.slot(i)?.take();
                Some(grad.map_or_else(|| (Tensor::build(shape, |_| {}), true), |grad| (grad, false)))
            })
            .collect();
        write(taken.iter_mut().map(|t| t.as_mut().map(|(grad, fresh)| (grad.data_mut(), *fresh))).collect());
        for (i, grad) in taken.into_iter().enumerate() {
            if let Some((grad, _)) = grad {
                self.add(i, grad);
            }
        }
    }
}

/// Gradients by leaf.
#[derive(Default)]
pub struct Gradients(HashMap<u64, Tensor>);

impl Gradients {
    /// The gradient of a leaf (or of any clone of it). `None` if the loss does not depend on it.
    pub fn get(&self, leaf: &Tensor) -> Option<&Tensor> {
        self.0.get(&leaf.node.as_ref()?.id)
    }

    /// For changing gradients in place, as clipping does.
    pub fn get_mut(&mut self, leaf: &Tensor) -> Option<&mut Tensor> {
        self.0.get_mut(&leaf.node.as_ref()?.id)
    }
}

/// The nodes that `output` depends on, oldest first, leaves included.
pub fn tape(output: &Tensor) -> Vec<Arc<Node>> {
    let mut found = BTreeMap::new();
    let mut stack: Vec<_> = output.node.iter().cloned().collect();
    while let Some(node) = stack.pop() {
        for input in &node.inputs {
            if let Input::Node(input) = input
                && !found.contains_key(&input.id)
            {
                stack.push(input.clone());
            }
        }
        found.insert(node.id, node);
    }
    found.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::rc::Rc;

    #[test]
    fn an_observer_sees_every_op_in_order_and_only_while_it_is_on() {
        let seen: Rc<RefCell<Vec<(&str, f32)>>> = Rc::default();
        let x = Tensor::from_slice([2], &[1.0, -2.0]).requires_grad();
        let log = seen.clone();
        let watch = move |output: &Tensor, doc: OpDoc| log.borrow_mut().push((doc.name, output.data()[0]));
        observe(watch, || {
            x.scale(3.0).relu();
            no_grad(|| x.scale(2.0))
        });
        x.scale(5.0);
        assert_eq!(*seen.borrow(), [("scale", 3.0), ("relu", 3.0), ("scale", 2.0)]);
    }

    /// The identity, which notes whether its gradient was the last of its input's.
    struct Reader(Arc<Mutex<Vec<bool>>>);

    impl Backward for Reader {
        fn doc(&self) -> OpDoc {
            OpDoc { name: "reader", formula: "y = x", gradient: "grad_x = grad_output" }
        }

        fn backward(&self, grad_output: GradOutput, grads: &mut Grads) {
            self.0.lock().expect("nobody panicked").push(grads.last_from(0).is_some());
            grads.add(0, grad_output.into_tensor());
        }

        fn reference(&self, inputs: &[&Array]) -> Array {
            inputs[0].clone()
        }
    }

    #[test]
    fn only_the_last_reader_to_be_walked_is_told_and_nobody_in_a_walk_that_shows_gradients() {
        let walk = |readers: usize, keep_tape: bool| {
            let told = Arc::default();
            let x = Tensor::from_slice([2], &[1.0, -2.0]).requires_grad().scale(3.0);
            let read = |_| x.detach().record(&[&x], Reader(Arc::clone(&told)));
            let loss = (0..readers).map(read).reduce(|a, b| a.add(&b)).expect("a reader").sum();
            let steps = loss.backward_steps(Tensor::full(loss.shape(), 1.0));
            if keep_tape {
                steps.keep_tape().for_each(drop)
            } else {
                steps.for_each(drop)
            }
            told.lock().expect("nobody panicked").clone()
        };
        assert_eq!(walk(1, false), [true]);
        assert_eq!(walk(3, false), [false, false, true]);
        assert_eq!(walk(3, true), [false; 3]);
    }
}
