//! Following one entry through the steps: what it is made from, and what it moves.

use crate::step::record::stats::norm;
use crate::step::record::{Change, Precision, Recording, Role};
use engine::Tensor;
use std::collections::BTreeMap;

/// How another tensor hangs together with the followed entry.
pub struct Link {
    /// For a tensor downstream, its derivative with respect to the entry; upstream, that of the entry with respect to it.
    pub derivative: Tensor,
    /// How many of its entries are not 0.
    pub touched: usize,
}

/// One entry and everything that hangs together with it.
pub struct Trail {
    /// The tensor.
    pub tensor: usize,
    /// Flat index into it.
    pub entry: usize,
    /// Tensors that it moves, by id: a difference quotient of the `f64` replay, with what the step chose.
    pub moves: BTreeMap<usize, Link>,
    /// Tensors that it is made from: vector-Jacobian products of the ops on the way.
    pub made_from: BTreeMap<usize, Link>,
}

/// The change of the entry that is followed downstream, in units of what is usual in its tensor.
const STEP: f64 = 1e-6;

impl Trail {
    /// Of an entry.
    pub fn of(recording: &Recording, tensor: usize, entry: usize) -> Trail {
        Trail { tensor, entry, moves: moves(recording, tensor, entry), made_from: made_from(recording, tensor, entry) }
    }

    /// The link of a tensor, if it has one.
    pub fn link(&self, tensor: usize) -> Option<&Link> {
        self.moves.get(&tensor).or_else(|| self.made_from.get(&tensor))
    }
}

fn link(derivative: Tensor) -> Link {
    let touched = derivative.data().iter().filter(|v| **v != 0.0).count();
    Link { derivative, touched }
}

fn moves(recording: &Recording, tensor: usize, entry: usize) -> BTreeMap<usize, Link> {
    let value = &recording.tensors[tensor].value;
    let at = f64::from(value.data()[entry]);
    let usual = norm(value.data()) / (value.elements() as f64).sqrt();
    let scale = [at.abs(), usual].into_iter().filter(|s| s.is_finite()).fold(0.0, f64::max);
    let h = STEP * if scale > 0.0 { scale } else { 1.0 };
    let what_if = recording.what_if(&[Change { tensor, entry, value: at + h }], Precision::Held);
    let downstream = what_if.tensors.into_iter().filter(|(id, _)| *id != tensor);
    let derivative = |(id, (before, after)): (usize, (engine::Array, engine::Array))| {
        (id, link(Tensor::from_fn(before.shape, |i| ((after.data[i] - before.data[i]) / h) as f32)))
    };
    downstream.map(derivative).collect()
}

fn made_from(recording: &Recording, tensor: usize, entry: usize) -> BTreeMap<usize, Link> {
    let Some(maker) = recording.tensors[tensor].maker else { return BTreeMap::new() };
    let mut seed = Tensor::zeros(recording.tensors[tensor].value.shape());
    seed.data_mut()[entry] = 1.0;
    let mut found = BTreeMap::from([(tensor, seed)]);
    for op in (0..=maker).rev().map(|op| &recording.ops[op]) {
        let Some(incoming) = found.get(&op.output) else { continue };
        let wanted = |id: usize| recording.tensors[id].role != Role::Constant;
        let inputs: Vec<Tensor> = op
            .inputs
            .iter()
            .map(|&id| recording.tensors[id].value.detach())
            .zip(&op.inputs)
            .map(|(value, &id)| if wanted(id) { value.requires_grad() } else { value })
            .collect();
        let Some(output) = op.op.again(&inputs.iter().collect::<Vec<_>>()) else { continue };
        let Some(node) = output.node() else { continue };
        let parts = node.contributions(incoming);
        for (&to, part) in op.inputs.iter().zip(parts) {
            let Some(part) = part else { continue };
            let sum = match found.remove(&to) {
                Some(before) => before.add(&part).detach(),
                None => part,
            };
            found.insert(to, sum);
        }
    }
    found.remove(&tensor);
    found.into_iter().map(|(id, derivative)| (id, link(derivative))).collect()
}
