//! Optimisers: from gradients to changed parameters.

mod adam;
mod clip;
mod schedule;
mod sgd;

pub use clip::clip_grad_norm;
pub use schedule::{LrSchedule, Schedule};

use crate::error::Error;
use crate::param::Param;
use crate::state::{State, StateDict, check_fit, from_file, to_file};
use engine::parallel::{self, CHUNK};
use engine::{Gradients, Shape, Tensor};
use serde::{Deserialize, Serialize};
use std::collections::HashSet;

/// Which optimiser, and its constants. The learning rate comes with each step.
///
/// `weight_decay` is the coefficient `wd` of PyTorch: coupled decay adds `wd * w` to the gradient (the L2 penalty `wd/2 * |w|^2`),
/// `decoupled` decay instead multiplies the weight by `1 - lr * wd`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum OptimizerConfig {
    /// `torch.optim.SGD`.
    Sgd {
        /// Share of the last step that goes on.
        momentum: f32,
        /// Look ahead along the momentum.
        nesterov: bool,
        /// See above.
        weight_decay: f32,
        /// See above.
        decoupled: bool,
    },
    /// `torch.optim.Adam`; decoupled, `torch.optim.AdamW`.
    Adam {
        /// Decay of the mean of gradients.
        beta1: f32,
        /// Decay of the mean of their squares.
        beta2: f32,
        /// Keeps the quotient finite.
        eps: f32,
        /// See above.
        weight_decay: f32,
        /// See above.
        decoupled: bool,
    },
}

impl OptimizerConfig {
    /// Nesterov momentum 0.9 with coupled decay.
    pub fn sgd(weight_decay: f32) -> OptimizerConfig {
        OptimizerConfig::Sgd { momentum: 0.9, nesterov: true, weight_decay, decoupled: false }
    }

    /// AdamW with PyTorch's constants.
    pub fn adamw(weight_decay: f32) -> OptimizerConfig {
        OptimizerConfig::Adam { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay, decoupled: true }
    }

    /// # Errors
    /// If a constant lies outside its range, NaN included.
    pub fn check(&self) -> Result<(), Error> {
        let below_1 = |setting, v: f32| {
            let rule = "it must be at least 0 and below 1";
            if (0.0..1.0).contains(&v) { Ok(()) } else { Err(setting_error(setting, v, rule)) }
        };
        let not_negative = |setting, v: f32| {
            let rule = "it must be a number of at least 0";
            if v >= 0.0 && v.is_finite() { Ok(()) } else { Err(setting_error(setting, v, rule)) }
        };
        match *self {
            OptimizerConfig::Sgd { momentum, nesterov, weight_decay, .. } => {
                below_1("momentum", momentum)?;
                if nesterov && momentum == 0.0 {
                    return Err(setting_error("momentum", momentum, "nesterov needs it above 0"));
                }
                not_negative("weight_decay", weight_decay)
            }
            OptimizerConfig::Adam { beta1, beta2, eps, weight_decay, .. } => {
                below_1("beta1", beta1)?;
                below_1("beta2", beta2)?;
                not_negative("eps", eps)?;
                not_negative("weight_decay", weight_decay)
            }
        }
    }

    /// Names of the tensors kept per parameter.
    fn buffers(&self) -> &'static [&'static str] {
        match self {
            OptimizerConfig::Sgd { momentum, .. } if *momentum == 0.0 => &[],
            OptimizerConfig::Sgd { .. } => &["momentum_buffer"],
            OptimizerConfig::Adam { .. } => &["exp_avg", "exp_avg_sq"],
        }
    }

    fn update(&self, lr: f32, weight_decay: f32, job: Job) {
        let Job { weights, grad, first, second, step } = job;
        match *self {
            OptimizerConfig::Sgd { momentum, nesterov, decoupled, .. } => {
                sgd::Sgd { lr, momentum, nesterov, weight_decay, decoupled }.update(weights, grad, first);
            }
            OptimizerConfig::Adam { beta1, beta2, eps, decoupled, .. } => {
                adam::Adam { lr, beta1, beta2, eps, weight_decay, decoupled }
                    .update(weights, grad, first, second, step);
            }
        }
    }

    fn weight_decay(&self) -> f32 {
        match *self {
            OptimizerConfig::Sgd { weight_decay, .. } | OptimizerConfig::Adam { weight_decay, .. } => weight_decay,
        }
    }
}

/// The parameters of a network with what the optimiser remembers of each.
pub struct Optimizer {
    config: OptimizerConfig,
    slots: Vec<Slot>,
}

struct Slot {
    name: String,
    param: Param,
    decays: bool,
    /// As many as [`OptimizerConfig::buffers`], else empty.
    buffers: [Tensor; 2],
    /// Steps this parameter has taken.
    steps: u64,
}

/// A stretch of one parameter.
struct Job<'a> {
    weights: &'a mut [f32],
    grad: &'a [f32],
    first: &'a mut [f32],
    second: &'a mut [f32],
    step: u64,
}

impl Optimizer {
    /// An optimiser of `params` that has not stepped yet. Without `decay_norm_and_bias`, only the weights of convolutions and linear
    /// layers decay. A parameter listed twice (two layers may share one) steps once, under its first name.
    pub fn new(config: OptimizerConfig, params: Vec<(String, Param)>, decay_norm_and_bias: bool) -> Optimizer {
        let kept = config.buffers().len();
        let buffer = |i: usize, shape: Shape| if i < kept { Tensor::zeros(shape) } else { Tensor::zeros([0]) };
        let slot = |(name, param): (String, Param)| Slot {
            name,
            decays: decay_norm_and_bias || param.kind().is_weight(),
            buffers: [0, 1].map(|i| buffer(i, param.shape())),
            steps: 0,
            param,
        };
        let mut seen = HashSet::new();
        let fresh = params.into_iter().filter(|(_, p)| seen.insert(p.value().node().map(|n| n.id())));
        Optimizer { slots: fresh.map(slot).collect(), config }
    }

    /// Changes every parameter that has a gradient, all in one parallel pass. One without is not touched: no decay, no momentum.
    ///
    /// # Panics
    /// If a gradient has another shape than its parameter.
    #[track_caller]
    pub fn step(&mut self, gradients: &Gradients, lr: f32) {
        let config = &self.config;
        let mut held = vec![];
        for slot in &mut self.slots {
            let value = slot.param.lock();
            let Some(grad) = gradients.get(&value) else { continue };
            assert_eq!(grad.shape(), value.shape(), "step: gradient and parameter `{}` differ in shape", slot.name);
            slot.steps += 1;
            let weight_decay = if slot.decays { config.weight_decay() } else { 0.0 };
            held.push((value, grad, &mut slot.buffers, slot.steps, weight_decay));
        }
        let mut jobs = vec![];
        for (value, grad, [first, second], step, weight_decay) in &mut held {
            let (mut first, mut second) = (first.data_mut(), second.data_mut());
            for (weights, grad) in value.data_mut().chunks_mut(CHUNK).zip(grad.data().chunks(CHUNK)) {
                let job = Job {
                    first: split_front(&mut first, weights.len()),
                    second: split_front(&mut second, weights.len()),
                    weights,
                    grad,
                    step: *step,
                };
                jobs.push((job, *weight_decay));
            }
        }
        parallel::each(jobs, |_, (job, weight_decay)| config.update(lr, weight_decay, job));
    }

    /// Forgets the parameters for which `keep` is false, and frees what was remembered of them.
    pub fn retain(&mut self, keep: impl Fn(&Param) -> bool) {
        self.slots.retain(|slot| keep(&slot.param));
    }

    /// The constants.
    pub fn config(&self) -> &OptimizerConfig {
        &self.config
    }

    /// What is remembered, named after the parameter (`layer1.0.conv1.weight.momentum_buffer`) and in its file layout.
    pub fn state(&self) -> Vec<State> {
        let mut state = vec![];
        for slot in &self.slots {
            for (buffer, kept) in slot.buffers.iter().zip(self.config.buffers()) {
                let (shape, values) = to_file(slot.param.kind(), buffer);
                state.push((format!("{}.{kept}", slot.name), shape, values));
            }
            // Two halves: an f32 counts exactly only to 2^24.
            let steps = vec![(slot.steps >> 24) as f32, (slot.steps & 0xff_ffff) as f32];
            state.push((format!("{}.steps", slot.name), Shape::from([2]), steps));
        }
        state
    }

    /// Takes up what [`state`](Optimizer::state) gave.
    ///
    /// # Errors
    /// If a tensor is missing, unknown or of another shape; then nothing is changed.
    pub fn load_state(&mut self, state: &StateDict) -> Result<(), Error> {
        check_fit("optimiser state", &self.state(), state)?;
        let kept = self.config.buffers();
        for slot in &mut self.slots {
            for (buffer, kept) in slot.buffers.iter_mut().zip(kept) {
                let (_, values) = &state[&format!("{}.{kept}", slot.name)];
                *buffer = from_file(slot.param.kind(), slot.param.shape(), values);
            }
            let (_, steps) = &state[&format!("{}.steps", slot.name)];
            slot.steps = ((steps[0] as u64) << 24) | steps[1] as u64;
        }
        Ok(())
    }
}

fn setting_error(setting: &'static str, value: f32, rule: &'static str) -> Error {
    Error::Setting { setting, value: value.to_string(), rule }
}

/// The decimal number a person meant by this `f32`: 0.2, not 0.200000003.
fn decimal(value: f32) -> f64 {
    value.to_string().parse().unwrap_or(f64::from(value))
}

/// Takes the first `n` elements off `rest`, or all there are.
fn split_front<'a>(rest: &mut &'a mut [f32], n: usize) -> &'a mut [f32] {
    let all = std::mem::take(rest);
    let (front, back) = all.split_at_mut(n.min(all.len()));
    *rest = back;
    front
}

#[cfg(test)]
mod tests;
