//! The search's loop: weights and architecture in turn, reports, checkpoints.

use super::config::Config;
use super::images::{Split, Stream};
use super::lines::Lines;
use super::report::{EpochLine, Reporter, StepLine};
use super::saved::{self, Metadata, Sums};
use crate::failure::Failure;
use crate::run::RunDir;
use crate::signals::Stop;
use crate::training::Pictures;
use nas::Space;
use nas::latency::Table;
use nas::search::{Search, Turn};
use serde::Serialize;
use std::time::Instant;

/// Points of the figure of probabilities, about.
const POINTS: u64 = 300;
/// Held-out images that the most probable network is tested on after each epoch.
const TESTED: usize = 1000;

/// How the loop ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// All epochs are done.
    Finished,
    /// `max_steps` is reached.
    Stopped,
    /// A signal came; the search is saved.
    Interrupted,
}

/// A search with everything it works on.
pub struct Session {
    config: Config,
    split: Split,
    search: Search,
    run: RunDir,
    reporter: Reporter,
    stop: Stop,
    probabilities: Lines,
    fingerprint: String,
    sums: Sums,
    saved: Instant,
}

#[derive(Serialize)]
struct Probabilities {
    step: u64,
    probabilities: Vec<Vec<f32>>,
}

/// A search before its first step, with every check made.
pub fn prepare(config: &Config, space: &Space, split: &Split, table: Option<&Table>) -> Result<Search, Failure> {
    let batches = (split.parts.train.len() / config.search.batch) as u64;
    let (height, width) = (split.parts.train.height, split.parts.train.width);
    if (height, width) != (space.resolution(), space.resolution()) {
        return Err(Failure::input(format!(
            "{} has images of {height}x{width} pixels, the space {} is for {2}x{2}; use other images or another space",
            config.data.source,
            config.space,
            space.resolution()
        )));
    }
    let latency = table.map(|table| table as &dyn nas::search::Latency);
    Ok(Search::new(space, split.parts.classes(), config.for_nas(batches)?, latency)?)
}

impl Session {
    /// A session in the folder `run`, going on from its checkpoint if it has one.
    pub fn new(
        config: Config,
        split: Split,
        mut search: Search,
        run: RunDir,
        stop: Stop,
        json: bool,
    ) -> Result<Session, Failure> {
        let fingerprint = split.whole.fingerprint();
        let last = run.last();
        let mut sums = Sums::default();
        if last.exists() {
            let saved = saved::read(&last)?;
            check(&saved.metadata, &config, &fingerprint, &last)?;
            saved::resume(&mut search, &saved, &last)?;
            sums = saved.metadata.sums;
        }
        let step = search.progress().weight_steps;
        let nas = search.config();
        let reporter = Reporter::open(&run, step, nas.warmup_epochs + nas.epochs, nas.total_steps(), json)?;
        let probabilities = Lines::open(run.file("probabilities.jsonl"), step)?;
        Ok(Session {
            config,
            split,
            search,
            run,
            reporter,
            stop,
            probabilities,
            fingerprint,
            sums,
            saved: Instant::now(),
        })
    }

    /// Searches to the end, or until a signal or `max_steps`.
    pub fn run(&mut self) -> Result<Ending, Failure> {
        let mut training = Stream::training(&self.split, &self.config)?;
        let mut validation = Stream::validation(&self.split, &self.config)?;
        if self.search.progress().weight_steps == 0 {
            self.save()?;
            self.note_probabilities()?;
        }
        let (mut seconds, mut peak) = (0.0, 0);
        loop {
            if self.stop.requested() {
                self.save()?;
                return Ok(Ending::Interrupted);
            }
            let progress = self.search.progress();
            let limit = self.config.search.max_steps;
            let turn = self.search.turn();
            if limit > 0 && progress.weight_steps >= limit && turn != Turn::End {
                self.save()?;
                return Ok(Ending::Stopped);
            }
            match turn {
                Turn::End => {
                    self.save()?;
                    self.note_probabilities()?;
                    return Ok(Ending::Finished);
                }
                Turn::Architecture => {
                    let (images, labels) = validation.batch(progress.architecture_steps)?;
                    let began = Instant::now();
                    let step = self.search.architecture_step(&images, &labels);
                    seconds += began.elapsed().as_secs_f64();
                    peak = peak.max(step.activation_peak_bytes);
                    finite(step.loss, progress.weight_steps)?;
                }
                Turn::Weights => {
                    let (images, labels) = training.batch(progress.weight_steps)?;
                    let began = Instant::now();
                    let step = self.search.weight_step(&images, &labels);
                    seconds += began.elapsed().as_secs_f64();
                    finite(step.loss, progress.weight_steps)?;
                    self.sums.images += labels.len() as u64;
                    self.sums.loss += step.loss * labels.len() as f64;
                    self.sums.correct += step.correct as u64;
                    self.sums.seconds += seconds;
                    let line =
                        self.step_line(step.loss, step.lr, labels.len(), seconds, peak.max(step.activation_peak_bytes));
                    let search = &self.search;
                    self.reporter.step(&line, || search.best().to_string())?;
                    (seconds, peak) = (0.0, 0);
                    self.after_weight_step()?;
                }
            }
        }
    }

    fn after_weight_step(&mut self) -> Result<(), Failure> {
        let step = self.search.progress().weight_steps;
        let nas = self.search.config();
        let (total, per_epoch) = (nas.total_steps(), nas.steps_per_epoch);
        if step.is_multiple_of((total / POINTS).max(1)) && step < total {
            self.note_probabilities()?;
        }
        let minutes = self.config.search.checkpoint_minutes;
        if step.is_multiple_of(per_epoch) {
            self.epoch(step / per_epoch)?;
        } else if self.saved.elapsed().as_secs_f32() < 60.0 * minutes {
            return Ok(());
        }
        if self.saved.elapsed().as_secs_f32() >= 60.0 * minutes { self.save() } else { Ok(()) }
    }

    fn epoch(&mut self, epoch: u64) -> Result<(), Failure> {
        let (val_loss, val_acc) = self.test()?;
        let Sums { images, loss, correct, seconds } = std::mem::take(&mut self.sums);
        let count = images.max(1) as f64;
        let best = self.search.best();
        self.reporter.epoch(&EpochLine {
            epoch,
            step: self.search.progress().weight_steps,
            train_loss: loss / count,
            train_acc: correct as f64 / count,
            val_loss,
            val_acc,
            entropy: self.search.alphas().entropy(),
            expected_latency_ms: self.search.expected_latency_ms(),
            best_latency_ms: self.search.latency().map(|latency| latency.of(&best.indices())),
            best: best.to_string(),
            seconds,
            images_per_s: count / seconds.max(f64::MIN_POSITIVE),
        })
    }

    /// Loss and accuracy of the most probable network on some of the held-out images, always the same.
    fn test(&self) -> Result<(f64, f64), Failure> {
        let mut stream = Stream::validation(&self.split, &self.config)?;
        let batches = stream.batches().min(TESTED.div_ceil(self.config.search.batch)).max(1);
        let (mut loss, mut right, mut count) = (0.0, 0, 0);
        for number in 0..batches {
            let (images, labels) = stream.batch(number as u64)?;
            let (of_batch, correct) = self.search.evaluate(&images, &labels);
            loss += of_batch * labels.len() as f64;
            right += correct;
            count += labels.len();
        }
        Ok((loss / count as f64, right as f64 / count as f64))
    }

    fn step_line(&self, loss: f64, lr: f32, images: usize, seconds: f64, peak: usize) -> StepLine {
        let progress = self.search.progress();
        let nas = self.search.config();
        let phase = if progress.weight_steps <= nas.warmup_steps() { "warm-up" } else { "search" };
        StepLine {
            step: progress.weight_steps,
            epoch: progress.weight_steps.div_ceil(nas.steps_per_epoch),
            phase,
            loss,
            entropy: self.search.alphas().entropy(),
            expected_latency_ms: self.search.expected_latency_ms(),
            activation_peak_bytes: peak,
            weight_bytes: self.search.weight_bytes(),
            images_per_s: images as f64 / seconds.max(f64::MIN_POSITIVE),
            lr,
            architecture_steps: progress.architecture_steps,
        }
    }

    fn note_probabilities(&mut self) -> Result<(), Failure> {
        let alphas = self.search.alphas();
        let of_edge = |edge| alphas.probabilities(edge).into_iter().map(|p| p as f32).collect();
        let probabilities = (0..alphas.edges()).map(of_edge).collect();
        self.probabilities.add(&Probabilities { step: self.search.progress().weight_steps, probabilities }).map(drop)
    }

    fn save(&mut self) -> Result<(), Failure> {
        let metadata = Metadata::new(&self.search, &self.fingerprint, &self.config.hash(), self.sums);
        let path = self.run.last();
        saved::write(&path, &self.search, &metadata).map_err(|e| match e {
            Failure::Work(what) => {
                let before = if path.exists() { "; the checkpoint before is whole" } else { "" };
                let run = self.run.path().display();
                Failure::Work(format!("{what}, then go on with `pleach search --resume {run}`{before}"))
            }
            other => other,
        })?;
        self.saved = Instant::now();
        Ok(())
    }

    /// The search.
    pub fn search(&self) -> &Search {
        &self.search
    }

    /// The images.
    pub fn split(&self) -> &Split {
        &self.split
    }

    /// What the trust report trains and tests on: the held-out images are training images again.
    pub fn pictures(&self) -> Result<Pictures, Failure> {
        if self.config.trust.subset == 0 {
            return Ok(Pictures { dataset: self.split.whole.clone(), fingerprint: self.fingerprint.clone() });
        }
        let dataset = self.split.whole.subset(self.config.trust.subset)?;
        let fingerprint = dataset.fingerprint();
        Ok(Pictures { dataset, fingerprint })
    }

    /// The settings.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The folder.
    pub fn folder(&self) -> &RunDir {
        &self.run
    }

    /// Prints an object if standard output is for programs.
    pub fn print(&self, object: &impl Serialize) -> Result<(), Failure> {
        self.reporter.print(object)
    }

    /// Where messages go.
    pub fn reporter(&mut self) -> &mut Reporter {
        &mut self.reporter
    }

    /// Whether a stop was asked for.
    pub fn stop(&self) -> &Stop {
        &self.stop
    }
}

fn finite(loss: f64, step: u64) -> Result<(), Failure> {
    if loss.is_finite() {
        return Ok(());
    }
    Err(Failure::work(format!(
        "step {}: the loss is {loss}; the last checkpoint is kept: start again with a lower --lr",
        step + 1
    )))
}

/// Checks that a checkpoint is of this search.
fn check(metadata: &Metadata, config: &Config, fingerprint: &str, path: &std::path::Path) -> Result<(), Failure> {
    if metadata.fingerprint != fingerprint {
        return Err(Failure::input(format!(
            "{} has other images than the search began with (fingerprint {fingerprint} instead of {}); resume with the same files",
            config.data.source, metadata.fingerprint
        )));
    }
    if metadata.config_hash != config.hash() {
        return Err(Failure::input(format!(
            "config.toml does not say what the checkpoint {} was searched by; undo the change, or start a new search",
            path.display()
        )));
    }
    Ok(())
}
