//! Timing many pieces of work so that noise and drift hit all of them alike.
//!
//! A processor that warms up, or other work on the machine, makes whatever runs later slower. Here every piece is timed once a
//! round, in a new random order each time, and only the middle of its samples counts.

use super::quiet::Waits;
use super::stats::{median, median_deviation, quantile};
use engine::rng::{Rng, purpose};
use serde::{Deserialize, Serialize};
use std::time::Instant;

/// How much is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effort {
    /// Rounds that are not counted: they fill caches, pools and branch predictors.
    pub warm_up: usize,
    /// Rounds that are.
    pub rounds: usize,
}

/// How long a piece of work takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Timing {
    /// The median, in ms.
    pub ms: f64,
    /// Median distance from it, in ms.
    pub spread_ms: f64,
    /// A tenth of the samples are below.
    pub low_ms: f64,
    /// A tenth of the samples are above.
    pub high_ms: f64,
    /// How many there are.
    pub samples: usize,
    /// How many more were left out, for the machine had interrupted them.
    pub disturbed: usize,
}

impl Timing {
    /// Of samples; the undisturbed ones alone where a third of all are, else all.
    pub fn of(samples: &[Sample]) -> Timing {
        let calm: Vec<f64> = samples.iter().filter(|s| !s.disturbed).map(|s| s.ms).collect();
        let enough = calm.len() * 3 >= samples.len();
        let kept = if enough { calm } else { samples.iter().map(|s| s.ms).collect() };
        Timing {
            ms: median(&kept),
            spread_ms: median_deviation(&kept),
            low_ms: quantile(&kept, 0.1),
            high_ms: quantile(&kept, 0.9),
            samples: kept.len(),
            disturbed: samples.len() - kept.len(),
        }
    }
}

/// One measurement.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// In ms.
    pub ms: f64,
    /// Whether the system took a processor away meanwhile.
    pub disturbed: bool,
}

/// A run shorter than this, in ms, is watched for disturbance as a whole: to ask between its stretches would take as long as some of them,
/// and push their data out of the caches. In a longer one a disturbance is likelier, and asking costs nothing beside it.
const SHORT_MS: f64 = 20.0;

/// Times the stretches of runs, and remembers each under a number.
pub struct Stopwatch {
    waits: Waits,
    single: bool,
    recording: bool,
    /// Whether every stretch is watched by itself.
    closely: bool,
    began_run: Instant,
    began: Instant,
    waited: Option<f64>,
    /// Of the run under way.
    laps: Vec<(usize, Sample)>,
    samples: Vec<Vec<Sample>>,
}

impl Stopwatch {
    /// For `kinds` kinds of stretches, run by `threads` threads.
    pub fn new(kinds: usize, threads: usize) -> Stopwatch {
        let now = Instant::now();
        Stopwatch {
            waits: Waits::of_all_threads(),
            single: threads == 1,
            recording: false,
            closely: false,
            began_run: now,
            began: now,
            waited: None,
            laps: vec![],
            samples: vec![vec![]; kinds],
        }
    }

    /// Runs `work` once, which times its stretches by [`start`](Stopwatch::start) and [`lap`](Stopwatch::lap); keeps them if `counts`.
    pub fn run(&mut self, counts: bool, work: impl FnOnce(&mut Stopwatch)) {
        self.waited = self.waits.so_far();
        self.began_run = Instant::now();
        work(self);
        let ms = self.began_run.elapsed().as_secs_f64() * 1e3;
        let waited = if self.closely { 0.0 } else { self.waited_since() };
        // The share that other work may take before the middle of the samples would notice.
        let disturbed = waited > 0.01 * ms;
        for (kind, sample) in std::mem::take(&mut self.laps) {
            if counts && self.recording {
                self.samples[kind].push(Sample { disturbed: sample.disturbed || disturbed, ..sample });
            }
        }
        self.closely = ms > SHORT_MS;
    }

    /// A stretch begins.
    pub fn start(&mut self) {
        if self.closely {
            self.waited = self.waits.so_far();
        }
        self.began = Instant::now();
    }

    /// It ends, and was of this kind.
    pub fn lap(&mut self, kind: usize) {
        let ms = self.began.elapsed().as_secs_f64() * 1e3;
        let waited = if self.closely { self.waited_since() } else { 0.0 };
        // One thread that waits delays the work by just that; of several, who knows.
        let sample = if self.single {
            Sample { ms: (ms - waited).max(0.0), disturbed: waited > 0.05 * ms }
        } else {
            Sample { ms, disturbed: waited > 0.01 * ms }
        };
        self.laps.push((kind, sample));
    }

    /// In ms, since it was last looked at.
    fn waited_since(&mut self) -> f64 {
        let now = self.waits.so_far();
        now.zip(self.waited).map_or(0.0, |(now, before)| now - before)
    }

    /// All samples of a kind.
    pub fn samples(&self, kind: usize) -> &[Sample] {
        &self.samples[kind]
    }

    /// What a kind of stretch takes.
    pub fn timing(&self, kind: usize) -> Timing {
        Timing::of(&self.samples[kind])
    }
}

/// Runs `work(i, stopwatch)` for every `i` of `0..count`, once a round, in an order that `seed` shuffles anew each round. Ends early, with
/// `false`, when `goes_on(done, all)` says so.
pub fn in_rounds(
    count: usize,
    effort: Effort,
    seed: u64,
    stopwatch: &mut Stopwatch,
    mut work: impl FnMut(usize, &mut Stopwatch),
    mut goes_on: impl FnMut(usize, usize) -> bool,
) -> bool {
    let rounds = effort.warm_up + effort.rounds;
    let mut order: Vec<usize> = (0..count).collect();
    for round in 0..rounds {
        stopwatch.recording = round >= effort.warm_up;
        Rng::new(seed, &[purpose::SHUFFLE, round as u64]).shuffle(&mut order);
        for (place, &i) in order.iter().enumerate() {
            if !goes_on(round * count + place, rounds * count) {
                return false;
            }
            work(i, stopwatch);
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_piece_is_timed_once_a_round_and_the_warm_up_is_not_counted() {
        let mut stopwatch = Stopwatch::new(4, 1);
        let mut runs = [0; 3];
        let effort = Effort { warm_up: 2, rounds: 5 };
        let done = in_rounds(
            3,
            effort,
            1,
            &mut stopwatch,
            |i, stopwatch| {
                runs[i] += 1;
                for counts in [false, true] {
                    stopwatch.run(counts, |stopwatch| {
                        stopwatch.start();
                        stopwatch.lap(i);
                        stopwatch.lap(3);
                    });
                }
            },
            |_, _| true,
        );
        assert!(done);
        assert_eq!(runs, [7; 3]);
        assert_eq!((stopwatch.samples(1).len(), stopwatch.samples(3).len()), (5, 15));
    }

    #[test]
    fn disturbed_samples_count_only_where_calm_ones_are_few() {
        let sample = |ms, disturbed| Sample { ms, disturbed };
        let timing = Timing::of(&[sample(1.0, false), sample(9.0, true), sample(2.0, false)]);
        assert_eq!((timing.ms, timing.samples, timing.disturbed), (1.5, 2, 1));
        let timing = Timing::of(&[sample(1.0, false), sample(9.0, true), sample(8.0, true), sample(7.0, true)]);
        assert_eq!((timing.ms, timing.samples, timing.disturbed), (7.5, 4, 0));
        assert_eq!(Timing::of(&[]).samples, 0);
    }

    #[test]
    fn it_ends_when_asked_to() {
        let mut stopwatch = Stopwatch::new(1, 1);
        let effort = Effort { warm_up: 0, rounds: 9 };
        assert!(!in_rounds(1, effort, 1, &mut stopwatch, |_, s| s.run(true, |s| s.lap(0)), |done, _| done < 3));
        assert_eq!(stopwatch.samples(0).len(), 3);
    }
}
