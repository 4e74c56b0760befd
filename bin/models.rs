//! `pleach models`

use crate::failure::Failure;
use crate::output;
use nn::Model;

/// List the networks
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Number of classes, which the counts depend on
    #[arg(long, value_name = "N", default_value_t = 10)]
    classes: usize,
    /// Print one JSON object a line, and nothing else
    #[arg(long)]
    json: bool,
}

#[derive(serde::Serialize)]
struct Line {
    name: String,
    params: usize,
    macs: u64,
    layers: usize,
    reference: &'static str,
    published_error: Option<f32>,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<(), Failure> {
    if !args.json {
        output::line(&format!(
            "{:<28} {:>11} {:>9} {:>6} {:>7}  reference",
            "name", "parameters", "MMAC", "layers", "error"
        ))?;
    }
    for info in nn::zoo() {
        let model = Model::outline(&info.name, args.classes)?;
        let line = Line {
            params: model.num_params(),
            macs: model.macs(),
            layers: model.layers(),
            name: info.name,
            reference: info.reference,
            published_error: info.published_error,
        };
        if args.json {
            output::print(&line)?;
            continue;
        }
        let error = line.published_error.map_or_else(String::new, |e| format!("{e:.2} %"));
        let mmacs = line.macs as f64 / 1e6;
        let Line { name, params, layers, reference, .. } = line;
        output::line(&format!("{name:<28} {params:>11} {mmacs:>9.1} {layers:>6} {error:>7}  {reference}"))?;
    }
    if !args.json {
        output::line("error: published, on CIFAR-10 with standard augmentation")?;
    }
    Ok(())
}
