//! One view over all runs of a comparison.

use super::plan::Member;
use crate::failure::Failure;
use crate::output;
use crate::run::checkpoint::Sums;
use crate::run::metrics::{EpochLine, StepLine};
use crate::training::{QUIET, Screen, bar, standing, summary};
use indicatif::ProgressBar;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

/// Thousandths of the bar.
const WHOLE: u64 = 1000;

/// What is known of a run's size and speed.
#[derive(Clone, Debug)]
struct Work {
    label: String,
    macs: f64,
    /// Images that the whole run trains on.
    images: f64,
    /// Of these, trained on.
    done: f64,
}

/// The state of all runs.
struct State {
    works: Vec<Work>,
    /// The one at work.
    now: usize,
    /// By network: seconds of training and images of it.
    speeds: BTreeMap<String, (f64, f64)>,
    bar: Option<ProgressBar>,
    told: Instant,
}

/// The view; clones show the same.
#[derive(Clone)]
pub struct Overall {
    state: Arc<Mutex<State>>,
    json: bool,
}

impl Overall {
    /// Of `members`, each with its multiply-adds and the images that it trains on in all.
    pub fn new(members: &[Member], macs: &[u64], images: u64, json: bool) -> Overall {
        let work = |(member, &macs): (&Member, &u64)| Work {
            label: member.model.label.clone(),
            macs: macs as f64,
            images: images as f64,
            done: 0.0,
        };
        let works = members.iter().zip(macs).map(work).collect();
        let state =
            State { works, now: 0, speeds: BTreeMap::new(), bar: bar("{bar:24} {msg}", WHOLE), told: Instant::now() };
        Overall { state: Arc::new(Mutex::new(state)), json }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Counters that are sound at every moment.
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Run `index` is done already.
    pub fn skip(&self, index: usize) {
        let mut state = self.state();
        let work = &mut state.works[index];
        work.done = work.images;
    }

    /// Notes the speed of a run that is done already.
    pub fn note(&self, index: usize, seconds: f64, images: f64) {
        self.state().note(index, seconds, images);
    }

    /// The screen of run `index`.
    pub fn part(&self, index: usize, member: &Member) -> Part {
        let mut state = self.state();
        state.now = index;
        let (label, seed) = (member.model.label.clone(), member.seed);
        let name = format!("[{}/{}] {label} seed {seed}", index + 1, state.works.len());
        drop(state);
        Part { overall: self.clone(), index, name, label, seed, epochs: 0, total: 0 }
    }

    /// Tells people, above the bar.
    pub fn say(&self, text: &str) {
        match &self.state().bar {
            Some(bar) => bar.println(text),
            None => output::tell(text),
        }
    }

    /// Takes the bar away.
    pub fn end(&self) {
        if let Some(bar) = self.state().bar.take() {
            bar.finish_and_clear();
        }
    }
}

impl State {
    fn note(&mut self, index: usize, seconds: f64, images: f64) {
        let speed = self.speeds.entry(self.works[index].label.clone()).or_default();
        speed.0 += seconds;
        speed.1 += images;
    }

    /// Seconds an image of each run: measured, or from its multiply-adds and the speed of those that are measured.
    fn seconds(&self) -> Vec<f64> {
        let measured =
            |work: &Work| self.speeds.get(&work.label).filter(|(_, images)| *images > 0.0).map(|(s, n)| s / n);
        let known = self.works.iter().filter_map(|work| Some((measured(work)?, work.macs)));
        let (seconds, macs) = known.fold((0.0, 0.0), |(s, m), (seconds, macs)| (s + seconds, m + macs));
        let per_mac = if macs > 0.0 { seconds / macs } else { 0.0 };
        self.works.iter().map(|work| measured(work).unwrap_or(per_mac * work.macs)).collect()
    }

    /// Seconds of what is done and of what is left.
    fn times(&self) -> (f64, f64) {
        let each = self.seconds();
        let of = |part: fn(&Work) -> f64| self.works.iter().zip(&each).map(|(work, s)| part(work) * s).sum();
        (of(|work| work.done), of(|work| (work.images - work.done).max(0.0)))
    }

    fn show(&mut self, text: &str) {
        let (done, left) = self.times();
        let share = if done + left > 0.0 { done / (done + left) } else { 0.0 };
        let text = format!("{:.0} %  {} left  {text}", 100.0 * share, duration(left));
        match &self.bar {
            Some(bar) => {
                bar.set_message(text);
                bar.set_position((share * WHOLE as f64) as u64);
            }
            None if self.told.elapsed() >= QUIET => {
                output::tell(&text);
                self.told = Instant::now();
            }
            None => {}
        }
    }
}

/// `3h 20m`, `12m 05s`, `8s`.
pub fn duration(seconds: f64) -> String {
    let s = seconds.max(0.0).round() as u64;
    match s {
        86_400.. => format!("{}d {:02}h", s / 86_400, s / 3600 % 24),
        3600.. => format!("{}h {:02}m", s / 3600, s / 60 % 60),
        60.. => format!("{}m {:02}s", s / 60, s % 60),
        _ => format!("{s}s"),
    }
}

/// The screen of one run.
pub struct Part {
    overall: Overall,
    index: usize,
    name: String,
    label: String,
    seed: u64,
    epochs: usize,
    total: u64,
}

/// A line of `--json` about an epoch of one of the runs.
#[derive(serde::Serialize)]
struct Tagged<'a> {
    model: &'a str,
    seed: u64,
    #[serde(flatten)]
    line: &'a EpochLine,
}

impl Screen for Part {
    fn begin(&mut self, epochs: usize, total: u64, done: u64) {
        (self.epochs, self.total) = (epochs, total);
        let mut state = self.overall.state();
        let work = &mut state.works[self.index];
        work.done = work.images * done as f64 / total.max(1) as f64;
    }

    fn say(&mut self, text: &str) {
        self.overall.say(&format!("{}: {text}", self.name));
    }

    fn step(&mut self, line: &StepLine, sums: &Sums, _: &str) -> Result<(), Failure> {
        let mut state = self.overall.state();
        let work = &mut state.works[self.index];
        work.done = work.images * line.step as f64 / self.total.max(1) as f64;
        // A step's images are its speed times its time; only their ratio counts.
        let images = work.images / self.total.max(1) as f64;
        state.note(self.index, images / f64::from(line.images_per_s).max(1e-9), images);
        let text = format!("{}  {}", self.name, standing(line, sums, self.epochs));
        state.show(&text);
        Ok(())
    }

    fn gradients(&mut self, _: &str) -> Result<(), Failure> {
        Ok(())
    }

    fn testing(&self) {
        let text = format!("{}  testing", self.name);
        self.overall.state().show(&text);
    }

    fn epoch(&mut self, line: &EpochLine, _: &str) -> Result<String, Failure> {
        if self.overall.json {
            output::print(&Tagged { model: &self.label, seed: self.seed, line })?;
        }
        Ok(summary(line, self.epochs))
    }

    fn end(&mut self) {}
}

#[cfg(test)]
mod tests {
    use super::super::plan::Network;
    use super::*;

    #[test]
    fn time_left_comes_from_what_was_measured_and_from_multiply_adds() {
        let member = |label: &str| Member { model: Network { label: label.into(), name: label.into() }, seed: 0 };
        let overall = Overall::new(&[member("a"), member("b"), member("a")], &[10, 20, 10], 100, false);
        assert_eq!(overall.state().times(), (0.0, 0.0), "nothing is known yet");
        overall.note(0, 5.0, 50.0);
        overall.state().works[0].done = 50.0;
        // a: 0.1 s an image; b has twice the multiply-adds.
        let (done, left) = overall.state().times();
        assert!((done - 5.0).abs() < 1e-9 && (left - (5.0 + 20.0 + 10.0)).abs() < 1e-9, "{done} {left}");
        overall.skip(1);
        assert!((overall.state().times().1 - 15.0).abs() < 1e-9);
    }

    #[test]
    fn durations_are_short() {
        let shown = [7.6, 65.0, 3_725.0, 90_000.0, -1.0].map(duration);
        assert_eq!(shown, ["8s", "1m 05s", "1h 02m", "1d 01h", "0s"]);
    }
}
