//! Images, labels and their normalisation in memory; the held-out split and the fingerprint.

use crate::Error;
use engine::rng::{Rng, purpose};
use rayon::prelude::*;
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// Images of one size with a label each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Images {
    /// `(N, H, W, C)`, row-major, 0 to 255.
    pub pixels: Vec<u8>,
    /// `(N)`, the class of each image.
    pub labels: Vec<usize>,
    /// H, in pixels.
    pub height: usize,
    /// W, in pixels.
    pub width: usize,
    /// C; every reader of this crate gives 3 (red, green, blue).
    pub channels: usize,
}

impl Images {
    /// Number of images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// True without any image.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Bytes of one image, `H * W * C`.
    pub fn image_len(&self) -> usize {
        self.height * self.width * self.channels
    }

    /// Pixels of image `i`, `(H, W, C)`.
    ///
    /// # Panics
    /// If there is no image `i`.
    #[track_caller]
    pub fn image(&self, i: usize) -> &[u8] {
        assert!(i < self.len(), "image: there is no image {i} among {}", self.len());
        &self.pixels[i * self.image_len()..][..self.image_len()]
    }

    /// A copy of the images at `indices`, in that order.
    fn select(&self, indices: &[usize]) -> Images {
        let mut pixels = Vec::with_capacity(indices.len() * self.image_len());
        for &i in indices {
            pixels.extend_from_slice(self.image(i));
        }
        let labels = indices.iter().map(|&i| self.labels[i]).collect();
        Images { pixels, labels, ..*self }
    }
}

/// Per-channel statistics of pixels scaled to 0..=1. A byte `v` of channel `c` becomes `(v/255 - mean[c]) / std[c]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Normalisation {
    /// Mean of red, green and blue.
    pub mean: [f32; 3],
    /// Standard deviation of red, green and blue.
    pub std: [f32; 3],
}

impl Normalisation {
    /// Per-pixel statistics of the training images of CIFAR-10.
    ///
    /// # Source
    /// As used by DARTS (rounded by airbench). The often copied std (0.2023, 0.1994, 0.2010) is the mean of per-image stds.
    pub const CIFAR10: Normalisation = Normalisation {
        mean: [0.491_399_68, 0.482_158_27, 0.446_531_24],
        std: [0.247_032_33, 0.243_485_05, 0.261_587_68],
    };

    /// Per-pixel statistics of the training images of CIFAR-100.
    pub const CIFAR100: Normalisation = Normalisation { mean: [0.5071, 0.4865, 0.4409], std: [0.2673, 0.2564, 0.2762] };

    /// Statistics of `images`, exact (integer sums). A channel that never varies gets a std of 1, and no image at all mean 0.
    ///
    /// # Panics
    /// If the images do not have three channels.
    #[track_caller]
    pub fn measure(images: &Images) -> Normalisation {
        assert_eq!(images.channels, 3, "measure: images have {} channels, a normalisation has 3", images.channels);
        // Bytes are few, so sums of v and v*v of up to 10^14 pixels fit u64, and their order does not matter.
        let zero = || ([0u64; 3], [0u64; 3]);
        let (sum, squares) = images
            .pixels
            .par_chunks(3 * 4096)
            .map(|chunk| {
                let (mut sum, mut squares) = zero();
                for pixel in chunk.chunks_exact(3) {
                    for c in 0..3 {
                        let v = u64::from(pixel[c]);
                        sum[c] += v;
                        squares[c] += v * v;
                    }
                }
                (sum, squares)
            })
            .reduce(zero, |a, b| (std::array::from_fn(|c| a.0[c] + b.0[c]), std::array::from_fn(|c| a.1[c] + b.1[c])));
        let n = (images.pixels.len() / 3).max(1) as f64;
        let mean = sum.map(|s| s as f64 / n);
        let std: [f64; 3] =
            std::array::from_fn(|c| (squares[c] as f64 / n - mean[c] * mean[c]).max(0.0).sqrt() / 255.0);
        Normalisation { mean: mean.map(|m| (m / 255.0) as f32), std: std.map(|s| if s > 0.0 { s as f32 } else { 1.0 }) }
    }
}

/// Training and test images with everything needed to read them.
#[derive(Clone, Debug, PartialEq)]
pub struct Dataset {
    /// A short name for reports: `cifar10`, `builtin`, or that of the folder.
    pub name: String,
    /// Class `i` is called `class_names[i]`.
    pub class_names: Vec<String>,
    /// Images to learn from.
    pub train: Arc<Images>,
    /// Images to measure accuracy on.
    pub test: Arc<Images>,
    /// Statistics of the training images.
    pub normalisation: Normalisation,
}

impl Dataset {
    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.class_names.len()
    }

    /// 128 bits in hex that name exactly these images and labels, in this order: SHA-256, truncated, over the sizes, every label
    /// and every pixel of train and test. The same images read from another format have the same fingerprint.
    pub fn fingerprint(&self) -> String {
        let mut hash = Sha256::new();
        for images in [&self.train, &self.test] {
            for size in [images.len(), images.height, images.width, images.channels] {
                hash.update((size as u64).to_le_bytes());
            }
            for &label in &images.labels {
                hash.update((label as u64).to_le_bytes());
            }
            hash.update(&images.pixels);
        }
        hash.finalize()[..16].iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// A split for tuning, without a look at the test set: `n` training images, chosen by `seed`, become `test`, and the others
    /// stay `train`. Both keep the order they had.
    ///
    /// # Errors
    /// If `n` is 0 or leaves nothing to train on.
    pub fn hold_out(&self, n: usize, seed: u64) -> Result<Dataset, Error> {
        let total = self.train.len();
        if n == 0 || n >= total {
            return Err(Error::Config(format!(
                "cannot hold out {n} of the {total} training images of {}: choose between 1 and {}",
                self.name,
                total.saturating_sub(1)
            )));
        }
        let mut order: Vec<usize> = (0..total).collect();
        Rng::new(seed, &[purpose::SPLIT]).shuffle(&mut order);
        let (kept, held) = order.split_at_mut(total - n);
        kept.sort_unstable();
        held.sort_unstable();
        Ok(Dataset {
            name: format!("{}-holdout{n}", self.name),
            class_names: self.class_names.clone(),
            train: Arc::new(self.train.select(kept)),
            test: Arc::new(self.train.select(held)),
            normalisation: self.normalisation,
        })
    }

    /// A set with `n` of the training images, as many of each class as of any other (one more of the first where `n` does not
    /// divide, and all of a class that has too few), in the order they had. Always the same for the same images, and
    /// part of every larger one, so that budgets can be compared. The test images and the normalisation stay.
    ///
    /// # Errors
    /// If `n` is below the number of classes or above that of the images.
    pub fn subset(&self, n: usize) -> Result<Dataset, Error> {
        let (total, classes) = (self.train.len(), self.classes());
        if !(classes..=total).contains(&n) {
            return Err(Error::Config(format!(
                "cannot take a balanced subset of {n} of the {total} training images of {} with {classes} classes: choose \
                 between {classes} and {total}",
                self.name
            )));
        }
        let mut by_class = vec![vec![]; classes];
        for (i, &label) in self.train.labels.iter().enumerate() {
            by_class[label].push(i);
        }
        for (class, indices) in by_class.iter_mut().enumerate() {
            Rng::new(0, &[purpose::SUBSET, class as u64]).shuffle(indices);
        }
        // One of each class in turn, until there are enough.
        let turns = (0..total).flat_map(|turn| by_class.iter().filter_map(move |class| class.get(turn).copied()));
        let mut taken: Vec<usize> = turns.take(n).collect();
        taken.sort_unstable();
        Ok(Dataset {
            name: format!("{}-subset{n}", self.name),
            train: Arc::new(self.train.select(&taken)),
            ..self.clone()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::synthetic;
    use std::collections::BTreeSet;

    #[test]
    fn hold_out_is_a_seeded_partition_of_train() {
        let set = synthetic(3, 60, 6, 1);
        let split = set.hold_out(20, 5).unwrap();
        assert_eq!((split.train.len(), split.test.len()), (40, 20));
        let images = |images: &Images| (0..images.len()).map(|i| images.image(i).to_vec()).collect::<BTreeSet<_>>();
        let (kept, held) = (images(&split.train), images(&split.test));
        assert!(kept.is_disjoint(&held));
        assert_eq!(kept.union(&held).cloned().collect::<BTreeSet<_>>(), images(&set.train));
        assert_eq!(split, set.hold_out(20, 5).unwrap());
        assert_ne!(split.test, set.hold_out(20, 6).unwrap().test);
        // A label stays with its image.
        let at = (0..60).find(|&i| set.train.image(i) == split.test.image(3)).unwrap();
        assert_eq!(split.test.labels[3], set.train.labels[at]);
    }

    #[test]
    fn hold_out_of_nothing_or_everything_is_refused() {
        let set = synthetic(2, 10, 2, 1);
        for n in [0, 10, 11] {
            let message = set.hold_out(n, 0).unwrap_err().to_string();
            assert_eq!(
                message,
                format!("cannot hold out {n} of the 10 training images of synthetic: choose between 1 and 9")
            );
        }
    }

    #[test]
    fn a_subset_is_balanced_repeatable_and_part_of_every_larger_one() {
        let set = synthetic(4, 203, 8, 1);
        let (small, large) = (set.subset(42).unwrap(), set.subset(90).unwrap());
        let counts = [0, 1, 2, 3].map(|c| small.train.labels.iter().filter(|&&l| l == c).count());
        assert_eq!(counts, [11, 11, 10, 10]);
        assert_eq!(small, set.subset(42).unwrap());
        assert_eq!((small.name.as_str(), &small.test), ("synthetic-subset42", &set.test));
        let images = |set: &Dataset| (0..set.train.len()).map(|i| set.train.image(i).to_vec()).collect::<BTreeSet<_>>();
        assert!(images(&small).is_subset(&images(&large)) && images(&large).len() == 90);
        assert_eq!(set.subset(203).unwrap().train, set.train);
        for n in [0, 3, 204] {
            let message = set.subset(n).unwrap_err().to_string();
            assert!(message.contains("between 4 and 203"), "{message}");
        }
    }

    #[test]
    fn a_class_with_few_images_gives_all_of_them() {
        let images = Images {
            pixels: (0..27).collect(),
            labels: vec![0, 0, 0, 0, 1, 0, 0, 0, 0],
            height: 1,
            width: 1,
            channels: 3,
        };
        let set =
            Dataset { class_names: vec!["a".into(), "b".into()], train: Arc::new(images), ..synthetic(2, 2, 2, 1) };
        let subset = set.subset(6).unwrap();
        assert_eq!(subset.train.labels.iter().sum::<usize>(), 1);
        assert_eq!(subset.train.len(), 6);
    }

    #[test]
    fn fingerprint_sees_every_label_pixel_and_size() {
        let set = synthetic(2, 10, 4, 1);
        let original = set.fingerprint();
        assert_eq!(original.len(), 32);
        assert_eq!(original, set.clone().fingerprint());
        let changed = |change: fn(&mut Images)| {
            let mut other = set.clone();
            change(Arc::make_mut(&mut other.test));
            other.fingerprint()
        };
        let others = [
            changed(|images| *images.pixels.last_mut().unwrap() ^= 1),
            changed(|images| images.labels[3] ^= 1),
            changed(|images| (images.height, images.width) = (16, 64)),
        ];
        assert!(others.iter().all(|other| *other != original));
        assert_eq!(Dataset { name: "another".into(), ..set }.fingerprint(), original);
    }

    #[test]
    fn measured_statistics_agree_with_a_two_pass_computation() {
        let images = &synthetic(4, 50, 1, 3).train;
        let measured = Normalisation::measure(images);
        for c in 0..3 {
            let values: Vec<f64> = images.pixels.iter().skip(c).step_by(3).map(|&v| f64::from(v) / 255.0).collect();
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            let var = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / values.len() as f64;
            // f32 rounding of results around 0.5.
            assert!((f64::from(measured.mean[c]) - mean).abs() < 1e-6);
            assert!((f64::from(measured.std[c]) - var.sqrt()).abs() < 1e-6);
        }
        let grey = Images { pixels: vec![51; 12], labels: vec![0], height: 2, width: 2, channels: 3 };
        assert_eq!(Normalisation::measure(&grey), Normalisation { mean: [0.2; 3], std: [1.0; 3] });
    }
}
