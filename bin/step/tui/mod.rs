//! `pleach step` in a terminal: a debugger for the tape.
//!
//! [`state`] is what is shown and how actions change it, without a terminal; [`keys`] turns keys into actions; [`draw`] turns the state into
//! characters and colours; [`worker`] computes what takes time; [`terminal`] holds them together.

mod draw;
mod keys;
mod numbers;
mod state;
mod terminal;
mod worker;

use super::record::Recording;
use super::trace::About;
use crate::failure::Failure;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::sync::Arc;
use std::time::Duration;

/// Whether there is a terminal to step in. The error says what else there is.
pub fn check() -> Result<(), Failure> {
    let problem = if !std::io::stdout().is_terminal() {
        "standard output is not a terminal"
    } else if std::env::var("TERM").is_ok_and(|term| term == "dumb") {
        "this terminal (TERM=dumb) cannot place text"
    } else {
        return Ok(());
    };
    Err(Failure::input(format!(
        "{problem}, so there is nothing to step in; write a page with --html OUT.html or a trace with --trace OUT.json, or ask with --check \
         NAME[I,J] or --what-if NAME[I,J]=VALUE"
    )))
}

/// A line that says what takes long, until it is dropped.
pub struct Waiting(ProgressBar);

impl Waiting {
    /// On standard error, if that is a terminal.
    pub fn for_recording(what: &str) -> Waiting {
        let bar = ProgressBar::new_spinner().with_message(format!("running and recording {what}"));
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}, {elapsed}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(100));
        Waiting(bar)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// Steps through a recording until the user quits. What is asked on the way is computed on so many threads.
pub fn open(recording: Recording, about: About, threads: usize) -> Result<(), Failure> {
    terminal::run(state::App::new(Arc::new(recording), about), threads)
}

#[cfg(test)]
mod tests;
