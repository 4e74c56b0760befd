//! What takes time: it is asked for by the state and computed elsewhere.

use super::altered::Altered;
use super::trail::Trail;
use crate::step::record::{Broken, Check, Recording};

/// A question for the recording.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Job {
    /// What one op adds to an entry of the gradient of one of its inputs, against a finite difference.
    CheckOp {
        /// The op.
        op: usize,
        /// Position of the input.
        input: usize,
        /// Flat index into it.
        entry: usize,
    },
    /// The whole gradient of the loss at an entry, against a finite difference.
    CheckLoss {
        /// The tensor.
        tensor: usize,
        /// Flat index into it.
        entry: usize,
    },
    /// What follows from another value.
    WhatIf {
        /// The tensor.
        tensor: usize,
        /// Flat index into it.
        entry: usize,
        /// The new value.
        value: f64,
    },
    /// What an entry is made from, and what it moves.
    Follow {
        /// The tensor.
        tensor: usize,
        /// Flat index into it.
        entry: usize,
    },
    /// A wrong gradient of an op, and the check that finds it.
    Break {
        /// The op.
        op: usize,
    },
}

/// What came of a [`Job`].
pub enum Answer {
    /// None if no gradient arrives there.
    CheckOp(Option<Check>),
    /// None if no gradient arrives there.
    CheckLoss(Option<Check>),
    /// What follows.
    WhatIf(Altered),
    /// The trail.
    Follow(Trail),
    /// None if no mistake is known for the op, or it makes no difference here.
    Break(Option<Broken>),
}

impl Job {
    /// Computes.
    pub fn run(self, recording: &Recording) -> Answer {
        match self {
            Job::CheckOp { op, input, entry } => Answer::CheckOp(recording.check(op, input, entry)),
            Job::CheckLoss { tensor, entry } => Answer::CheckLoss(recording.check_loss(tensor, entry)),
            Job::WhatIf { tensor, entry, value } => Answer::WhatIf(Altered::of(recording, tensor, entry, value)),
            Job::Follow { tensor, entry } => Answer::Follow(Trail::of(recording, tensor, entry)),
            Job::Break { op } => Answer::Break(recording.break_it(op)),
        }
    }
}
