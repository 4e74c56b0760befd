//! Telling people and programs how a run is going.

use crate::failure::Failure;
use crate::output;
use crate::run::RunDir;
use crate::run::checkpoint::{Position, Sums};
use crate::run::metrics::{EpochLine, Metrics, StepLine};
use crate::run::record;
use indicatif::{ProgressBar, ProgressStyle};
use std::fs::{File, OpenOptions};
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// Without a terminal, a line about the steps at most this often.
const QUIET: Duration = Duration::from_secs(20);

/// Writes the metrics files and the log, draws the progress bar, and prints JSON where it was asked for.
pub struct Reporter {
    metrics: Metrics,
    log: File,
    bar: Option<ProgressBar>,
    json: bool,
    epochs: usize,
    total: u64,
    told: Instant,
}

impl Reporter {
    /// Opens the files of `run`, cut back to `position`.
    pub fn open(run: &RunDir, position: Position, epochs: usize, json: bool) -> Result<Reporter, Failure> {
        let path = run.file("log.txt");
        let log = OpenOptions::new().append(true).create(true).open(&path).map_err(|e| Failure::writing(&path, &e))?;
        let metrics = Metrics::open(run.path(), position)?;
        Ok(Reporter { metrics, log, bar: None, json, epochs, total: 0, told: Instant::now() })
    }

    /// Starts the bar of a run of `total` steps, `done` of which are done.
    pub fn begin(&mut self, total: u64, done: u64) {
        self.total = total;
        if !std::io::stderr().is_terminal() {
            return;
        }
        let style = ProgressStyle::with_template("{bar:24} {percent:>3} %  {eta:>4} left  {wide_msg}");
        let bar = ProgressBar::new(total).with_position(done);
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("━╸ "));
        bar.reset_eta();
        self.bar = Some(bar);
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

    /// Reports a step. `sums` are those of its epoch.
    pub fn step(&mut self, line: &StepLine, sums: &Sums) -> Result<(), Failure> {
        let text = self.metrics.step(line)?;
        if self.json {
            output::line(&text)?;
        }
        let images = sums.images.max(1) as f64;
        let (loss, accuracy) = (sums.loss / images, 100.0 * sums.correct / images);
        let speed = images / sums.seconds.max(f64::MIN_POSITIVE);
        let now =
            || format!("epoch {}/{}  loss {loss:.3}  acc {accuracy:.1} %  {speed:.0} img/s", line.epoch, self.epochs);
        match &self.bar {
            Some(bar) => {
                bar.set_message(now());
                bar.set_position(line.step);
            }
            None if self.told.elapsed() >= QUIET => {
                output::tell(&format!("{}  step {}/{}", now(), line.step, self.total));
                self.told = Instant::now();
            }
            None => {}
        }
        Ok(())
    }

    /// Says that a test is running.
    pub fn testing(&self) {
        if let Some(bar) = &self.bar {
            bar.set_message("testing");
            bar.tick();
        }
    }

    /// Reports an epoch.
    pub fn epoch(&mut self, line: &EpochLine) -> Result<(), Failure> {
        let text = self.metrics.epoch(line)?;
        if self.json {
            output::line(&text)?;
        }
        let test = match (line.test_loss, line.test_acc) {
            (Some(loss), Some(accuracy)) => format!("  test loss {loss:.3} acc {:.2} %", 100.0 * accuracy),
            _ => String::new(),
        };
        let width = self.epochs.to_string().len();
        let note = if line.partial { "  (cut short by max_steps)" } else { "" };
        self.say(&format!(
            "epoch {:>width$}/{}  train loss {:.3} acc {:.2} %{test}  {:.1} s  {:.0} img/s  {:.0} MiB{note}",
            line.epoch,
            self.epochs,
            line.train_loss,
            100.0 * line.train_acc,
            line.seconds,
            line.images_per_s,
            line.peak_bytes as f64 / f64::from(1 << 20),
        ));
        self.told = Instant::now();
        Ok(())
    }

    /// Takes the bar away.
    pub fn end(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    /// The lines of the epochs so far.
    pub fn epochs(&self) -> &[EpochLine] {
        &self.metrics.epochs
    }

    /// Whether standard output is for programs.
    pub fn json(&self) -> bool {
        self.json
    }
}
