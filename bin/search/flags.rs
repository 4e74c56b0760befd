//! The flags of `pleach search` that name fields of its configuration.

use super::presets;
use crate::config::Layers;
use crate::failure::Failure;
use std::path::PathBuf;
use toml::Value;

/// Flags that become values of the configuration. Each wins over the preset and the file.
#[derive(clap::Args, Debug, Default)]
pub struct Flags {
    /// Settings to start from: reduced-cifar10, quick, proxyless-paper
    #[arg(long, value_name = "NAME")]
    preset: Option<String>,
    /// File of values to lay over the preset, such as the config.toml of a search
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Any value, as in --set search.samples=20 (repeatable; wins over everything else)
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,

    /// Search method; --list lists them
    #[arg(long, value_name = "NAME", help_heading = "What is searched")]
    method: Option<String>,
    /// Search space: a name, or a file ending in .toml
    #[arg(long, value_name = "SPACE", help_heading = "What is searched")]
    space: Option<String>,
    /// The first K candidates of each edge only
    #[arg(long, value_name = "K", help_heading = "What is searched")]
    candidates: Option<usize>,
    /// Images: `builtin`, `synthetic`, or a folder with CIFAR binaries or one folder of images a class
    #[arg(long, value_name = "DIR|builtin", help_heading = "What is searched")]
    data: Option<String>,
    /// Training images that the architecture learns from, and the weights never see (default: a tenth)
    #[arg(long, value_name = "N", help_heading = "What is searched")]
    hold_out: Option<usize>,
    /// Seed of everything random
    #[arg(long, value_name = "N", help_heading = "What is searched")]
    seed: Option<u64>,

    /// Latency to aim at, in ms of a forward pass
    #[arg(long, value_name = "MS", help_heading = "Latency", allow_hyphen_values = true)]
    latency_target: Option<f64>,
    /// Weight of the latency: lambda of the additive form, b of the multiplicative, the exponent of the reward
    #[arg(long, value_name = "W", help_heading = "Latency")]
    latency_weight: Option<f64>,
    /// How latency enters: additive or multiplicative (gradients), reward (REINFORCE)
    #[arg(long, value_name = "FORM", help_heading = "Latency")]
    latency_form: Option<String>,
    /// Table of block latencies (default: latency/SPACE-bBATCH-tTHREADS.json); measured if it is not there
    #[arg(long, value_name = "FILE", help_heading = "Latency")]
    table: Option<PathBuf>,
    /// Images of a forward pass whose latency counts
    #[arg(long, value_name = "N", help_heading = "Latency")]
    latency_batch: Option<usize>,
    /// Threads of a forward pass whose latency counts
    #[arg(long, value_name = "N", help_heading = "Latency")]
    latency_threads: Option<usize>,

    /// Epochs in which weights and architecture learn
    #[arg(long, value_name = "N", help_heading = "Recipe")]
    epochs: Option<u64>,
    /// Epochs before those, of weights alone on uniformly random paths
    #[arg(long, value_name = "N", help_heading = "Recipe")]
    warmup_epochs: Option<u64>,
    /// Images a step
    #[arg(long, value_name = "N", help_heading = "Recipe")]
    batch: Option<usize>,
    /// Learning rate of the weights
    #[arg(long, value_name = "RATE", help_heading = "Recipe", allow_hyphen_values = true)]
    lr: Option<f32>,
    /// Learning rate of the architecture
    #[arg(long, value_name = "RATE", help_heading = "Recipe", allow_hyphen_values = true)]
    alpha_lr: Option<f64>,
    /// Weight steps for each architecture step
    #[arg(long, value_name = "N", help_heading = "Recipe")]
    every: Option<u64>,
    /// Training images that the search may take in all: its epochs are shortened to that
    #[arg(long, value_name = "IMAGES", help_heading = "Recipe")]
    budget: Option<u64>,

    /// Random networks of the space that the found one is compared with
    #[arg(long, value_name = "N", help_heading = "Trust report")]
    trust: Option<usize>,
    /// Trainings of each, from different seeds
    #[arg(long, value_name = "N", help_heading = "Trust report")]
    trust_seeds: Option<usize>,
    /// Epochs of each training
    #[arg(long, value_name = "N", help_heading = "Trust report")]
    trust_epochs: Option<usize>,
    /// Train those on N training images alone, as many of each class (0: all)
    #[arg(long, value_name = "N", help_heading = "Trust report")]
    trust_subset: Option<usize>,
    /// Search only
    #[arg(long, help_heading = "Trust report", conflicts_with = "trust")]
    no_trust: bool,

    /// Worker threads (default: one a core); the results do not depend on it
    #[arg(long, value_name = "N", help_heading = "Running")]
    threads: Option<usize>,
    /// Stop after N weight steps in all, leaving the schedule as it is (0: no limit)
    #[arg(long, value_name = "N", help_heading = "Running")]
    max_steps: Option<u64>,
    /// Minutes between checkpoints (0: after every step)
    #[arg(long, value_name = "MINUTES", help_heading = "Running", allow_hyphen_values = true)]
    checkpoint_minutes: Option<f32>,
}

impl Flags {
    /// Lays preset, file, flags and assignments over `layers`, in this order.
    pub fn lay_over(&self, layers: &mut Layers) -> Result<(), Failure> {
        if let Some(name) = &self.preset {
            let preset = presets::find(name)?;
            layers.lay_text(preset.text, &format!("preset {}", preset.name))?;
        }
        if let Some(path) = &self.config {
            layers.lay_file(path)?;
        }
        for (flag, key, value) in self.values() {
            layers.lay(key, value?, flag)?;
        }
        self.set.iter().try_for_each(|assignment| layers.lay_assignment(assignment))
    }

    fn values(&self) -> Vec<(&'static str, &'static str, Result<Value, Failure>)> {
        let text = |v: &Option<String>| v.clone().map(|v| Ok(Value::String(v)));
        let number = |v: Option<f64>| v.map(|v| Ok(Value::Float(v)));
        // As people write it: widening an `f32` of 0.1 to `f64` would give 0.10000000149.
        let decimal = |v: Option<f32>| v.map(|v| Ok(Value::Float(v.to_string().parse().unwrap_or(f64::from(v)))));
        let size = |v: Option<usize>| v.map(|v| whole(v as u64));
        let count = |v: Option<u64>| v.map(whole);
        let table = self.table.as_ref().map(|path| path.display().to_string());
        let trust = if self.no_trust { Some(0) } else { self.trust };
        [
            ("--method", "search.method", text(&self.method)),
            ("--space", "space", text(&self.space)),
            ("--candidates", "candidates", size(self.candidates)),
            ("--data", "data.source", text(&self.data)),
            ("--hold-out", "data.hold_out", size(self.hold_out)),
            ("--seed", "seed", count(self.seed)),
            ("--latency-target", "latency.target_ms", number(self.latency_target)),
            ("--latency-weight", "latency.weight", number(self.latency_weight)),
            ("--latency-form", "latency.form", text(&self.latency_form)),
            ("--table", "latency.table", text(&table)),
            ("--latency-batch", "latency.batch", size(self.latency_batch)),
            ("--latency-threads", "latency.threads", size(self.latency_threads)),
            ("--epochs", "search.epochs", count(self.epochs)),
            ("--warmup-epochs", "search.warmup_epochs", count(self.warmup_epochs)),
            ("--batch", "search.batch", size(self.batch)),
            ("--lr", "search.lr", decimal(self.lr)),
            ("--alpha-lr", "search.alpha_lr", number(self.alpha_lr)),
            ("--every", "search.every", count(self.every)),
            ("--budget", "search.budget", count(self.budget)),
            ("--trust", "trust.networks", size(trust)),
            ("--trust-seeds", "trust.seeds", size(self.trust_seeds)),
            ("--trust-epochs", "trust.epochs", size(self.trust_epochs)),
            ("--trust-subset", "trust.subset", size(self.trust_subset)),
            ("--threads", "threads", size(self.threads)),
            ("--max-steps", "search.max_steps", count(self.max_steps)),
            ("--checkpoint-minutes", "search.checkpoint_minutes", decimal(self.checkpoint_minutes)),
        ]
        .into_iter()
        .filter_map(|(flag, key, value)| Some((flag, key, value?)))
        .collect()
    }
}

fn whole(value: u64) -> Result<Value, Failure> {
    let fits = i64::try_from(value).map_err(|_| Failure::input(format!("{value} is too large for this option")))?;
    Ok(Value::Integer(fits))
}
