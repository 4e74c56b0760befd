//! What is asked about an entry, and what a lesson asks: checks, changes, paths, answers.

use super::{
    App, Checks,
    Effect::{self, Compute, Nothing},
    Item, Job, Panel, Prompt, PromptKind,
};

impl App {
    /// Jobs to be done now; whatever was waited for is not, any longer.
    pub(super) fn compute(&mut self, jobs: impl IntoIterator<Item = Job>) -> Effect {
        self.waiting.clear();
        for job in jobs {
            self.tickets += 1;
            self.waiting.push((self.tickets, job));
        }
        Compute(self.waiting.clone())
    }

    /// Finite differences of the entry at the cursor: what this op adds to its gradient, and the whole gradient.
    pub(super) fn check(&mut self) -> Effect {
        let item = self.item();
        let (tensor, entry) = (self.tensor_of(item), self.cursor(item));
        if self.recording.tensors[tensor].grad.is_none() {
            self.message = format!("no gradient reaches {}", self.recording.tensors[tensor].name);
            return Nothing;
        }
        self.cursors.insert(tensor, entry);
        let op = if let Item::Part(step, _) = item { self.recording.backward[step].op } else { self.op() };
        let positions = self.recording.ops[op].inputs.iter().enumerate().filter(|(_, id)| **id == tensor);
        let mut jobs: Vec<Job> = positions.map(|(input, _)| Job::CheckOp { op, input, entry }).collect();
        let ops = jobs.iter().map(|_| (op, None)).collect();
        jobs.push(Job::CheckLoss { tensor, entry });
        self.open(Panel::Checks(Checks { tensor, entry, ops, loss: None }));
        self.compute(jobs)
    }

    pub(super) fn ask_value(&mut self) {
        let item = self.item();
        let (tensor, entry) = (self.tensor_of(item), self.cursor(item));
        self.cursors.insert(tensor, entry);
        self.prompt = Some(Prompt::new(PromptKind::Value { tensor, entry }));
    }

    pub(super) fn take_back(&mut self) {
        self.message = match self.altered.take() {
            Some(altered) => format!("{} is what it was", self.entry_name(altered.tensor, altered.entry)),
            None => "nothing is changed: w changes the entry at the cursor".into(),
        };
        if matches!(self.panel, Some(Panel::WhatIf)) {
            self.panel = None;
        }
        self.keep_look();
    }

    /// Looks into what is still there.
    fn keep_look(&mut self) {
        if let Some(item) = self.look.filter(|&item| self.values(item).is_none()) {
            self.look = Some(Item::Value(self.tensor_of(item)));
        }
        self.chosen = self.chosen.min(self.rows().len() - 1);
    }

    pub(super) fn follow(&mut self) -> Effect {
        let item = self.item();
        let (tensor, entry) = (self.tensor_of(item), self.cursor(item));
        if let Some(trail) = self.trail.take() {
            self.keep_look();
            if (trail.tensor, trail.entry) == (tensor, entry) || matches!(item, Item::Link(_)) {
                self.message = "nothing is followed any longer".into();
                return Nothing;
            }
        }
        self.cursors.insert(tensor, entry);
        self.compute([Job::Follow { tensor, entry }])
    }

    pub(super) fn answer(&mut self, choice: usize) {
        let Some(question) = self.veil() else { return };
        if choice >= question.choices.len() {
            self.message = format!("there are {} answers", question.choices.len());
            return;
        }
        self.message = if choice == question.answer {
            "right".into()
        } else {
            format!("not quite: {}", question.choices[question.answer])
        };
        self.answers.insert(self.time, Some(choice));
    }
}
