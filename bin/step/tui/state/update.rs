//! Actions, and what they change.

use super::{Answer, App, Break, Effect::*, Job, Panel, Place, Prompt, PromptKind, Scale};
use crate::step::record::Pass;

/// What a key asks for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Action {
    /// So many steps on, or back.
    Step(isize),
    /// To the next or previous module.
    Module(isize),
    /// To the first or last step of this pass.
    End(isize),
    /// To the first or last step of all.
    FarEnd(isize),
    /// To the same op in a pass.
    Pass(Pass),
    /// To the next or previous break.
    Run(isize),
    /// Steps by themselves, or no longer.
    Play,
    /// Another row, match or line of a panel.
    Choose(isize),
    /// A page of text.
    Scroll(isize),
    /// Looks into the chosen tensor, or at the chosen match.
    Enter,
    /// Back: from a prompt, a panel, a tensor.
    Escape,
    /// Cursor: down, right.
    Move(isize, isize),
    /// Another channel.
    Channel(isize),
    /// Another image.
    Image(isize),
    /// Another pair of dimensions.
    Turn,
    /// Value, gradient, contributions, ... of the same tensor.
    Sibling,
    /// The entry of the largest magnitude.
    Largest,
    /// Another scale of colours.
    Scale,
    /// Checks the entry by finite differences.
    Check,
    /// Asks for another value of the entry.
    WhatIf,
    /// Takes the change back.
    TakeBack,
    /// Follows the entry, or no longer.
    Follow,
    /// Shows a wrong gradient being caught.
    BreakIt,
    /// Starts to type a search, a step or a breakpoint.
    Ask(PromptKind),
    /// The next or previous match of the last search.
    Again(isize),
    /// A breakpoint at this module, or none any longer.
    BreakHere,
    /// Questions before what they ask about, or not.
    Predict,
    /// Answers a question, from 0.
    Answer(usize),
    /// Shows without an answer.
    Reveal,
    /// Opens a panel: keys.
    Keys,
    /// Opens a panel: what this is.
    Intro,
    /// Types a character.
    Type(char),
    /// Takes the last one back.
    Erase,
    /// Takes all of them back.
    EraseAll,
    /// Ends.
    Quit,
    /// Ends as Ctrl-C does.
    Interrupt,
    /// Stops as Ctrl-Z does.
    Suspend,
    /// Time has passed.
    Tick,
}

/// What is to be done outside of the state.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Nothing.
    Nothing,
    /// End.
    Quit,
    /// End by Ctrl-C.
    Interrupt,
    /// Stop.
    Suspend,
    /// Compute, in this order; earlier tickets that are not done need not be.
    Compute(Vec<(u64, Job)>),
}

/// Whether an action is about the step, and so not about the panel that lies over it.
fn leaves_panel(action: Action) -> bool {
    use Action::*;
    matches!(action, Step(_) | Module(_) | End(_) | FarEnd(_) | Pass(_) | Run(_) | Play | Again(_) | Ask(_) | Answer(_))
}

/// Whether an action tells what a question is about.
fn tells(action: Action) -> bool {
    matches!(action, Action::Enter | Action::Check | Action::WhatIf | Action::Follow | Action::BreakIt)
}

impl App {
    /// Does what a key asks for.
    pub fn update(&mut self, action: Action) -> super::Effect {
        if !matches!(action, Action::Tick | Action::Type(_)) {
            self.message.clear();
        }
        if !matches!(action, Action::Tick | Action::Play) {
            self.playing = false;
        }
        if leaves_panel(action) {
            self.panel = None;
        }
        if self.veil().is_some() && tells(action) && self.panel.is_none() && self.prompt.is_none() {
            self.message = "answer first, or press 0 to see without".into();
            return Nothing;
        }
        match action {
            Action::Quit => return Quit,
            Action::Interrupt => return Interrupt,
            Action::Suspend => return Suspend,
            Action::Step(by) => self.step(by),
            Action::Module(by) => self.module(by),
            Action::End(end) => {
                let pass = self.place().pass;
                self.go(self.timeline.time(Place { pass, step: if end < 0 { 0 } else { usize::MAX } }));
            }
            Action::FarEnd(end) => self.go(if end < 0 { 0 } else { self.timeline.len() - 1 }),
            Action::Pass(pass) => self.pass(pass),
            Action::Run(by) => self.run(by > 0),
            Action::Play => self.playing = !self.playing && self.time + 1 < self.timeline.len(),
            Action::Tick => self.tick(),
            Action::Choose(by) => self.choose(by),
            Action::Scroll(by) => self.scroll_by(by),
            Action::Enter => return self.enter(),
            Action::Escape => self.escape(),
            Action::Move(down, right) => self.move_cursor(|plane, at| plane.moved(at, down, right)),
            Action::Channel(by) => self.move_cursor(|plane, at| plane.sliced(at, false, by)),
            Action::Image(by) => self.move_cursor(|plane, at| plane.sliced(at, true, by)),
            Action::Turn => {
                let tensor = self.tensor_of(self.item());
                let mut plane = self.plane(tensor);
                plane.turn();
                self.planes.insert(tensor, plane);
            }
            Action::Sibling => self.sibling(),
            Action::Largest => {
                let item = self.item();
                let tensor = self.tensor_of(item);
                self.cursors.remove(&tensor);
                let largest = self.cursor(item);
                self.cursors.insert(tensor, largest);
            }
            Action::Scale => {
                self.scale = match self.scale {
                    Scale::Linear => Scale::Plane,
                    Scale::Plane => Scale::Log,
                    Scale::Log => Scale::Linear,
                };
            }
            Action::Check => return self.check(),
            Action::WhatIf => self.ask_value(),
            Action::TakeBack => self.take_back(),
            Action::Follow => return self.follow(),
            Action::BreakIt => {
                let op = self.op();
                return self.compute([Job::Break { op }]);
            }
            Action::Ask(kind) => self.prompt = Some(Prompt::new(kind)),
            Action::Again(by) => self.again(by),
            Action::BreakHere => {
                let layer = self.recording.ops[self.op()].path.clone();
                self.toggle_break(Break::At(layer));
            }
            Action::Predict => {
                self.predict = !self.predict;
                self.message = if self.about.lesson.is_none() {
                    "questions are asked in lessons: pleach step --lesson NAME".into()
                } else {
                    format!("questions before answers: {}", if self.predict { "on" } else { "off" })
                };
            }
            Action::Answer(choice) => self.answer(choice),
            Action::Reveal => {
                if self.veil().is_some() {
                    self.answers.insert(self.time, None);
                }
            }
            Action::Keys => self.open(Panel::Keys),
            Action::Intro => self.open(Panel::Intro),
            Action::Type(c) => self.edit(|text| text.push(c)),
            Action::Erase => self.edit(|text| {
                text.pop();
            }),
            Action::EraseAll => self.edit(String::clear),
        }
        Nothing
    }

    /// Takes the answer to a job that still matters.
    pub fn answered(&mut self, ticket: u64, answer: Answer) {
        let Some(at) = self.waiting.iter().position(|(waiting, _)| *waiting == ticket) else { return };
        let (_, job) = self.waiting.remove(at);
        match (answer, job) {
            (Answer::CheckOp(check), Job::CheckOp { op, .. }) => {
                if let Some(Panel::Checks(checks)) = &mut self.panel {
                    // Read twice by one op, a tensor has two contributions.
                    let open = checks.ops.iter_mut().find(|(of, result)| *of == op && result.is_none());
                    open.into_iter().for_each(|(_, result)| *result = Some(check.clone()));
                }
            }
            (Answer::CheckLoss(check), _) => {
                if let Some(Panel::Checks(checks)) = &mut self.panel {
                    checks.loss = Some(check);
                }
            }
            (Answer::WhatIf(altered), _) => {
                self.altered = Some(altered);
                self.open(Panel::WhatIf);
            }
            (Answer::Follow(trail), _) => {
                self.message = format!(
                    "{}: made from {} tensors, moves {}; • marks the steps",
                    self.entry_name(trail.tensor, trail.entry),
                    trail.made_from.len(),
                    trail.moves.len()
                );
                self.trail = Some(trail);
            }
            (Answer::Break(Some(broken)), Job::Break { op }) => self.open(Panel::Broken(op, broken)),
            (Answer::Break(None), _) => self.message = "no mistake is known for this op, or none shows here".into(),
            _ => {}
        }
    }
}
