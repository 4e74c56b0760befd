//! The training loop.

mod evaluate;
mod non_finite;
mod report;
mod screen;
mod session;
mod step;

pub use evaluate::{Tested, evaluate};
pub use report::Reporter;
pub use screen::{Alone, QUIET, Screen, bar, standing, summary};
pub use session::{Pictures, Run, Session};
pub use step::loss_of;

use crate::config::Config;
use crate::failure::Failure;
use crate::run::RunDir;
use crate::run::checkpoint::{self, Best, Checkpoint, Metadata, Position, Sums};
use crate::run::curves;
use crate::run::metrics::{EpochLine, GradientLine, StepLine};
use crate::signals::Stop;
use data::{Dataset, Loader, LoaderConfig};
use engine::memory;
use nn::Model;
use nn::optim::Optimizer;
use std::time::Instant;

/// Batches that a thread prepares before they are asked for.
const AHEAD: usize = 3;

/// Everything a run works with.
pub struct Trainer {
    config: Config,
    dataset: Dataset,
    model: Model,
    optimizer: Optimizer,
    run: RunDir,
    reporter: Reporter,
    stop: Stop,
    /// Where the run stands; what the next checkpoint will say.
    state: Metadata,
    batches: usize,
    saved: Instant,
    /// Learning rate of the last step.
    lr: f32,
}

/// How training ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// All epochs are done.
    Finished,
    /// `max_steps` is reached.
    Stopped,
    /// A signal came; the run is saved.
    Interrupted,
}

impl Trainer {
    /// A run at its beginning. `state` is its [metadata](Metadata::new).
    pub fn new(
        config: Config,
        dataset: Dataset,
        model: Model,
        run: RunDir,
        reporter: Reporter,
        stop: Stop,
        state: Metadata,
    ) -> Result<Trainer, Failure> {
        let optimizer = Optimizer::new(config.optimizer(), model.params(), config.optimizer.decay_norm_and_bias);
        let batches = batches(&config, &dataset)?;
        Ok(Trainer {
            config,
            dataset,
            model,
            optimizer,
            run,
            reporter,
            stop,
            state,
            batches,
            saved: Instant::now(),
            lr: 0.0,
        })
    }

    /// Takes up where a checkpoint of the same run stands.
    pub fn resume(&mut self, checkpoint: Checkpoint, metadata: &Metadata) -> Result<(), Failure> {
        let path = self.run.last();
        checkpoint::load_weights(&self.model, &checkpoint, &path)?;
        let loaded = self.optimizer.load_state(&checkpoint.optimizer);
        loaded.map_err(|e| Failure::input(format!("{}: optimiser state: {e}", path.display())))?;
        self.state.position = metadata.position;
        self.state.sums = metadata.sums;
        self.state.best = metadata.best;
        Ok(())
    }

    /// Trains to the end, or until a signal or `max_steps`.
    pub fn train(&mut self) -> Result<Ending, Failure> {
        let total = (self.config.training.epochs * self.batches) as u64;
        self.reporter.begin(self.config.training.epochs, total, self.state.position.step);
        if self.state.position == Position::default() {
            // From here on there is always a checkpoint to go back to, and a full disk shows before the work is done.
            self.save_last()?;
        }
        while self.state.position.epoch < self.config.training.epochs {
            memory::reset_peak();
            let ending = match self.steps_of_epoch(total)? {
                None => self.finish_epoch()?,
                ending => ending,
            };
            match ending {
                None => {}
                Some(Ending::Stopped) => {
                    self.save_last()?;
                    self.partial_epoch()?;
                    return Ok(Ending::Stopped);
                }
                Some(ending) => {
                    self.save_last()?;
                    return Ok(ending);
                }
            }
        }
        self.save_last()?;
        Ok(Ending::Finished)
    }

    /// Trains on the batches that the epoch still has. `None` when it has no more.
    fn steps_of_epoch(&mut self, total: u64) -> Result<Option<Ending>, Failure> {
        let mut loader = self.loader()?;
        loop {
            if self.stop.requested() {
                return Ok(Some(Ending::Interrupted));
            }
            if self.state.position.batch >= self.batches {
                return Ok(None);
            }
            let limit = self.config.training.max_steps;
            if limit > 0 && self.state.position.step >= limit {
                return Ok(Some(Ending::Stopped));
            }
            let Some(batch) = loader.next() else {
                return Err(Failure::work("internal error, please report: the loader ended before its epoch"));
            };
            let step = self.state.position.step + 1;
            self.lr = self.config.schedule().lr_at(step, total, self.config.optimizer.lr);
            let began = Instant::now();
            let done = self.step(&batch, step)?;
            let seconds = began.elapsed().as_secs_f64();

            let images = batch.labels.len();
            let sums = &mut self.state.sums;
            sums.images += images as u64;
            sums.loss += f64::from(done.loss) * images as f64;
            sums.correct += done.correct;
            sums.seconds += seconds;
            self.state.position.batch += 1;
            self.state.position.step = step;
            let line = StepLine {
                step,
                epoch: self.state.position.epoch + 1,
                loss: done.loss,
                lr: self.lr,
                images_per_s: (images as f64 / seconds) as f32,
            };
            self.reporter.step(&line, &self.state.sums)?;
            if let Some(gradient_norms) = done.gradient_norms {
                self.reporter.gradients(&GradientLine { step, gradient_norms })?;
            }
            let epoch_goes_on = self.state.position.batch < self.batches;
            if epoch_goes_on && self.saved.elapsed().as_secs_f32() >= 60.0 * self.config.training.checkpoint_minutes {
                self.save_last()?;
            }
        }
    }

    fn loader(&self) -> Result<Loader, Failure> {
        let config = loader_config(&self.config, self.state.position);
        Ok(Loader::new(&self.dataset.train, self.dataset.normalisation, config)?)
    }

    /// Tests, reports and closes the epoch whose steps are done.
    fn finish_epoch(&mut self) -> Result<Option<Ending>, Failure> {
        let epoch = self.state.position.epoch + 1;
        let due = epoch.is_multiple_of(self.config.training.eval_every) || epoch == self.config.training.epochs;
        let tested = if due {
            match self.test()? {
                Some(tested) => Some(tested),
                None => return Ok(Some(Ending::Interrupted)),
            }
        } else {
            None
        };
        let line = self.epoch_line(tested, false);
        self.reporter.epoch(&line)?;
        self.state.sums = Sums::default();
        self.state.position.epoch = epoch;
        self.state.position.batch = 0;
        if let Some(tested) = tested {
            self.keep_if_best(epoch, tested)?;
        }
        self.draw()?;
        if self.saved.elapsed().as_secs_f32() >= 60.0 * self.config.training.checkpoint_minutes {
            self.save_last()?;
        }
        Ok(None)
    }

    /// Tests and reports an epoch that `max_steps` cut short. The checkpoint is already written: resumed with a higher
    /// limit, the epoch goes on as if this had not been.
    fn partial_epoch(&mut self) -> Result<(), Failure> {
        if self.state.sums.images == 0 {
            return Ok(());
        }
        let Some(tested) = self.test()? else { return Ok(()) };
        let line = self.epoch_line(Some(tested), true);
        self.reporter.epoch(&line)?;
        self.keep_if_best(line.epoch, tested)?;
        self.draw()
    }

    fn test(&self) -> Result<Option<Tested>, Failure> {
        self.reporter.testing();
        let algorithm = self.config.conv_algorithm.into();
        evaluate(&self.model, &self.dataset.test, self.dataset.normalisation, algorithm, &self.stop, &mut |_| {})
    }

    fn epoch_line(&self, tested: Option<Tested>, partial: bool) -> EpochLine {
        let Sums { images, loss, correct, seconds } = self.state.sums;
        let count = images.max(1) as f64;
        EpochLine {
            epoch: self.state.position.epoch + 1,
            step: self.state.position.step,
            train_loss: loss / count,
            train_acc: correct / count,
            test_loss: tested.map(|t| t.loss),
            test_acc: tested.map(|t| t.accuracy),
            lr: self.lr,
            seconds,
            images_per_s: count / seconds.max(f64::MIN_POSITIVE),
            peak_bytes: memory::stats().peak,
            partial,
        }
    }

    fn keep_if_best(&mut self, epoch: usize, tested: Tested) -> Result<(), Failure> {
        if self.state.best.is_none_or(|best| tested.accuracy > best.test_acc) {
            self.state.best = Some(Best { epoch, test_acc: tested.accuracy });
            self.save(&self.run.best())?;
        }
        Ok(())
    }

    fn draw(&self) -> Result<(), Failure> {
        let title = format!("{} on {}", self.model.name(), self.dataset.name);
        let path = self.run.file("curves.svg");
        let svg = curves::draw(&title, self.reporter.epochs());
        crate::run::atomic::replace(&path, svg.as_bytes()).map_err(|e| Failure::writing(&path, &e))
    }

    fn save_last(&mut self) -> Result<(), Failure> {
        self.save(&self.run.last())?;
        self.saved = Instant::now();
        Ok(())
    }

    fn save(&self, path: &std::path::Path) -> Result<(), Failure> {
        let weights = self.model.state();
        // A checkpoint that cannot be gone on from must not take the place of one that can.
        if let Some((name, ..)) = weights.iter().find(|(_, _, values)| values.iter().any(|v| !v.is_finite())) {
            return Err(Failure::work(format!(
                "{name} holds values that are not finite after step {} (lr {}); the checkpoint before is kept: start again \
                 with a lower --lr or with --clip 1",
                self.state.position.step, self.lr
            )));
        }
        checkpoint::write(path, weights, self.optimizer.state(), &self.state).map_err(|e| match e {
            Failure::Work(what) => {
                let before = if path.exists() { "; the checkpoint before is whole" } else { "" };
                let run = self.run.path().display();
                Failure::Work(format!("{what}, then go on with `pleach train --resume {run}`{before}"))
            }
            other => other,
        })
    }

    /// Where the run stands.
    pub fn state(&self) -> &Metadata {
        &self.state
    }

    /// The run's folder.
    pub fn run(&self) -> &RunDir {
        &self.run
    }

    /// Where messages go.
    pub fn reporter(&mut self) -> &mut Reporter {
        &mut self.reporter
    }
}

fn loader_config(config: &Config, position: Position) -> LoaderConfig {
    LoaderConfig {
        batch: config.training.batch,
        seed: config.seed,
        epoch: position.epoch as u64,
        start_batch: position.batch,
        shuffle: config.training.shuffle,
        drop_last: config.training.drop_last,
        augmentation: config.augmentation(),
        ahead: AHEAD,
    }
}

/// Batches of an epoch. Checks on the way that the batch and the augmentation fit the images.
pub fn batches(config: &Config, dataset: &Dataset) -> Result<usize, Failure> {
    let config = LoaderConfig { ahead: 0, ..loader_config(config, Position::default()) };
    Ok(Loader::new(&dataset.train, dataset.normalisation, config)?.batches())
}
