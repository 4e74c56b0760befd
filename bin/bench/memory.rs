//! `pleach bench memory`

use super::timing::Times;
use crate::failure::Failure;
use crate::plot::{Chart, Mark, Series};
use crate::run::atomic;
use crate::{networks, output, pool};
use engine::rng::purpose;
use engine::{Rng, Tensor, memory};
use nn::optim::{Optimizer, OptimizerConfig};
use nn::{Context, Model};
use std::path::PathBuf;

/// Memory of a training step, in exact bytes of tensors
///
/// What a forward pass keeps for the backward pass, and the most that there is at any time of a step. With --written-out also for
/// the same networks with every concatenation, normalised and rectified map stored, as plain ops do.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Networks
    #[arg(
        long,
        value_name = "A,B,...",
        value_delimiter = ',',
        default_value = "densenet40-12,densenet100-12,densenet200-12"
    )]
    models: Vec<String>,
    /// Images a step
    #[arg(long, value_name = "N", default_value_t = 64)]
    batch: usize,
    /// Steps that are timed, after one that is not
    #[arg(long, value_name = "N", default_value_t = 1)]
    steps: usize,
    /// Also with everything written out; what does not fit is extrapolated from batches of 4 and 8
    #[arg(long)]
    written_out: bool,
    /// Write the figure, peak memory against depth, to this SVG file
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Worker threads (default: one a core)
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Print one JSON object for each network and form, and nothing else
    #[arg(long)]
    json: bool,
}

#[derive(serde::Serialize)]
struct Report {
    model: String,
    /// Convolutions and linear layers.
    layers: usize,
    params: usize,
    batch: usize,
    written_out: bool,
    /// More at the end of the forward pass than before it.
    activation_bytes: usize,
    /// At any time of a step, with weights, gradients and momentum.
    peak_bytes: usize,
    /// Whether it would not fit, and follows from smaller batches.
    extrapolated: bool,
    step_ms_median: Option<f64>,
    losses: Vec<f32>,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<(), Failure> {
    for (flag, value, most) in [("--batch", args.batch, 1 << 16), ("--steps", args.steps, 1 << 20)] {
        if !(1..=most).contains(&value) {
            return Err(Failure::input(format!("{flag} is {value}; it must be between 1 and {most}")));
        }
    }
    let names: Vec<&str> = args.models.iter().map(|name| name.trim()).collect();
    for name in &names {
        networks::outline(name, CLASSES).map(drop)?;
    }
    let threads = pool::check(args.threads)?;
    let forms: &[bool] = if args.written_out { &[false, true] } else { &[false] };
    let mut reports = vec![];
    for name in &names {
        for &written_out in forms {
            let report = one(args, name, written_out, threads)?;
            if args.json {
                output::print(&report)?;
            } else {
                output::line(&line(&report))?;
            }
            reports.push(report);
        }
    }
    if let Some(path) = &args.svg {
        atomic::replace(path, draw(&reports, args.batch).as_bytes()).map_err(|e| Failure::writing(path, &e))?;
    }
    Ok(())
}

const CLASSES: usize = 10;

fn one(args: &Args, name: &str, written_out: bool, threads: usize) -> Result<Report, Failure> {
    // A pool for each: its account begins at zero.
    let measured = |batch, steps| pool::with_threads(threads, || measure(name, batch, steps, written_out));
    if written_out && args.batch > BATCHES[1] {
        let [one, two] = [measured(1, 0)?, measured(2, 0)?];
        let fits = |bytes: usize| available().is_none_or(|free| bytes as f64 <= 0.8 * free as f64);
        if !fits(extrapolated([(1, one.peak_bytes), (2, two.peak_bytes)], args.batch)) {
            // With the momentum of a second step, and at batches so large that maps and not weights set the peak.
            let [a, b] = BATCHES;
            let [few, more] = [measured(a, 1)?, measured(b, 1)?];
            let of = |bytes: fn(&Report) -> usize| extrapolated([(a, bytes(&few)), (b, bytes(&more))], args.batch);
            return Ok(Report {
                batch: args.batch,
                activation_bytes: of(|r| r.activation_bytes),
                peak_bytes: of(|r| r.peak_bytes),
                extrapolated: true,
                step_ms_median: None,
                losses: vec![],
                ..one
            });
        }
    }
    measured(args.batch, args.steps)
}

/// Where what would not fit is extrapolated from.
const BATCHES: [usize; 2] = [4, 8];

/// The value at `batch` of the straight line through two others.
fn extrapolated([(a, at_a), (b, at_b)]: [(usize, usize); 2], batch: usize) -> usize {
    at_b + at_b.saturating_sub(at_a) * (batch - b) / (b - a)
}

/// One step, whose memory is counted, then `steps` that are timed.
fn measure(name: &str, batch: usize, steps: usize, written_out: bool) -> Result<Report, Failure> {
    let model = networks::build(name, CLASSES, Some(0))?;
    let (params, layers) = (model.num_params(), model.layers());
    let mut rng = Rng::new(0, &[purpose::TEST]);
    let images = Tensor::from_fn([batch, 32, 32, 3], |_| rng.normal());
    let labels: Vec<usize> = (0..batch).map(|_| rng.below(CLASSES)).collect();
    let config = OptimizerConfig::Sgd { momentum: 0.9, nesterov: false, weight_decay: 1e-4, decoupled: false };
    let mut optimizer = Optimizer::new(config, model.params(), true);
    let (mut number, mut losses, mut activation_bytes) = (0, vec![], 0);
    memory::trim();
    memory::reset_peak();
    let mut step = |model: &Model| {
        number += 1;
        let ctx = Context::train(0, number);
        let ctx = if written_out { ctx.written_out() } else { ctx };
        let before = memory::stats().live;
        let loss = model.forward(&images, &ctx).cross_entropy(&labels, 0.0);
        activation_bytes = memory::stats().live.saturating_sub(before);
        losses.push(loss.item());
        let gradients = loss.backward();
        optimizer.step(&gradients, 0.05);
    };
    step(&model);
    let times = Times::of(steps, || step(&model));
    Ok(Report {
        model: name.into(),
        layers,
        params,
        batch,
        written_out,
        activation_bytes,
        peak_bytes: memory::stats().peak,
        extrapolated: false,
        step_ms_median: (steps > 0).then(|| times.median()),
        losses,
    })
}

/// Memory that is free for use, where the system tells.
fn available() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("MemAvailable:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
}

fn mib(bytes: usize) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn line(report: &Report) -> String {
    let form = if report.written_out { "written out" } else { "lists" };
    let note = if report.extrapolated { "  (does not fit: extrapolated from batches of 4 and 8)" } else { "" };
    let step = report.step_ms_median.map_or_else(String::new, |ms| format!("  step {ms:.0} ms"));
    let losses = match (report.losses.first(), report.losses.last()) {
        (Some(first), Some(last)) if report.losses.len() > 1 => format!("  loss {first:.3} to {last:.3}"),
        _ => String::new(),
    };
    format!(
        "{:<24} batch {:>3}  {form:<11}  activations {:>9.1} MiB  peak {:>9.1} MiB{step}{losses}{note}",
        report.model,
        report.batch,
        mib(report.activation_bytes),
        mib(report.peak_bytes)
    )
}

fn draw(reports: &[Report], batch: usize) -> String {
    let series = |name: &str, mark, colour, which: &dyn Fn(&Report) -> bool| {
        let gib = |r: &Report| mib(r.peak_bytes) / 1024.0;
        let point = |r: &Report| (r.layers as f64, gib(r), format!("{}: {:.2} GiB", r.model, gib(r)));
        let points = reports.iter().filter(|r| which(r)).map(point).collect();
        Series { name: name.into(), mark, colour, points }
    };
    let mut all = vec![
        series("lists of maps", Mark::Line, 0, &|r| !r.written_out),
        series("written out", Mark::Line, 1, &|r| r.written_out),
        series("of it extrapolated", Mark::Dots, 4, &|r| r.extrapolated),
    ];
    all.retain(|series| !series.points.is_empty());
    Chart {
        title: format!("Peak memory of a training step against depth, batch {batch}"),
        subtitle: "concatenations read as lists with batch norm applied on load, or written out as plain ops do".into(),
        x: "layers".into(),
        y: "peak memory of all tensors, GiB".into(),
        from_zero: true,
        series: all,
        ..Chart::default()
    }
    .draw()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extrapolation_follows_the_line() {
        assert_eq!(extrapolated([(4, 140), (8, 180)], 64), 740);
        assert_eq!(extrapolated([(1, 10), (2, 13)], 2), 13);
    }

    /// At small batches weights, gradients and momentum set the peak, and a line from there ends below what the maps alone take.
    #[test]
    fn what_is_extrapolated_is_what_is_measured() {
        let measured = |batch| pool::with_threads(1, || measure("densenet22-12", batch, 1, true)).unwrap();
        let [few, more, all] = [4, 8, 12].map(measured);
        let of = |bytes: fn(&Report) -> usize| extrapolated([(4, bytes(&few)), (8, bytes(&more))], 12);
        for bytes in [|r: &Report| r.activation_bytes, |r: &Report| r.peak_bytes] {
            let (told, exact) = (of(bytes) as f64, bytes(&all) as f64);
            assert!((told / exact - 1.0).abs() < 0.02, "{told} for {exact}");
        }
        assert!(of(|r| r.peak_bytes) > of(|r| r.activation_bytes));
    }
}
