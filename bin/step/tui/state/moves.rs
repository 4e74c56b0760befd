//! From step to step.

use super::{App, Item, Place};
use crate::step::record::Pass;

impl App {
    /// Shows a step.
    pub(super) fn go(&mut self, time: usize) {
        let moved = time != self.time;
        self.time = time.min(self.timeline.len() - 1);
        self.scroll.set(0);
        if moved && self.look.is_some() {
            self.look = self.next_look();
        }
        let rows = self.rows();
        self.chosen = match self.place().pass {
            // The output, or the gradient that arrives.
            Pass::Forward => {
                let output = Item::Value(self.recording.ops[self.op()].output);
                rows.iter().position(|row| row.item == output).unwrap_or(0)
            }
            Pass::Backward => 0,
        };
        if let Some(at) = self.look.and_then(|look| rows.iter().position(|row| row.item == look)) {
            self.chosen = at;
        }
        if self.veil().is_some() {
            self.look = None;
        }
    }

    /// What to look into after a step: what the op made, as it hangs together with the followed entry if it does.
    fn next_look(&self) -> Option<Item> {
        let output = self.recording.ops[self.op()].output;
        let linked = matches!(self.look, Some(Item::Link(_))) && self.values(Item::Link(output)).is_some();
        Some(match self.place().pass {
            _ if linked => Item::Link(output),
            Pass::Forward => Item::Value(output),
            Pass::Backward => Item::Grad(output),
        })
    }

    pub(super) fn step(&mut self, by: isize) {
        let last = self.timeline.len() - 1;
        let to = self.time.saturating_add_signed(by).min(last);
        if to == self.time {
            self.message = if by > 0 { "this is the last step" } else { "this is the first step" }.into();
        }
        self.go(to);
    }

    /// To the first step of the next module, or the start of this or the previous one.
    pub(super) fn module(&mut self, by: isize) {
        let path = |time: usize| {
            let place = self.timeline.place(time);
            (place.pass, self.recording.ops[place.op(&self.recording)].path.as_str())
        };
        let starts = |time: &usize| *time == 0 || path(*time) != path(*time - 1);
        let to = if by > 0 {
            (self.time + 1..self.timeline.len()).find(starts).unwrap_or(self.timeline.len() - 1)
        } else {
            (0..self.time).rev().find(starts).unwrap_or(0)
        };
        self.go(to);
    }

    /// To the same op in a pass.
    pub(super) fn pass(&mut self, pass: Pass) {
        let op = self.op();
        match pass {
            Pass::Forward => self.go(op),
            Pass::Backward => match self.recording.backward_step(op) {
                Some(step) => self.go(self.timeline.time(Place { pass, step })),
                None => self.message = "no gradient reaches this op".into(),
            },
        }
    }

    pub(super) fn run(&mut self, forward: bool) {
        if self.breaks.is_empty() {
            self.message = "there is no breakpoint: B sets one, t one at this module".into();
            return;
        }
        match self.next_break(forward).map(|(time, at)| (time, at.to_string())) {
            Some((time, text)) => {
                self.go(time);
                self.message = format!("stopped: {text}");
            }
            None => {
                self.go(if forward { self.timeline.len() - 1 } else { 0 });
                let end = if forward { "end" } else { "start" };
                self.message = format!("no breakpoint on the way: this is the {end}");
            }
        }
    }

    pub(super) fn tick(&mut self) {
        if !self.playing || self.prompt.is_some() || self.panel.is_some() {
            return;
        }
        if self.veil().is_some() || self.time + 1 >= self.timeline.len() {
            self.playing = false;
            return;
        }
        let stop = self.next_break(true).map(|(time, at)| (time, at.to_string()));
        self.go(self.time + 1);
        if let Some((_, text)) = stop.filter(|(time, _)| *time == self.time) {
            self.playing = false;
            self.message = format!("stopped: {text}");
        }
    }
}
