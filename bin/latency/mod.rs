//! `pleach latency`

mod figure;
mod measured;
mod validate;
mod versus;

pub use measured::{Request, default_path, label};

use crate::failure::Failure;
use crate::run::atomic;
use crate::signals::Stop;
use crate::{output, pool, spaces};
use nas::latency::{Effort, Table};
use std::path::{Path, PathBuf};

/// Measure the blocks of a search space, and how well they predict whole networks
///
/// Times forward passes in evaluation mode. The blocks are timed inside random networks of the space, and kept in a table that holds
/// for this machine alone. Random networks of the space, measured whole, then tell how far its sums can be trusted.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Search space: a name, or a file ending in .toml
    #[arg(long, value_name = "SPACE", default_value = "mbconv-small")]
    space: String,
    /// Images a forward pass
    #[arg(long, value_name = "N", default_value_t = 1)]
    batch: usize,
    /// Worker threads (0: one a core)
    #[arg(long, value_name = "N", default_value_t = 1)]
    threads: usize,
    /// Where the table is kept (default: latency/SPACE-bBATCH-tTHREADS.json); one that is there and of this machine is used
    #[arg(long, value_name = "FILE")]
    table: Option<PathBuf>,
    /// Measure the blocks even if there is a table, and put it in its place
    #[arg(long)]
    force: bool,
    /// Random networks to compare with; 0 for none
    #[arg(long, value_name = "N", default_value_t = 24)]
    validate: usize,
    /// Times that each candidate is timed, three runs each
    #[arg(long, value_name = "N", default_value_t = 30)]
    rounds: usize,
    /// Classes of the networks
    #[arg(long, value_name = "N", default_value_t = 10)]
    classes: usize,
    /// Seed of the random networks
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Find networks of nearly equal multiply-adds and very different latency, in the space and among the named networks
    #[arg(long)]
    flops_versus: bool,
    /// Where the drawing goes (default: beside the table)
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Print one JSON object a line on standard output, and nothing else
    #[arg(long)]
    json: bool,
}

#[derive(serde::Serialize)]
struct BlockLine {
    block: String,
    ms: f64,
    spread_ms: f64,
    low_ms: f64,
    high_ms: f64,
    samples: usize,
    disturbed: usize,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<(), Failure> {
    let in_range = [
        ("--batch", args.batch, 1, 4096),
        ("--rounds", args.rounds, 3, 100_000),
        ("--validate", args.validate, 0, 10_000),
        ("--classes", args.classes, 2, 100_000),
    ];
    for (flag, value, least, most) in in_range {
        if !(least..=most).contains(&value) {
            return Err(Failure::input(format!("{flag} is {value}; it must be between {least} and {most}")));
        }
    }
    let space = spaces::space(&args.space, None)?;
    let threads = pool::check(Some(args.threads))?;
    let label = label(&args.space, &space);
    let path = args.table.clone().unwrap_or_else(|| default_path(&args.space, args.batch, threads));
    let request = Request {
        space: &space,
        label,
        classes: args.classes,
        batch: args.batch,
        threads,
        effort: Effort { warm_up: 2, rounds: args.rounds },
        seed: args.seed,
    };
    let stop = Stop::listen()?;
    pool::with_threads(threads, || {
        let (mut table, fresh) = measured::open_or_measure(&path, args.force, &request, &stop)?;
        if !fresh {
            output::tell(&format!("{}: measured on this machine before; --force measures again", path.display()));
        }
        if args.json {
            print_rows(&table)?;
        }
        let svg = args.svg.clone();
        if args.flops_versus {
            let svg = svg.unwrap_or_else(|| path.with_extension("versus.svg"));
            return versus::run(&request, &table, &svg, args.json, &stop);
        }
        let agreement = validate::run(&request, &mut table, args.validate, fresh, &stop)?;
        if fresh {
            save(&table, &path)?;
        }
        let svg = svg.unwrap_or_else(|| path.with_extension("svg"));
        validate::tell(&request, &table, agreement.as_ref(), &path, &svg, args.json)
    })
}

/// The table at `path`, measured and kept there if there is none; for another command, on the caller's pool.
pub fn kept(path: &Path, request: &Request, stop: &Stop) -> Result<Table, Failure> {
    let (mut table, fresh) = measured::open_or_measure(path, false, request, stop)?;
    if fresh {
        validate::run(request, &mut table, 0, true, stop)?;
        save(&table, path)?;
        output::tell(&format!("{}: kept; `pleach latency` tells how far it can be trusted", path.display()));
    }
    Ok(table)
}

/// A table that is not kept.
pub fn passing(request: &Request, stop: &Stop) -> Result<Table, Failure> {
    measured::measure(request, stop)
}

fn print_rows(table: &Table) -> Result<(), Failure> {
    table.blocks.iter().try_for_each(|row| {
        let t = row.timing;
        output::print(&BlockLine {
            block: row.block.to_string(),
            ms: t.ms,
            spread_ms: t.spread_ms,
            low_ms: t.low_ms,
            high_ms: t.high_ms,
            samples: t.samples,
            disturbed: t.disturbed,
        })
    })
}

fn save(table: &Table, path: &Path) -> Result<(), Failure> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).map_err(|e| Failure::writing(folder, &e))?;
    }
    let text = table.to_json()?;
    atomic::replace(path, text.as_bytes()).map_err(|e| Failure::writing(path, &e))
}
