//! `pleach bench`: speed, with the yardstick it is read against.

mod conv;
mod kernel;
mod memory;
mod naive;
mod peak;
mod peers;
mod search_memory;
mod search_step;
pub mod step;
mod timing;

use crate::failure::Failure;

/// Measure speed
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand, Debug)]
enum What {
    Step(step::Args),
    Conv(conv::Args),
    Memory(memory::Args),
    Peers(peers::Args),
    SearchMemory(search_memory::Args),
    SearchStep(search_step::Args),
}

/// Runs the command.
pub fn run(args: &Args) -> Result<(), Failure> {
    match &args.what {
        What::Step(args) => step::run(args),
        What::Conv(args) => conv::run(args),
        What::Memory(args) => memory::run(args),
        What::Peers(args) => peers::run(args),
        What::SearchMemory(args) => search_memory::run(args),
        What::SearchStep(args) => search_step::run(args),
    }
}
