//! The `pleach` command: parse, call, print. One file per subcommand.
#![forbid(unsafe_code)]

mod bench;
mod compare;
mod config;
mod eval;
mod failure;
mod gradcheck;
mod images;
mod latency;
mod models;
mod nearest;
mod networks;
mod output;
mod panics;
mod plot;
mod pool;
mod presets;
mod run;
mod search;
mod select;
mod signals;
mod spaces;
mod step;
mod topology;
mod train;
mod training;
mod utilisation;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Train networks on small images, on the CPU
#[derive(Parser)]
#[command(version, max_term_width = 110)]
#[command(after_help = "Exit codes: 0 done, 1 the work failed, 2 bad usage or input, 130 interrupted after saving.")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Train(Box<train::Args>),
    Eval(eval::Args),
    Models(models::Args),
    Presets(presets::Args),
    Bench(bench::Args),
    Compare(Box<compare::Args>),
    Topology(Box<topology::Args>),
    Latency(latency::Args),
    Search(Box<search::Args>),
    Step(Box<step::Args>),
    Gradcheck(Box<gradcheck::Args>),
    Utilisation(utilisation::Args),
    Select(select::Args),
}

fn main() -> ExitCode {
    panics::install();
    let result = match Cli::parse().command {
        Command::Train(args) => train::run(&args),
        Command::Eval(args) => eval::run(&args),
        Command::Models(args) => models::run(&args),
        Command::Presets(args) => presets::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Compare(args) => compare::run(&args),
        Command::Topology(args) => topology::run(&args),
        Command::Latency(args) => latency::run(&args),
        Command::Search(args) => search::run(&args),
        Command::Step(args) => step::run(&args),
        Command::Gradcheck(args) => gradcheck::run(&args),
        Command::Utilisation(args) => utilisation::run(&args),
        Command::Select(args) => select::run(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let text = failure.to_string().replace(|c: char| c.is_control(), " ");
            output::tell(&format!("pleach: {text}"));
            ExitCode::from(failure.exit_code())
        }
    }
}
