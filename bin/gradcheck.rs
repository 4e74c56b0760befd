//! `pleach gradcheck`

use crate::failure::Failure;
use crate::step::trace::{Number, index};
use crate::step::{Prepared, Source, prepare};
use crate::{networks, output, panics, pool, training};
use data::Batch;
use engine::{Shape, Tensor, no_grad};
use nn::gradcheck::{Check, Entry, by_tensor, worst};
use nn::{Context, Model};
use std::time::Duration;

/// Check the gradients of a network's parameters by finite differences in f64
///
/// Runs a training step, and compares entries of every parameter's gradient with central differences of the same network computed naively
/// in f64. Exit code 1 if any differs.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    source: Source,
    /// Entries of each tensor: the one with the largest gradient, and random ones
    #[arg(long, value_name = "N", default_value_t = 2)]
    entries: usize,
    /// Pixels of an image to a side, cut from the middle; whole images take longer (default: 16, or whole where that is too small)
    #[arg(long, value_name = "PIXELS")]
    size: Option<usize>,
    /// Largest error that passes, relative to the largest gradient of the tensor
    #[arg(long, value_name = "E", default_value_t = TOLERANCE)]
    tolerance: f64,
    /// Worker threads (default: one a core)
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Print JSON: the worst entry, then a summary
    #[arg(long)]
    json: bool,
}

/// Passed by default. Gradients of resnet20 and sparsenet40-12 are off by less than 1e-4 in `f32`; a wrong formula is off by far more.
const TOLERANCE: f64 = 1e-3;
/// Pixels to a side unless asked for: a quarter of the work of 32.
const SIZE: usize = 16;

/// Entries between two movements of the bar.
const STRIDE: usize = 16;

#[derive(serde::Serialize)]
struct Worst<'a> {
    tensor: &'a str,
    entry: Vec<usize>,
    analytic: Number,
    numeric: Number,
    rel_error: Number,
}

#[derive(serde::Serialize)]
struct Report<'a> {
    model: &'a str,
    tensors: usize,
    checked: usize,
    kinks: usize,
    failed: usize,
    worst: Number,
    tolerance: f64,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<(), Failure> {
    if !(1..=10_000).contains(&args.entries) {
        return Err(Failure::input(format!("--entries is {}; it must be between 1 and 10000", args.entries)));
    }
    if !(args.tolerance > 0.0 && args.tolerance < 1.0) {
        return Err(Failure::input(format!("--tolerance is {}; it must be between 0 and 1", args.tolerance)));
    }
    pool::with_threads(pool::check(args.threads)?, || check(args))
}

fn check(args: &Args) -> Result<(), Failure> {
    let prepared = prepare(&args.source)?;
    let Prepared { model, batch, shape, .. } = &prepared;
    let (shape, batch) = cut(args, model, *shape, batch)?;
    let images = Tensor::from_slice(shape, &batch.images);
    let loss = || {
        let logits = model.forward(&images, &prepared.context(&args.source));
        training::loss_of(&logits, &batch, args.source.label_smoothing)
    };
    let params = model.params();
    let check = Check::new(loss, &params, args.entries, args.source.seed);
    let entries = with_bar(&check);
    let name = networks::label(model.name());
    let failed: Vec<&Entry> = entries.iter().filter(|e| !e.kink && e.rel_error > args.tolerance).collect();
    let kinks = entries.iter().filter(|entry| entry.kink).count();
    let worst = worst(&entries).ok_or_else(|| {
        Failure::work(format!(
            "all {kinks} entries lie at kinks, where nothing can be compared; take other images or another --seed"
        ))
    })?;
    let place = |entry: &Entry| {
        let shape = params.iter().find(|(name, _)| *name == entry.tensor).map(|(_, param)| param.shape());
        shape.map_or_else(Vec::new, |shape| index(&shape, entry.index))
    };
    let report = Report {
        model: &name,
        tensors: by_tensor(&entries).len(),
        checked: entries.len() - kinks,
        kinks,
        failed: failed.len(),
        worst: Number(worst.rel_error),
        tolerance: args.tolerance,
    };
    if args.json {
        let [analytic, numeric, rel_error] = [worst.analytic, worst.numeric, worst.rel_error].map(Number);
        output::print(&Worst { tensor: &worst.tensor, entry: place(worst), analytic, numeric, rel_error })?;
        output::print(&report)?;
    } else {
        let size = format!("{}x{} pixels", shape[1], shape[2]);
        output::line(&format!("{name}, {} of {size}, {}", prepared.count(), prepared.start))?;
        for entry in failed.iter().take(20) {
            output::line(&format!("differs: {}", told(entry, &place(entry))))?;
        }
        output::line(&format!("worst:   {}", told(worst, &place(worst))))?;
        output::line(&format!(
            "{} entries of {} tensors checked in f64, {kinks} more lie at a kink; {} differ by more than {:.0e}",
            report.checked, report.tensors, report.failed, args.tolerance
        ))?;
    }
    if failed.is_empty() {
        return Ok(());
    }
    Err(Failure::work(format!(
        "{} of {} gradients of {name} differ from finite differences by more than {}, most of all {}{:?}; look into it with pleach step --check; \
         where batch norms see few values, the rounding of f32 alone can do this, and a larger --batch or --size lessens it",
        failed.len(),
        report.checked,
        args.tolerance,
        worst.tensor,
        place(worst)
    )))
}

fn told(entry: &Entry, place: &[usize]) -> String {
    let Entry { tensor, analytic, numeric, rel_error, .. } = entry;
    format!(
        "{tensor}{place:?}: gradient {analytic:.7e}, finite difference {numeric:.7e}, relative error {rel_error:.1e}"
    )
}

fn with_bar(check: &Check) -> Vec<Entry> {
    let bar =
        training::bar("{bar:24} {percent:>3} %  {pos}/{len} entries  {per_sec}  {eta:>4} left", check.len() as u64);
    if let Some(bar) = &bar {
        bar.enable_steady_tick(Duration::from_millis(250));
    }
    let mut entries = vec![];
    while entries.len() < check.len() {
        entries.extend(check.run(entries.len()..(entries.len() + STRIDE).min(check.len())));
        if let Some(bar) = &bar {
            bar.set_position(entries.len() as u64);
        }
    }
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    entries
}

/// The middle of the images, as large as asked for, or as large as is quick.
fn cut(args: &Args, model: &Model, shape: Shape, batch: &Batch) -> Result<(Shape, Batch), Failure> {
    let [n, h, w, c]: [usize; 4] = std::array::from_fn(|i| shape[i]);
    let whole = h.min(w);
    let size = match args.size {
        Some(size) if size == 0 || size > whole => {
            return Err(Failure::input(format!("--size is {size}; the images have {h}x{w} pixels")));
        }
        Some(size) => fits(model, [n, size, size, c]).map(|()| size).map_err(|what| {
            Failure::input(format!(
                "--size {size}: {} cannot read such images ({what}); take a larger one",
                model.name()
            ))
        })?,
        None if whole > SIZE && fits(model, [n, SIZE, SIZE, c]).is_ok() => SIZE,
        None => return Ok((shape, batch.clone())),
    };
    let (top, left) = ((h - size) / 2, (w - size) / 2);
    let pixel = |i: usize| {
        let (x, y, image) = (i / c % size, i / (c * size) % size, i / (c * size * size));
        batch.images[((image * h + top + y) * w + left + x) * c + i % c]
    };
    let images = (0..n * size * size * c).map(pixel).collect();
    Ok((Shape::from([n, size, size, c]), Batch { images, ..batch.clone() }))
}

/// Whether a network can be trained on images of this shape, found by trying an empty one of its kind.
fn fits(model: &Model, shape: [usize; 4]) -> Result<(), String> {
    let trial = networks::outline(model.name(), model.classes()).map_err(|e| e.to_string())?;
    panics::caught(|| no_grad(|| trial.forward(&Tensor::zeros(shape), &Context::train(0, 1)))).map(drop)
}
