//! `pleach eval`

use crate::failure::Failure;
use crate::images::{self, Source};
use crate::run::{self, atomic, checkpoint, weights};
use crate::signals::Stop;
use crate::training::evaluate;
use crate::{networks, output, pool};
use engine::Algorithm;
use std::collections::HashMap;
use std::path::PathBuf;

/// Test a network's weights on a set of images
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Network (default: the one that the checkpoint names)
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// Weights: a checkpoint, a safetensors file with PyTorch's names, or a run (its best checkpoint)
    #[arg(long, value_name = "FILE|RUN")]
    weights: PathBuf,
    /// Images: `builtin`, `synthetic`, or a folder with CIFAR binaries or one folder of images a class
    #[arg(long, value_name = "DIR|builtin", default_value = "builtin")]
    data: String,
    /// Which part of the images
    #[arg(long, value_enum, default_value_t = Split::Test)]
    split: Split,
    /// Write every image's logits to this safetensors file
    #[arg(long, value_name = "FILE")]
    logits: Option<PathBuf>,
    /// Worker threads (default: one a core)
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Print one JSON object on standard output, and nothing else
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Split {
    Train,
    Test,
}

#[derive(serde::Serialize)]
struct Report {
    model: String,
    data: String,
    loss: f64,
    accuracy: f64,
    images: usize,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<(), Failure> {
    pool::with_threads(pool::check(args.threads)?, || eval(args))
}

fn eval(args: &Args) -> Result<(), Failure> {
    let model = args.model.as_deref().map(networks::anchored).transpose()?;
    if let Some(name) = &model {
        networks::outline(name, 10).map(drop)?;
    }
    let path = run::weight_file(&args.weights);
    let checkpoint = checkpoint::read(&path)?;
    let named = model.or_else(|| checkpoint.metadata.as_ref().map(|metadata| metadata.model.clone()));
    let name = named.ok_or_else(|| {
        Failure::input(format!("{} does not say which network it is for; name it with --model", path.display()))
    })?;
    let dataset = Source::parse(&args.data)?.load()?;
    let model = networks::outline(&name, dataset.classes())?;
    checkpoint::load_weights(&model, &checkpoint, &path)?;
    images::check_size(&model, &dataset, None)?;
    let images = if args.split == Split::Test { &dataset.test } else { &dataset.train };
    if images.is_empty() {
        return Err(Failure::input(format!("{}: there are no images in this part", args.data)));
    }
    let mut all = vec![];
    let tested = evaluate(&model, images, dataset.normalisation, Algorithm::Auto, &Stop::default(), &mut |logits| {
        if args.logits.is_some() {
            all.extend_from_slice(logits.data());
        }
    })?;
    // Nobody asks this stop to stop.
    let Some(tested) = tested else { return Ok(()) };
    if let Some(out) = &args.logits {
        let tensor = ("logits".to_string(), engine::Shape::from([images.len(), model.classes()]), all);
        let bytes = weights::encode(&[tensor], HashMap::new())?;
        atomic::replace(out, &bytes).map_err(|e| Failure::writing(out, &e))?;
    }
    let report =
        Report { model: name, data: dataset.name, loss: tested.loss, accuracy: tested.accuracy, images: images.len() };
    if args.json {
        return output::print(&report);
    }
    output::line(&format!(
        "{} on {} images of {}: loss {:.4}, accuracy {:.2} %",
        report.model,
        report.images,
        report.data,
        report.loss,
        100.0 * report.accuracy
    ))
}
