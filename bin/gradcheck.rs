//! `pleach gradcheck`

use crate::failure::Failure;
use crate::step::trace::{Number, index};
use crate::step::{Prepared, Source, prepare};
use crate::{networks, output, panics, pool, training};
use data::Batch;
use engine::autograd::observe;
use engine::replay::Turned;
use engine::{OpDoc, Shape, Tensor, no_grad};
use nn::gradcheck::{Check, Entry, OpValues, by_tensor, worst};
use nn::{Context, Model, Param};
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

/// Check the gradients of a network's parameters by finite differences in f64
///
/// Runs a training step, and compares entries of every parameter's gradient with central differences of the same network computed naively
/// in f64. Rounding would put some of its ReLUs and maxima on the other side there, and no difference could agree: what the step chose
/// is held, and every op's values are compared with f64 as well. Exit code 1 if anything differs.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    source: Source,
    /// Entries of each tensor: the one with the largest gradient, and random ones
    #[arg(long, value_name = "N", default_value_t = 2)]
    entries: usize,
    /// Pixels of an image to a side, cut from the middle; whole images take longer (default: 16, or whole where that leaves a batch norm
    /// fewer than 8 values)
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

/// Passed by default. Gradients of the networks in docs/gradcheck.md are off by 1.2e-4 at most in `f32`; a mistake of a hundredth in one path
/// of a batch norm by 7e-4.
const TOLERANCE: f64 = 5e-4;
/// Pixels to a side unless asked for: a quarter of the work of 32.
const SIZE: usize = 16;

/// Values of a channel that a batch norm should see: over two it is little but their sign, and single precision loses its digits.
const ROWS: usize = 8;

/// Entries between two movements of the bar.
const STRIDE: usize = 16;

/// Error of an op's values that passes, relative to its largest. In `f32` they are off by less than 1e-5, most of all where a variance
/// is small beside the square of its mean.
const VALUES: f64 = 1e-4;

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
    /// Tensors of which every entry lies at a kink, or that are empty.
    unchecked: Vec<&'a str>,
    failed: usize,
    worst: Number,
    tolerance: f64,
    /// Choices of ReLUs and maxima, and how many come out otherwise in `f64`.
    choices: usize,
    turned: usize,
    /// Largest error of an op's values.
    values: Number,
    values_failed: usize,
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
    let unchecked = |(name, _): &&(String, Param)| !entries.iter().any(|e| !e.kink && e.tensor == *name);
    let wrong: Vec<&OpValues> = check.ops().iter().filter(|op| op.error > VALUES).collect();
    let Turned { turned, of: choices } = check.turned();
    let report = Report {
        model: &name,
        tensors: by_tensor(&entries).len(),
        checked: entries.len() - kinks,
        kinks,
        unchecked: params.iter().filter(unchecked).map(|(name, _)| name.as_str()).collect(),
        failed: failed.len(),
        worst: Number(worst.rel_error),
        tolerance: args.tolerance,
        choices,
        turned,
        values: Number(check.ops().iter().fold(0.0, |most, op| most.max(op.error))),
        values_failed: wrong.len(),
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
        let at_kinks = if kinks > 0 { format!(", {kinks} more lie at a kink") } else { String::new() };
        output::line(&format!(
            "{} entries of {} tensors checked in f64{at_kinks}; {} differ by more than {:.0e}",
            report.checked, report.tensors, report.failed, args.tolerance
        ))?;
        if !report.unchecked.is_empty() {
            output::line(&format!("not checked: {}", report.unchecked.join(", ")))?;
        }
        output::line(&format!(
            "{turned} of {choices} choices of ReLUs and maxima come out otherwise in f64, and are held as the step made them; \
             values of {} ops are off by at most {:.1e}",
            check.ops().len(),
            report.values.0
        ))?;
    }
    if let Some(op) = wrong.first() {
        return Err(Failure::work(format!(
            "the forward pass of {name} is wrong before any gradient: values of {} differ from f64 by {:.1e} of the largest, given the \
             inputs they had{}",
            values_told(op),
            op.error,
            if wrong.len() > 1 { format!(", and those of {} more ops", wrong.len() - 1) } else { String::new() }
        )));
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

fn values_told(OpValues { op, module, place, shape, .. }: &OpValues) -> String {
    let module = module.as_ref().map(|module| format!(" in {module}")).unwrap_or_default();
    format!("{op} {shape}{module}, op {place} on the tape,")
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
        Some(size) => rows(model, [n, size, size, c]).map(|_| size).map_err(|what| {
            Failure::input(format!(
                "--size {size}: {} cannot read such images ({what}); take a larger one",
                model.name()
            ))
        })?,
        None if whole > SIZE && rows(model, [n, SIZE, SIZE, c]).is_ok_and(|rows| rows >= ROWS) => SIZE,
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

/// Values of a channel in the smallest map that a convolution makes of images of this shape, found by trying an empty network of the kind;
/// an error if it cannot read them.
fn rows(model: &Model, shape: [usize; 4]) -> Result<usize, String> {
    let trial = networks::outline(model.name(), model.classes()).map_err(|e| e.to_string())?;
    let least = Rc::new(Cell::new(usize::MAX));
    let seen = least.clone();
    let watch = move |output: &Tensor, doc: OpDoc| {
        if doc.name == "conv2d" {
            seen.set(seen.get().min(output.shape().rows()));
        }
    };
    let forward = || no_grad(|| trial.forward(&Tensor::zeros(shape), &Context::train(0, 1)));
    panics::caught(|| observe(watch, forward)).map(|_| least.get())
}
