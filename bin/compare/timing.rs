//! Steps timed by themselves. Those of the runs have in them what else the machine did while they trained.

use crate::bench::step::{Work, measure};
use crate::config::Config;
use crate::failure::Failure;
use crate::pool;
use crate::run::atomic;
use data::Dataset;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

const FILE: &str = "step-times.json";
/// Before those that are timed.
const WARM_UP: usize = 3;
const STEPS: usize = 15;

/// The time of one network's training step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepTime {
    /// Images a step.
    pub batch: usize,
    /// Worker threads.
    pub threads: usize,
    /// Median, in ms.
    pub step_ms: f64,
}

/// By the network's label.
pub type StepTimes = BTreeMap<String, StepTime>;

/// What was measured in this comparison; nothing if it never was.
pub fn read(place: &Path) -> StepTimes {
    let text = std::fs::read(place.join(FILE)).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}

/// Keeps it.
pub fn write(place: &Path, times: &StepTimes) -> Result<(), Failure> {
    let path = place.join(FILE);
    let text = serde_json::to_string_pretty(times).map_err(|e| Failure::work(format!("{FILE}: {e}")))?;
    atomic::replace(&path, format!("{text}\n").as_bytes()).map_err(|e| Failure::writing(&path, &e))
}

/// Times the network called `name` as `config` trains it, on made-up images of the shape of those of `dataset`.
pub fn time(name: &str, config: &Config, dataset: &Dataset) -> Result<StepTime, Failure> {
    let (batch, threads) = (config.training.batch, config.thread_count());
    let work = Work {
        classes: dataset.classes(),
        size: (dataset.train.height, dataset.train.width),
        algorithm: config.conv_algorithm,
        ..Work::on(name, batch, WARM_UP, STEPS)
    };
    let measured = pool::with_threads(threads, || measure(&work))?;
    Ok(StepTime { batch, threads, step_ms: measured.times.median() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_kept_and_damage_is_none() {
        let place = tempfile::tempdir().expect("a folder");
        assert!(read(place.path()).is_empty());
        let times = StepTimes::from([("a".into(), StepTime { batch: 8, threads: 2, step_ms: 1.5 })]);
        write(place.path(), &times).expect("written");
        assert_eq!(read(place.path()), times);
        std::fs::write(place.path().join(FILE), "{").expect("written");
        assert!(read(place.path()).is_empty());
    }
}
