//! Both passes as one line of steps: the forward pass, then the backward pass.

use crate::step::record::{Pass, Recording};

/// A step of one of the passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The pass.
    pub pass: Pass,
    /// The step of that pass, from 0.
    pub step: usize,
}

/// Number of steps of each pass.
#[derive(Clone, Copy, Debug)]
pub struct Timeline {
    /// Of the forward pass; at least one.
    pub forward: usize,
    /// Of the backward pass.
    pub backward: usize,
}

impl Timeline {
    /// Of a recording.
    pub fn of(recording: &Recording) -> Timeline {
        Timeline { forward: recording.ops.len(), backward: recording.backward.len() }
    }

    /// Steps in all.
    pub fn len(self) -> usize {
        self.forward + self.backward
    }

    /// Steps of a pass.
    pub fn steps(self, pass: Pass) -> usize {
        if pass == Pass::Forward { self.forward } else { self.backward }
    }

    /// Where the `time`-th step is.
    pub fn place(self, time: usize) -> Place {
        match time.checked_sub(self.forward) {
            None => Place { pass: Pass::Forward, step: time },
            Some(step) => Place { pass: Pass::Backward, step },
        }
    }

    /// The other way round. A step beyond the end of its pass is its last.
    pub fn time(self, place: Place) -> usize {
        let last = self.steps(place.pass).saturating_sub(1);
        let first = if place.pass == Pass::Forward { 0 } else { self.forward };
        (first + place.step.min(last)).min(self.len().saturating_sub(1))
    }
}

impl Place {
    /// The op that runs, or hands its gradient on.
    pub fn op(self, recording: &Recording) -> usize {
        match self.pass {
            Pass::Forward => self.step,
            Pass::Backward => recording.backward[self.step].op,
        }
    }
}
