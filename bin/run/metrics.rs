//! The numbers of a run: `metrics.jsonl`, a line a step and a line an epoch, and `metrics.csv`, a line an epoch.

use super::checkpoint::Position;
use super::lines::{self, Lines};
use crate::failure::Failure;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// One step.
#[derive(Clone, Debug, Serialize)]
pub struct StepLine {
    /// Counted from 1, over all epochs.
    pub step: u64,
    /// Counted from 1.
    pub epoch: usize,
    /// Mean over the batch, in nats.
    pub loss: f32,
    /// Of this step.
    pub lr: f32,
    /// Speed of this step.
    pub images_per_s: f32,
}

/// One epoch, or the part of one that `max_steps` allowed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpochLine {
    /// Counted from 1.
    pub epoch: usize,
    /// The last of the epoch.
    pub step: u64,
    /// Mean over the epoch, in nats.
    pub train_loss: f64,
    /// In 0..=1, of the predictions made while training.
    pub train_acc: f64,
    /// Mean over the test images, in nats; `None` in an epoch that is not tested.
    pub test_loss: Option<f64>,
    /// In 0..=1.
    pub test_acc: Option<f64>,
    /// Of the last step.
    pub lr: f32,
    /// Time of the training steps.
    pub seconds: f64,
    /// Speed of the training steps.
    pub images_per_s: f64,
    /// Most bytes of tensors at any time of the epoch, test included.
    pub peak_bytes: usize,
    /// Whether `max_steps` ended the run before the epoch did.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub partial: bool,
}

/// Norms of the gradients in one step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GradientLine {
    /// Counted from 1, over all epochs.
    pub step: u64,
    /// L2 norm of each weight's gradient, before any clipping.
    pub gradient_norms: BTreeMap<String, f64>,
}

/// The files, open for adding lines.
pub struct Metrics {
    jsonl: Lines,
    csv: Lines,
    /// The lines of the complete epochs.
    pub epochs: Vec<EpochLine>,
}

const COLUMNS: &str = "epoch,step,train_loss,train_acc,test_loss,test_acc,lr,seconds,images_per_s,peak_bytes";

fn csv_line(line: &EpochLine) -> String {
    let optional = |value: Option<f64>| value.map_or_else(String::new, |v| v.to_string());
    let EpochLine { epoch, step, train_loss, train_acc, lr, seconds, images_per_s, peak_bytes, .. } = line;
    let (test_loss, test_acc) = (optional(line.test_loss), optional(line.test_acc));
    format!("{epoch},{step},{train_loss},{train_acc},{test_loss},{test_acc},{lr},{seconds},{images_per_s},{peak_bytes}")
}

impl Metrics {
    /// Opens the files of the run in `folder`, cut back to `position`: lines about what comes after are of work that a
    /// crash has lost, and will be done again.
    pub fn open(folder: &Path, position: Position) -> Result<Metrics, Failure> {
        let jsonl = folder.join("metrics.jsonl");
        let text = lines::text(&jsonl)?;
        let (kept, epochs) = cut_back(&text, position);
        let csv: String =
            std::iter::once(COLUMNS.to_string()).chain(epochs.iter().map(csv_line)).map(|line| line + "\n").collect();
        Ok(Metrics {
            jsonl: Lines::restart(jsonl, &kept)?,
            csv: Lines::restart(folder.join("metrics.csv"), &csv)?,
            epochs,
        })
    }

    /// Adds a step's line; gives it back as JSON.
    pub fn step(&mut self, line: &StepLine) -> Result<String, Failure> {
        let json = to_json(line)?;
        self.jsonl.add(&json)?;
        Ok(json)
    }

    /// Adds the norms of a step's gradients; gives the line back as JSON.
    pub fn gradients(&mut self, line: &GradientLine) -> Result<String, Failure> {
        let json = to_json(line)?;
        self.jsonl.add(&json)?;
        Ok(json)
    }

    /// Adds an epoch's line; gives it back as JSON.
    pub fn epoch(&mut self, line: &EpochLine) -> Result<String, Failure> {
        let json = to_json(line)?;
        self.jsonl.add(&json)?;
        self.csv.add(&csv_line(line))?;
        self.epochs.push(line.clone());
        Ok(json)
    }
}

/// The epochs of the run in `folder`, the last perhaps partial, and the speed of each of its steps in images per second; `None`
/// if it has none.
pub fn read(folder: &Path) -> Option<(Vec<EpochLine>, Vec<f64>)> {
    let text = std::fs::read_to_string(folder.join("metrics.jsonl")).ok()?;
    let (mut epochs, mut speeds) = (vec![], vec![]);
    for line in text.lines() {
        match serde_json::from_str::<EpochLine>(line) {
            Ok(epoch) => epochs.push(epoch),
            Err(_) => {
                let line = serde_json::from_str::<serde_json::Value>(line).ok();
                speeds.extend(line.and_then(|line| line.get("images_per_s")?.as_f64()));
            }
        }
    }
    Some((epochs, speeds))
}

/// The gradient norms that the run in `folder` recorded.
pub fn gradients(folder: &Path) -> Vec<GradientLine> {
    let text = std::fs::read_to_string(folder.join("metrics.jsonl")).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

fn to_json(line: &impl Serialize) -> Result<String, Failure> {
    serde_json::to_string(line).map_err(|e| Failure::work(format!("metrics: {e}")))
}

/// The lines up to `position`, and those of them that are of complete epochs.
fn cut_back(text: &str, position: Position) -> (String, Vec<EpochLine>) {
    let (mut kept, mut epochs) = (String::new(), vec![]);
    for line in text.lines() {
        if let Ok(epoch) = serde_json::from_str::<EpochLine>(line) {
            if epoch.epoch > position.epoch || epoch.partial {
                continue;
            }
            epochs.push(epoch);
        } else {
            let step = serde_json::from_str::<serde_json::Value>(line).ok().and_then(|v| v.get("step")?.as_u64());
            // A line that does not read was cut short by the crash.
            if step.is_none_or(|step| step > position.step) {
                continue;
            }
        }
        kept.push_str(line);
        kept.push('\n');
    }
    (kept, epochs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epoch(epoch: usize, step: u64, partial: bool) -> EpochLine {
        EpochLine {
            epoch,
            step,
            train_loss: 1.5,
            train_acc: 0.25,
            test_loss: (!partial).then_some(1.25),
            test_acc: None,
            lr: 0.1,
            seconds: 2.0,
            images_per_s: 10.0,
            peak_bytes: 7,
            partial,
        }
    }

    fn step(step: u64) -> StepLine {
        StepLine { step, epoch: 1, loss: 1.0, lr: 0.1, images_per_s: 5.0 }
    }

    #[test]
    fn lines_after_the_checkpoint_are_cut_and_the_rest_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut metrics = Metrics::open(folder.path(), Position::default()).expect("opened");
        metrics.step(&step(1)).expect("written");
        metrics.epoch(&epoch(1, 1, false)).expect("written");
        metrics.step(&step(2)).expect("written");
        metrics.step(&step(3)).expect("written");
        metrics.epoch(&epoch(2, 3, true)).expect("written");
        drop(metrics);
        let path = folder.path().join("metrics.jsonl");
        let mut text = std::fs::read_to_string(&path).expect("readable");
        text.push_str("{\"step\":4,\"epo");
        std::fs::write(&path, text).expect("written");

        let metrics = Metrics::open(folder.path(), Position { epoch: 1, batch: 1, step: 2 }).expect("opened");
        assert_eq!(metrics.epochs, [epoch(1, 1, false)]);
        let text = std::fs::read_to_string(&path).expect("readable");
        assert_eq!(text.lines().count(), 3, "{text}");
        assert!(text.ends_with("}\n"));
        let csv = std::fs::read_to_string(folder.path().join("metrics.csv")).expect("readable");
        assert_eq!(csv, format!("{COLUMNS}\n1,1,1.5,0.25,1.25,,0.1,2,10,7\n"));
    }
}
