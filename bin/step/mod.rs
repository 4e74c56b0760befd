//! `pleach step`

mod ask;
mod lessons;
mod page;
pub mod record;
mod source;
pub mod trace;
mod tui;

pub use source::{Args as Source, Prepared, prepare};

use crate::failure::Failure;
use crate::run::atomic;
use crate::{output, pool};
use record::Recording;
use std::path::{Path, PathBuf};
use trace::{About, Detail, Document};

/// A page opens quickly up to this size, in bytes.
const PAGE: usize = 2_900_000;

/// Step through one training step: every op, its values, its gradients
///
/// Without --html, --trace or a question it opens in the terminal: `?` lists the keys, docs/step.md tells more.
///
/// Takes one step of a network (or a lesson) apart into plain ops, with formulas, who contributed what to each gradient, and
/// finite-difference checks in f64.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    source: source::Args,
    /// The step that the run stopped at by itself, where its first NaN or infinity is
    #[arg(
        long,
        requires = "run",
        conflicts_with_all = ["model", "weights", "data", "images", "batch", "eval", "label_smoothing", "seed"]
    )]
    nan: bool,

    /// A small program with notes and questions, instead of a network
    #[arg(long, value_name = "NAME", conflicts_with_all = ["run", "model", "weights", "nan", "images", "batch", "data", "eval", "label_smoothing", "seed"])]
    lesson: Option<String>,
    /// List the lessons
    #[arg(long)]
    list_lessons: bool,

    #[command(flatten)]
    ask: ask::Args,

    /// Write a page to open in a browser: one file, nothing is loaded from elsewhere
    #[arg(long, value_name = "OUT.html", help_heading = "Output")]
    html: Option<PathBuf>,
    /// Write the step as JSON (docs/trace-format.md), every value whole
    #[arg(long, value_name = "OUT.json", help_heading = "Output")]
    trace: Option<PathBuf>,
    /// Entries of each contribution to check by finite differences in f64 (default: 2, or none with more than 16 images)
    #[arg(long, value_name = "N", help_heading = "Output")]
    checks: Option<usize>,
    /// Worker threads (default: one a core)
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Print one JSON object on standard output, and nothing else
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<(), Failure> {
    if args.list_lessons {
        return lessons::list(args.json);
    }
    if args.checks.is_some_and(|checks| checks > 100) {
        return Err(Failure::input("--checks: each costs two runs of its op in f64; take at most 100"));
    }
    let threads = pool::check(args.threads)?;
    if args.html.is_none() && args.trace.is_none() && !args.ask.any() && !args.json {
        let waiting = tui::Waiting::for_recording(args.lesson.as_deref().unwrap_or("the step"));
        let (recording, about) = pool::with_threads(threads, || recorded(args))?;
        drop(waiting);
        tui::check()?;
        return tui::open(recording, about, threads);
    }
    pool::with_threads(threads, || step(args))
}

/// The step that is asked for.
fn recorded(args: &Args) -> Result<(Recording, About), Failure> {
    match (&args.lesson, &args.source.run) {
        (Some(name), _) => lessons::find(name)?.record(),
        (None, Some(run)) if args.nan => source::halted(run),
        (None, _) => source::record(&args.source),
    }
}

fn step(args: &Args) -> Result<(), Failure> {
    let (recording, mut about) = recorded(args)?;
    if let Some(checks) = args.checks {
        about.checks = checks;
    }
    args.ask.answer(&recording, args.json)?;
    if args.ask.any() && args.html.is_none() && args.trace.is_none() {
        return Ok(());
    }
    let document = Document::new(&recording, &about);
    let mut written = vec![];
    if let Some(path) = &args.trace {
        written.push(("trace", write(path, document.json(Detail::WHOLE)?)?, path));
    }
    if let Some(path) = &args.html {
        let shell = page::page(&about.title, "{}").len();
        let trace = document.within(PAGE.saturating_sub(shell))?;
        written.push(("html", write(path, page::page(&about.title, &trace))?, path));
    }
    report(args, &recording, &about, &document, &written)
}

fn write(path: &Path, text: String) -> Result<usize, Failure> {
    atomic::replace(path, text.as_bytes()).map_err(|e| Failure::writing(path, &e))?;
    Ok(text.len())
}

#[derive(serde::Serialize)]
struct Report<'a> {
    title: &'a str,
    model: &'a Option<String>,
    loss: f32,
    ops: usize,
    tensors: usize,
    checked: usize,
    at_kinks: usize,
    failed: usize,
    worst_rel_error: f64,
    files: Vec<File<'a>>,
}

#[derive(serde::Serialize)]
struct File<'a> {
    kind: &'a str,
    path: &'a Path,
    bytes: usize,
}

fn report(
    args: &Args,
    recording: &Recording,
    about: &About,
    document: &Document,
    written: &[(&str, usize, &PathBuf)],
) -> Result<(), Failure> {
    let comparable = || document.checks().filter(|check| !check.kink);
    let report = Report {
        title: &about.title,
        model: &about.model,
        loss: recording.tensors[recording.loss].value.item(),
        ops: recording.ops.len(),
        tensors: recording.tensors.len(),
        checked: document.checks().count(),
        at_kinks: document.checks().filter(|check| check.kink).count(),
        failed: comparable().filter(|check| check.passed() == Some(false)).count(),
        worst_rel_error: comparable().map(|check| check.rel_error).fold(0.0, f64::max),
        files: written.iter().map(|&(kind, bytes, path)| File { kind, path, bytes }).collect(),
    };
    if args.json {
        return output::print(&report);
    }
    output::line(&format!("{}: loss {}, {} ops, {} tensors", report.title, report.loss, report.ops, report.tensors))?;
    if report.checked > 0 {
        output::line(&format!(
            "{} entries checked by finite differences in f64: {} differ, {} at a kink, worst relative error {:.1e}",
            report.checked, report.failed, report.at_kinks, report.worst_rel_error
        ))?;
    }
    for File { path, bytes, .. } in &report.files {
        output::line(&format!("{} ({:.1} MB)", path.display(), *bytes as f64 / 1e6))?;
    }
    Ok(())
}
