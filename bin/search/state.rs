//! `search.json`: what a search runs on, and whether it is over.

use super::outcome::put;
use crate::failure::Failure;
use crate::run::record;
use nas::latency::Machine;
use serde::Serialize;
use std::path::Path;

/// How far a search got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// At work, or killed while it was.
    Running,
    /// A signal stopped it after it had saved.
    Interrupted,
    /// It reached its `max_steps`.
    Stopped,
    /// All is done, the trust report included.
    Finished,
}

#[derive(Serialize)]
struct Record {
    state: State,
    /// Of this state, UTC.
    since: String,
    machine: Machine,
}

/// Puts the state in the place of the one before.
pub fn write(folder: &Path, state: State) -> Result<(), Failure> {
    let record = Record { state, since: record::now(), machine: Machine::here() };
    let text = serde_json::to_string_pretty(&record).map_err(|e| Failure::work(format!("search.json: {e}")))?;
    put(&folder.join("search.json"), &(text + "\n"))
}
