//! `pleach train`

use crate::config::{Config, Flags, Layers, presets};
use crate::failure::Failure;
use crate::run::record::{Record, State};
use crate::run::{self, RunDir};
use crate::signals::Stop;
use crate::training::{Alone, Ending, Run, Session};
use crate::{images, networks, output, pool};
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
    data.subset = 0
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
        let session = Session::prepare(config)?;
        let name = args.name.clone().unwrap_or_else(|| session.run_name());
        let run = session.start(&layers, args.out.as_deref(), &name, stop, Box::new(Alone::new(args.json)))?;
        conclude(run, args.json)
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
    if let Some((key, old, new)) = Config::first_fixed_difference(&saved, &layers) {
        return Err(Failure::input(format!(
            "{key} is {old} in {0} and cannot become {new} on the way; leave it, or start another run from these weights \
             with --init {0}",
            path.display()
        )));
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
        let session = Session::prepare(config)?;
        conclude(session.resume(run, stop, Box::new(Alone::new(args.json)))?, args.json)
    })
}

/// Makes the paths in a configuration absolute: the saved file must mean the same wherever it is run.
pub fn anchor(layers: &mut Layers) -> Result<(), Failure> {
    let config = layers.config()?;
    if !config.data.source.is_empty() {
        layers.replace("data.source", images::anchored(&config.data.source)?);
    }
    if !config.init.is_empty() {
        layers.replace("init", images::anchored_path(Path::new(&config.init))?);
    }
    layers.replace("model", networks::anchored(&config.model)?);
    Ok(())
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

fn conclude(run: Run, json: bool) -> Result<(), Failure> {
    let Run { mut trainer, ending, state } = run;
    let path = trainer.run().path().to_path_buf();
    let metadata = trainer.state();
    let (step, best) = (metadata.position.step, metadata.best);
    let (best_epoch, best_test_acc) = (best.map(|b| b.epoch), best.map(|b| b.test_acc));
    if json {
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
