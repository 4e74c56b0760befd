//! The flags of `pleach train` that name fields of the configuration.

use super::{Layers, presets};
use crate::failure::Failure;
use std::path::PathBuf;
use toml::Value;

/// Flags that become values of the configuration. Each wins over the preset and the file.
#[derive(clap::Args, Debug, Default)]
pub struct Flags {
    /// Recipe to start from; `pleach presets` lists them
    #[arg(long, value_name = "NAME")]
    preset: Option<String>,
    /// File of values to lay over the preset, such as the config.toml of a run
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Any value, as in --set optimizer.momentum=0.95 (repeatable; wins over everything else)
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,

    /// Network: a name that `pleach models` lists, a wiring file (.toml), or what a search has found (arch.json)
    #[arg(long, visible_alias = "arch", value_name = "NAME", help_heading = "What is trained")]
    model: Option<String>,
    /// Images: `builtin`, `synthetic`, or a folder with CIFAR binaries or one folder of images a class
    #[arg(long, value_name = "DIR|builtin", help_heading = "What is trained")]
    data: Option<String>,
    /// Weights to start from (safetensors)
    #[arg(long, value_name = "FILE", help_heading = "What is trained")]
    init: Option<PathBuf>,
    /// Hold out N training images and test on those instead of the test set
    #[arg(long, value_name = "N", help_heading = "What is trained")]
    hold_out: Option<usize>,
    /// Train on N training images alone, as many of each class, always the same (0: all)
    #[arg(long, value_name = "N", help_heading = "What is trained")]
    subset: Option<usize>,
    /// Seed of everything random
    #[arg(long, value_name = "N", help_heading = "What is trained")]
    seed: Option<u64>,

    /// Passes over the training images
    #[arg(long, value_name = "N", help_heading = "Recipe")]
    epochs: Option<usize>,
    /// Images a step
    #[arg(long, value_name = "N", help_heading = "Recipe")]
    batch: Option<usize>,
    /// Learning rate that the schedule scales
    #[arg(long, value_name = "RATE", help_heading = "Recipe", allow_hyphen_values = true)]
    lr: Option<f32>,
    /// Update rule: sgd, adam, or adamw (adam with decoupled decay)
    #[arg(long, value_name = "RULE", help_heading = "Recipe")]
    optimizer: Option<String>,
    /// Momentum of sgd
    #[arg(long, value_name = "M", help_heading = "Recipe", allow_hyphen_values = true)]
    momentum: Option<f32>,
    /// Decay coefficient
    #[arg(long, value_name = "C", help_heading = "Recipe", allow_hyphen_values = true)]
    weight_decay: Option<f32>,
    /// Learning rate over the run: constant, step, cosine or one-cycle
    #[arg(long, value_name = "SHAPE", help_heading = "Recipe")]
    schedule: Option<String>,
    /// Share of the target spread evenly over all classes
    #[arg(long, value_name = "SHARE", help_heading = "Recipe", allow_hyphen_values = true)]
    label_smoothing: Option<f32>,
    /// Side of a square of each training image that is set to 0
    #[arg(long, value_name = "PIXELS", help_heading = "Recipe")]
    cutout: Option<usize>,
    /// Mix pairs of images by a draw from Beta(A, A)
    #[arg(long, value_name = "A", help_heading = "Recipe", allow_hyphen_values = true)]
    mixup: Option<f32>,
    /// Largest norm of the whole gradient
    #[arg(long, value_name = "NORM", help_heading = "Recipe", allow_hyphen_values = true)]
    clip: Option<f32>,
    /// Show the training images as they are
    #[arg(long, help_heading = "Recipe")]
    no_augment: bool,
    /// Show the training images in the order of the files
    #[arg(long, help_heading = "Recipe")]
    no_shuffle: bool,

    /// Worker threads (default: one a core); the results do not depend on it
    #[arg(long, value_name = "N", help_heading = "Running")]
    threads: Option<usize>,
    /// How convolutions are computed: auto, direct or winograd; they differ in speed and in rounding
    #[arg(long, value_name = "WAY", help_heading = "Running")]
    conv_algorithm: Option<String>,
    /// Stop after N steps in all, leaving the schedule as it is (0: no limit)
    #[arg(long, value_name = "N", help_heading = "Running")]
    max_steps: Option<u64>,
    /// Minutes between checkpoints (0: after every step)
    #[arg(long, value_name = "MINUTES", help_heading = "Running", allow_hyphen_values = true)]
    checkpoint_minutes: Option<f32>,
    /// Record the norm of each layer's gradient every N steps (default: 50), for `pleach utilisation`
    #[arg(long, value_name = "N", num_args = 0..=1, default_missing_value = "50", help_heading = "Running")]
    gradient_norms: Option<u64>,
    /// Test after every N epochs
    #[arg(long, value_name = "N", help_heading = "Running")]
    eval_every: Option<usize>,
}

impl Flags {
    /// Lays preset, file, flags and assignments over `layers`, in this order.
    pub fn lay_over(&self, layers: &mut Layers) -> Result<(), Failure> {
        if let Some(name) = &self.preset {
            presets::find(name)?.lay_over(layers)?;
        }
        if let Some(path) = &self.config {
            layers.lay_file(path)?;
        }
        for (flag, key, value) in self.values()? {
            layers.lay(key, value, flag)?;
        }
        self.set.iter().try_for_each(|assignment| layers.lay_assignment(assignment))
    }

    /// Refuses what only makes sense for a single run.
    pub fn refuse_one_network(&self) -> Result<(), Failure> {
        let given = [
            (self.model.is_some(), "--model", "--models"),
            (self.seed.is_some(), "--seed", "--seeds"),
            (self.init.is_some(), "--init", "nothing: no weights fit every network"),
        ];
        match given.into_iter().find(|(given, ..)| *given) {
            Some((_, flag, instead)) => {
                Err(Failure::input(format!("{flag} is for a single run; a comparison takes {instead}")))
            }
            None => Ok(()),
        }
    }

    /// Whether nothing here says which images or which recipe.
    pub fn leave_recipe_open(&self) -> bool {
        self.preset.is_none() && self.config.is_none() && self.data.is_none()
    }

    fn values(&self) -> Result<Vec<(&'static str, &'static str, Value)>, Failure> {
        let mut values = vec![];
        let mut lay = |flag, key, value: Option<Value>| values.extend(value.map(|value| (flag, key, value)));
        lay("--model", "model", text(&self.model));
        lay("--data", "data.source", text(&self.data));
        lay("--init", "init", self.init.as_ref().map(|path| Value::String(path.display().to_string())));
        lay("--hold-out", "data.hold_out", whole("--hold-out", self.hold_out)?);
        lay("--subset", "data.subset", whole("--subset", self.subset)?);
        lay("--seed", "seed", whole("--seed", self.seed)?);
        lay("--epochs", "training.epochs", whole("--epochs", self.epochs)?);
        lay("--batch", "training.batch", whole("--batch", self.batch)?);
        lay("--lr", "optimizer.lr", number(self.lr));
        if let Some(rule) = &self.optimizer {
            let (kind, decoupled) = match rule.as_str() {
                "adamw" => ("adam", Some(true)),
                "adam" => ("adam", Some(false)),
                other => (other, None),
            };
            lay("--optimizer", "optimizer.kind", Some(Value::String(kind.into())));
            lay("--optimizer", "optimizer.decoupled", decoupled.map(Value::Boolean));
        }
        lay("--momentum", "optimizer.momentum", number(self.momentum));
        lay("--weight-decay", "optimizer.weight_decay", number(self.weight_decay));
        lay("--schedule", "schedule.kind", text(&self.schedule));
        lay("--label-smoothing", "training.label_smoothing", number(self.label_smoothing));
        lay("--cutout", "augmentation.cutout", whole("--cutout", self.cutout)?);
        lay("--mixup", "augmentation.mixup", number(self.mixup));
        lay("--clip", "training.clip", number(self.clip));
        if self.no_augment {
            lay("--no-augment", "augmentation.pad_crop", Some(Value::Integer(0)));
            lay("--no-augment", "augmentation.flip", Some(Value::Boolean(false)));
            lay("--no-augment", "augmentation.cutout", Some(Value::Integer(0)));
            lay("--no-augment", "augmentation.mixup", Some(Value::Float(0.0)));
        }
        lay("--no-shuffle", "training.shuffle", self.no_shuffle.then_some(Value::Boolean(false)));
        lay("--threads", "threads", whole("--threads", self.threads)?);
        lay("--conv-algorithm", "conv_algorithm", text(&self.conv_algorithm));
        lay("--max-steps", "training.max_steps", whole("--max-steps", self.max_steps)?);
        lay("--checkpoint-minutes", "training.checkpoint_minutes", number(self.checkpoint_minutes));
        lay("--gradient-norms", "training.gradient_norms", whole("--gradient-norms", self.gradient_norms)?);
        lay("--eval-every", "training.eval_every", whole("--eval-every", self.eval_every)?);
        Ok(values)
    }
}

fn text(value: &Option<String>) -> Option<Value> {
    value.clone().map(Value::String)
}

/// As people write it: widening an `f32` of 0.1 to `f64` would give 0.10000000149.
fn number(value: Option<f32>) -> Option<Value> {
    value.map(|v| Value::Float(v.to_string().parse().unwrap_or(f64::from(v))))
}

fn whole<T: TryInto<i64> + std::fmt::Display + Copy>(flag: &str, value: Option<T>) -> Result<Option<Value>, Failure> {
    let Some(value) = value else { return Ok(None) };
    let fits = value.try_into().map_err(|_| Failure::input(format!("{flag} {value} is too large for this option")))?;
    Ok(Some(Value::Integer(fits)))
}
