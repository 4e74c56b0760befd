//! Checkpoints of a search: a safetensors file with the supernet's weights and what the optimiser remembers, and the rest as JSON in
//! its metadata. Everything random is drawn from streams named by seed and step, so there is no generator to save.

use crate::failure::Failure;
use crate::run::atomic;
use crate::run::checkpoint::{State, checksum};
use crate::run::weights::{self, Tensors};
use nas::search::{Search, SearchState};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::path::Path;

/// Of the metadata below.
const FORMAT: u32 = 1;
/// The metadata entry that makes a weight file a checkpoint of a search.
const KEY: &str = "pleach-search";
/// The metadata entry with the checksum of everything else.
const CHECKSUM: &str = "sha256";
/// Before the names of the optimiser's tensors.
const OPTIMIZER: &str = "optimizer.";
/// Before the names of the supernet's tensors.
const SUPERNET: &str = "supernet.";

/// What the running epoch has summed up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sums {
    /// Images of weight steps.
    pub images: u64,
    /// Of their losses, in nats.
    pub loss: f64,
    /// Of those classified rightly.
    pub correct: u64,
    /// Time of all steps.
    pub seconds: f64,
}

/// What a checkpoint says about itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Metadata {
    format: u32,
    /// Of the images.
    pub fingerprint: String,
    /// Of the configuration that determines the search.
    pub config_hash: String,
    /// Architecture parameters and progress.
    pub state: SearchState,
    /// Of the running epoch.
    pub sums: Sums,
}

impl Metadata {
    /// Of a search as it stands.
    pub fn new(search: &Search, fingerprint: &str, config_hash: &str, sums: Sums) -> Metadata {
        Metadata {
            format: FORMAT,
            fingerprint: fingerprint.into(),
            config_hash: config_hash.into(),
            state: search.state(),
            sums,
        }
    }
}

/// Writes a checkpoint in the place of `path`.
pub fn write(path: &Path, search: &Search, metadata: &Metadata) -> Result<(), Failure> {
    let named = |prefix: &'static str, state: State| {
        state.into_iter().map(move |(name, shape, values)| (format!("{prefix}{name}"), shape, values))
    };
    let mut tensors: State = named(SUPERNET, search.supernet().state()).collect();
    tensors.extend(named(OPTIMIZER, search.optimizer().state()));
    // A checkpoint that cannot be gone on from must not take the place of one that can.
    if let Some((name, ..)) = tensors.iter().find(|(_, _, values)| values.iter().any(|v| !v.is_finite())) {
        return Err(Failure::work(format!(
            "{name} holds values that are not finite; the checkpoint before is kept: start again with a lower --lr"
        )));
    }
    let text = serde_json::to_string(metadata).map_err(|e| Failure::work(format!("checkpoint metadata: {e}")))?;
    let sorted = tensors.iter().map(|(name, shape, values)| (name.as_str(), (shape, values.as_slice()))).collect();
    let sum = checksum(sorted, &text);
    let bytes = weights::encode(&tensors, HashMap::from([(KEY.into(), text), (CHECKSUM.into(), sum)]))?;
    atomic::replace(path, &bytes).map_err(|e| Failure::writing(path, &e))
}

/// A checkpoint that was read.
pub struct Saved {
    supernet: Tensors,
    optimizer: Tensors,
    /// The rest.
    pub metadata: Metadata,
}

/// Reads a checkpoint. Damage is found by the checksum.
pub fn read(path: &Path) -> Result<Saved, Failure> {
    let file = weights::read(path)?;
    let wrong = |what: &str| Failure::input(format!("{}: {what}", path.display()));
    let damaged = "the checkpoint is damaged: its checksum does not match what it holds; take another copy";
    let (Some(text), Some(sum)) = (file.metadata.get(KEY), file.metadata.get(CHECKSUM)) else {
        return Err(wrong("not a checkpoint of a search; name the run of one"));
    };
    let tensors = file.tensors.iter().map(|(name, (shape, values))| (name.as_str(), (shape, values.as_slice())));
    if checksum(tensors.collect(), text) != *sum {
        return Err(wrong(damaged));
    }
    let metadata: Metadata = serde_json::from_str(text).map_err(|e| {
        wrong(&format!("the checkpoint's metadata does not read ({e}); it is from another version of pleach"))
    })?;
    if metadata.format != FORMAT {
        return Err(wrong(&format!(
            "the checkpoint has format {}, this pleach reads {FORMAT}; use the version that wrote it",
            metadata.format
        )));
    }
    let (mut supernet, mut optimizer) = (Tensors::new(), Tensors::new());
    for (name, tensor) in file.tensors {
        if let Some(name) = name.strip_prefix(SUPERNET) {
            supernet.insert(name.into(), tensor);
        } else if let Some(name) = name.strip_prefix(OPTIMIZER) {
            optimizer.insert(name.into(), tensor);
        }
    }
    Ok(Saved { supernet, optimizer, metadata })
}

/// Takes up where a checkpoint stands.
pub fn resume(search: &mut Search, saved: &Saved, path: &Path) -> Result<(), Failure> {
    search
        .resume(saved.metadata.state.clone(), &saved.supernet, &saved.optimizer)
        .map_err(|e| Failure::input(format!("{}: {e}", path.display())))
}
