//! One training step taken apart: every plain op with its values, every gradient with who contributed what, and ways to ask more of
//! it. Everything here is computed by the engine on its own tape; nothing is written or drawn.
//!
//! [`Recording::of`] runs a step, takes its tape apart ([`tape`]), names the pieces ([`names`]) and walks the backward pass. Then
//! [`Recording::check`] compares any entry of any gradient with a finite difference in `f64`, [`Recording::what_if`] changes
//! values and re-runs what follows, and [`Recording::break_it`] makes a gradient wrong on purpose.

mod breaking;
mod check;
pub mod layout;
mod names;
mod non_finite;
pub mod stats;
mod tape;
mod what_if;

pub use breaking::Broken;
pub use check::{Check, Scope, TOLERANCE};
pub use non_finite::Pass;
pub use tape::Watched;
pub use what_if::{Change, Precision, WhatIf};

use engine::{Backward, OpDoc, Tensor};
use std::sync::Arc;

/// What a tensor is in the step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Images, or what a lesson starts from.
    Input,
    /// Learned.
    Parameter,
    /// The output of an op.
    Activation,
    /// Not differentiable.
    Constant,
    /// The output of an op, one element.
    Scalar,
}

/// A leaf of the tape with its name.
pub struct Leaf {
    /// As in `layer1.0.conv1.weight`.
    pub name: String,
    /// [`Role::Input`] or [`Role::Parameter`].
    pub role: Role,
    /// With [`requires_grad`](Tensor::requires_grad).
    pub tensor: Tensor,
}

/// A tensor of the step.
pub struct Slot {
    /// Unique in the recording.
    pub name: String,
    /// What it is.
    pub role: Role,
    /// Its value.
    pub value: Tensor,
    /// The whole gradient of the loss, if any arrives.
    pub grad: Option<Tensor>,
    /// A name for each dimension, possibly empty.
    pub axes: Vec<&'static str>,
    /// The op whose output this is.
    pub maker: Option<usize>,
    /// The ops that read it, with the position among their inputs.
    pub readers: Vec<(usize, usize)>,
}

/// A plain op of the step.
pub struct Op {
    /// The op itself, with what it saved.
    pub op: Arc<dyn Backward>,
    /// What it says about itself.
    pub doc: OpDoc,
    /// The module it belongs to.
    pub path: String,
    /// The part of the path that holds the module; empty at the top.
    pub block: String,
    /// Tensors read, in the op's order.
    pub inputs: Vec<usize>,
    /// The tensor made.
    pub output: usize,
    /// The fused op that this is a part of.
    pub fused: Option<usize>,
}

/// An op of the training step that stands for several plain ones.
pub struct Fused {
    /// Its name.
    pub op: &'static str,
    /// The module it belongs to.
    pub path: String,
    /// The plain ops, in order.
    pub ops: Vec<usize>,
    /// Largest difference between its output and the plain ops', over the largest magnitude of its output.
    pub max_difference: f64,
}

/// A step of the backward pass.
pub struct Step {
    /// The op that is walked; the gradient of its output is whole.
    pub op: usize,
    /// What it adds to the gradients of its inputs.
    pub contributions: Vec<Contribution>,
}

/// What one op adds to the gradient of one input.
pub struct Contribution {
    /// Position among the op's inputs.
    pub input: usize,
    /// The input.
    pub to: usize,
    /// The gradient added.
    pub value: Tensor,
    /// Its Euclidean norm.
    pub norm: f64,
    /// Its norm over the sum of the norms of all contributions to the same tensor.
    pub share: f64,
}

/// A whole step.
pub struct Recording {
    /// By id.
    pub tensors: Vec<Slot>,
    /// In the order of the forward pass.
    pub ops: Vec<Op>,
    /// In the order of the backward pass.
    pub backward: Vec<Step>,
    /// Fused ops, in the order of the forward pass.
    pub fused: Vec<Fused>,
    /// The tensor that the backward pass began at.
    pub loss: usize,
}

/// What a forward pass hands to the recorder: the loss, and tensors on the way to it that have a name.
pub struct Forward {
    /// One element.
    pub loss: Tensor,
    /// Names of intermediate tensors, for lessons.
    pub named: Vec<(String, Tensor)>,
}

impl From<Tensor> for Forward {
    fn from(loss: Tensor) -> Forward {
        Forward { loss, named: vec![] }
    }
}

impl Recording {
    /// Runs `forward` and its backward pass, and takes both apart.
    ///
    /// # Panics
    /// If the loss does not depend on a leaf, depends on one that is not among `leaves`, or is not one element.
    #[track_caller]
    pub fn of(leaves: &[Leaf], forward: impl FnOnce() -> Forward) -> Recording {
        Watched::run(forward).take_apart(leaves)
    }

    /// The step of the backward pass that walks `op`; none if no gradient reaches it.
    pub fn backward_step(&self, op: usize) -> Option<usize> {
        self.backward.iter().position(|step| step.op == op)
    }

    /// What `op` contributes to its input at `position`.
    pub fn contribution(&self, op: usize, position: usize) -> Option<&Contribution> {
        let step = &self.backward[self.backward_step(op)?];
        step.contributions.iter().find(|part| part.input == position)
    }

    /// Number of contributions to the gradient of a tensor.
    pub fn contributors(&self, tensor: usize) -> usize {
        let to = |step: &Step| step.contributions.iter().filter(|part| part.to == tensor).count();
        self.backward.iter().map(to).sum()
    }
}

#[cfg(test)]
mod tests;
