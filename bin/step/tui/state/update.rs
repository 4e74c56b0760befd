//! Actions, and what they change.

use super::{Answer, App, Break, Checks, Effect::*, Item, Job, Panel, Place, Prompt, PromptKind, Scale};
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
                    "following {}: made from {} tensors, moves {}; steps marked with • touch it",
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

    fn scroll_by(&mut self, by: isize) {
        self.scroll.set(self.scroll.get().saturating_add_signed(by));
    }

    pub(super) fn open(&mut self, panel: Panel) {
        self.panel = Some(panel);
        self.scroll.set(0);
    }

    /// Jobs to be done now; whatever was waited for is not, any longer.
    pub(super) fn compute(&mut self, jobs: impl IntoIterator<Item = Job>) -> super::Effect {
        self.waiting.clear();
        for job in jobs {
            self.tickets += 1;
            self.waiting.push((self.tickets, job));
        }
        Compute(self.waiting.clone())
    }

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

    fn step(&mut self, by: isize) {
        let last = self.timeline.len() - 1;
        let to = self.time.saturating_add_signed(by).min(last);
        if to == self.time {
            self.message = if by > 0 { "this is the last step" } else { "this is the first step" }.into();
        }
        self.go(to);
    }

    /// To the first step of the next module, or the start of this or the previous one.
    fn module(&mut self, by: isize) {
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
    fn pass(&mut self, pass: Pass) {
        let op = self.op();
        match pass {
            Pass::Forward => self.go(op),
            Pass::Backward => match self.recording.backward_step(op) {
                Some(step) => self.go(self.timeline.time(Place { pass, step })),
                None => self.message = "no gradient reaches this op".into(),
            },
        }
    }

    fn run(&mut self, forward: bool) {
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

    fn tick(&mut self) {
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

    fn choose(&mut self, by: isize) {
        if self.panel.is_some() {
            self.scroll_by(by);
        } else if self.prompt.is_some() {
            self.choose_match(by);
        } else {
            self.chosen = self.chosen.saturating_add_signed(by).min(self.rows().len() - 1);
        }
    }

    /// Chooses the row of a tensor.
    pub(super) fn choose_tensor(&mut self, tensor: Option<usize>) {
        let rows = self.rows();
        if let Some(at) = tensor.and_then(|tensor| rows.iter().position(|row| self.tensor_of(row.item) == tensor)) {
            self.chosen = at;
        }
    }

    fn enter(&mut self) -> super::Effect {
        if self.prompt.is_some() {
            return self.accept();
        }
        if self.panel.is_some() {
            self.escape();
        } else {
            self.look = Some(self.item()).filter(|&item| self.values(item).is_some());
            let (item, entry) = (self.item(), self.cursor(self.item()));
            self.cursors.insert(self.tensor_of(item), entry);
        }
        Nothing
    }

    fn escape(&mut self) {
        if self.prompt.take().is_some() {
        } else if self.panel.take().is_some() {
            self.scroll.set(0);
            self.waiting.clear();
        } else if !self.waiting.is_empty() {
            self.waiting.clear();
            self.message = "no longer waited for".into();
        } else {
            self.look = None;
        }
    }

    fn move_cursor(&mut self, to: impl Fn(&super::Plane, usize) -> usize) {
        let item = self.item();
        let tensor = self.tensor_of(item);
        let entry = to(&self.plane(tensor), self.cursor(item));
        self.cursors.insert(tensor, entry);
    }

    fn sibling(&mut self) {
        let item = self.item();
        let entry = self.cursor(item);
        let all = self.siblings(item);
        if let (Some(_), Some(at)) = (self.look, all.iter().position(|&other| other == item)) {
            self.cursors.insert(self.tensor_of(item), entry);
            self.look = Some(all[(at + 1) % all.len()]);
        } else {
            self.message = "Enter looks into the chosen tensor first".into();
        }
    }

    /// Finite differences of the entry at the cursor: what this op adds to its gradient, and the whole gradient.
    fn check(&mut self) -> super::Effect {
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

    fn ask_value(&mut self) {
        let item = self.item();
        let (tensor, entry) = (self.tensor_of(item), self.cursor(item));
        self.cursors.insert(tensor, entry);
        self.prompt = Some(Prompt::new(PromptKind::Value { tensor, entry }));
    }

    fn take_back(&mut self) {
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

    fn follow(&mut self) -> super::Effect {
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

    fn answer(&mut self, choice: usize) {
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
