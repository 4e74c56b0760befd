//! The forward pass again from a changed value.

use super::Recording;
use super::tape::{narrow, widen};
use engine::replay::Piece;
use engine::{Array, Tensor, no_grad};
use std::collections::{BTreeMap, BTreeSet};

/// How to compute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// By the engine's own ops, as in training.
    F32,
    /// By the naive references.
    F64,
    /// The same, with what the ReLUs and maxima of the step chose: for derivatives.
    Held,
}

/// A value to put in place of another.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Change {
    /// Id of the tensor.
    pub tensor: usize,
    /// Flat index into it.
    pub entry: usize,
    /// The new value.
    pub value: f64,
}

/// What follows from a change.
pub struct WhatIf {
    /// The changed tensors and every tensor that depends on them, by id: before and after, both in the same precision.
    pub tensors: BTreeMap<usize, (Array, Array)>,
    /// Loss before.
    pub loss_before: f64,
    /// Loss after.
    pub loss: f64,
}

impl Recording {
    /// Changes values and computes what follows from them, up to the loss. A tensor that an op makes keeps a changed value, whatever
    /// the op would make of it.
    pub fn what_if(&self, changes: &[Change], precision: Precision) -> WhatIf {
        let mut changed: BTreeMap<usize, Array> = BTreeMap::new();
        let mut before = changed.clone();
        for change in changes {
            let value = &self.tensors[change.tensor].value;
            before.insert(change.tensor, Array::from_tensor(value));
            let array = changed.entry(change.tensor).or_insert_with(|| Array::from_tensor(value));
            array.data[change.entry] = change.value;
        }
        let order = self.downstream(&changed.keys().copied().collect());
        let after = match precision {
            Precision::F64 => {
                before = self.replay(before, &order);
                self.replay(changed, &order)
            }
            Precision::Held => {
                let held = |op: usize, inputs: &[&Array]| Piece::of(&self.ops[op].op).at(inputs).0;
                before = self.replay_by(before, &order, held);
                self.replay_by(changed, &order, held)
            }
            Precision::F32 => {
                let recorded = order
                    .iter()
                    .map(|&op| self.ops[op].output)
                    .map(|t| (t, Array::from_tensor(&self.tensors[t].value)));
                before.extend(recorded);
                self.run_again(changed, &order)
            }
        };
        let loss = |values: &BTreeMap<usize, Array>| {
            values.get(&self.loss).map_or_else(|| f64::from(self.tensors[self.loss].value.item()), |loss| loss.data[0])
        };
        let (loss_before, loss) = (loss(&before), loss(&after));
        let tensors = after.into_iter().filter_map(|(id, after)| Some((id, (before.remove(&id)?, after)))).collect();
        WhatIf { tensors, loss_before, loss }
    }

    /// The ops that depend on `changed` tensors, in order, but for those that make one of them.
    pub(super) fn downstream(&self, changed: &BTreeSet<usize>) -> Vec<usize> {
        let mut touched = changed.clone();
        let mut order = vec![];
        for (i, op) in self.ops.iter().enumerate() {
            if !changed.contains(&op.output) && op.inputs.iter().any(|input| touched.contains(input)) {
                touched.insert(op.output);
                order.push(i);
            }
        }
        order
    }

    /// Runs the ops in `order` in `f64`, from the recorded values and those in `values`, and adds their outputs to these.
    fn replay(&self, values: BTreeMap<usize, Array>, order: &[usize]) -> BTreeMap<usize, Array> {
        self.replay_by(values, order, |op, inputs| self.ops[op].op.reference(inputs))
    }

    /// The same, with `run` in place of the references: given the op and its inputs.
    pub(super) fn replay_by(
        &self,
        mut values: BTreeMap<usize, Array>,
        order: &[usize],
        mut run: impl FnMut(usize, &[&Array]) -> Array,
    ) -> BTreeMap<usize, Array> {
        for &op in order {
            let output = self.with_inputs(op, &values, |inputs| run(op, inputs));
            values.insert(self.ops[op].output, output);
        }
        values
    }

    /// Hands `f` the inputs of an op: those in `values`, else as recorded.
    fn with_inputs<T>(&self, op: usize, values: &BTreeMap<usize, Array>, f: impl FnOnce(&[&Array]) -> T) -> T {
        let inputs = &self.ops[op].inputs;
        let recorded: Vec<Option<Array>> = inputs
            .iter()
            .map(|input| (!values.contains_key(input)).then(|| Array::from_tensor(&self.tensors[*input].value)))
            .collect();
        let both = inputs.iter().zip(&recorded);
        let inputs: Vec<&Array> =
            both.map(|(input, recorded)| recorded.as_ref().unwrap_or_else(|| &values[input])).collect();
        f(&inputs)
    }

    /// The same by the engine's `f32` ops; one that cannot repeat itself, by its reference.
    fn run_again(&self, changed: BTreeMap<usize, Array>, order: &[usize]) -> BTreeMap<usize, Array> {
        let mut values: BTreeMap<usize, Tensor> = changed.iter().map(|(&id, array)| (id, narrow(array))).collect();
        for &op in order {
            let op = &self.ops[op];
            let inputs: Vec<&Tensor> =
                op.inputs.iter().map(|i| values.get(i).unwrap_or(&self.tensors[*i].value)).collect();
            let output = no_grad(|| op.op.again(&inputs))
                .unwrap_or_else(|| narrow(&op.op.reference(&widen(&inputs).iter().collect::<Vec<_>>())));
            values.insert(op.output, output);
        }
        values.iter().map(|(&id, tensor)| (id, Array::from_tensor(tensor))).collect()
    }
}
