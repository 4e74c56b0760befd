//! What is typed: a search, a step, a breakpoint, a value.

use super::{App, Break, Effect, Found, Job, Place};
use crate::step::record::Pass;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PromptKind {
    /// Words of a name.
    Search,
    /// Number of a step.
    Step,
    /// A breakpoint.
    Break,
    /// Another value of an entry.
    Value {
        /// The tensor.
        tensor: usize,
        /// Flat index into it.
        entry: usize,
    },
}

/// A line that is typed.
#[derive(Clone, Debug, PartialEq)]
pub struct Prompt {
    /// What is asked for.
    pub kind: PromptKind,
    /// As far as typed.
    pub text: String,
    /// The match that is chosen.
    pub chosen: usize,
    /// What is wrong with it.
    pub error: String,
}

impl Prompt {
    /// An empty line.
    pub fn new(kind: PromptKind) -> Prompt {
        Prompt { kind, text: String::new(), chosen: 0, error: String::new() }
    }
}

impl App {
    /// What the search that is being typed finds.
    pub fn matches(&self) -> Vec<Found> {
        match &self.prompt {
            Some(Prompt { kind: PromptKind::Search, text, .. }) => self.find(text),
            _ => vec![],
        }
    }

    pub(super) fn edit(&mut self, change: impl FnOnce(&mut String)) {
        if let Some(prompt) = &mut self.prompt {
            change(&mut prompt.text);
            prompt.error.clear();
            prompt.chosen = 0;
        }
    }

    pub(super) fn choose_match(&mut self, by: isize) {
        let last = self.matches().len().saturating_sub(1);
        if let Some(prompt) = &mut self.prompt {
            prompt.chosen = prompt.chosen.saturating_add_signed(by).min(last);
        }
    }

    /// Takes what was typed; what is wrong with it is said in the prompt.
    pub(super) fn accept(&mut self) -> Effect {
        let Some(prompt) = self.prompt.take() else { return Effect::Nothing };
        let text = prompt.text.trim().to_string();
        let done = match prompt.kind {
            _ if text.is_empty() => Ok(Effect::Nothing),
            PromptKind::Search => self.accept_search(&text, prompt.chosen),
            PromptKind::Step => self.accept_step(&text),
            PromptKind::Break => self.accept_break(&text),
            PromptKind::Value { tensor, entry } => match text.parse::<f64>() {
                Ok(value) => Ok(self.compute([Job::WhatIf { tensor, entry, value }])),
                Err(_) => Err(format!("'{text}' is no number")),
            },
        };
        done.unwrap_or_else(|error| {
            self.prompt = Some(Prompt { error, ..prompt });
            Effect::Nothing
        })
    }

    fn accept_search(&mut self, text: &str, chosen: usize) -> Result<Effect, String> {
        let found = self.find(text);
        let Some(it) = found.get(chosen) else { return Err(format!("nothing is called '{text}'")) };
        self.searched = text.into();
        self.show(it);
        self.message = match found.len() {
            1 => format!("found {}", it.text),
            n => format!("found {}, {} of {n}: n next, N previous", it.text, chosen + 1),
        };
        Ok(Effect::Nothing)
    }

    fn show(&mut self, found: &Found) {
        self.look = None;
        self.go(self.timeline.time(found.place));
        self.choose_tensor(found.tensor);
    }

    /// The next or previous match of the last search, from here.
    pub(super) fn again(&mut self, by: isize) {
        let mut found = self.find(&self.searched.clone());
        found.sort_by_key(|found| self.timeline.time(found.place));
        found.dedup_by_key(|found| self.timeline.time(found.place));
        let time = |found: &&Found| self.timeline.time(found.place);
        let next = if by > 0 {
            found.iter().find(|it| time(it) > self.time).or(found.first())
        } else {
            found.iter().rev().find(|it| time(it) < self.time).or(found.last())
        };
        match next.cloned() {
            Some(it) => {
                self.show(&it);
                self.message = format!("found {}", it.text);
            }
            None => self.message = "nothing was searched for: / searches".into(),
        }
    }

    /// `12`: of this pass; `f12`, `b12`: of that one. Counted from 1.
    fn accept_step(&mut self, text: &str) -> Result<Effect, String> {
        let (pass, number) = match text.split_at(text.chars().next().map_or(0, char::len_utf8)) {
            ("f", rest) => (Pass::Forward, rest),
            ("b", rest) => (Pass::Backward, rest),
            _ => (self.place().pass, text),
        };
        let steps = self.timeline.steps(pass);
        let step = number.trim().parse::<usize>().ok().filter(|step| (1..=steps).contains(step));
        let step = step.ok_or_else(|| format!("there is no step '{text}': 1 to {steps}, or f12, b12"))?;
        self.go(self.timeline.time(Place { pass, step: step - 1 }));
        Ok(Effect::Nothing)
    }

    fn accept_break(&mut self, text: &str) -> Result<Effect, String> {
        if text == "clear" {
            self.breaks.clear();
            self.message = "no breakpoints any longer".into();
        } else {
            self.toggle_break(Break::parse(text, &self.recording)?);
        }
        Ok(Effect::Nothing)
    }

    pub(super) fn toggle_break(&mut self, it: Break) {
        let known = self.breaks.iter().position(|known| *known == it);
        self.message = match known {
            Some(at) => {
                self.breaks.remove(at);
                format!("no longer a breakpoint: {it}")
            }
            None => {
                let warning = match it {
                    Break::NonFinite if self.facts.first_non_finite.is_none() => "; every value is finite here",
                    _ => "",
                };
                let text = format!("breakpoint: {it}{warning}; r runs on to it, R back");
                self.breaks.push(it);
                text
            }
        };
    }
}
