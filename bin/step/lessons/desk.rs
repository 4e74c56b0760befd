//! What a lesson's program works at: it names tensors, and leaves notes where something is to be seen.

use crate::step::record::stats::norm;
use crate::step::record::{Forward, Leaf, Pass, Recording, Role, Watched};
use crate::step::trace::{Note, Question};
use engine::Tensor;

/// Names and notes of a lesson.
#[derive(Default)]
pub struct Desk {
    leaves: Vec<Leaf>,
    named: Vec<(String, Tensor)>,
    notes: Vec<Pending>,
}

/// A note before its step is known.
struct Pending {
    pass: Pass,
    tensor: &'static str,
    text: String,
    predict: Option<Question>,
}

impl Desk {
    /// Something the program starts from.
    pub fn input(&mut self, name: &str, value: Tensor) -> Tensor {
        self.leaf(name, Role::Input, value)
    }

    /// Something to be learned.
    pub fn parameter(&mut self, name: &str, value: Tensor) -> Tensor {
        self.leaf(name, Role::Parameter, value)
    }

    fn leaf(&mut self, name: &str, role: Role, value: Tensor) -> Tensor {
        let tensor = value.requires_grad();
        self.leaves.push(Leaf { name: name.into(), role, tensor: tensor.clone() });
        tensor
    }

    /// Leaves that have names already.
    pub fn leaves(&mut self, leaves: impl IntoIterator<Item = Leaf>) {
        self.leaves.extend(leaves);
    }

    /// Names what an op made.
    pub fn name(&mut self, name: &str, tensor: Tensor) -> Tensor {
        self.named.push((name.into(), tensor.clone()));
        tensor
    }

    /// Says something where the tensor of this name is made.
    pub fn forward(&mut self, tensor: &'static str, text: impl Into<String>) -> &mut Desk {
        self.note(Pass::Forward, tensor, text)
    }

    /// Says something where the op that made this tensor hands its gradient on; for a leaf, where its gradient is whole.
    pub fn backward(&mut self, tensor: &'static str, text: impl Into<String>) -> &mut Desk {
        self.note(Pass::Backward, tensor, text)
    }

    fn note(&mut self, pass: Pass, tensor: &'static str, text: impl Into<String>) -> &mut Desk {
        self.notes.push(Pending { pass, tensor, text: text.into(), predict: None });
        self
    }

    /// Asks before the last note is shown.
    pub fn ask(&mut self, question: &'static str, choices: &[&str], answer: usize) {
        let choices = choices.iter().map(ToString::to_string).collect();
        if let Some(note) = self.notes.last_mut() {
            note.predict = Some(Question { question, choices, answer });
        }
    }

    /// Runs a program and takes it apart.
    pub(super) fn run(&mut self, program: fn(&mut Desk) -> Tensor) -> Recording {
        let watched = Watched::run(|| {
            let loss = program(self);
            Forward { loss, named: std::mem::take(&mut self.named) }
        });
        watched.take_apart(&self.leaves)
    }

    /// The notes at their steps. The error names a note without one.
    pub(super) fn notes(self, recording: &Recording) -> Result<Vec<Note>, String> {
        let place = |note: &Pending| -> Option<usize> {
            let id = recording.tensors.iter().position(|slot| slot.name == note.tensor)?;
            match (note.pass, recording.tensors[id].maker) {
                (Pass::Forward, maker) => maker,
                (Pass::Backward, Some(op)) => recording.backward_step(op),
                (Pass::Backward, None) => {
                    recording.backward.iter().rposition(|step| step.contributions.iter().any(|part| part.to == id))
                }
            }
        };
        let note = |note: Pending| {
            let step = place(&note).ok_or_else(|| format!("a note on {} has no step", note.tensor))?;
            Ok(Note { pass: note.pass, step, text: filled(&note.text, recording)?, predict: note.predict })
        };
        self.notes.into_iter().map(note).collect()
    }
}

/// A text with the numbers of the step: `{grad NAME}` is the norm of a tensor's gradient.
fn filled(text: &str, recording: &Recording) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        let (what, after) = after.split_once('}').ok_or("a brace is not closed")?;
        let (kind, name) = what.split_once(' ').ok_or("a brace without a name")?;
        let id = recording
            .tensors
            .iter()
            .position(|slot| slot.name == name)
            .ok_or_else(|| format!("there is no tensor {name}"))?;
        let slot = &recording.tensors[id];
        if kind != "grad" {
            return Err(format!("there is nothing called {kind} of a tensor"));
        }
        let norm = slot.grad.as_ref().map(|grad| norm(grad.data()));
        let norm = norm.ok_or_else(|| format!("{name} has no gradient"))?;
        out += before;
        out += &match norm {
            0.0 | 0.01..1e3 => format!("{norm:.3}"),
            1e3..1e6 => format!("{norm:.0}"),
            _ => format!("{norm:.1e}"),
        };
        rest = after;
    }
    Ok(out + rest)
}
