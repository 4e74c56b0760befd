//! `pleach select`

use crate::failure::Failure;
use crate::run::atomic;
use crate::{networks, output, utilisation};
use nn::aggregation::{Gather, selection};
use nn::models::{Aggregation, WiringFile};
use std::path::PathBuf;

/// Make an explicit wiring of what a learned selection found
///
/// Of a run whose network gathers by `learned` (wired-learned-concat40-12, wired-learned-sum44, or a wiring file that says so). Keeps the
/// strongest links of each layer, by their gates as means over the three stages, and writes a wiring file to train.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Folder of the run; its best checkpoint is taken
    #[arg(value_name = "RUN")]
    run: PathBuf,
    /// Links that each layer keeps
    #[arg(long, value_name = "K")]
    keep: usize,
    /// The wiring file to write
    #[arg(long, value_name = "FILE.toml")]
    out: PathBuf,
    /// Print one JSON object, and nothing else
    #[arg(long)]
    json: bool,
}

#[derive(serde::Serialize)]
struct Report<'a> {
    model: String,
    keep: usize,
    links: usize,
    of_links: usize,
    params: usize,
    file: &'a std::path::Path,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<(), Failure> {
    if args.out.extension().is_none_or(|end| end != "toml") {
        return Err(Failure::input(format!("--out {}: the name of a wiring file ends in .toml", args.out.display())));
    }
    let (model, _) = utilisation::open(&args.run)?;
    let learned = model.wired().and_then(|wired| Some((wired.strengths()?, wired.of.clone())));
    let Some((strengths, of)) = learned else {
        return Err(Failure::input(format!(
            "{} has no gates to select by; train a network that gathers by `learned`, such as wired-learned-concat40-12",
            networks::label(model.name())
        )));
    };
    let selected = Aggregation { gather: Gather::Edges(selection::strongest(&strengths, args.keep)?), ..of.clone() };
    let links = selected.wiring()?.links();
    let text = format!(
        "# The {} strongest links of each layer of {}, and the strongest of outputs that nobody would read.\n{}",
        args.keep,
        networks::label(model.name()),
        WiringFile::of(&selected).to_toml()?
    );
    atomic::replace(&args.out, text.as_bytes()).map_err(|e| Failure::writing(&args.out, &e))?;
    let file = args.out.to_string_lossy();
    let params = networks::outline(&file, model.classes())?.num_params();
    let report = Report {
        model: networks::label(model.name()),
        keep: args.keep,
        links,
        of_links: of.wiring()?.links(),
        params,
        file: &args.out,
    };
    if args.json {
        return output::print(&report);
    }
    output::line(&format!(
        "{}: {} of {} links in each stage, {params} parameters; train it with `pleach train --model {file}`",
        report.model, report.links, report.of_links
    ))
}
