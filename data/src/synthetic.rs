//! Made-up images that a network learns in a few steps: for tests and smoke runs.

use crate::{Dataset, Images, Normalisation};
use engine::rng::{Rng, purpose};
use std::sync::Arc;

const SIZE: usize = 32;
/// A class is a grid of this many coloured squares each way.
const GRID: usize = 4;

/// `train` and `test` images, 32x32x3, of `classes` classes: each class is a grid of 4x4 random colours, each image that grid plus
/// uniform noise. Labels are balanced and mixed; the same arguments give the same bytes.
///
/// # Panics
/// If `classes` is 0.
#[track_caller]
pub fn synthetic(classes: usize, train: usize, test: usize, seed: u64) -> Dataset {
    assert!(classes > 0, "synthetic: 0 classes, at least 1 is needed");
    let patterns: Vec<[u8; GRID * GRID * 3]> = (0..classes as u64)
        .map(|class| {
            let mut rng = Rng::new(seed, &[purpose::SYNTHETIC, 0, class]);
            std::array::from_fn(|_| 64 + rng.below(128) as u8)
        })
        .collect();
    let draw = |split: u64, count: usize| {
        let mut pixels = Vec::with_capacity(count * SIZE * SIZE * 3);
        let labels: Vec<usize> = (0..count).map(|i| i % classes).collect();
        for (i, &label) in labels.iter().enumerate() {
            let mut rng = Rng::new(seed, &[purpose::SYNTHETIC, split, i as u64]);
            for at in 0..SIZE * SIZE {
                let (row, column) = (at / SIZE * GRID / SIZE, at % SIZE * GRID / SIZE);
                // One draw serves three channels; -64..=63 keeps the sum within a byte.
                let noise = rng.bits();
                for c in 0..3 {
                    let value = patterns[label][(row * GRID + column) * 3 + c];
                    pixels.push(value - 64 + (noise >> (8 * c) & 127) as u8);
                }
            }
        }
        Images { pixels, labels, height: SIZE, width: SIZE, channels: 3 }
    };
    let (train, test) = (draw(1, train), draw(2, test));
    Dataset {
        name: "synthetic".into(),
        class_names: (0..classes).map(|class| format!("class{class}")).collect(),
        normalisation: Normalisation::measure(&train),
        train: Arc::new(train),
        test: Arc::new(test),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_repeatable_balanced_and_seeded() {
        let set = synthetic(5, 50, 10, 9);
        assert_eq!(set, synthetic(5, 50, 10, 9));
        assert_ne!(set.train, synthetic(5, 50, 10, 8).train);
        assert!((0..5).all(|class| set.train.labels.iter().filter(|&&l| l == class).count() == 10));
        assert_ne!(set.train.image(0), set.test.image(0));
    }

    #[test]
    fn nearest_class_mean_tells_the_classes_apart() {
        let set = synthetic(10, 200, 100, 0);
        let n = set.train.image_len();
        let mut means = vec![vec![0.0f32; n]; 10];
        for (i, &label) in set.train.labels.iter().enumerate() {
            means[label].iter_mut().zip(set.train.image(i)).for_each(|(mean, &v)| *mean += f32::from(v) / 20.0);
        }
        for (i, &label) in set.test.labels.iter().enumerate() {
            let distance = |mean: &[f32]| -> f32 {
                mean.iter().zip(set.test.image(i)).map(|(m, &v)| (m - f32::from(v)).powi(2)).sum()
            };
            let nearest = (0..10).min_by(|&a, &b| distance(&means[a]).total_cmp(&distance(&means[b]))).unwrap();
            assert_eq!(nearest, label, "test image {i}");
        }
    }
}
