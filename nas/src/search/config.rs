//! The settings of a search.

use crate::Error;
use nn::optim::OptimizerConfig;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// How architecture parameters learn. One method is one file beside this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Method {
    /// By the gradients of binary gates.
    #[serde(rename = "proxyless-grad")]
    ProxylessGradient,
    /// By REINFORCE.
    #[serde(rename = "proxyless-rl")]
    ProxylessReinforce,
}

impl Method {
    /// All of them.
    pub const ALL: [Method; 2] = [Method::ProxylessGradient, Method::ProxylessReinforce];

    /// In a few words.
    pub fn title(self) -> &'static str {
        match self {
            Method::ProxylessGradient => "ProxylessNAS, gradients of binary gates",
            Method::ProxylessReinforce => "ProxylessNAS, REINFORCE",
        }
    }

    /// Where it is from.
    pub fn paper(self) -> &'static str {
        match self {
            Method::ProxylessGradient | Method::ProxylessReinforce => "https://arxiv.org/abs/1812.00332",
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Method::ProxylessGradient => "proxyless-grad",
            Method::ProxylessReinforce => "proxyless-rl",
        })
    }
}

impl FromStr for Method {
    type Err = Error;

    fn from_str(text: &str) -> Result<Method, Error> {
        Method::ALL.into_iter().find(|method| method.to_string() == text).ok_or_else(|| {
            let names = Method::ALL.map(|method| method.to_string()).join(", ");
            Error::Setting(format!("no method is called `{text}`; there are {names}"))
        })
    }
}

/// Which candidates of an edge take part in an architecture step by gradients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Paths {
    /// Two, drawn by their probabilities; the others keep theirs.
    Two,
    /// All. Takes the time of all forward passes and the memory of one.
    All,
}

/// How latency enters what is optimised.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "form", rename_all = "kebab-case", deny_unknown_fields)]
pub enum LatencyTerm {
    /// `L = CE + lambda * (E - target) / target`
    Additive {
        /// Weight of the term; 0.1 or 0.2 in the paper's code.
        lambda: f64,
    },
    /// `L = a * CE * (log E / log target)^b`, of latencies in microseconds: the logarithm of a network that takes less than one of the
    /// unit would be negative, and small networks take less than a millisecond.
    Multiplicative {
        /// 0.2 on the paper's command line.
        a: f64,
        /// 0.3 on the paper's command line.
        b: f64,
    },
    /// `R = accuracy * (target / T)^exponent`, for REINFORCE.
    Reward {
        /// 0.1 in the paper's code.
        exponent: f64,
    },
}

/// A latency to aim at.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LatencyGoal {
    /// In ms, by the same measure as the latency model.
    pub target_ms: f64,
    /// How it enters.
    #[serde(flatten)]
    pub term: LatencyTerm,
}

impl LatencyGoal {
    /// The loss, and its derivatives with respect to the cross entropy and to the expected latency `ms`.
    pub(crate) fn loss(&self, cross_entropy: f64, ms: f64) -> (f64, f64, f64) {
        let target = self.target_ms;
        match self.term {
            LatencyTerm::Additive { lambda } => (cross_entropy + lambda * (ms - target) / target, 1.0, lambda / target),
            LatencyTerm::Multiplicative { a, b } => {
                let (of, log_target) = (libm::log(1e3 * ms), libm::log(1e3 * target));
                let factor = libm::pow(of / log_target, b);
                let slope = b * libm::pow(of / log_target, b - 1.0) / (ms * log_target);
                (a * cross_entropy * factor, a * factor, a * cross_entropy * slope)
            }
            LatencyTerm::Reward { .. } => (cross_entropy, 1.0, 0.0),
        }
    }

    /// The reward of a network of this accuracy and latency.
    pub(crate) fn reward(&self, accuracy: f64, ms: f64) -> f64 {
        match self.term {
            LatencyTerm::Reward { exponent } => accuracy * libm::pow(self.target_ms / ms, exponent),
            _ => accuracy,
        }
    }
}

/// Everything that a search is repeated by, besides space and data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SearchConfig {
    /// How architecture parameters learn.
    pub method: Method,
    /// Of weights, alphas and every draw.
    pub seed: u64,
    /// Weight steps in an epoch.
    pub steps_per_epoch: u64,
    /// Epochs of uniformly random paths, in which alphas rest.
    pub warmup_epochs: u64,
    /// Epochs after that.
    pub epochs: u64,
    /// Epochs of those before the first architecture step; 1 in the paper's code.
    pub delay_epochs: u64,
    /// Of the weights in the warm-up, falling to 0 by a cosine.
    pub warmup_lr: f32,
    /// Of the weights after that, falling to 0 by a cosine.
    pub lr: f32,
    /// Of the weights.
    pub optimizer: OptimizerConfig,
    /// In the cross entropy of both kinds of steps.
    pub label_smoothing: f32,
    /// Of the alphas.
    pub alpha_lr: f64,
    /// Weight steps for each architecture step.
    pub every: u64,
    /// For gradients: who takes part.
    pub paths: Paths,
    /// For REINFORCE: networks sampled in a step.
    pub samples: usize,
    /// Candidates less probable than this are dropped for good; 0 keeps all.
    pub prune_below: f64,
    /// The latency to aim at.
    pub latency: Option<LatencyGoal>,
}

impl SearchConfig {
    /// The paper's settings for CIFAR where they are known, else those of its code for ImageNet.
    pub fn new(method: Method, seed: u64, steps_per_epoch: u64, epochs: u64) -> SearchConfig {
        let gradient = method == Method::ProxylessGradient;
        SearchConfig {
            method,
            seed,
            steps_per_epoch,
            warmup_epochs: epochs / 3,
            epochs,
            delay_epochs: 1,
            warmup_lr: 0.05,
            lr: 0.025,
            optimizer: OptimizerConfig::sgd(4e-5),
            label_smoothing: 0.1,
            alpha_lr: if gradient { 0.006 } else { 0.01 },
            every: if gradient { 5 } else { 16 },
            paths: Paths::Two,
            samples: 10,
            prune_below: 0.0,
            latency: None,
        }
    }

    /// # Errors
    /// If a setting is out of its range.
    pub fn check(&self) -> Result<(), Error> {
        let wrong = |what: String| Err(Error::Setting(what));
        for (name, value) in [("steps_per_epoch", self.steps_per_epoch), ("epochs", self.epochs), ("every", self.every)]
        {
            if value == 0 {
                return wrong(format!("{name} is 0; it must be at least 1"));
            }
        }
        if self.samples == 0 {
            return wrong("samples is 0; REINFORCE needs at least one network a step".into());
        }
        let not_negative = [
            ("lr", f64::from(self.lr)),
            ("warmup_lr", f64::from(self.warmup_lr)),
            ("alpha_lr", self.alpha_lr),
            ("label_smoothing", f64::from(self.label_smoothing)),
            ("prune_below", self.prune_below),
        ];
        for (name, value) in not_negative {
            if !(value >= 0.0 && value.is_finite()) {
                return wrong(format!("{name} is {value}; it must be a number of at least 0"));
            }
        }
        for (name, value) in [("label_smoothing", f64::from(self.label_smoothing)), ("prune_below", self.prune_below)] {
            if value >= 1.0 {
                return wrong(format!("{name} is {value}; it must be below 1"));
            }
        }
        self.optimizer.check()?;
        let Some(goal) = &self.latency else { return Ok(()) };
        if !(goal.target_ms > 1e-3 && goal.target_ms.is_finite()) {
            return wrong(format!("the latency target is {} ms; it must be above a microsecond", goal.target_ms));
        }
        let (weights, is_reward) = match goal.term {
            LatencyTerm::Additive { lambda } => (vec![lambda], false),
            LatencyTerm::Multiplicative { a, b } => (vec![a, b], false),
            LatencyTerm::Reward { exponent } => (vec![exponent], true),
        };
        if weights.iter().any(|w| !(*w >= 0.0 && w.is_finite())) {
            return wrong("the weights of the latency term must be numbers of at least 0".into());
        }
        if is_reward != (self.method == Method::ProxylessReinforce) {
            return wrong(format!(
                "{} takes its latency {}",
                self.method,
                if is_reward { "in the loss: additive or multiplicative" } else { "in the reward" }
            ));
        }
        Ok(())
    }

    /// Weight steps of the warm-up.
    pub fn warmup_steps(&self) -> u64 {
        self.warmup_epochs * self.steps_per_epoch
    }

    /// Weight steps of the whole search.
    pub fn total_steps(&self) -> u64 {
        self.warmup_steps() + self.epochs * self.steps_per_epoch
    }

    /// Architecture steps that have their turn by the time of so many weight steps.
    pub fn architecture_steps_after(&self, weight_steps: u64) -> u64 {
        let delay = self.delay_epochs * self.steps_per_epoch;
        let searched = weight_steps.saturating_sub(self.warmup_steps());
        (searched / self.every).saturating_sub(delay / self.every)
    }

    /// Learning rate of weight step `step`, counted from 0.
    pub fn lr_at(&self, step: u64) -> f32 {
        let (base, at, total) = match step.checked_sub(self.warmup_steps()) {
            None => (self.warmup_lr, step, self.warmup_steps()),
            Some(at) => (self.lr, at, self.epochs * self.steps_per_epoch),
        };
        let progress = at as f64 / total as f64;
        (f64::from(base) * 0.5 * (1.0 + libm::cos(std::f64::consts::PI * progress))) as f32
    }
}
