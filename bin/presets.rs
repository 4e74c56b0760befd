//! `pleach presets`

use crate::config::presets::{self, PRESETS};
use crate::config::{Config, Layers};
use crate::failure::Failure;
use crate::output;

/// List the recipes, or show one
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Show this one as a config.toml
    name: Option<String>,
    /// Print one JSON object a line, and nothing else
    #[arg(long)]
    json: bool,
}

#[derive(serde::Serialize)]
struct Line<'a> {
    name: &'a str,
    about: &'a str,
    config: Config,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<(), Failure> {
    let chosen = match &args.name {
        Some(name) => std::slice::from_ref(presets::find(name)?),
        None => PRESETS,
    };
    for preset in chosen {
        let mut layers = Layers::defaults()?;
        preset.lay_over(&mut layers)?;
        if args.json {
            output::print(&Line { name: preset.name, about: preset.about, config: layers.config()? })?;
        } else if args.name.is_some() {
            output::line(&format!("# {}: {}\n{}", preset.name, preset.about, layers.to_toml().trim_end()))?;
        } else {
            output::line(&format!("{:<26} {}", preset.name, preset.about))?;
        }
    }
    Ok(())
}
