//! `pleach train`

use crate::config::{Config, Flags, Layers, presets};
use crate::failure::Failure;
use crate::images::{self, Source};
use crate::run::checkpoint::{self, Checkpoint, Metadata, Position};
use crate::run::record::{self, Record, State};
use crate::run::{self, RunDir, atomic};
use crate::signals::Stop;
use crate::training::{self, Ending, Reporter, Trainer};
use crate::{output, pool};
use data::Dataset;
use nn::Model;
use std::path::{Path, PathBuf};

/// Train a network
///
/// With nothing else said, trains ResNet-20 on the embedded images. Values are layered: defaults, then --preset, then
/// --config, then flags, then --set.
#[derive(clap::Args, Debug)]
#[command(args_override_self = true)]
pub struct Args {
    #[command(flatten)]
    flags: Flags,

    /// Folder of the run (default: runs/NAME-NNN)
    #[arg(long, value_name = "RUN", help_heading = "Running")]
    out: Option<PathBuf>,
    /// Name of the run (default: model and data)
    #[arg(long, value_name = "NAME", help_heading = "Running", conflicts_with = "out")]
    name: Option<String>,
    /// Go on with a run: the named one, that of --out, or the newest that is not finished
    #[arg(long, value_name = "RUN", num_args = 0..=1, help_heading = "Running", conflicts_with_all = ["name", "smoke"])]
    resume: Option<Option<PathBuf>>,
    /// Two steps on made-up images, to see that everything works
    #[arg(long, help_heading = "Running")]
    smoke: bool,
    /// Print the resolved configuration and stop
    #[arg(long, help_heading = "Running")]
    print_config: bool,
    /// Print one JSON object a line, and nothing else, on standard output
    #[arg(long, help_heading = "Running")]
    json: bool,
}

/// What `--smoke` lays over everything else.
const SMOKE: &str = "
    data.source = 'synthetic:32,16'
    data.hold_out = 0
    training.epochs = 1
    training.batch = 16
";

/// Runs the command.
pub fn run(args: &Args) -> Result<(), Failure> {
    match &args.resume {
        None => start(args),
        Some(named) => resume(args, named.as_deref()),
    }
}

fn start(args: &Args) -> Result<(), Failure> {
    let mut layers = Layers::defaults()?;
    if args.flags.leave_recipe_open() {
        presets::find(presets::DEFAULT)?.lay_over(&mut layers)?;
    }
    args.flags.lay_over(&mut layers)?;
    if args.smoke {
        layers.lay_text(SMOKE, "--smoke")?;
    }
    anchor(&mut layers)?;
    let config = layers.config()?;
    config.check()?;
    if args.print_config {
        return output::line(layers.to_toml().trim_end());
    }
    if let Some(name) = &args.name {
        run::check_name(name)?;
    }
    let stop = Stop::listen()?;
    pool::with_threads(config.thread_count(), || {
        let session = Session::prepare(&config)?;
        if !config.init.is_empty() {
            let path = run::weight_file(Path::new(&config.init));
            checkpoint::load_weights(&session.model, &checkpoint::read(&path)?, &path)?;
        }
        let name = args.name.clone().unwrap_or_else(|| session.run_name());
        let run = RunDir::create(args.out.as_deref(), &name)?;
        let path = run.file("config.toml");
        atomic::replace(&path, layers.to_toml().as_bytes()).map_err(|e| Failure::writing(&path, &e))?;
        session.train(config, run, None, stop, args.json)
    })
}

fn resume(args: &Args, named: Option<&Path>) -> Result<(), Failure> {
    let path = match named.or(args.out.as_deref()) {
        Some(path) => path.to_path_buf(),
        None => run::newest_unfinished()?,
    };
    let run = RunDir::open(&path)?;
    let mut saved = Layers::defaults()?;
    saved.lay_file(&run.file("config.toml"))?;
    let mut layers = saved.clone();
    args.flags.lay_over(&mut layers)?;
    anchor(&mut layers)?;
    for key in saved.keys().iter().filter(|key| !Config::FREE_ON_RESUME.contains(&key.as_str())) {
        if let (Some(old), Some(new)) = (saved.get(key), layers.get(key))
            && old != new
        {
            return Err(Failure::input(format!(
                "{key} is {old} in {0} and cannot become {new} on the way; leave it, or start another run from these \
                 weights with --init {0}",
                path.display()
            )));
        }
    }
    let config = layers.config()?;
    config.check()?;
    if args.print_config {
        return output::line(layers.to_toml().trim_end());
    }
    if Record::read(&path).is_some_and(|record| record.state == State::Finished) {
        output::tell(&format!("{} is finished: all its {} epochs are done", path.display(), config.training.epochs));
        return if args.json { output::print(&Summary::finished(&path)) } else { Ok(()) };
    }
    let stop = Stop::listen()?;
    pool::with_threads(config.thread_count(), || {
        let session = Session::prepare(&config)?;
        let last = run.last();
        // A run that was killed before its first checkpoint is at its beginning.
        let checkpoint = if last.exists() { Some(session.check(read_last(&run)?, &config, &last)?) } else { None };
        if checkpoint.is_none() && !config.init.is_empty() {
            let path = run::weight_file(Path::new(&config.init));
            checkpoint::load_weights(&session.model, &checkpoint::read(&path)?, &path)?;
        }
        session.train(config, run, checkpoint, stop, args.json)
    })
}

/// The newest checkpoint. If it is spoilt, the best one may serve: it holds just as much.
fn read_last(run: &RunDir) -> Result<Checkpoint, Failure> {
    let (last, best) = (run.last(), run.best());
    checkpoint::read(&last).map_err(|failure| match failure {
        Failure::Input(what) if checkpoint::read(&best).is_ok() => {
            Failure::Input(format!("{what}, or copy {} over it to go on from where that was saved", best.display()))
        }
        failure => failure,
    })
}

/// Makes the paths in a configuration absolute: the saved file must mean the same wherever it is run.
fn anchor(layers: &mut Layers) -> Result<(), Failure> {
    let config = layers.config()?;
    if !config.data.source.is_empty() {
        layers.replace("data.source", images::anchored(&config.data.source)?);
    }
    if !config.init.is_empty() {
        layers.replace("init", images::anchored_path(Path::new(&config.init))?);
    }
    if config.model.ends_with(".toml") {
        layers.replace("model", nn::models::anchored(&config.model)?);
    }
    Ok(())
}

/// Images of an epoch's smallest step.
fn smallest_batch(config: &Config, dataset: &Dataset) -> usize {
    let rest = dataset.train.len() % config.training.batch;
    if rest > 0 && !config.training.drop_last { rest } else { config.training.batch }
}

/// Images and network of a run, before it has a folder.
struct Session {
    dataset: Dataset,
    model: Model,
    fingerprint: String,
}

impl Session {
    /// Reads the images, builds the network, and checks that they fit each other and the configuration.
    fn prepare(config: &Config) -> Result<Session, Failure> {
        // The name is checked before the images are read, which can take a while.
        Model::outline(&config.model, 10).map(drop)?;
        let mut dataset = Source::parse(&config.data.source)?.load()?;
        if config.data.hold_out > 0 {
            dataset = dataset.hold_out(config.data.hold_out, config.seed)?;
        }
        if training::batches(config, &dataset)? == 0 || dataset.test.is_empty() {
            return Err(Failure::input(format!("{}: there are no images to train or test on", config.data.source)));
        }
        let model = Model::new(&config.model, dataset.classes(), config.seed)?;
        images::check_size(&model, &dataset, Some(smallest_batch(config, &dataset)))?;
        let fingerprint = dataset.fingerprint();
        Ok(Session { dataset, model, fingerprint })
    }

    /// A folder name from model and data.
    fn run_name(&self) -> String {
        let name = format!("{}-{}", self.model.name(), self.dataset.name);
        let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '-' };
        name.chars().map(plain).take(100).collect()
    }

    /// Checks that a checkpoint is of this run.
    fn check(&self, checkpoint: Checkpoint, config: &Config, path: &Path) -> Result<(Checkpoint, Metadata), Failure> {
        let Some(metadata) = checkpoint.metadata.clone() else {
            return Err(Failure::input(format!(
                "{}: holds weights but not where the run stood; start a new run with --init {0}",
                path.display()
            )));
        };
        if metadata.fingerprint != self.fingerprint {
            return Err(Failure::input(format!(
                "{} has other images than the run began with ({}, fingerprint {} instead of {}); resume with the same files",
                config.data.source, metadata.dataset, self.fingerprint, metadata.fingerprint
            )));
        }
        if metadata.config_hash != config.hash() {
            return Err(Failure::input(format!(
                "config.toml does not say what the checkpoint {} was trained by; undo the change, or start a new run with \
                 --init {0}",
                path.display()
            )));
        }
        Ok((checkpoint, metadata))
    }

    fn train(
        self,
        config: Config,
        run: RunDir,
        checkpoint: Option<(Checkpoint, Metadata)>,
        stop: Stop,
        json: bool,
    ) -> Result<(), Failure> {
        let position = checkpoint.as_ref().map_or(Position::default(), |(_, metadata)| metadata.position);
        let mut record = self.record(&config);
        record.write(run.path())?;
        let mut reporter = Reporter::open(&run, position, config.training.epochs, json)?;
        let (params, threads) = (record.params, record.threads);
        let count = |n: usize, what| if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") };
        reporter.say(&format!(
            "{}: {params} parameters, on {} ({} to train on, {} to test on), {}; files in {}",
            record.model,
            record.dataset,
            record.train_images,
            record.test_images,
            count(threads, "thread"),
            run.path().display()
        ));
        if position.step > 0 {
            reporter.say(&format!("going on after step {} in epoch {}", position.step, position.epoch + 1));
        }
        let state = Metadata::new(&self.model, &self.dataset, self.fingerprint, config.hash());
        let mut trainer = Trainer::new(config, self.dataset, self.model, run, reporter, stop, state)?;
        if let Some((checkpoint, metadata)) = checkpoint {
            trainer.resume(checkpoint, &metadata)?;
        }
        let ending = trainer.train();
        trainer.reporter().end();
        let ending = match ending {
            Ok(ending) => ending,
            Err(failure) => {
                trainer.reporter().log(&failure.to_string());
                return Err(failure);
            }
        };
        record.state = match ending {
            Ending::Finished => State::Finished,
            Ending::Stopped => State::Stopped,
            Ending::Interrupted => State::Interrupted,
        };
        record.write(trainer.run().path())?;
        conclude(&mut trainer, ending, record.state)
    }

    fn record(&self, config: &Config) -> Record {
        Record {
            version: env!("CARGO_PKG_VERSION").into(),
            started: record::now(),
            state: State::Running,
            cpu: record::cpu_model(),
            platform: format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS),
            threads: config.thread_count(),
            seed: config.seed,
            model: self.model.name().to_string(),
            params: self.model.num_params(),
            macs: self.model.macs(),
            dataset: self.dataset.name.clone(),
            dataset_fingerprint: self.fingerprint.clone(),
            train_images: self.dataset.train.len(),
            test_images: self.dataset.test.len(),
        }
    }
}

/// The last line of `--json`.
#[derive(serde::Serialize)]
struct Summary<'a> {
    run: &'a Path,
    state: State,
    #[serde(skip_serializing_if = "Option::is_none")]
    steps: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    best_epoch: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    best_test_acc: Option<f64>,
}

impl Summary<'_> {
    fn finished(run: &Path) -> Summary<'_> {
        Summary { run, state: State::Finished, steps: None, best_epoch: None, best_test_acc: None }
    }
}

fn conclude(trainer: &mut Trainer, ending: Ending, state: State) -> Result<(), Failure> {
    let path = trainer.run().path().to_path_buf();
    let metadata = trainer.state();
    let (step, best) = (metadata.position.step, metadata.best);
    let (best_epoch, best_test_acc) = (best.map(|b| b.epoch), best.map(|b| b.test_acc));
    if trainer.reporter().json() {
        output::print(&Summary { run: &path, state, steps: Some(step), best_epoch, best_test_acc })?;
    }
    let best = best.map_or_else(String::new, |b| {
        format!("; best test accuracy {:.2} % after epoch {}", 100.0 * b.test_acc, b.epoch)
    });
    let go_on = format!("pleach train --resume {}", path.display());
    match ending {
        Ending::Finished => {
            let last = trainer.reporter().epochs().last().and_then(|line| line.test_acc);
            let last = last.map_or_else(String::new, |acc| format!(": test accuracy {:.2} %", 100.0 * acc));
            trainer.reporter().say(&format!("done{last}{best}; curves, weights and metrics are in {}", path.display()));
            Ok(())
        }
        Ending::Stopped => {
            trainer
                .reporter()
                .say(&format!("stopped at max_steps, after step {step}{best}; `{go_on} --max-steps 0` goes on"));
            Ok(())
        }
        Ending::Interrupted => {
            let message = format!("interrupted after step {step}, which is saved; `{go_on}` goes on");
            trainer.reporter().log(&message);
            Err(Failure::Interrupted(message))
        }
    }
}
