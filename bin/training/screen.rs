//! What people and programs see of a run while it is at work.

use crate::failure::Failure;
use crate::output;
use crate::run::checkpoint::Sums;
use crate::run::metrics::{EpochLine, StepLine};
use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// Without a terminal, a line about the steps at most this often.
pub const QUIET: Duration = Duration::from_secs(20);

/// Shows a run: alone, or as a part of something longer.
pub trait Screen: Send {
    /// A run of `epochs` epochs and `total` steps begins, `done` of which are done.
    fn begin(&mut self, epochs: usize, total: u64, done: u64);
    /// A message for people.
    fn say(&mut self, text: &str);
    /// A step was taken; `sums` are those of its epoch, `json` is the line of the metrics.
    fn step(&mut self, line: &StepLine, sums: &Sums, json: &str) -> Result<(), Failure>;
    /// Gradients were measured; `json` is the line of the metrics.
    fn gradients(&mut self, json: &str) -> Result<(), Failure>;
    /// A test is running.
    fn testing(&self);
    /// An epoch is over. Returns what is to be [said](Screen::say) about it.
    fn epoch(&mut self, line: &EpochLine, json: &str) -> Result<String, Failure>;
    /// The run is over or stopped.
    fn end(&mut self);
}

/// A run on its own: a bar on a terminal, else a line now and then; JSON where it was asked for.
pub struct Alone {
    bar: Option<ProgressBar>,
    json: bool,
    epochs: usize,
    total: u64,
    told: Instant,
}

impl Alone {
    /// Of a run that is about to begin.
    pub fn new(json: bool) -> Alone {
        Alone { bar: None, json, epochs: 0, total: 0, told: Instant::now() }
    }
}

/// A bar with `template`, if there is a terminal to draw it on.
pub fn bar(template: &str, total: u64) -> Option<ProgressBar> {
    if !std::io::stderr().is_terminal() {
        return None;
    }
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = ProgressBar::new(total);
    bar.set_style(style.progress_chars("━╸ "));
    Some(bar)
}

/// Where an epoch stands, in a few words.
pub fn standing(line: &StepLine, sums: &Sums, epochs: usize) -> String {
    let images = sums.images.max(1) as f64;
    let (loss, accuracy) = (sums.loss / images, 100.0 * sums.correct / images);
    let speed = images / sums.seconds.max(f64::MIN_POSITIVE);
    format!("epoch {}/{epochs}  loss {loss:.3}  acc {accuracy:.1} %  {speed:.0} img/s", line.epoch)
}

/// What an epoch came to, in a line.
pub fn summary(line: &EpochLine, epochs: usize) -> String {
    let test = match (line.test_loss, line.test_acc) {
        (Some(loss), Some(accuracy)) => format!("  test loss {loss:.3} acc {:.2} %", 100.0 * accuracy),
        _ => String::new(),
    };
    let width = epochs.to_string().len();
    let note = if line.partial { "  (cut short by max_steps)" } else { "" };
    format!(
        "epoch {:>width$}/{epochs}  train loss {:.3} acc {:.2} %{test}  {:.1} s  {:.0} img/s  {:.0} MiB{note}",
        line.epoch,
        line.train_loss,
        100.0 * line.train_acc,
        line.seconds,
        line.images_per_s,
        line.peak_bytes as f64 / f64::from(1 << 20),
    )
}

impl Screen for Alone {
    fn begin(&mut self, epochs: usize, total: u64, done: u64) {
        (self.epochs, self.total) = (epochs, total);
        self.bar = bar("{bar:24} {percent:>3} %  {eta:>4} left  {wide_msg}", total);
        if let Some(bar) = &self.bar {
            bar.set_position(done);
            bar.reset_eta();
        }
    }

    fn say(&mut self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(text),
            None => output::tell(text),
        }
    }

    fn step(&mut self, line: &StepLine, sums: &Sums, json: &str) -> Result<(), Failure> {
        if self.json {
            output::line(json)?;
        }
        match &self.bar {
            Some(bar) => {
                bar.set_message(standing(line, sums, self.epochs));
                bar.set_position(line.step);
            }
            None if self.told.elapsed() >= QUIET => {
                output::tell(&format!("{}  step {}/{}", standing(line, sums, self.epochs), line.step, self.total));
                self.told = Instant::now();
            }
            None => {}
        }
        Ok(())
    }

    fn gradients(&mut self, json: &str) -> Result<(), Failure> {
        if self.json { output::line(json) } else { Ok(()) }
    }

    fn testing(&self) {
        if let Some(bar) = &self.bar {
            bar.set_message("testing");
            bar.tick();
        }
    }

    fn epoch(&mut self, line: &EpochLine, json: &str) -> Result<String, Failure> {
        if self.json {
            output::line(json)?;
        }
        self.told = Instant::now();
        Ok(summary(line, self.epochs))
    }

    fn end(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}
