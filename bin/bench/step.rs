//! `pleach bench step`

use super::timing::Times;
use crate::config::ConvAlgorithm;
use crate::failure::Failure;
use crate::{networks, output, pool};
use engine::parallel::awake;
use engine::rng::purpose;
use engine::{Rng, Tensor, memory};
use nn::Context;
use nn::optim::{Optimizer, OptimizerConfig};
use std::time::Instant;

/// A whole training step on a made-up batch: forward, backward, update
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Network
    #[arg(long, value_name = "NAME", default_value = "resnet20")]
    model: String,
    /// Images a step
    #[arg(long, value_name = "N", default_value_t = 128)]
    batch: usize,
    /// Worker threads (default: one a core)
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// How convolutions are computed
    #[arg(long, value_enum, default_value_t = ConvAlgorithm::Auto)]
    conv_algorithm: ConvAlgorithm,
    /// Steps that are timed
    #[arg(long, value_name = "N", default_value_t = 10)]
    steps: usize,
    /// Steps before those
    #[arg(long, value_name = "N", default_value_t = 3)]
    warm_up: usize,
    /// Print one JSON object on standard output, and nothing else
    #[arg(long)]
    json: bool,
}

#[derive(serde::Serialize)]
struct Report {
    model: String,
    batch: usize,
    threads: usize,
    steps: usize,
    images_per_s: f64,
    step_ms_median: f64,
    step_ms_min: f64,
    /// From the start of the command to the end of the first step: weights, batch and threads included.
    first_step_done_ms: f64,
    gflops: f64,
    /// Tensor buffers that timed steps took from the operating system.
    allocations: usize,
    peak_bytes: usize,
    peak_rss_bytes: Option<u64>,
    params: usize,
    macs: u64,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<(), Failure> {
    let start = Instant::now();
    for (flag, value, most) in [("--batch", args.batch, 1 << 16), ("--steps", args.steps, 1 << 20)] {
        if !(1..=most).contains(&value) {
            return Err(Failure::input(format!("{flag} is {value}; it must be between 1 and {most}")));
        }
    }
    let threads = pool::check(args.threads)?;
    let work = Work { algorithm: args.conv_algorithm, ..Work::on(&args.model, args.batch, args.warm_up, args.steps) };
    let measured = pool::with_threads(threads, || measure(&work))?;
    let Measured { times, first_step_done, allocations, peak_bytes, params, macs } = measured;
    let images_per_s = args.batch as f64 / times.median() * 1e3;
    let report = Report {
        model: args.model.clone(),
        batch: args.batch,
        threads,
        steps: times.count(),
        images_per_s,
        step_ms_median: times.median(),
        step_ms_min: times.min(),
        first_step_done_ms: first_step_done.saturating_duration_since(start).as_secs_f64() * 1e3,
        gflops: 6.0 * macs as f64 * images_per_s / 1e9,
        allocations,
        peak_bytes,
        peak_rss_bytes: peak_rss(),
        params,
        macs,
    };
    if args.json {
        return output::print(&report);
    }
    output::line(&format!(
        "{} batch {}: {:.1} images/s, {:.1} GFLOP/s; step {:.2} ms (median of {}), {:.2} at best; first step done after {:.0} ms; \
         tensors {:.0} MiB at most, {} new buffers",
        report.model,
        report.batch,
        report.images_per_s,
        report.gflops,
        report.step_ms_median,
        report.steps,
        report.step_ms_min,
        report.first_step_done_ms,
        report.peak_bytes as f64 / f64::from(1 << 20),
        report.allocations
    ))
}

/// What is timed.
pub struct Work<'a> {
    /// Network.
    pub model: &'a str,
    /// Images a step.
    pub batch: usize,
    /// Their height and width.
    pub size: (usize, usize),
    /// Classes that they are told apart into.
    pub classes: usize,
    /// How convolutions are computed.
    pub algorithm: ConvAlgorithm,
    /// Steps before those that are timed.
    pub warm_up: usize,
    /// Steps that are timed.
    pub steps: usize,
}

impl Work<'_> {
    /// On images of CIFAR-10's size.
    pub fn on(model: &str, batch: usize, warm_up: usize, steps: usize) -> Work<'_> {
        Work { model, batch, size: (32, 32), classes: 10, algorithm: ConvAlgorithm::Auto, warm_up, steps }
    }
}

/// What came out.
pub struct Measured {
    /// Of the timed steps.
    pub times: Times,
    first_step_done: Instant,
    allocations: usize,
    peak_bytes: usize,
    params: usize,
    macs: u64,
}

/// Times training steps, on the pool that this is called in.
pub fn measure(work: &Work) -> Result<Measured, Failure> {
    let model = networks::build(work.model, work.classes, Some(0))?;
    let (params, macs) = (model.num_params(), model.macs());
    let mut rng = Rng::new(0, &[purpose::TEST]);
    let images = Tensor::from_fn([work.batch, work.size.0, work.size.1, 3], |_| rng.normal());
    let labels: Vec<usize> = (0..work.batch).map(|_| rng.below(work.classes)).collect();
    // As the step that the peers are timed on.
    let config = OptimizerConfig::Sgd { momentum: 0.9, nesterov: false, weight_decay: 1e-4, decoupled: false };
    let mut optimizer = Optimizer::new(config, model.params(), true);
    let mut number = 0;
    let mut step = || {
        awake(|| {
            number += 1;
            let ctx = Context::train(0, number).with_algorithm(work.algorithm.into());
            let loss = model.forward(&images, &ctx).cross_entropy(&labels, 0.0);
            let gradients = loss.backward();
            optimizer.step(&gradients, 0.1);
            std::hint::black_box(loss.item());
        });
    };
    let mut first_step_done = None;
    for _ in 0..work.warm_up {
        step();
        first_step_done.get_or_insert_with(Instant::now);
    }
    let before = memory::reset_peak();
    let times = Times::of(work.steps, || {
        step();
        first_step_done.get_or_insert_with(Instant::now);
    });
    let after = memory::stats();
    Ok(Measured {
        times,
        first_step_done: first_step_done.unwrap_or_else(Instant::now),
        allocations: after.allocations - before.allocations,
        peak_bytes: after.peak,
        params,
        macs,
    })
}

/// The most memory that the process has had, where the system tells.
fn peak_rss() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024)
}
