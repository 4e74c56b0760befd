//! A run from its images and network to its end: what `train` does once and `compare` for each member.

use super::{Ending, Reporter, Screen, Trainer, batches};
use crate::config::{Config, Layers};
use crate::failure::Failure;
use crate::images::{self, Source};
use crate::networks;
use crate::run::checkpoint::{self, Checkpoint, Metadata, Position};
use crate::run::record::{self, Record, State};
use crate::run::{self, RunDir, atomic};
use crate::signals::Stop;
use data::Dataset;
use nn::Model;
use std::path::Path;

/// The images of a configuration, and the mark by which a resumed run knows them.
#[derive(Clone)]
pub struct Pictures {
    /// What is trained and tested on.
    pub dataset: Dataset,
    /// Of its pixels and labels.
    pub fingerprint: String,
}

impl Pictures {
    /// Reads the images.
    pub fn read(config: &Config) -> Result<Pictures, Failure> {
        let mut dataset = Source::parse(&config.data.source)?.load()?;
        if config.data.hold_out > 0 {
            dataset = dataset.hold_out(config.data.hold_out, config.seed)?;
        }
        if config.data.subset > 0 {
            dataset = dataset.subset(config.data.subset)?;
        }
        if batches(config, &dataset)? == 0 || dataset.test.is_empty() {
            return Err(Failure::input(format!("{}: there are no images to train or test on", config.data.source)));
        }
        let fingerprint = dataset.fingerprint();
        Ok(Pictures { dataset, fingerprint })
    }
}

/// Images and network of a run, before it has a folder.
pub struct Session {
    config: Config,
    pictures: Pictures,
    model: Model,
}

/// A run that has come to an end, or to a stop.
pub struct Run {
    /// What trained it.
    pub trainer: Trainer,
    /// How it ended.
    pub ending: Ending,
    /// What its record says.
    pub state: State,
}

impl Session {
    /// Reads the images, builds the network, and checks that they fit each other and the configuration.
    pub fn prepare(config: Config) -> Result<Session, Failure> {
        // The name is checked before the images are read, which can take a while.
        networks::outline(&config.model, 10).map(drop)?;
        let pictures = Pictures::read(&config)?;
        Session::on(config, pictures)
    }

    /// The same with images that are read already.
    pub fn on(config: Config, pictures: Pictures) -> Result<Session, Failure> {
        let dataset = &pictures.dataset;
        let model = networks::build(&config.model, dataset.classes(), Some(config.seed))?;
        images::check_size(&model, dataset, Some(smallest_batch(&config, dataset)))?;
        Ok(Session { config, pictures, model })
    }

    /// A folder name from model and data.
    pub fn run_name(&self) -> String {
        run::folder_name(&format!("{}-{}", networks::label(self.model.name()), self.pictures.dataset.name))
    }

    /// Trains from the beginning, in a new folder: `out`, or one with a number after `name`. `layers` become its `config.toml`.
    pub fn start(
        self,
        layers: &Layers,
        out: Option<&Path>,
        name: &str,
        stop: Stop,
        screen: Box<dyn Screen>,
    ) -> Result<Run, Failure> {
        self.load_init()?;
        let run = RunDir::create(out, name)?;
        let path = run.file("config.toml");
        atomic::replace(&path, layers.to_toml().as_bytes()).map_err(|e| Failure::writing(&path, &e))?;
        self.train(run, None, stop, screen)
    }

    /// Goes on where the run in a folder stands.
    pub fn resume(self, run: RunDir, stop: Stop, screen: Box<dyn Screen>) -> Result<Run, Failure> {
        let last = run.last();
        // A run that was killed before its first checkpoint is at its beginning.
        let checkpoint = if last.exists() { Some(self.check(read_last(&run)?, &last)?) } else { None };
        if checkpoint.is_none() {
            self.load_init()?;
        }
        self.train(run, checkpoint, stop, screen)
    }

    fn load_init(&self) -> Result<(), Failure> {
        if self.config.init.is_empty() {
            return Ok(());
        }
        let path = run::weight_file(Path::new(&self.config.init));
        checkpoint::load_weights(&self.model, &checkpoint::read(&path)?, &path)
    }

    /// Checks that a checkpoint is of this run.
    fn check(&self, checkpoint: Checkpoint, path: &Path) -> Result<(Checkpoint, Metadata), Failure> {
        let Some(metadata) = checkpoint.metadata.clone() else {
            return Err(Failure::input(format!(
                "{}: holds weights but not where the run stood; start a new run with --init {0}",
                path.display()
            )));
        };
        let Session { config, pictures, .. } = self;
        if metadata.fingerprint != pictures.fingerprint {
            return Err(Failure::input(format!(
                "{} has other images than the run began with ({}, fingerprint {} instead of {}); resume with the same files",
                config.data.source, metadata.dataset, pictures.fingerprint, metadata.fingerprint
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
        run: RunDir,
        checkpoint: Option<(Checkpoint, Metadata)>,
        stop: Stop,
        screen: Box<dyn Screen>,
    ) -> Result<Run, Failure> {
        let position = checkpoint.as_ref().map_or(Position::default(), |(_, metadata)| metadata.position);
        let mut record = self.record();
        record.write(run.path())?;
        let mut reporter = Reporter::open(&run, position, screen)?;
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
        let Session { config, pictures, model } = self;
        let state = Metadata::new(&model, &pictures.dataset, pictures.fingerprint, config.hash());
        let mut trainer = Trainer::new(config, pictures.dataset, model, run, reporter, stop, state)?;
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
        Ok(Run { trainer, ending, state: record.state })
    }

    fn record(&self) -> Record {
        let Session { config, pictures, model } = self;
        Record {
            version: env!("CARGO_PKG_VERSION").into(),
            started: record::now(),
            state: State::Running,
            cpu: record::cpu_model(),
            platform: format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS),
            threads: config.thread_count(),
            seed: config.seed,
            model: model.name().to_string(),
            params: model.num_params(),
            macs: model.macs(),
            dataset: pictures.dataset.name.clone(),
            dataset_fingerprint: pictures.fingerprint.clone(),
            train_images: pictures.dataset.train.len(),
            test_images: pictures.dataset.test.len(),
        }
    }
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

/// Images of an epoch's smallest step.
fn smallest_batch(config: &Config, dataset: &Dataset) -> usize {
    let rest = dataset.train.len() % config.training.batch;
    if rest > 0 && !config.training.drop_last { rest } else { config.training.batch }
}
