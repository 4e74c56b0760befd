//! `run.json`: what a run ran on, and whether it is over.

use super::atomic;
use crate::failure::Failure;
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// How far a run got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// At work, or killed while it was.
    Running,
    /// A signal stopped it after it had saved.
    Interrupted,
    /// It reached its `max_steps` before its last epoch.
    Stopped,
    /// All epochs are done.
    Finished,
}

/// What a run ran on, and whether it is over.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    /// Of pleach.
    pub version: String,
    /// Start of the latest session, UTC.
    pub started: String,
    /// How far it got.
    pub state: State,
    /// Processor model, as the system names it.
    pub cpu: String,
    /// Target architecture and operating system.
    pub platform: String,
    /// Worker threads.
    pub threads: usize,
    /// Of the configuration.
    pub seed: u64,
    /// Name in the zoo.
    pub model: String,
    /// Trained parameters.
    pub params: usize,
    /// Multiply-adds of one forward pass of one image.
    pub macs: u64,
    /// Name of the data set.
    pub dataset: String,
    /// Of its pixels and labels.
    pub dataset_fingerprint: String,
    /// Images trained on.
    pub train_images: usize,
    /// Images tested on.
    pub test_images: usize,
}

const NAME: &str = "run.json";

impl Record {
    /// The record of the run in `folder`, if it has one that reads.
    pub fn read(folder: &Path) -> Option<Record> {
        serde_json::from_slice(&std::fs::read(folder.join(NAME)).ok()?).ok()
    }

    /// Puts this in the place of the run's record.
    pub fn write(&self, folder: &Path) -> Result<(), Failure> {
        let path = folder.join(NAME);
        let mut text = serde_json::to_vec_pretty(self).map_err(|e| Failure::work(format!("run.json: {e}")))?;
        text.push(b'\n');
        atomic::replace(&path, &text).map_err(|e| Failure::writing(&path, &e))
    }
}

/// The processor's name, where the system tells.
pub fn cpu_model() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = info.lines().find(|line| line.starts_with("model name"));
    line.and_then(|line| Some(line.split_once(':')?.1.trim().to_string())).unwrap_or_else(|| "unknown".into())
}

/// Now, as `2026-01-31T12:34:56Z`.
pub fn now() -> String {
    utc(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs()))
}

/// Seconds since 1970 as a date (Howard Hinnant's `civil_from_days`).
fn utc(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::utc;

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(utc(0), "1970-01-01T00:00:00Z");
        assert_eq!(utc(951_782_399), "2000-02-28T23:59:59Z");
        assert_eq!(utc(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(utc(1_767_225_599), "2025-12-31T23:59:59Z");
    }
}
