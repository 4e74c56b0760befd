//! Small programs on the tape, with notes and questions: what `pleach step --lesson NAME` shows.

mod batch_norm;
mod binarised;
mod chain_rule;
mod depth;
mod desk;
mod im2col;
mod neuron;
mod paths;
mod softmax;

use super::record::Recording;
use super::trace::About;
use crate::failure::Failure;
use crate::{nearest, output};
pub use desk::Desk;

/// A lesson: a program and what is to be seen in it.
pub struct Lesson {
    /// As in `--lesson NAME`.
    pub name: &'static str,
    /// Headline.
    pub title: &'static str,
    /// What it is about: paragraphs, blank lines between.
    pub intro: &'static str,
    /// Computes on the desk, which keeps names and notes. Returns the loss.
    program: fn(&mut Desk) -> engine::Tensor,
}

const LESSONS: [Lesson; 8] = [
    chain_rule::LESSON,
    neuron::LESSON,
    softmax::LESSON,
    im2col::LESSON,
    batch_norm::LESSON,
    depth::LESSON,
    paths::LESSON,
    binarised::LESSON,
];

/// The lesson called `name`.
pub fn find(name: &str) -> Result<&'static Lesson, Failure> {
    LESSONS.iter().find(|lesson| lesson.name == name).ok_or_else(|| {
        let names: Vec<&str> = LESSONS.iter().map(|lesson| lesson.name).collect();
        let hint = nearest::hint(name, names.iter().copied());
        Failure::input(format!("there is no lesson '{name}'{hint}; there are {}", names.join(", ")))
    })
}

#[derive(serde::Serialize)]
struct Line {
    lesson: &'static str,
    title: &'static str,
}

/// Prints the lessons.
pub fn list(json: bool) -> Result<(), Failure> {
    for Lesson { name, title, .. } in &LESSONS {
        if json {
            output::print(&Line { lesson: name, title })?;
        } else {
            output::line(&format!("{name:<22} {title}"))?;
        }
    }
    Ok(())
}

impl Lesson {
    /// Runs the program and takes it apart.
    pub fn record(&self) -> Result<(Recording, About), Failure> {
        let mut desk = Desk::default();
        let recording = desk.run(self.program);
        let lesson = super::trace::Lesson {
            name: self.name,
            title: self.title,
            intro: self.intro,
            steps: desk
                .notes(&recording)
                .map_err(|what| Failure::work(format!("internal error, please report: {what}")))?,
        };
        let about = About {
            title: self.title.into(),
            note: format!("lesson {}", self.name),
            lesson: Some(lesson),
            checks: 4,
            break_all: true,
            ..About::default()
        };
        Ok((recording, about))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::step::trace::{Detail, Document};

    #[test]
    fn every_lesson_runs_its_notes_have_their_place_and_its_gradients_are_right() {
        for lesson in &LESSONS {
            let (recording, about) = lesson.record().unwrap_or_else(|e| panic!("{}: {e}", lesson.name));
            let document = Document::new(&recording, &about);
            for check in document.checks() {
                assert_ne!(check.passed(), Some(false), "{}: {check:?}", lesson.name);
            }
            let notes = &about.lesson.as_ref().expect("a lesson").steps;
            assert!(notes.len() >= 3 && notes.iter().any(|note| note.predict.is_some()), "{}: notes", lesson.name);
            for (i, note) in notes.iter().enumerate() {
                let twice = notes[..i].iter().any(|other| (other.pass, other.step) == (note.pass, note.step));
                assert!(!twice, "{}: a step shows one note, so this one is lost: {}", lesson.name, note.text);
            }
            for question in notes.iter().filter_map(|note| note.predict.as_ref()) {
                assert!(question.answer < question.choices.len(), "{}: {}", lesson.name, question.question);
            }
            assert!(document.json(Detail::WHOLE).is_ok());
        }
    }

    #[test]
    fn without_a_bypass_the_gradient_dies_out_and_with_one_it_does_not() {
        let (recording, _) = depth::LESSON.record().expect("runs");
        let norm = |name: &str| {
            let slot = recording.tensors.iter().find(|slot| slot.name == name).expect("named");
            crate::step::record::stats::norm(slot.grad.as_ref().expect("a gradient").data())
        };
        let plain = norm("plain.1.linear") / norm("plain.40.relu");
        assert!(plain > 0.0 && plain < 1e-6, "{plain}");
        // As the lesson's introduction says of each layer.
        for layer in 1..40 {
            let ratio = |name: &dyn Fn(usize) -> String| norm(&name(layer)) / norm(&name(layer + 1));
            let plain = ratio(&|layer| format!("plain.{layer}.relu"));
            let residual = ratio(&|layer| format!("residual.{layer}.add"));
            assert!(plain < 1.0 && residual > 1.0, "layer {layer}: {plain}, {residual}");
        }
    }

    #[test]
    fn a_slip_in_a_name_is_answered_with_the_nearest() {
        let message = find("chain-rul").err().expect("unknown").to_string();
        assert!(message.contains("did you mean 'chain-rule'?"), "{message}");
    }
}
