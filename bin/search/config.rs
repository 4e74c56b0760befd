//! The configuration of a search: every field, whatever it came from. Saved in the run as `config.toml`.

use crate::failure::Failure;
use crate::nearest;
use nas::search::{LatencyGoal, LatencyTerm, Method, Paths, SearchConfig};
use nn::optim::OptimizerConfig;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Everything that determines a search, its trust report included. Together with the images and the latency table it fixes what is
/// found, bit for bit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Name or file of the search space.
    pub space: String,
    /// The first so many candidates of each edge; 0 for all.
    pub candidates: usize,
    /// Of everything random.
    pub seed: u64,
    /// Worker threads; 0 takes one for each core. Changes the speed, never the bits.
    pub threads: usize,
    /// Which images.
    pub data: Data,
    /// How weights and architecture learn.
    pub search: Search,
    /// What a network may take.
    pub latency: Latency,
    /// What the found network is compared with.
    pub trust: Trust,
}

/// Which images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Data {
    /// As of `pleach train`.
    pub source: String,
    /// Training images that the architecture learns from, and the weights never see; 0 for a tenth.
    pub hold_out: usize,
}

/// How weights and architecture learn. The equations are on the pages of `nas::search`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Search {
    /// A name that `pleach search --list` lists.
    pub method: String,
    /// Passes over the training images with uniformly random paths, in which the architecture rests.
    pub warmup_epochs: u64,
    /// Passes after that.
    pub epochs: u64,
    /// Passes of those before the first architecture step.
    pub delay_epochs: u64,
    /// Images a step, of either kind.
    pub batch: usize,
    /// Learning rate of the weights in the warm-up; falls to 0 by a half cosine.
    pub warmup_lr: f32,
    /// Learning rate of the weights after it; falls to 0 by a half cosine.
    pub lr: f32,
    /// Of SGD, with Nesterov's look ahead.
    pub momentum: f32,
    /// Decay coefficient of the weights.
    pub weight_decay: f32,
    /// Share of the target spread evenly over all classes.
    pub label_smoothing: f32,
    /// Learning rate of the architecture; 0 for the method's own.
    pub alpha_lr: f64,
    /// Weight steps for each architecture step; 0 for the method's own.
    pub every: u64,
    /// Of gradients: `two` candidates of an edge take part in a step, or `all`.
    pub paths: String,
    /// Of REINFORCE: networks sampled in a step.
    pub samples: usize,
    /// Candidates less probable than this are dropped for good; 0 keeps all.
    pub prune_below: f64,
    /// Training images that the search may take in all; its epochs are shortened to that. 0 for no such limit.
    pub budget: u64,
    /// Stops after this many weight steps, without changing the schedule; 0 for no such limit.
    pub max_steps: u64,
    /// Minutes between checkpoints; 0 saves after every step.
    pub checkpoint_minutes: f32,
}

/// What a network may take.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Latency {
    /// In ms, of a forward pass of `batch` images by `threads` threads; 0 for no target.
    pub target_ms: f64,
    /// Of the latency in what is minimised; negative for the form's own.
    pub weight: f64,
    /// `additive` or `multiplicative` for gradients, `reward` for REINFORCE; empty for the method's own.
    pub form: String,
    /// File of the table; empty for the place where `pleach latency` keeps it.
    pub table: String,
    /// Images a forward pass.
    pub batch: usize,
    /// Worker threads.
    pub threads: usize,
}

/// What the found network is compared with: random networks of the space, trained by the same recipe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trust {
    /// Random networks; 0 for no trust report.
    pub networks: usize,
    /// Trainings of each network, from different seeds.
    pub seeds: usize,
    /// Passes over the training images, the held-out ones included.
    pub epochs: usize,
    /// Training images alone that they are trained on, as many of each class; 0 for all.
    pub subset: usize,
    /// Images a step.
    pub batch: usize,
    /// Largest learning rate of the one cycle.
    pub lr: f32,
    /// Decay coefficient.
    pub weight_decay: f32,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            space: "mbconv-small".into(),
            candidates: 0,
            seed: 0,
            threads: 0,
            data: Data { source: "builtin".into(), hold_out: 0 },
            search: Search {
                method: "proxyless-grad".into(),
                warmup_epochs: 5,
                epochs: 15,
                delay_epochs: 1,
                batch: 64,
                warmup_lr: 0.05,
                lr: 0.05,
                momentum: 0.9,
                weight_decay: 4e-5,
                label_smoothing: 0.1,
                alpha_lr: 0.0,
                every: 0,
                paths: "two".into(),
                samples: 10,
                prune_below: 0.0,
                budget: 0,
                max_steps: 0,
                checkpoint_minutes: 2.0,
            },
            latency: Latency {
                target_ms: 0.0,
                weight: -1.0,
                form: String::new(),
                table: String::new(),
                batch: 1,
                threads: 1,
            },
            trust: Trust { networks: 3, seeds: 2, epochs: 15, subset: 0, batch: 64, lr: 0.1, weight_decay: 5e-4 },
        }
    }
}

impl Config {
    /// What a resumed search may change without changing what it computes.
    pub const FREE_ON_RESUME: [&'static str; 11] = [
        "threads",
        "search.max_steps",
        "search.checkpoint_minutes",
        "data.source",
        "trust.networks",
        "trust.seeds",
        "trust.epochs",
        "trust.subset",
        "trust.batch",
        "trust.lr",
        "trust.weight_decay",
    ];

    /// A hash of every field that determines the search, as 16 hexadecimal digits.
    pub fn hash(&self) -> String {
        let defaults = Config::default();
        let mut fixed = self.clone();
        (fixed.threads, fixed.trust) = (defaults.threads, defaults.trust);
        fixed.data.source = defaults.data.source;
        fixed.search.max_steps = defaults.search.max_steps;
        fixed.search.checkpoint_minutes = defaults.search.checkpoint_minutes;
        // Derived serialisation of plain structs does not fail; an empty text would only make resuming refuse.
        let text = serde_json::to_string(&fixed).unwrap_or_default();
        Sha256::digest(text.as_bytes())[..8].iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The method.
    pub fn method(&self) -> Result<Method, Failure> {
        let names = Method::ALL.map(|method| method.to_string());
        self.search.method.parse().map_err(|_| {
            let hint = nearest::hint(&self.search.method, names.iter().map(String::as_str));
            Failure::input(format!(
                "there is no search method '{}'{hint} (`pleach search --list` lists them)",
                self.search.method
            ))
        })
    }

    /// Checks every value that [`SearchConfig::check`] does not.
    pub fn check(&self) -> Result<(), Failure> {
        let wrong = |field: &str, value: String, rule: &str| {
            Err(Failure::input(format!("{field} is {value}; it must be {rule}")))
        };
        self.method()?;
        self.goal()?;
        self.paths()?;
        if self.data.source.is_empty() {
            return Err(Failure::input("data.source is empty; add --data DIR or --data builtin"));
        }
        if self.threads > 1024 {
            return wrong("threads", self.threads.to_string(), "at most 1024 (0 takes one for each core)");
        }
        let (s, l, t) = (&self.search, &self.latency, &self.trust);
        for (field, value) in [
            ("search.batch", s.batch),
            ("search.samples", s.samples),
            ("latency.batch", l.batch),
            ("trust.batch", t.batch),
            ("trust.epochs", t.epochs),
            ("trust.seeds", t.seeds),
        ] {
            if !(1..=1_000_000).contains(&value) {
                return wrong(field, value.to_string(), "between 1 and 1000000");
            }
        }
        if s.epochs == 0 || s.epochs > 100_000 || s.warmup_epochs > 100_000 {
            return wrong("search.epochs", s.epochs.to_string(), "between 1 and 100000, and so the warm-up");
        }
        if s.delay_epochs >= s.epochs {
            return wrong(
                "search.delay_epochs",
                s.delay_epochs.to_string(),
                &format!("less than the {} epochs, or the architecture never learns", s.epochs),
            );
        }
        if !(s.checkpoint_minutes.is_finite() && s.checkpoint_minutes >= 0.0) {
            return wrong("search.checkpoint_minutes", s.checkpoint_minutes.to_string(), "a finite number, 0 or more");
        }
        if !(t.lr.is_finite() && t.lr > 0.0) {
            return wrong("trust.lr", t.lr.to_string(), "a finite number above 0");
        }
        if t.networks > 1000 {
            return wrong("trust.networks", t.networks.to_string(), "at most 1000 (0 for no trust report)");
        }
        Ok(())
    }

    fn paths(&self) -> Result<Paths, Failure> {
        match self.search.paths.as_str() {
            "two" => Ok(Paths::Two),
            "all" => Ok(Paths::All),
            other => Err(Failure::input(format!("search.paths is '{other}'; it must be two or all"))),
        }
    }

    /// The latency to aim at.
    pub fn goal(&self) -> Result<Option<LatencyGoal>, Failure> {
        let Latency { target_ms, weight, form, .. } = &self.latency;
        if *target_ms == 0.0 {
            return Ok(None);
        }
        if !(target_ms.is_finite() && *target_ms > 0.0) {
            return Err(Failure::input(format!("latency.target_ms is {target_ms}; it must be a number of ms above 0")));
        }
        let gradient = self.method()? == Method::ProxylessGradient;
        let own = if gradient { "additive" } else { "reward" };
        let weight_or = |own: f64| if *weight < 0.0 { own } else { *weight };
        let term = match if form.is_empty() { own } else { form.as_str() } {
            "additive" => LatencyTerm::Additive { lambda: weight_or(0.2) },
            "multiplicative" => LatencyTerm::Multiplicative { a: 0.2, b: weight_or(0.3) },
            "reward" => LatencyTerm::Reward { exponent: weight_or(0.1) },
            other => {
                return Err(Failure::input(format!(
                    "latency.form is '{other}'; it must be additive, multiplicative or reward"
                )));
            }
        };
        Ok(Some(LatencyGoal { target_ms: *target_ms, term }))
    }

    /// For [`nas`], of a training split that has so many batches.
    pub fn for_nas(&self, batches: u64) -> Result<SearchConfig, Failure> {
        let s = &self.search;
        let budgeted = s.budget / (s.batch as u64 * (s.warmup_epochs + s.epochs));
        let steps_per_epoch = if s.budget > 0 { batches.min(budgeted) } else { batches };
        if steps_per_epoch == 0 {
            return Err(Failure::input(format!(
                "a budget of {} images is less than one step of {} in each of {} epochs; raise --budget or take fewer epochs",
                s.budget,
                s.batch,
                s.warmup_epochs + s.epochs
            )));
        }
        let own = SearchConfig::new(self.method()?, self.seed, steps_per_epoch, s.epochs);
        Ok(SearchConfig {
            warmup_epochs: s.warmup_epochs,
            delay_epochs: s.delay_epochs,
            warmup_lr: s.warmup_lr,
            lr: s.lr,
            optimizer: OptimizerConfig::Sgd {
                momentum: s.momentum,
                nesterov: s.momentum > 0.0,
                weight_decay: s.weight_decay,
                decoupled: false,
            },
            label_smoothing: s.label_smoothing,
            alpha_lr: if s.alpha_lr == 0.0 { own.alpha_lr } else { s.alpha_lr },
            every: if s.every == 0 { own.every } else { s.every },
            paths: self.paths()?,
            samples: s.samples,
            prune_below: s.prune_below,
            latency: self.goal()?,
            ..own
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_sound_and_a_budget_shortens_epochs() {
        let mut config = Config::default();
        config.check().expect("sound");
        assert_eq!(config.for_nas(70).expect("sound").total_steps(), 20 * 70);
        config.search.budget = 64 * 20 * 9;
        assert_eq!(config.for_nas(70).expect("sound").total_steps(), 20 * 9);
        config.search.budget = 64;
        assert!(config.for_nas(70).expect_err("refused").to_string().contains("raise --budget"));
    }

    #[test]
    fn wrong_values_are_named() {
        let message = |change: fn(&mut Config)| {
            let mut config = Config::default();
            change(&mut config);
            config.check().expect_err("refused").to_string()
        };
        assert!(message(|c| c.search.method = "proxyles-grad".into()).contains("did you mean 'proxyless-grad'?"));
        assert!(message(|c| c.search.delay_epochs = 15).contains("never learns"));
        assert!(message(|c| (c.latency.target_ms, c.latency.form) = (1.0, "sum".into())).contains("additive"));
        assert!(message(|c| c.latency.target_ms = f64::NAN).contains("target_ms is NaN"));
        assert!(message(|c| c.search.paths = "three".into()).contains("two or all"));
    }
}
