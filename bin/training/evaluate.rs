//! Loss and accuracy over a whole set of images.

use crate::failure::Failure;
use crate::signals::Stop;
use data::{Augmentation, Images, Loader, LoaderConfig, Normalisation};
use engine::parallel::awake;
use engine::{Algorithm, Tensor, no_grad};
use nn::{Context, Model};
use std::sync::Arc;

/// Images a forward pass. Logits do not depend on it.
const BATCH: usize = 250;

/// Of a whole set of images.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tested {
    /// Mean, in nats.
    pub loss: f64,
    /// In 0..=1.
    pub accuracy: f64,
}

/// Tests `model` on every image, in the order of the set; `each` is shown the logits of every batch. `None` if a stop is asked for
/// before the end.
pub fn evaluate(
    model: &Model,
    images: &Arc<Images>,
    normalisation: Normalisation,
    algorithm: Algorithm,
    stop: &Stop,
    each: &mut dyn FnMut(&Tensor),
) -> Result<Option<Tested>, Failure> {
    let config = LoaderConfig {
        batch: BATCH.min(images.len()),
        shuffle: false,
        drop_last: false,
        augmentation: Augmentation::NONE,
        ..LoaderConfig::default()
    };
    let (mut loss, mut correct) = (0.0, 0.0);
    for batch in Loader::new(images, normalisation, config)? {
        if stop.requested() {
            return Ok(None);
        }
        no_grad(|| {
            let shape = [batch.labels.len(), images.height, images.width, images.channels];
            let batch_images = Tensor::from_slice(shape, &batch.images);
            let logits = awake(|| model.forward(&batch_images, &Context::eval().with_algorithm(algorithm)));
            loss += f64::from(logits.cross_entropy(&batch.labels, 0.0).item()) * batch.labels.len() as f64;
            correct += count_correct(&logits, &batch.labels);
            each(&logits);
        });
    }
    let count = images.len() as f64;
    Ok(Some(Tested { loss: loss / count, accuracy: correct / count }))
}

/// How many rows of `logits` `(N, classes)` are largest at their label. NaN is never the largest.
pub fn count_correct(logits: &Tensor, labels: &[usize]) -> f64 {
    let rows = logits.data().chunks_exact(logits.shape().channels());
    rows.zip(labels).filter(|&(row, &label)| largest(row) == Some(label)).count() as f64
}

/// The first of the largest values; `None` if one is NaN.
fn largest(row: &[f32]) -> Option<usize> {
    let mut best = 0;
    for (i, value) in row.iter().enumerate() {
        if value.is_nan() {
            return None;
        }
        if *value > row[best] {
            best = i;
        }
    }
    (!row.is_empty()).then_some(best)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_go_to_the_first_and_nan_is_never_right() {
        let logits = Tensor::from_slice([3, 2], &[1.0, 1.0, 0.0, 2.0, f32::NAN, 0.0]);
        assert_eq!(count_correct(&logits, &[0, 1, 1]), 2.0);
        assert_eq!(count_correct(&logits, &[1, 0, 0]), 0.0);
    }
}
