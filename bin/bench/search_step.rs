//! `pleach bench search-step`: what a search costs beside training the networks that it samples.

use super::timing::median;
use crate::failure::Failure;
use crate::{output, pool, spaces};
use engine::Tensor;
use engine::parallel::awake;
use engine::rng::{Rng, purpose};
use nas::search::{Method, Search, SearchConfig};
use nas::{Arch, Space};
use nn::optim::Optimizer;
use nn::{Builder, Context};
use std::time::Instant;

/// Steps of a search, against training steps of the networks that it samples
///
/// After every weight step the network of its path is built by itself and trained on the same batch, once to warm up and once for the
/// record. The median of the quotients says what it costs that the path is one of many.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Search space: a name, or a file ending in .toml
    #[arg(long, value_name = "SPACE", default_value = "mbconv-small")]
    space: String,
    /// Search method; `pleach search --list` lists them
    #[arg(long, value_name = "NAME", default_value = "proxyless-grad")]
    method: String,
    /// Images a step
    #[arg(long, value_name = "N", default_value_t = 128)]
    batch: usize,
    /// Worker threads (default: one a core)
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Steps that are timed, each on another path
    #[arg(long, value_name = "N", default_value_t = 10)]
    steps: usize,
    /// Print one JSON object on standard output, and nothing else
    #[arg(long)]
    json: bool,
}

#[derive(serde::Serialize)]
struct Report<'a> {
    space: &'a str,
    method: &'a str,
    batch: usize,
    threads: usize,
    steps: usize,
    weight_step_ms_median: f64,
    derived_step_ms_median: f64,
    /// Median of the quotients of the two, path by path.
    ratio_median: f64,
    architecture_step_ms_median: f64,
    activation_peak_bytes: usize,
    weight_bytes: usize,
}

const CLASSES: usize = 10;

/// Runs the command.
pub fn run(args: &Args) -> Result<(), Failure> {
    for (flag, value, most) in [("--batch", args.batch, 1 << 16), ("--steps", args.steps, 1 << 20)] {
        if !(1..=most).contains(&value) {
            return Err(Failure::input(format!("{flag} is {value}; it must be between 1 and {most}")));
        }
    }
    let space = spaces::space(&args.space, None)?;
    let method: Method = args.method.parse()?;
    let threads = pool::check(args.threads)?;
    let report = pool::with_threads(threads, || measure(args, &space, method, threads))?;
    if args.json {
        return output::print(&report);
    }
    output::line(&format!(
        "{} batch {}: a weight step {:.1} ms, the same path alone {:.1} ms (median quotient of {}: {:.3}); an architecture step {:.1} ms",
        args.space,
        args.batch,
        report.weight_step_ms_median,
        report.derived_step_ms_median,
        args.steps,
        report.ratio_median,
        report.architecture_step_ms_median
    ))
}

fn measure<'a>(args: &'a Args, space: &Space, method: Method, threads: usize) -> Result<Report<'a>, Failure> {
    let config = SearchConfig { warmup_epochs: 1, ..SearchConfig::new(method, 0, 1 + args.steps as u64, 2) };
    let mut search = Search::new(space, CLASSES, config, None)?;
    let resolution = space.resolution();
    let mut rng = Rng::new(0, &[purpose::TEST]);
    let images = Tensor::from_fn([args.batch, resolution, resolution, 3], |_| rng.normal());
    let labels: Vec<usize> = (0..args.batch).map(|_| rng.below(CLASSES)).collect();
    let (mut weights, mut alone, mut ratios, mut architecture) = (vec![], vec![], vec![], vec![]);
    let mut peak = 0;
    // The first round fills the pool of tensors.
    for round in 0..=args.steps {
        let (of_weights, step) = timed(|| search.weight_step(&images, &labels));
        let of_derived = derived_step(&search, &step.path, &images, &labels)?;
        let (of_architecture, _) = timed(|| search.architecture_step(&images, &labels));
        if round > 0 {
            weights.push(of_weights);
            alone.push(of_derived);
            ratios.push(of_weights / of_derived);
            architecture.push(of_architecture);
            peak = peak.max(step.activation_peak_bytes);
        }
    }
    Ok(Report {
        space: &args.space,
        method: &args.method,
        batch: args.batch,
        threads,
        steps: args.steps,
        weight_step_ms_median: median(&weights),
        derived_step_ms_median: median(&alone),
        ratio_median: median(&ratios),
        architecture_step_ms_median: median(&architecture),
        activation_peak_bytes: peak,
        weight_bytes: search.weight_bytes(),
    })
}

/// Time of a training step of the network that has these candidates alone, in ms.
fn derived_step(search: &Search, path: &[usize], images: &Tensor, labels: &[usize]) -> Result<f64, Failure> {
    let (space, config) = (search.supernet().space(), search.config());
    let choices = search.supernet().edges().iter().zip(path).map(|(edge, &i)| edge.candidates[i].clone());
    let model = space.build(&Arch::new(space, choices.collect())?, CLASSES, &mut Builder::new(0))?;
    let mut optimizer = Optimizer::new(config.optimizer.clone(), model.params(), true);
    let mut step = |number| {
        awake(|| {
            let loss = model.forward(images, &Context::train(0, number)).cross_entropy(labels, config.label_smoothing);
            let gradients = loss.backward();
            optimizer.step(&gradients, config.lr);
            loss.item()
        })
    };
    step(1);
    Ok(timed(|| step(2)).0)
}

/// What `work` takes in ms, and gives.
fn timed<T>(work: impl FnOnce() -> T) -> (f64, T) {
    let began = Instant::now();
    let result = work();
    (began.elapsed().as_secs_f64() * 1e3, result)
}
