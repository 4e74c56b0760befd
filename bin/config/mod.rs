//! The configuration of a training run: one struct, every field, whatever it came from.
//!
//! Values are layered: the defaults, then a preset, then a file, then flags, then `--set`. What comes out is saved
//! in the run as `config.toml`, which is itself such a file.

mod check;
mod flags;
mod layers;
pub mod presets;

pub use flags::Flags;
pub use layers::Layers;

use crate::failure::Failure;
use serde::{Deserialize, Serialize};

/// Everything that determines a run. Together with the images it fixes the final weights, bit for bit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// A name that `pleach models` lists.
    pub model: String,
    /// Seed of the weights, the order of the images, the augmentation and dropout.
    pub seed: u64,
    /// Worker threads; 0 takes one for each core. Changes the speed, never the bits.
    pub threads: usize,
    /// How convolutions are computed.
    pub conv_algorithm: ConvAlgorithm,
    /// A file of weights to start from; empty for the seeded initialisation.
    pub init: String,
    /// Which images.
    pub data: Data,
    /// How long, and in what portions.
    pub training: Training,
    /// The update rule.
    pub optimizer: Optimizer,
    /// The learning rate over the run.
    pub schedule: Schedule,
    /// What is done to a training image before it is shown.
    pub augmentation: Augmentation,
}

/// Ways to compute convolutions. They differ in speed and in rounding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum ConvAlgorithm {
    /// Whichever is faster, by shape
    Auto,
    /// Multiply-adds as the formula has them
    Direct,
    /// Winograd wherever the kernel is 3x3 of stride 1, or of stride 2 between multiples of 16 channels
    Winograd,
}

impl From<ConvAlgorithm> for engine::Algorithm {
    fn from(algorithm: ConvAlgorithm) -> engine::Algorithm {
        match algorithm {
            ConvAlgorithm::Auto => engine::Algorithm::Auto,
            ConvAlgorithm::Direct => engine::Algorithm::Direct,
            ConvAlgorithm::Winograd => engine::Algorithm::Winograd,
        }
    }
}

/// Which images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Data {
    /// `builtin`, `synthetic:TRAIN,TEST` (so many made-up images), or a folder with CIFAR-10 or CIFAR-100 binaries or with
    /// one folder of images a class.
    pub source: String,
    /// This many training images are held out and tested on instead of the test set; 0 holds out none.
    pub hold_out: usize,
    /// Trains on this many training images alone, as many of each class; 0 for all.
    pub subset: usize,
}

/// How long, and in what portions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Training {
    /// Passes over the training images.
    pub epochs: usize,
    /// Images a step.
    pub batch: usize,
    /// Leaves out the last, short batch of an epoch.
    pub drop_last: bool,
    /// Shows the images in a new random order each epoch.
    pub shuffle: bool,
    /// Stops after this many steps in all, without changing the schedule; 0 for no such limit.
    pub max_steps: u64,
    /// Share of the target spread evenly over all classes.
    pub label_smoothing: f32,
    /// Largest norm of the gradient of all parameters; larger ones are scaled down to it. 0 for no limit.
    pub clip: f32,
    /// Tests after every this many epochs, and after the last.
    pub eval_every: usize,
    /// Minutes between checkpoints; 0 saves after every step.
    pub checkpoint_minutes: f32,
    /// Records the norm of each layer's gradient every this many steps; 0 never does. Changes nothing else.
    pub gradient_norms: u64,
}

/// Update rules.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OptimizerKind {
    /// Stochastic gradient descent with momentum.
    Sgd,
    /// Adam.
    Adam,
}

/// The update rule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Optimizer {
    /// `sgd` or `adam`.
    pub kind: OptimizerKind,
    /// Learning rate that the schedule scales.
    pub lr: f32,
    /// Of SGD.
    pub momentum: f32,
    /// Nesterov's momentum instead of plain.
    pub nesterov: bool,
    /// Decay coefficient.
    pub weight_decay: f32,
    /// Decays the weights directly (as in AdamW) instead of through the gradient.
    pub decoupled: bool,
    /// Decays biases and batch norm's parameters as well as weights.
    pub decay_norm_and_bias: bool,
    /// Of Adam.
    pub beta1: f32,
    /// Of Adam.
    pub beta2: f32,
    /// Of Adam.
    pub eps: f32,
}

/// Shapes of the learning rate over the run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ScheduleKind {
    /// The same throughout.
    Constant,
    /// Multiplied by `gamma` at each milestone.
    Step,
    /// A half cosine down to `final_fraction`.
    Cosine,
    /// Up over the first `rise` of the run, then down.
    OneCycle,
}

/// The learning rate over the run. Fractions are of the run's steps, or of `optimizer.lr` where the name says so.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// `constant`, `step`, `cosine` or `one-cycle`.
    pub kind: ScheduleKind,
    /// Steps over which the rate first rises from 0.
    pub warmup_steps: u64,
    /// Of `step`: fractions of the run.
    pub milestones: Vec<f32>,
    /// Of `step`.
    pub gamma: f32,
    /// Of `cosine`: fraction of `lr` at the end.
    pub final_fraction: f32,
    /// Of `one-cycle`: fraction of the run until the peak.
    pub rise: f32,
    /// Of `one-cycle`: fraction of `lr` at the start.
    pub start_fraction: f32,
    /// Of `one-cycle`: fraction of `lr` at the end.
    pub end_fraction: f32,
    /// Of `one-cycle`: both slopes are half cosines instead of lines.
    pub cosine: bool,
}

/// What is done to a training image before it is shown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Augmentation {
    /// Pads with this many zeros on each side, then crops at random; 0 for neither.
    pub pad_crop: usize,
    /// Mirrors left and right with probability 1/2.
    pub flip: bool,
    /// Side of a square that is set to 0; 0 for none.
    pub cutout: usize,
    /// Parameter of the beta distribution that pairs are mixed by; 0 for no mixing.
    pub mixup: f32,
}

impl Default for Config {
    /// What a bare `pleach train` runs; [`presets`] names it `builtin`.
    fn default() -> Config {
        Config {
            model: "resnet20".into(),
            seed: 0,
            threads: 0,
            conv_algorithm: ConvAlgorithm::Auto,
            init: String::new(),
            data: Data { source: "builtin".into(), hold_out: 0, subset: 0 },
            training: Training {
                epochs: 40,
                batch: 128,
                drop_last: true,
                shuffle: true,
                max_steps: 0,
                label_smoothing: 0.0,
                clip: 0.0,
                eval_every: 1,
                checkpoint_minutes: 2.0,
                gradient_norms: 0,
            },
            optimizer: Optimizer {
                kind: OptimizerKind::Sgd,
                lr: 0.2,
                momentum: 0.9,
                nesterov: true,
                weight_decay: 5e-4,
                decoupled: false,
                decay_norm_and_bias: true,
                beta1: 0.9,
                beta2: 0.999,
                eps: 1e-8,
            },
            schedule: Schedule {
                kind: ScheduleKind::OneCycle,
                warmup_steps: 0,
                milestones: vec![0.5, 0.75],
                gamma: 0.1,
                final_fraction: 0.0,
                rise: 0.2,
                start_fraction: 0.0,
                end_fraction: 0.0,
                cosine: false,
            },
            augmentation: Augmentation { pad_crop: 4, flip: true, cutout: 0, mixup: 0.0 },
        }
    }
}

impl Config {
    /// Checks every value on its own; what depends on the images is checked when they have been read.
    pub fn check(&self) -> Result<(), Failure> {
        check::check(self)
    }

    /// For [`nn`].
    pub fn optimizer(&self) -> nn::optim::OptimizerConfig {
        let o = &self.optimizer;
        let (weight_decay, decoupled) = (o.weight_decay, o.decoupled);
        match o.kind {
            OptimizerKind::Sgd => {
                nn::optim::OptimizerConfig::Sgd { momentum: o.momentum, nesterov: o.nesterov, weight_decay, decoupled }
            }
            OptimizerKind::Adam => {
                nn::optim::OptimizerConfig::Adam { beta1: o.beta1, beta2: o.beta2, eps: o.eps, weight_decay, decoupled }
            }
        }
    }

    /// For [`nn`].
    pub fn schedule(&self) -> nn::optim::LrSchedule {
        let s = &self.schedule;
        let schedule = match s.kind {
            ScheduleKind::Constant => nn::optim::Schedule::Constant,
            ScheduleKind::Step => nn::optim::Schedule::Step { milestones: s.milestones.clone(), gamma: s.gamma },
            ScheduleKind::Cosine => nn::optim::Schedule::Cosine { final_fraction: s.final_fraction },
            ScheduleKind::OneCycle => nn::optim::Schedule::OneCycle {
                rise: s.rise,
                start_fraction: s.start_fraction,
                end_fraction: s.end_fraction,
                cosine: s.cosine,
            },
        };
        nn::optim::LrSchedule { schedule, warmup_steps: s.warmup_steps }
    }

    /// For [`data`].
    pub fn augmentation(&self) -> data::Augmentation {
        let a = &self.augmentation;
        data::Augmentation { pad_crop: a.pad_crop, flip: a.flip, cutout: a.cutout, mixup: a.mixup }
    }

    /// Number of worker threads, with 0 resolved.
    pub fn thread_count(&self) -> usize {
        match self.threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            n => n,
        }
    }

    /// The fields that a resumed run may change without changing what it computes.
    /// (Where the images are may change: that they are the same, their fingerprint says.)
    pub const FREE_ON_RESUME: [&'static str; 6] = [
        "threads",
        "training.max_steps",
        "training.checkpoint_minutes",
        "training.gradient_norms",
        "init",
        "data.source",
    ];

    /// The first value that a resumed run may not change and that differs: its key, the old and the new one.
    pub fn first_fixed_difference(old: &Layers, new: &Layers) -> Option<(String, toml::Value, toml::Value)> {
        let fixed = |key: &String| !Config::FREE_ON_RESUME.contains(&key.as_str());
        old.keys().into_iter().filter(fixed).find_map(|key| {
            let (before, after) = (old.get(&key)?, new.get(&key)?);
            (before != after).then(|| (key.clone(), before.clone(), after.clone()))
        })
    }

    /// A hash of every field that determines the computation, as 16 hexadecimal digits.
    pub fn hash(&self) -> String {
        use sha2::{Digest, Sha256};
        let defaults = Config::default();
        let mut fixed = self.clone();
        fixed.threads = defaults.threads;
        fixed.init = defaults.init;
        fixed.data.source = defaults.data.source;
        fixed.training.max_steps = defaults.training.max_steps;
        fixed.training.checkpoint_minutes = defaults.training.checkpoint_minutes;
        fixed.training.gradient_norms = defaults.training.gradient_norms;
        // Derived serialisation of plain structs does not fail; an empty text would only make resuming refuse.
        let text = serde_json::to_string(&fixed).unwrap_or_default();
        Sha256::digest(text.as_bytes())[..8].iter().map(|byte| format!("{byte:02x}")).collect()
    }
}
