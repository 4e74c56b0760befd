//! Checkpoints: a weight file that also holds the optimiser's state and where the run stands.
//!
//! Everything random is drawn from streams named by seed, epoch and step, so the position is all there is to say about
//! the generators and the sampler.

use super::atomic;
use super::weights::{self, Tensors, little_endian};
use crate::failure::Failure;
use engine::Shape;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// Of the metadata below.
const FORMAT: u32 = 1;
/// The metadata entry that makes a weight file a checkpoint.
const KEY: &str = "pleach";
/// Before the names of the optimiser's tensors.
const OPTIMIZER: &str = "optimizer.";

/// Where a run stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Position {
    /// Epochs that are complete, test included.
    pub epoch: usize,
    /// Steps done in the epoch after those. As many as an epoch has: only its test is missing.
    pub batch: usize,
    /// Steps done in all.
    pub step: u64,
}

/// What the running epoch has summed up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sums {
    /// Images seen.
    pub images: u64,
    /// Of their losses, in nats.
    pub loss: f64,
    /// Of those classified rightly (mixed images count in parts).
    pub correct: f64,
    /// Time their steps took.
    pub seconds: f64,
}

/// The best test so far.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// Counted from 1.
    pub epoch: usize,
    /// In 0..=1.
    pub test_acc: f64,
}

/// What a checkpoint says about itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Metadata {
    /// Over every tensor and every other field. Stays the first field: the text is hashed without it.
    sha256: String,
    format: u32,
    /// Of pleach.
    pub version: String,
    /// Name in the zoo.
    pub model: String,
    /// Number of classes.
    pub classes: usize,
    /// Name of the data set.
    pub dataset: String,
    /// Of its pixels and labels.
    pub fingerprint: String,
    /// Of the configuration that determines the run.
    pub config_hash: String,
    /// Where the run stands.
    pub position: Position,
    /// Of the running epoch.
    pub sums: Sums,
    /// The best test so far.
    pub best: Option<Best>,
}

/// A network's weights, and the rest if they come from a checkpoint.
pub struct Checkpoint {
    /// Parameters and running statistics.
    pub weights: Tensors,
    /// The optimiser's tensors.
    pub optimizer: Tensors,
    /// `None` for a plain weight file.
    pub metadata: Option<Metadata>,
}

/// Named tensors in the order they are written.
pub type State = Vec<(String, Shape, Vec<f32>)>;

impl Metadata {
    /// Metadata of a run that has not begun.
    pub fn new(model: &nn::Model, dataset: &data::Dataset, fingerprint: String, config_hash: String) -> Metadata {
        Metadata {
            sha256: String::new(),
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").into(),
            model: model.name().to_string(),
            classes: model.classes(),
            dataset: dataset.name.clone(),
            fingerprint,
            config_hash,
            position: Position::default(),
            sums: Sums::default(),
            best: None,
        }
    }
}

/// Writes a checkpoint in the place of `path`.
pub fn write(path: &Path, weights: State, optimizer: State, metadata: &Metadata) -> Result<(), Failure> {
    let bytes = encode(weights, optimizer, metadata)?;
    atomic::replace(path, &bytes).map_err(|e| Failure::writing(path, &e))
}

fn encode(weights: State, optimizer: State, metadata: &Metadata) -> Result<Vec<u8>, Failure> {
    let mut tensors = weights;
    tensors.extend(optimizer.into_iter().map(|(name, shape, values)| (format!("{OPTIMIZER}{name}"), shape, values)));
    let blank = Metadata { sha256: String::new(), ..metadata.clone() };
    let text = serde_json::to_string(&blank).map_err(|e| Failure::work(format!("checkpoint metadata: {e}")))?;
    let text = seal(&tensors, &text);
    weights::encode(&tensors, HashMap::from([(KEY.to_string(), text)]))
}

/// Metadata whose first field is an empty `sha256`, with the checksum over it and all tensors put in.
pub(super) fn seal(tensors: &[(String, Shape, Vec<f32>)], text: &str) -> String {
    let sorted = tensors.iter().map(|(name, shape, values)| (name.as_str(), (shape, values.as_slice())));
    let sum = checksum(sorted.collect(), text);
    text.replacen(BLANK, &format!("{PREFIX}{sum}\""), 1)
}

/// Whether metadata and tensors are those that were [sealed](seal).
pub(super) fn unsealed(tensors: &Tensors, text: &str) -> bool {
    let Some((sum, rest)) = text.strip_prefix(PREFIX).and_then(|text| text.split_at_checked(64)) else { return false };
    let tensors = tensors.iter().map(|(name, (shape, values))| (name.as_str(), (shape, values.as_slice())));
    checksum(tensors.collect(), &format!("{PREFIX}{rest}")) == sum
}

/// How the metadata's text begins, checksum or not.
const PREFIX: &str = "{\"sha256\":\"";
/// How the metadata's text begins when the checksum is not yet in it.
const BLANK: &str = "{\"sha256\":\"\"";

/// Over names, shapes, values and the metadata's text without the checksum.
pub fn checksum(tensors: BTreeMap<&str, (&Shape, &[f32])>, text: &str) -> String {
    let mut hash = Sha256::new();
    for (name, (shape, values)) in tensors {
        hash.update((name.len() as u64).to_le_bytes());
        hash.update(name);
        hash.update((shape.len() as u64).to_le_bytes());
        shape.iter().for_each(|&extent| hash.update((extent as u64).to_le_bytes()));
        hash.update(little_endian(values));
    }
    hash.update(text);
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Reads a checkpoint or a plain weight file. Damage is found by the checksum.
pub fn read(path: &Path) -> Result<Checkpoint, Failure> {
    let file = weights::read(path)?;
    let metadata = verify(&file).map_err(|what| Failure::input(format!("{}: {what}", path.display())))?;
    let mut weights = Tensors::new();
    let mut optimizer = Tensors::new();
    for (name, tensor) in file.tensors {
        match name.strip_prefix(OPTIMIZER) {
            Some(name) if metadata.is_some() => optimizer.insert(name.to_string(), tensor),
            _ => weights.insert(name, tensor),
        };
    }
    Ok(Checkpoint { weights, optimizer, metadata })
}

fn verify(file: &weights::WeightFile) -> Result<Option<Metadata>, String> {
    let Some(text) = file.metadata.get(KEY) else {
        // Ours alone has tensors of an optimiser: then it is the entry's name that was hit.
        let ours = file.tensors.keys().any(|name| name.starts_with(OPTIMIZER));
        return if ours {
            Err("the checkpoint is damaged: its metadata is gone; take another copy".into())
        } else {
            Ok(None)
        };
    };
    let damaged = "the checkpoint is damaged: its checksum does not match what it holds; take another copy";
    if !unsealed(&file.tensors, text) {
        return Err(damaged.into());
    }
    let metadata: Metadata = serde_json::from_str(text)
        .map_err(|e| format!("the checkpoint's metadata does not read ({e}); it is from another version of pleach"))?;
    if metadata.format != FORMAT {
        let found = metadata.format;
        return Err(format!(
            "the checkpoint has format {found}, this pleach reads {FORMAT}; use the version that wrote it"
        ));
    }
    Ok(Some(metadata))
}

/// Loads weights into a network. `path` is for the message.
pub fn load_weights(model: &nn::Model, checkpoint: &Checkpoint, path: &Path) -> Result<(), Failure> {
    if let Some(metadata) = &checkpoint.metadata
        && (metadata.model != model.name() || metadata.classes != model.classes())
    {
        return Err(Failure::input(format!(
            "{}: holds the weights of {} with {} classes, not of {} with {}; name that model, or take other weights",
            path.display(),
            metadata.model,
            metadata.classes,
            model.name(),
            model.classes()
        )));
    }
    model.load_state(&checkpoint.weights).map_err(|e| Failure::input(format!("{}: {e}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata() -> Metadata {
        Metadata {
            sha256: String::new(),
            format: FORMAT,
            version: "0.1.0".into(),
            model: "resnet8".into(),
            classes: 10,
            dataset: "synthetic".into(),
            fingerprint: "ab".into(),
            config_hash: "cd".into(),
            position: Position { epoch: 1, batch: 2, step: 41 },
            sums: Sums { images: 256, loss: 0.1 + 0.2, correct: 0.7, seconds: 1.0 / 3.0 },
            best: Some(Best { epoch: 1, test_acc: 0.1 }),
        }
    }

    fn example() -> Vec<u8> {
        let weights = vec![("conv1.weight".to_string(), Shape::from([2, 2]), vec![1.0, -2.0, 0.5, 3.0])];
        let optimizer = vec![("momentum.conv1.weight".to_string(), Shape::from([2, 2]), vec![0.0; 4])];
        encode(weights, optimizer, &metadata()).expect("encodes")
    }

    #[test]
    fn a_checkpoint_reads_back_whole() {
        let file = weights::decode(&example()).expect("decodes");
        let found = verify(&file).expect("sound").expect("a checkpoint");
        assert_eq!(Metadata { sha256: String::new(), ..found }, metadata());
        assert_eq!(example(), example(), "the same state gives the same bytes");
    }

    #[test]
    fn every_flipped_bit_is_found() {
        let whole = example();
        for bit in 0..whole.len() * 8 {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let found = weights::decode(&bytes).and_then(|file| verify(&file));
            assert!(found.is_err(), "bit {bit} of {} was not missed", whole.len() * 8);
        }
    }
}
