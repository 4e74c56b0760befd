//! Telling people and programs how a run is going.

use super::screen::Screen;
use crate::failure::Failure;
use crate::run::RunDir;
use crate::run::checkpoint::{Position, Sums};
use crate::run::metrics::{EpochLine, GradientLine, Metrics, StepLine};
use crate::run::record;
use std::fs::{File, OpenOptions};
use std::io::Write;

/// Writes the metrics files and the log, and tells a [`Screen`].
pub struct Reporter {
    metrics: Metrics,
    log: File,
    screen: Box<dyn Screen>,
}

impl Reporter {
    /// Opens the files of `run`, cut back to `position`.
    pub fn open(run: &RunDir, position: Position, screen: Box<dyn Screen>) -> Result<Reporter, Failure> {
        let path = run.file("log.txt");
        let log = OpenOptions::new().append(true).create(true).open(&path).map_err(|e| Failure::writing(&path, &e))?;
        let metrics = Metrics::open(run.path(), position)?;
        Ok(Reporter { metrics, log, screen })
    }

    /// Begins a run of `epochs` epochs and `total` steps, `done` of which are done.
    pub fn begin(&mut self, epochs: usize, total: u64, done: u64) {
        self.screen.begin(epochs, total, done);
    }

    /// Tells people, and the log.
    pub fn say(&mut self, text: &str) {
        self.log(text);
        self.screen.say(text);
    }

    /// A line in the log. It is for reading along: that the disk is full, the next checkpoint says.
    pub fn log(&mut self, text: &str) {
        let _ = writeln!(self.log, "{}  {text}", record::now());
    }

    /// Reports a step. `sums` are those of its epoch.
    pub fn step(&mut self, line: &StepLine, sums: &Sums) -> Result<(), Failure> {
        let json = self.metrics.step(line)?;
        self.screen.step(line, sums, &json)
    }

    /// Reports the gradients of a step.
    pub fn gradients(&mut self, line: &GradientLine) -> Result<(), Failure> {
        let json = self.metrics.gradients(line)?;
        self.screen.gradients(&json)
    }

    /// Says that a test is running.
    pub fn testing(&self) {
        self.screen.testing();
    }

    /// Reports an epoch.
    pub fn epoch(&mut self, line: &EpochLine) -> Result<(), Failure> {
        let json = self.metrics.epoch(line)?;
        let text = self.screen.epoch(line, &json)?;
        self.say(&text);
        Ok(())
    }

    /// Takes the bar away.
    pub fn end(&mut self) {
        self.screen.end();
    }

    /// The lines of the epochs so far.
    pub fn epochs(&self) -> &[EpochLine] {
        &self.metrics.epochs
    }
}
