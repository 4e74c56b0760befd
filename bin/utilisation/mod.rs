//! `pleach utilisation`

mod gradients;
mod sources;

use crate::config::Layers;
use crate::failure::Failure;
use crate::images::Source;
use crate::run::{self, atomic, checkpoint, metrics};
use crate::{networks, output, pool};
use data::{Augmentation, Loader, LoaderConfig};
use engine::{Tensor, no_grad};
use nn::models::{Measure, Use, norm_shares};
use nn::{Context, Model};
use std::path::{Path, PathBuf};

/// Show how strongly each layer uses each earlier output, and its gradients
///
/// Of a trained network that is wired by data (DenseNet, SparseNet, MixNet, wired-..., wiring files). Where outputs are concatenated: the mean
/// absolute filter weight that a layer has for each of them. Where they are summed, all terms share the same weights, so each
/// output's share of the norms in the sum is shown instead, over 64 test images. A run that was trained with --gradient-norms
/// also gives the norm of each layer's gradient over the training. Writes SVG and CSV files.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Folder of the run; its best checkpoint is taken
    #[arg(value_name = "RUN")]
    run: PathBuf,
    /// Folder for the files (default: the run's)
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Images, where sums are looked at (default: the run's)
    #[arg(long, value_name = "DIR|builtin")]
    data: Option<String>,
    /// Worker threads (default: one a core)
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Print one JSON object for each layer and for each recorded step, and nothing else
    #[arg(long)]
    json: bool,
}

/// Test images over which norms are taken.
const IMAGES: usize = 64;

/// The last line of `--json`.
#[derive(serde::Serialize)]
struct Summary<'a> {
    run: &'a Path,
    model: &'a str,
    measure: &'static str,
    files: Vec<PathBuf>,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<(), Failure> {
    pool::with_threads(pool::check(args.threads)?, || show(args))
}

fn show(args: &Args) -> Result<(), Failure> {
    let (model, config) = open(&args.run)?;
    let wired = model.wired().ok_or_else(|| {
        Failure::input(format!(
            "{} is not wired by data, so there are no earlier outputs to tell apart; DenseNets, SparseNets, MixNets, wired-... and \
             wiring files are (`wired-all-sum20` is the pre-activation ResNet-20)",
            model.name()
        ))
    })?;
    let out = args.out.as_deref().unwrap_or(&args.run);
    std::fs::create_dir_all(out).map_err(|e| Failure::writing(out, &e))?;
    let (uses, measure, what) = match wired.measure() {
        Measure::FilterWeight => (wired.filter_weights(), "filter-weight", "mean absolute filter weight"),
        Measure::NormShare => {
            let source = args.data.as_deref().unwrap_or(&config.data.source);
            (norms(&model, source)?, "norm-share", "share of the norms in the sum")
        }
    };
    let mut files = vec![];
    let mut write = |name: &str, text: &str| {
        let path = out.join(name);
        atomic::replace(&path, text.as_bytes()).map_err(|e| Failure::writing(&path, &e))?;
        files.push(path);
        Ok::<(), Failure>(())
    };
    let label = networks::label(model.name());
    write("utilisation.svg", &sources::draw(&uses, &label, what))?;
    write("utilisation.csv", &sources::csv(&uses))?;
    let records = metrics::gradients(&args.run);
    if !records.is_empty() {
        let order: Vec<String> = model.params().into_iter().map(|(name, _)| name).collect();
        write("gradient-norms.svg", &gradients::draw(&records, &order, &label))?;
        write("gradient-norms.csv", &gradients::csv(&records, &order))?;
    }
    if args.json {
        sources::layers(&uses).iter().try_for_each(output::print)?;
        records.iter().try_for_each(output::print)?;
        return output::print(&Summary { run: &args.run, model: &label, measure, files });
    }
    output::line(&format!("{label}: {what}, each stage from weakest · to strongest █"))?;
    sources::terminal(&uses).iter().try_for_each(|line| output::line(line))?;
    if records.is_empty() {
        output::line("no gradient norms: train with --gradient-norms to have them")?;
    } else {
        gradients::terminal(&records).iter().try_for_each(|line| output::line(line))?;
    }
    let names: Vec<String> = files.iter().map(|path| path.display().to_string()).collect();
    output::line(&format!("written: {}", names.join(", ")))
}

/// The network of a run with its best weights, and its configuration.
pub fn open(run: &Path) -> Result<(Model, crate::config::Config), Failure> {
    let file = run.join("config.toml");
    if !file.is_file() {
        return Err(Failure::input(format!(
            "{} is not a run: it has no config.toml; name the folder of a run",
            run.display()
        )));
    }
    let mut layers = Layers::defaults()?;
    layers.lay_file(&file)?;
    let config = layers.config()?;
    let path = run::weight_file(run);
    let checkpoint = checkpoint::read(&path)?;
    let Some(metadata) = &checkpoint.metadata else {
        return Err(Failure::input(format!("{}: does not say which network it is of", path.display())));
    };
    let model = networks::outline(&metadata.model, metadata.classes)?;
    checkpoint::load_weights(&model, &checkpoint, &path)?;
    Ok((model, config))
}

/// Norm shares over the first test images.
fn norms(model: &Model, source: &str) -> Result<Vec<Use>, Failure> {
    let dataset = Source::parse(source)?.load()?;
    if dataset.test.is_empty() {
        return Err(Failure::input(format!("{source}: there are no test images to look at")));
    }
    crate::images::check_size(model, &dataset, None)?;
    let config = LoaderConfig {
        batch: IMAGES.min(dataset.test.len()),
        shuffle: false,
        drop_last: false,
        augmentation: Augmentation::NONE,
        ..LoaderConfig::default()
    };
    let images = &dataset.test;
    let ctx = Context::eval().watching_sums();
    if let Some(batch) = Loader::new(images, dataset.normalisation, config)?.next() {
        let shape = [batch.labels.len(), images.height, images.width, images.channels];
        no_grad(|| model.forward(&Tensor::from_slice(shape, &batch.images), &ctx));
    }
    Ok(norm_shares(&ctx.contributions()))
}
