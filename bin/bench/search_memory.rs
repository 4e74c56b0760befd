//! `pleach bench search-memory`: what a search step holds, by the number of candidates.

use crate::failure::Failure;
use crate::plot::{Chart, Mark, Series};
use crate::run::atomic;
use crate::{output, pool, spaces};
use nas::search::{Held, StepMemory, step_memory};
use std::path::PathBuf;

/// Exact bytes of a search step with 1, 3, 5, 7 and 9 candidates an edge: one path, two paths, all paths (as DARTS keeps)
///
/// Counted by the pool that tensors live in, not by the system. Weights and what the optimiser remembers grow with the candidates
/// whatever is held; they are told apart.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Search space: a name, or a file ending in .toml
    #[arg(long, value_name = "SPACE", default_value = "mbconv-small")]
    space: String,
    /// Images a step
    #[arg(long, value_name = "N", default_value_t = 64)]
    batch: usize,
    /// Numbers of candidates
    #[arg(long, value_name = "K,K,..", value_delimiter = ',', default_value = "1,3,5,7,9")]
    candidates: Vec<usize>,
    /// Worker threads (default: one a core); the bytes do not depend on it
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Where the drawing goes
    #[arg(long, value_name = "FILE", default_value = "search-memory.svg")]
    svg: PathBuf,
    /// Print one JSON object a line on standard output, and nothing else
    #[arg(long)]
    json: bool,
}

#[derive(serde::Serialize)]
struct Line {
    candidates: usize,
    held: String,
    activation_peak_bytes: usize,
    weight_bytes: usize,
    optimizer_bytes: usize,
}

#[derive(serde::Serialize)]
struct Summary<'a> {
    space: &'a str,
    batch: usize,
    one_path_ratio: f64,
    two_paths_ratio: f64,
    all_paths_ratio: f64,
    svg: &'a std::path::Path,
}

const MIB: f64 = 1_048_576.0;

/// Runs the command.
pub fn run(args: &Args) -> Result<(), Failure> {
    if !(1..=4096).contains(&args.batch) {
        return Err(Failure::input(format!("--batch is {}; it must be between 1 and 4096", args.batch)));
    }
    let space = spaces::space(&args.space, None)?;
    let mut candidates = args.candidates.clone();
    candidates.sort_unstable();
    candidates.dedup();
    candidates.iter().try_for_each(|&k| space.with_candidates(k).map(drop))?;
    if !args.json {
        output::line(&format!(
            "{:>10}  {:<10} {:>18} {:>14} {:>16}",
            "candidates", "held", "step's peak (MiB)", "weights (MiB)", "optimiser (MiB)"
        ))?;
    }
    let mut kinds: Vec<(Held, Vec<(usize, StepMemory)>)> = vec![];
    pool::with_threads(pool::check(args.threads)?, || {
        for held in [Held::OnePath, Held::TwoPaths, Held::AllPaths] {
            let mut counted = vec![];
            for &k in &candidates {
                let memory = step_memory(&space, k, held, args.batch)?;
                print(args.json, k, held, &memory)?;
                counted.push((k, memory));
            }
            kinds.push((held, counted));
        }
        Ok(())
    })?;
    let svg = chart(args, &kinds);
    atomic::replace(&args.svg, svg.as_bytes()).map_err(|e| Failure::writing(&args.svg, &e))?;
    let ratio = |kind: usize| -> f64 {
        let peak = |end: Option<&(usize, StepMemory)>| end.map_or(f64::NAN, |(_, m)| m.activation_peak as f64);
        peak(kinds[kind].1.last()) / peak(kinds[kind].1.first())
    };
    let (one, two, all) = (ratio(0), ratio(1), ratio(2));
    if args.json {
        return output::print(&Summary {
            space: &args.space,
            batch: args.batch,
            one_path_ratio: one,
            two_paths_ratio: two,
            all_paths_ratio: all,
            svg: &args.svg,
        });
    }
    output::line(&format!(
        "most candidates against fewest: one path {one:.3}x, two paths {two:.3}x, all paths {all:.3}x; drawing: {}",
        args.svg.display()
    ))
}

fn print(json: bool, candidates: usize, held: Held, memory: &StepMemory) -> Result<(), Failure> {
    let line = Line {
        candidates,
        held: held.to_string(),
        activation_peak_bytes: memory.activation_peak,
        weight_bytes: memory.weights,
        optimizer_bytes: memory.optimizer,
    };
    if json {
        return output::print(&line);
    }
    output::line(&format!(
        "{candidates:>10}  {:<10} {:>18.1} {:>14.1} {:>16.1}",
        line.held,
        memory.activation_peak as f64 / MIB,
        memory.weights as f64 / MIB,
        memory.optimizer as f64 / MIB
    ))
}

fn chart(args: &Args, kinds: &[(Held, Vec<(usize, StepMemory)>)]) -> String {
    let series = kinds.iter().enumerate().map(|(colour, (held, counted))| Series {
        name: held.to_string(),
        mark: Mark::Line,
        colour,
        points: counted
            .iter()
            .map(|(k, m)| {
                let mib = m.activation_peak as f64 / MIB;
                (*k as f64, mib, format!("{held}, {k} candidates: {mib:.1} MiB"))
            })
            .collect(),
    });
    Chart {
        title: "Memory of a search step".into(),
        subtitle: format!(
            "{}, batch {}; activations and gradients at their peak, weights and optimiser apart",
            args.space, args.batch
        ),
        x: "candidates an edge".into(),
        y: "MiB".into(),
        from_zero: true,
        series: series.collect(),
        ..Chart::default()
    }
    .draw()
}
