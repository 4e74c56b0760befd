//! What a comparison has found so far, read from the folders of its runs.

use super::plan::{Member, Plan};
use super::timing;
use crate::networks;
use crate::run::metrics::{self, EpochLine};
use crate::run::record::{Record, State};
use serde::Serialize;
use std::path::Path;

/// A line of the table: a network over its seeds.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// As asked for; of a file, its name.
    pub model: String,
    /// Learned values.
    pub params: Option<usize>,
    /// Multiply-adds of one forward pass of one image.
    pub macs: Option<u64>,
    /// Trained on, at the median step.
    pub images_per_s: Option<f64>,
    /// Median over all training steps, forward, backward and update, in ms.
    pub step_ms: Option<f64>,
    /// Whether the two above were measured by themselves (`--measure`), not while the runs trained.
    pub timed_alone: bool,
    /// Most bytes of tensors at any time.
    pub peak_bytes: Option<usize>,
    /// Mean over the seeds of the test error after the last epoch, in percent.
    pub error: Option<f64>,
    /// Sample standard deviation of that over the seeds; absent with fewer than two.
    pub error_spread: Option<f64>,
    /// Of each finished run.
    pub errors: Vec<f64>,
    /// Mean error on the training images, in percent, of the predictions made in the last epoch.
    pub train_error: Option<f64>,
    /// Published for CIFAR-10 with the paper's recipe, in percent.
    pub published_error: Option<f32>,
    /// Runs that are done.
    pub runs: usize,
    /// Whether no other network has both fewer parameters and a smaller error.
    pub front_params: bool,
    /// The same for multiply-adds.
    pub front_macs: bool,
    /// The same for the time of a step.
    pub front_step_time: bool,
}

/// What one run came to.
struct Outcome {
    record: Record,
    last: Option<EpochLine>,
    peak: usize,
    speeds: Vec<f64>,
    done: bool,
}

/// Whether a run has nothing left to do: all its epochs are done, or the `limit` of steps is reached if there is one.
pub fn is_done(folder: &Path, limit: u64) -> bool {
    outcome(folder, limit).is_some_and(|outcome| outcome.done)
}

fn outcome(folder: &Path, limit: u64) -> Option<Outcome> {
    let record = Record::read(folder)?;
    let (epochs, speeds) = metrics::read(folder)?;
    let peak = epochs.iter().map(|line| line.peak_bytes).max().unwrap_or(0);
    let last = epochs.into_iter().last();
    let reached = limit > 0 && last.as_ref().is_some_and(|line| line.step >= limit);
    let done = record.state == State::Finished || (record.state == State::Stopped && reached);
    Some(Outcome { last, record, peak, speeds, done })
}

/// Images per second of a run's median step.
pub fn speed(folder: &Path) -> Option<f64> {
    median(metrics::read(folder)?.1)
}

/// A row for each network.
pub fn rows(plan: &Plan, place: &Path, classes: usize, batch: usize, limit: u64) -> Vec<Row> {
    let (zoo, alone) = (nn::zoo(), timing::read(place));
    let mut rows: Vec<Row> = vec![];
    for model in &plan.models {
        let folder = |&seed: &u64| place.join(Member { model: model.clone(), seed }.folder());
        let outcomes: Vec<Outcome> = plan.seeds.iter().filter_map(|seed| outcome(&folder(seed), limit)).collect();
        let done = || outcomes.iter().filter(|outcome| outcome.done);
        let last = || done().filter_map(|outcome| outcome.last.as_ref());
        let errors: Vec<f64> = last().filter_map(|line| Some(100.0 * (1.0 - line.test_acc?))).collect();
        let train: Vec<f64> = last().map(|line| 100.0 * (1.0 - line.train_acc)).collect();
        let sizes = outcomes.first().map(|outcome| (outcome.record.params, outcome.record.macs)).or_else(|| {
            let model = networks::outline(&model.name, classes).ok()?;
            Some((model.num_params(), model.macs()))
        });
        let alone = alone.get(&model.label).filter(|time| time.batch == batch);
        let in_training = || median(outcomes.iter().flat_map(|outcome| outcome.speeds.iter().copied()).collect());
        let images_per_s = alone.map(|time| 1e3 * batch as f64 / time.step_ms).or_else(in_training);
        rows.push(Row {
            model: model.label.clone(),
            params: sizes.map(|(params, _)| params),
            macs: sizes.map(|(_, macs)| macs),
            images_per_s,
            step_ms: images_per_s.map(|speed| 1e3 * batch as f64 / speed),
            timed_alone: alone.is_some(),
            peak_bytes: outcomes.iter().map(|outcome| outcome.peak).max().filter(|&peak| peak > 0),
            error: mean(&errors),
            error_spread: spread(&errors),
            train_error: mean(&train),
            published_error: zoo.iter().find(|info| info.name == model.name).and_then(|info| info.published_error),
            runs: done().count(),
            errors,
            front_params: false,
            front_macs: false,
            front_step_time: false,
        });
    }
    let front = |cost: fn(&Row) -> Option<f64>| {
        let points: Vec<Option<(f64, f64)>> = rows.iter().map(|row| Some((cost(row)?, row.error?))).collect();
        pareto(&points)
    };
    let fronts = [front(|row| Some(row.params? as f64)), front(|row| Some(row.macs? as f64)), front(|row| row.step_ms)];
    for (i, row) in rows.iter_mut().enumerate() {
        (row.front_params, row.front_macs, row.front_step_time) = (fronts[0][i], fronts[1][i], fronts[2][i]);
    }
    rows
}

/// Where the times of steps come from, in a sentence.
pub fn timed(rows: &[Row]) -> &'static str {
    if rows.iter().all(|row| row.timed_alone) {
        "Steps (forward, backward, update) are timed by themselves, on made-up images."
    } else if rows.iter().any(|row| row.timed_alone) {
        "Some steps (forward, backward, update) are timed by themselves, others while training: add --measure for all."
    } else {
        "Steps are timed while training (forward, backward, update), so other work on the machine shows in them."
    }
}

/// Which points no other point beats in one coordinate without losing in the other.
fn pareto(points: &[Option<(f64, f64)>]) -> Vec<bool> {
    let beats = |a: (f64, f64), b: (f64, f64)| a.0 <= b.0 && a.1 <= b.1 && a != b;
    let on_front = |point: &Option<(f64, f64)>| {
        point.is_some_and(|point| !points.iter().flatten().any(|&other| beats(other, point)))
    };
    points.iter().map(on_front).collect()
}

fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// Sample standard deviation.
fn spread(values: &[f64]) -> Option<f64> {
    let mean = mean(values).filter(|_| values.len() > 1)?;
    let squares: f64 = values.iter().map(|v| (v - mean) * (v - mean)).sum();
    Some((squares / (values.len() - 1) as f64).sqrt())
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let n = values.len();
    (n > 0).then(|| (values[(n - 1) / 2] + values[n / 2]) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_front_is_what_nothing_beats() {
        let points = [
            Some((1.0, 9.0)),
            Some((2.0, 5.0)),
            Some((3.0, 5.0)),
            None,
            Some((4.0, 6.0)),
            Some((9.0, 1.0)),
            Some((2.0, 5.0)),
        ];
        assert_eq!(pareto(&points), [true, true, false, false, false, true, true]);
    }

    #[test]
    fn means_and_spreads() {
        assert_eq!((mean(&[]), spread(&[1.0])), (None, None));
        assert_eq!((mean(&[1.0, 3.0]), spread(&[1.0, 3.0])), (Some(2.0), Some(2f64.sqrt())));
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
    }
}
