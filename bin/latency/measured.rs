//! The table: opened if it is of this machine, else measured.

use crate::failure::Failure;
use crate::signals::Stop;
use crate::{output, training};
use indicatif::ProgressBar;
use nas::latency::{Effort, Machine, Setting, Table, measure_blocks};
use nas::{BlockKey, Space};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

/// What is to be measured.
pub struct Request<'a> {
    /// The whole space, all candidates.
    pub space: &'a Space,
    /// [`label`] of the space.
    pub label: String,
    /// Classes of its networks.
    pub classes: usize,
    /// Images a forward pass.
    pub batch: usize,
    /// Worker threads.
    pub threads: usize,
    /// How often.
    pub effort: Effort,
    /// Of random networks.
    pub seed: u64,
}

impl Request<'_> {
    /// What a table for this holds for.
    pub fn setting(&self) -> Setting {
        Setting { space: self.label.clone(), batch: self.batch, threads: self.threads, machine: Machine::here() }
    }

    /// Every block that has a latency.
    pub fn keys(&self) -> Vec<BlockKey> {
        self.space.blocks(self.classes).into_iter().map(|block| block.key).collect()
    }
}

/// How tables name a space: as the user does, and by a hash of what it holds, so that a changed file is another space.
pub fn label(name: &str, space: &Space) -> String {
    let stem = Path::new(name).file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned());
    let hash = Sha256::digest(space.to_toml().as_bytes());
    format!("{stem} {:02x}{:02x}{:02x}{:02x}", hash[0], hash[1], hash[2], hash[3])
}

/// Where the table of a space is kept unless said otherwise.
pub fn default_path(name: &str, batch: usize, threads: usize) -> PathBuf {
    let stem = Path::new(name).file_stem().map_or_else(String::new, |n| n.to_string_lossy().into_owned());
    PathBuf::from("latency").join(format!("{stem}-b{batch}-t{threads}.json"))
}

/// The table at `path`, if there is one and it is of this machine and setting; else one that is measured now, and whether that is so. A
/// table of something else is refused, unless `force` says to measure anyway.
pub fn open_or_measure(path: &Path, force: bool, request: &Request, stop: &Stop) -> Result<(Table, bool), Failure> {
    if path.exists() && !force {
        return Ok((Table::open(path, &request.setting(), &request.keys())?, false));
    }
    Ok((measure(request, stop)?, true))
}

/// Measures every block.
pub fn measure(request: &Request, stop: &Stop) -> Result<Table, Failure> {
    let Request { space, classes, effort, seed, batch, threads, .. } = *request;
    let title =
        format!("blocks of {}, batch {batch}, {threads} thread{}", request.label, if threads == 1 { "" } else { "s" });
    let progress = Progress::new(&title);
    let table =
        measure_blocks(space, classes, request.setting(), effort, seed, |done, all| progress.at(done, all, stop));
    progress.end();
    table.ok_or_else(interrupted)
}

/// A measurement has nothing half-done worth keeping.
pub fn interrupted() -> Failure {
    Failure::Interrupted("interrupted before the measurement was complete; nothing is saved".into())
}

/// A bar on a terminal; elsewhere one line.
pub struct Progress(Option<ProgressBar>);

impl Progress {
    /// A bar that says what is measured.
    pub fn new(title: &str) -> Progress {
        let bar = training::bar("{bar:24} {percent:>3} %  {eta:>4} left  {wide_msg}", 1);
        match &bar {
            Some(bar) => bar.set_message(format!("measuring {title}")),
            None => output::tell(&format!("measuring {title}")),
        }
        Progress(bar)
    }

    /// So far. False if a stop was asked for.
    pub fn at(&self, done: usize, all: usize, stop: &Stop) -> bool {
        if let Some(bar) = &self.0 {
            bar.set_length(all as u64);
            bar.set_position(done as u64);
        }
        !stop.requested()
    }

    /// Takes the bar away.
    pub fn end(self) {
        if let Some(bar) = self.0 {
            bar.finish_and_clear();
        }
    }
}
