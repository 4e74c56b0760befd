//! What is listed of a step: the tensors of its op, and in the backward pass who contributed to each gradient.

use super::App;
use crate::step::record::{Pass, Recording};
use engine::Tensor;

/// Values that can be looked into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Item {
    /// The value of a tensor.
    Value(usize),
    /// The whole gradient of the loss with respect to it.
    Grad(usize),
    /// What a step of the backward pass adds to the gradient of an input: the step, and the position of the contribution.
    Part(usize, usize),
    /// The value that follows from the change that is made.
    After(usize),
    /// What that change adds to the value.
    Change(usize),
    /// How the tensor hangs together with the followed entry.
    Link(usize),
}

/// A line of the list.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// What it is of.
    pub item: Item,
    /// What the formulas call it, or a share in percent.
    pub label: String,
    /// A name.
    pub name: String,
    /// Whether the line belongs to the one before.
    pub indented: bool,
}

/// What the formulas call an op's inputs.
pub fn input_names(recording: &Recording, op: usize) -> Vec<String> {
    let it = &recording.ops[op];
    let mut names = it.op.inputs();
    // An op that does not say.
    names.extend((names.len()..it.inputs.len()).map(|i| format!("x_{i}")));
    names
}

impl App {
    /// The lines of the step that is shown.
    pub fn rows(&self) -> Vec<Row> {
        let op = self.op();
        match self.place().pass {
            Pass::Forward => self.rows_forward(op),
            Pass::Backward => self.rows_backward(op, self.place().step),
        }
    }

    fn row(&self, item: Item, label: impl Into<String>, indented: bool) -> Row {
        let name = self.recording.tensors[self.tensor_of(item)].name.clone();
        Row { item, label: label.into(), name, indented }
    }

    fn rows_forward(&self, op: usize) -> Vec<Row> {
        let it = &self.recording.ops[op];
        let names = input_names(&self.recording, op);
        let inputs = it.inputs.iter().zip(&names).map(|(&id, name)| (id, name.as_str()));
        let mut rows = vec![];
        for (id, label) in inputs.chain([(it.output, "y")]) {
            rows.push(self.row(Item::Value(id), label, false));
            self.extras(id, &mut rows);
        }
        rows
    }

    /// What a change or a followed entry has to say about a tensor.
    fn extras(&self, id: usize, rows: &mut Vec<Row>) {
        if self.altered.as_ref().is_some_and(|altered| altered.follower(id).is_some()) {
            rows.push(Row { name: "what the change adds".into(), ..self.row(Item::Change(id), "", true) });
        }
        if let Some(trail) = &self.trail {
            let Some(link) = trail.link(id) else { return };
            let how = if trail.moves.contains_key(&id) { "moved by" } else { "moves" };
            let name = format!("{how} the followed entry: {} of {}", link.touched, link.derivative.elements());
            rows.push(Row { name, ..self.row(Item::Link(id), "", true) });
        }
    }

    fn rows_backward(&self, op: usize, step: usize) -> Vec<Row> {
        let it = &*self.recording;
        let names = input_names(it, op);
        let mut rows = vec![self.row(Item::Grad(it.ops[op].output), "grad y", false)];
        let mut told = vec![];
        for part in &it.backward[step].contributions {
            if told.contains(&part.to) {
                continue;
            }
            told.push(part.to);
            // An input that is read twice by this op is one tensor, and has one gradient.
            let read = it.ops[op].inputs.iter().zip(&names).filter(|(id, _)| **id == part.to);
            let label = read.map(|(_, name)| name.as_str()).collect::<Vec<_>>().join(",");
            rows.push(self.row(Item::Grad(part.to), format!("grad {label}"), false));
            let parts = &self.facts.parts[part.to];
            if parts.len() > 1 {
                rows.extend(parts.iter().map(|&(at, i)| self.contribution_row(step, at, i)));
            }
        }
        rows
    }

    fn contribution_row(&self, now: usize, at: usize, i: usize) -> Row {
        let it = &*self.recording;
        let path = &it.ops[it.backward[at].op].path;
        let name = match at.cmp(&now) {
            std::cmp::Ordering::Less => format!("{path}, before"),
            std::cmp::Ordering::Equal => "this op".into(),
            std::cmp::Ordering::Greater => format!("{path}, to come"),
        };
        let share = it.backward[at].contributions[i].share;
        Row { item: Item::Part(at, i), label: crate::step::tui::numbers::percent(share), name, indented: true }
    }

    /// The tensor that an item is of.
    pub fn tensor_of(&self, item: Item) -> usize {
        match item {
            Item::Value(id) | Item::Grad(id) | Item::After(id) | Item::Change(id) | Item::Link(id) => id,
            Item::Part(step, i) => self.recording.backward[step].contributions[i].to,
        }
    }

    /// The values of an item, if there are any.
    pub fn values(&self, item: Item) -> Option<&Tensor> {
        let slot = |id: usize| &self.recording.tensors[id];
        match item {
            Item::Value(id) => Some(&slot(id).value),
            Item::Grad(id) => slot(id).grad.as_ref(),
            Item::Part(step, i) => Some(&self.recording.backward[step].contributions[i].value),
            Item::After(id) => self.altered.as_ref()?.follower(id).map(|follower| &follower.after),
            Item::Change(id) => self.altered.as_ref()?.follower(id).map(|follower| &follower.change),
            Item::Link(id) => self.trail.as_ref()?.link(id).map(|link| &link.derivative),
        }
    }

    /// Everything there is to see of an item's tensor, in the order of the `v` key.
    pub fn siblings(&self, item: Item) -> Vec<Item> {
        let id = self.tensor_of(item);
        let mut all = vec![Item::Value(id), Item::Grad(id)];
        if self.facts.parts[id].len() > 1 {
            all.extend(self.facts.parts[id].iter().map(|&(step, i)| Item::Part(step, i)));
        }
        all.extend([Item::After(id), Item::Change(id), Item::Link(id)]);
        all.retain(|&item| self.values(item).is_some());
        all
    }

    /// What an item is, in words.
    pub fn title(&self, item: Item) -> String {
        let name = &self.recording.tensors[self.tensor_of(item)].name;
        match item {
            Item::Value(_) => name.clone(),
            Item::Grad(_) => format!("gradient of {name}"),
            Item::Part(step, i) => {
                let it = &self.recording.backward[step];
                let share = crate::step::tui::numbers::percent(it.contributions[i].share);
                format!("gradient of {name}, {share} from {}", self.recording.ops[it.op].path)
            }
            Item::After(_) => format!("{name} after the change"),
            Item::Change(_) => format!("what the change adds to {name}"),
            Item::Link(id) => match &self.trail {
                Some(trail) if trail.moves.contains_key(&id) => {
                    format!("derivative of {name} with respect to {}", self.entry_name(trail.tensor, trail.entry))
                }
                Some(trail) => {
                    format!("derivative of {} with respect to {name}", self.entry_name(trail.tensor, trail.entry))
                }
                None => name.clone(),
            },
        }
    }
}
