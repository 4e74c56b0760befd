//! Telling people and programs how a search is going.

use super::lines::Lines;
use crate::failure::Failure;
use crate::run::{RunDir, record};
use crate::training::QUIET;
use crate::{output, training};
use indicatif::ProgressBar;
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::time::Instant;

/// One weight step, and the architecture steps before it.
#[derive(Clone, Debug, Serialize)]
pub struct StepLine {
    /// Counted from 1.
    pub step: u64,
    /// Counted from 1, the warm-up's epochs first.
    pub epoch: u64,
    /// `warm-up` or `search`.
    pub phase: &'static str,
    /// Cross entropy of the path, in nats.
    pub loss: f64,
    /// Mean over the edges, in nats.
    pub entropy: f64,
    /// Of the policy.
    pub expected_latency_ms: Option<f64>,
    /// Most that a step held beside weights and what the optimiser remembers.
    pub activation_peak_bytes: usize,
    /// Of all candidates.
    pub weight_bytes: usize,
    /// Images of weight steps, by the time of all steps.
    pub images_per_s: f64,
    /// Learning rate of the weights.
    pub lr: f32,
    /// Architecture steps so far.
    pub architecture_steps: u64,
}

/// One epoch.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EpochLine {
    /// Counted from 1, the warm-up's epochs first.
    pub epoch: u64,
    /// Its last.
    pub step: u64,
    /// Cross entropy of the sampled paths, in nats.
    pub train_loss: f64,
    /// In 0..=1.
    pub train_acc: f64,
    /// Of the most probable network with the supernet's weights, on held-out images, in nats.
    pub val_loss: f64,
    /// In 0..=1.
    pub val_acc: f64,
    /// Mean over the edges, in nats.
    pub entropy: f64,
    /// Of the policy.
    pub expected_latency_ms: Option<f64>,
    /// Predicted for the most probable network.
    pub best_latency_ms: Option<f64>,
    /// The most probable network.
    pub best: String,
    /// Of all steps.
    pub seconds: f64,
    /// Images of weight steps, by that time.
    pub images_per_s: f64,
}

/// Writes `metrics.jsonl` and the log, draws the progress bar, and prints JSON where it was asked for.
pub struct Reporter {
    metrics: Lines,
    log: File,
    bar: Option<ProgressBar>,
    json: bool,
    epochs: u64,
    total: u64,
    told: Instant,
}

impl Reporter {
    /// Opens the files of `run`, cut back to `step`.
    pub fn open(run: &RunDir, step: u64, epochs: u64, total: u64, json: bool) -> Result<Reporter, Failure> {
        let path = run.file("log.txt");
        let log = OpenOptions::new().append(true).create(true).open(&path).map_err(|e| Failure::writing(&path, &e))?;
        let metrics = Lines::open(run.file("metrics.jsonl"), step)?;
        let bar = training::bar("{bar:24} {percent:>3} %  {eta:>4} left  {wide_msg}", total);
        if let Some(bar) = &bar {
            bar.set_position(step);
            bar.reset_eta();
        }
        Ok(Reporter { metrics, log, bar, json, epochs, total, told: Instant::now() })
    }

    /// Tells people, and the log.
    pub fn say(&mut self, text: &str) {
        self.log(text);
        match &self.bar {
            Some(bar) => bar.println(text),
            None => output::tell(text),
        }
    }

    /// A line in the log. It is for reading along: that the disk is full, the next checkpoint says.
    pub fn log(&mut self, text: &str) {
        let _ = writeln!(self.log, "{}  {text}", record::now());
    }

    /// Reports a step; `best` is the most probable network so far.
    pub fn step(&mut self, line: &StepLine, best: impl FnOnce() -> String) -> Result<(), Failure> {
        let text = self.metrics.add(line)?;
        if self.json {
            output::line(&text)?;
        }
        if self.bar.is_none() && self.told.elapsed() < QUIET {
            return Ok(());
        }
        let latency = line.expected_latency_ms.map_or_else(String::new, |ms| format!("  E[latency] {ms:.2} ms"));
        let now = format!(
            "{} epoch {}/{}  loss {:.3}  entropy {:.3}{latency}  {:.0} img/s  best {}",
            line.phase,
            line.epoch,
            self.epochs,
            line.loss,
            line.entropy,
            line.images_per_s,
            best()
        );
        match &self.bar {
            Some(bar) => {
                bar.set_message(now);
                bar.set_position(line.step);
            }
            None => {
                // The bar's time left is of this session alone; without one, the speed says as much.
                output::tell(&format!("{now}  step {}/{}", line.step, self.total));
                self.told = Instant::now();
            }
        }
        Ok(())
    }

    /// Reports an epoch.
    pub fn epoch(&mut self, line: &EpochLine) -> Result<(), Failure> {
        let text = self.metrics.add(line)?;
        if self.json {
            output::line(&text)?;
        }
        let latency = match (line.expected_latency_ms, line.best_latency_ms) {
            (Some(expected), Some(best)) => format!("  E[latency] {expected:.3} ms, best {best:.3}"),
            _ => String::new(),
        };
        self.say(&format!(
            "epoch {}/{}  loss {:.3} acc {:.2} %  best path: loss {:.3} acc {:.2} %  entropy {:.3}{latency}  {:.1} s  {:.0} img/s",
            line.epoch,
            self.epochs,
            line.train_loss,
            100.0 * line.train_acc,
            line.val_loss,
            100.0 * line.val_acc,
            line.entropy,
            line.seconds,
            line.images_per_s
        ));
        self.told = Instant::now();
        Ok(())
    }

    /// Prints an object if standard output is for programs.
    pub fn print(&self, object: &impl Serialize) -> Result<(), Failure> {
        if self.json { output::print(object) } else { Ok(()) }
    }

    /// Whether standard output is for programs.
    pub fn json(&self) -> bool {
        self.json
    }

    /// Takes the bar away.
    pub fn end(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}
