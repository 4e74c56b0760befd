//! One step: forward, backward, update.

use super::Trainer;
use super::evaluate::count_correct;
use super::non_finite;
use crate::failure::Failure;
use crate::run::halted;
use data::Batch;
use engine::parallel::awake;
use engine::{Gradients, Tensor};
use nn::{Context, Param};
use std::collections::BTreeMap;

/// What a step yields.
pub struct Done {
    /// Mean over the batch, in nats.
    pub loss: f32,
    /// Images classified rightly; mixed ones count in parts.
    pub correct: f64,
    /// L2 norm of each weight's gradient, where it was asked for.
    pub gradient_norms: Option<BTreeMap<String, f64>>,
}

impl Trainer {
    /// Trains on `batch` as step `step`, counted from 1.
    pub(super) fn step(&mut self, batch: &Batch, step: u64) -> Result<Done, Failure> {
        awake(|| self.step_awake(batch, step))
    }

    fn step_awake(&mut self, batch: &Batch, step: u64) -> Result<Done, Failure> {
        let images = &self.dataset.train;
        let shape = [batch.labels.len(), images.height, images.width, images.channels];
        let images = Tensor::from_slice(shape, &batch.images);
        let logits = self.model.forward(&images, &self.context(step));
        let loss = loss_of(&logits, batch, self.config.training.label_smoothing);
        let mut done = Done { loss: loss.item(), correct: correct_of(&logits, batch), gradient_norms: None };
        if !done.loss.is_finite() {
            return Err(self.diagnose(&images, batch, step, done.loss));
        }
        drop(logits);
        let params = self.model.params();
        let mut gradients = loss.backward();
        if !all_finite(&gradients, &params) {
            return Err(self.diagnose(&images, batch, step, done.loss));
        }
        let every = self.config.training.gradient_norms;
        if every > 0 && step.is_multiple_of(every) {
            done.gradient_norms = Some(norms(&gradients, &params));
        }
        if self.config.training.clip > 0.0 {
            nn::optim::clip_grad_norm(&mut gradients, &params, self.config.training.clip);
        }
        self.optimizer.step(&gradients, self.lr);
        Ok(done)
    }

    fn context(&self, step: u64) -> Context {
        Context::train(self.config.seed, step).with_algorithm(self.config.conv_algorithm.into())
    }

    /// The step again, watched op by op, to say where the first value that is not finite came from; and saved, to be looked into.
    fn diagnose(&self, images: &Tensor, batch: &Batch, step: u64, loss: f32) -> Failure {
        let Trainer { config, dataset, model, lr, .. } = self;
        let what = if loss.is_finite() { "a gradient is not finite".into() } else { format!("the loss is {loss}") };
        let smoothing = config.training.label_smoothing;
        let ctx = self.context(step);
        let cause = non_finite::first(&model.params(), || loss_of(&model.forward(images, &ctx), batch, smoothing));
        let about = halted::About::new(config, dataset, model, (step, *lr), batch, &format!("{what}; {cause}"));
        let run = self.run.path();
        let look = match halted::write(run, &about, model, &dataset.train, batch) {
            Ok(_) => format!("look into it with: pleach step {} --nan", run.display()),
            Err(failure) => format!("the step could not be saved to be looked into ({failure})"),
        };
        Failure::work(format!(
            "step {step} (lr {lr}): {what}; {cause}; the last checkpoint is kept: try a lower --lr, --clip 1 or a warm-up \
             (--set schedule.warmup_steps=400); {look}"
        ))
    }
}

/// Mean cross-entropy of the batch; of mixed images, that of both labels in their shares.
pub fn loss_of(logits: &Tensor, batch: &Batch, label_smoothing: f32) -> Tensor {
    let own = logits.cross_entropy(&batch.labels, label_smoothing);
    match &batch.mixed {
        None => own,
        Some(mixed) => {
            let other = logits.cross_entropy(&mixed.labels, label_smoothing);
            own.scale(mixed.lambda).add(&other.scale(1.0 - mixed.lambda))
        }
    }
}

fn correct_of(logits: &Tensor, batch: &Batch) -> f64 {
    let own = count_correct(logits, &batch.labels);
    match &batch.mixed {
        None => own,
        Some(mixed) => {
            let lambda = f64::from(mixed.lambda);
            lambda * own + (1.0 - lambda) * count_correct(logits, &mixed.labels)
        }
    }
}

/// Of the weights of convolutions and linear layers.
fn norms(gradients: &Gradients, params: &[(String, Param)]) -> BTreeMap<String, f64> {
    let norm = |g: &Tensor| g.data().iter().map(|&v| f64::from(v) * f64::from(v)).sum::<f64>().sqrt();
    let weights = params.iter().filter(|(_, param)| param.kind().is_weight());
    weights.filter_map(|(name, param)| Some((name.clone(), norm(gradients.get(&param.value())?)))).collect()
}

fn all_finite(gradients: &Gradients, params: &[(String, Param)]) -> bool {
    params.iter().all(|(_, param)| gradients.get(&param.value()).is_none_or(|g| non_finite::is_clean(g.data())))
}
