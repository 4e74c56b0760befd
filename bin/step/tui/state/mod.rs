//! What the terminal shows, and how keys change it: a state machine that knows no terminal and computes nothing that takes long.
//!
//! [`App::update`] takes an [`Action`] and returns an [`Effect`]; a [`Job`] among its effects is computed elsewhere and comes back through
//! [`App::answered`].

mod altered;
mod breaks;
mod facts;
mod jobs;
mod looks;
mod moves;
mod plane;
mod prompts;
mod questions;
mod rows;
mod search;
mod timeline;
mod trail;
mod update;

pub use altered::Altered;
pub use breaks::Break;
pub use facts::{Facts, reach};
pub use jobs::{Answer, Job};
pub use plane::Plane;
pub use prompts::{Prompt, PromptKind};
pub use rows::{Item, Row, input_names};
pub use search::Found;
pub use timeline::{Place, Timeline};
pub use trail::Trail;
pub use update::{Action, Effect};

use crate::step::record::stats::{Stats, norm};
use crate::step::record::{Broken, Check, Pass, Recording};
use crate::step::trace::{About, Note, Question, index};
use std::cell::Cell;
use std::collections::HashMap;
use std::sync::Arc;

/// How colours stand for values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// Linear, up to the largest magnitude of the whole tensor.
    Linear,
    /// Linear, up to the largest magnitude of the plane that is shown.
    Plane,
    /// Logarithmic, four decades below the largest magnitude.
    Log,
}

/// Something that lies over the rest.
pub enum Panel {
    /// All keys.
    Keys,
    /// What is shown here: the lesson's introduction, or the model and its images.
    Intro,
    /// Finite differences of one entry.
    Checks(Checks),
    /// What follows from the change in [`App::altered`].
    WhatIf,
    /// A wrong gradient, caught.
    Broken(usize, Broken),
}

/// Finite differences of one entry.
pub struct Checks {
    /// The tensor.
    pub tensor: usize,
    /// Flat index into it.
    pub entry: usize,
    /// The ops whose contributions are checked, each with its result once that is there.
    pub ops: Vec<(usize, Option<Option<Check>>)>,
    /// The whole gradient, once that is there.
    pub loss: Option<Option<Check>>,
}

/// The state.
pub struct App {
    /// The step that is shown.
    pub recording: Arc<Recording>,
    /// What is said about it.
    pub about: About,
    /// Summaries.
    pub facts: Facts,
    /// Lengths of the passes.
    pub timeline: Timeline,
    /// The step of [`timeline`](Self::timeline) that is shown.
    pub time: usize,
    /// The row that is chosen.
    pub chosen: usize,
    /// What is looked into, if anything.
    pub look: Option<Item>,
    /// Lines that the text beside the steps, or a panel, is scrolled by. Who draws it takes back what goes beyond the end.
    pub scroll: Cell<usize>,
    /// The entry of each tensor that the cursor is at.
    cursors: HashMap<usize, usize>,
    planes: HashMap<usize, Plane>,
    /// How colours stand for values.
    pub scale: Scale,
    /// Breakpoints.
    pub breaks: Vec<Break>,
    /// What lies over the rest.
    pub panel: Option<Panel>,
    /// What is being typed.
    pub prompt: Option<Prompt>,
    /// What was searched for last.
    searched: String,
    /// Whether a lesson's questions come before what they ask about.
    pub predict: bool,
    /// Answers to the questions, by time; none for one that was revealed.
    pub answers: HashMap<usize, Option<usize>>,
    /// A change that is made.
    pub altered: Option<Altered>,
    /// An entry that is followed.
    pub trail: Option<Trail>,
    /// Jobs that no answer has come to.
    pub waiting: Vec<(u64, Job)>,
    tickets: u64,
    /// Whether steps follow each other by themselves.
    pub playing: bool,
    /// One line for what just happened.
    pub message: String,
}

impl App {
    /// At the first step, or where `about` says to open.
    pub fn new(recording: Arc<Recording>, about: About) -> App {
        let (facts, timeline) = (Facts::of(&recording), Timeline::of(&recording));
        let panel = about.lesson.is_some().then_some(Panel::Intro);
        let mut app = App {
            recording,
            facts,
            timeline,
            time: 0,
            chosen: 0,
            look: None,
            scroll: Cell::new(0),
            cursors: HashMap::new(),
            planes: HashMap::new(),
            scale: Scale::Linear,
            breaks: vec![],
            panel,
            prompt: None,
            searched: String::new(),
            predict: about.lesson.is_some(),
            answers: HashMap::new(),
            altered: None,
            trail: None,
            waiting: vec![],
            tickets: 0,
            playing: false,
            message: String::new(),
            about,
        };
        if let Some(focus) = app.about.focus.clone() {
            app.go(app.timeline.time(Place { pass: focus.pass, step: focus.step }));
            app.choose_tensor(focus.tensor);
            app.message = focus.text;
        } else {
            app.go(0);
        }
        app
    }

    /// The step that is shown.
    pub fn place(&self) -> Place {
        self.timeline.place(self.time)
    }

    /// Its op.
    pub fn op(&self) -> usize {
        self.place().op(&self.recording)
    }

    /// What is looked into, or the chosen row.
    pub fn item(&self) -> Item {
        let rows = self.rows();
        self.look.unwrap_or_else(|| rows[self.chosen.min(rows.len() - 1)].item)
    }

    /// The entry of an item that the cursor is at: at first the largest, or the first that is no number.
    pub fn cursor(&self, item: Item) -> usize {
        if let Some(&entry) = self.cursors.get(&self.tensor_of(item)) {
            return entry;
        }
        let key = |v: f32| if v.is_nan() { f32::INFINITY } else { v.abs() };
        let values = self.values(item).map_or(&[][..], |values| values.data());
        let larger = |best: (usize, f32), (i, &v): (usize, &f32)| if key(v) > best.1 { (i, key(v)) } else { best };
        values.iter().enumerate().fold((0, -1.0), larger).0
    }

    /// Euclidean norm of an item's values, and whether all are finite.
    pub fn norm(&self, item: Item) -> Option<(f64, bool)> {
        let of = |stats: &Stats| (norm_of(stats), stats.is_finite());
        match item {
            Item::Value(id) => Some(of(&self.facts.values[id])),
            Item::Grad(id) => self.facts.grads[id].as_ref().map(of),
            Item::Part(step, i) => {
                let norm = self.recording.backward[step].contributions[i].norm;
                Some((norm, norm.is_finite()))
            }
            Item::After(_) | Item::Change(_) | Item::Link(_) => {
                let norm = norm(self.values(item)?.data());
                Some((norm, norm.is_finite()))
            }
        }
    }

    /// How a tensor is seen.
    pub fn plane(&self, tensor: usize) -> Plane {
        let slot = &self.recording.tensors[tensor];
        self.planes.get(&tensor).cloned().unwrap_or_else(|| Plane::of(slot.value.shape(), slot.role))
    }

    /// An entry as `name[i,j]`.
    pub fn entry_name(&self, tensor: usize, entry: usize) -> String {
        let slot = &self.recording.tensors[tensor];
        let at: Vec<String> = index(&slot.value.shape(), entry).iter().map(ToString::to_string).collect();
        if at.is_empty() { slot.name.clone() } else { format!("{}[{}]", slot.name, at.join(",")) }
    }

    /// What the lesson says here.
    pub fn note(&self) -> Option<&Note> {
        self.note_at(self.place())
    }

    /// What the lesson says at a place.
    pub fn note_at(&self, place: Place) -> Option<&Note> {
        let notes = &self.about.lesson.as_ref()?.steps;
        notes.iter().find(|note| (note.pass, note.step) == (place.pass, place.step))
    }

    /// A question that hides this step until it is answered.
    pub fn veil(&self) -> Option<&Question> {
        let question = self.note()?.predict.as_ref()?;
        (self.predict && !self.answers.contains_key(&self.time)).then_some(question)
    }

    /// Whether a step's values hold one that is not finite.
    pub fn is_odd(&self, place: Place) -> bool {
        match place.pass {
            Pass::Forward => !self.facts.values[self.recording.ops[place.step].output].is_finite(),
            Pass::Backward => {
                let mut parts = self.recording.backward[place.step].contributions.iter();
                parts.any(|part| !part.norm.is_finite())
            }
        }
    }
}

/// NaN if a value is, else infinite if one is, as the norm of all values would be.
fn norm_of(stats: &Stats) -> f64 {
    match (stats.nan, stats.inf) {
        (0, 0) => stats.norm,
        (0, _) => f64::INFINITY,
        _ => f64::NAN,
    }
}
