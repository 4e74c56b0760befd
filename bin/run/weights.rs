//! Weight files: safetensors, weights under PyTorch's names and in its layout.

use crate::failure::Failure;
use engine::Shape;
use engine::shape::MAX_RANK;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// Tensors by name.
pub type Tensors = BTreeMap<String, (Shape, Vec<f32>)>;

/// What a safetensors file holds.
pub struct WeightFile {
    /// Every tensor but counters that PyTorch keeps and nobody needs.
    pub tensors: Tensors,
    /// The text metadata; empty if there is none.
    pub metadata: HashMap<String, String>,
}

/// Reads a weight file.
pub fn read(path: &Path) -> Result<WeightFile, Failure> {
    let bytes = std::fs::read(path).map_err(|e| Failure::reading(path, &e))?;
    decode(&bytes).map_err(|what| Failure::input(format!("{}: {what}", path.display())))
}

/// Reads the bytes of a weight file. The error says what is wrong and what to do.
pub fn decode(bytes: &[u8]) -> Result<WeightFile, String> {
    let damaged = |e: &dyn std::fmt::Display| {
        format!("not a whole safetensors file ({e}); it was damaged or cut short, so take another copy")
    };
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(|e| damaged(&e))?;
    let file = SafeTensors::deserialize(bytes).map_err(|e| damaged(&e))?;
    let mut tensors = Tensors::new();
    for (name, view) in file.tensors() {
        if name.ends_with("num_batches_tracked") {
            continue;
        }
        if view.dtype() != Dtype::F32 {
            return Err(format!("tensor '{name}' holds {:?} values; convert the file to 32-bit floats", view.dtype()));
        }
        if view.shape().len() > MAX_RANK {
            return Err(format!("tensor '{name}' has {} dimensions; no network has more than 4", view.shape().len()));
        }
        let (chunks, _) = view.data().as_chunks::<4>();
        let values = chunks.iter().map(|&chunk| f32::from_le_bytes(chunk)).collect();
        tensors.insert(name, (Shape::from(view.shape()), values));
    }
    Ok(WeightFile { tensors, metadata: header.metadata().clone().unwrap_or_default() })
}

/// The bytes of a weight file.
pub fn encode(tensors: &[(String, Shape, Vec<f32>)], metadata: HashMap<String, String>) -> Result<Vec<u8>, Failure> {
    let bytes: Vec<Vec<u8>> = tensors.iter().map(|(_, _, values)| little_endian(values)).collect();
    let mut views = vec![];
    for ((name, shape, _), bytes) in tensors.iter().zip(&bytes) {
        let view = TensorView::new(Dtype::F32, shape.to_vec(), bytes);
        views.push((name.as_str(), view.map_err(|e| Failure::work(format!("tensor '{name}': {e}")))?));
    }
    let metadata = (!metadata.is_empty()).then_some(metadata);
    safetensors::serialize(views, metadata).map_err(|e| Failure::work(format!("weights: {e}")))
}

/// The values as a weight file stores them.
pub fn little_endian(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_survive() {
        let tensors = [("a".to_string(), Shape::from([2, 1]), vec![1.5, f32::MIN_POSITIVE])];
        let file = decode(&encode(&tensors, HashMap::new()).expect("encodes")).expect("decodes");
        assert_eq!(file.tensors["a"], (Shape::from([2, 1]), vec![1.5, f32::MIN_POSITIVE]));
        assert!(file.metadata.is_empty());
    }

    #[test]
    fn no_cut_is_taken_for_a_file() {
        let tensors = [("a".to_string(), Shape::from([8]), vec![1.0; 8])];
        let whole = encode(&tensors, HashMap::new()).expect("encodes");
        for length in 0..whole.len() {
            let message = decode(&whole[..length]).err().expect("refused");
            assert!(message.contains("damaged or cut short"), "{length}: {message}");
        }
    }
}
