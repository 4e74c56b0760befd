//! What a network has to beat: the accuracy of a linear classifier on the builtin images.
//!
//! Softmax regression on the normalised pixels, `logits = x W + b`, trained by SGD with momentum and a learning rate that falls
//! linearly to 0, under a grid of learning rates, weight decays and augmentations (none, flips, flips and crops). The best **test**
//! accuracy of the grid is reported: chosen on the test images, so if anything too kind to the linear classifier. Takes 75 s
//! of processor time, spread over all cores; the same numbers every time.
//!
//! `cargo run --release -p data --example linear_classifier`

use data::{Augmentation, Batch, Dataset, Loader, LoaderConfig, Normalisation};
use rayon::prelude::*;
use std::sync::Arc;

const EPOCHS: u64 = 60;
const BATCH: usize = 100;
const MOMENTUM: f32 = 0.9;

/// `weight`: `(classes, pixels)`, one row a class; `bias`: `(classes)`.
struct Linear {
    weight: Vec<Vec<f32>>,
    bias: Vec<f32>,
}

impl Linear {
    fn zeros(classes: usize, pixels: usize) -> Linear {
        Linear { weight: vec![vec![0.0; pixels]; classes], bias: vec![0.0; classes] }
    }

    fn logits(&self, image: &[f32]) -> Vec<f32> {
        self.weight.iter().zip(&self.bias).map(|(row, bias)| dot(row, image) + bias).collect()
    }

    /// Share of right answers, 0..=1.
    fn accuracy(&self, batches: &[Batch]) -> f32 {
        let (mut right, mut total) = (0, 0);
        for batch in batches {
            let pixels = batch.images.len() / batch.labels.len();
            for (image, &label) in batch.images.chunks(pixels).zip(&batch.labels) {
                let logits = self.logits(image);
                right += usize::from((0..logits.len()).all(|class| logits[class] <= logits[label]));
                total += 1;
            }
        }
        right as f32 / total as f32
    }
}

/// Eight sums side by side, so that the compiler may use SIMD; the order is fixed all the same.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0; 8];
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    for (a, b) in a.iter().zip(b) {
        for i in 0..8 {
            sums[i] += a[i] * b[i];
        }
    }
    sums.iter().sum::<f32>() + a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum::<f32>()
}

fn axpy(a: f32, x: &[f32], y: &mut [f32]) {
    y.iter_mut().zip(x).for_each(|(y, x)| *y += a * x);
}

#[derive(Clone, Copy, Debug)]
struct Setting {
    /// Per step, at the start.
    lr: f32,
    weight_decay: f32,
    augmentation: Augmentation,
}

fn batches(
    images: &Arc<data::Images>,
    normalisation: Normalisation,
    config: LoaderConfig,
) -> Result<Loader, data::Error> {
    Loader::new(images, normalisation, LoaderConfig { batch: BATCH, ahead: 0, ..config })
}

/// Train and test accuracy at the end.
fn train(set: &Dataset, setting: Setting) -> Result<(f32, f32), data::Error> {
    let pixels = set.train.image_len();
    let (mut model, mut velocity) = (Linear::zeros(set.classes(), pixels), Linear::zeros(set.classes(), pixels));
    let (mut step, steps) = (0, EPOCHS as usize * set.train.len() / BATCH);
    for epoch in 0..EPOCHS {
        for batch in batches(
            &set.train,
            set.normalisation,
            LoaderConfig { epoch, augmentation: setting.augmentation, ..LoaderConfig::default() },
        )? {
            let lr = setting.lr * (1.0 - step as f32 / steps as f32);
            step += 1;
            // velocity = momentum * velocity + gradient + weight_decay * weight, then weight -= lr * velocity.
            for (v, w) in velocity.weight.iter_mut().zip(&model.weight) {
                v.iter_mut().zip(w).for_each(|(v, w)| *v = MOMENTUM * *v + setting.weight_decay * w);
            }
            velocity.bias.iter_mut().for_each(|v| *v *= MOMENTUM);
            for (image, &label) in batch.images.chunks(pixels).zip(&batch.labels) {
                let logits = model.logits(image);
                let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let sum: f32 = logits.iter().map(|logit| (logit - max).exp()).sum();
                for (class, logit) in logits.iter().enumerate() {
                    // The gradient of the mean cross-entropy: softmax minus one-hot.
                    let softmax = (logit - max).exp() / sum;
                    let grad = (softmax - f32::from(u8::from(class == label))) / BATCH as f32;
                    axpy(grad, image, &mut velocity.weight[class]);
                    velocity.bias[class] += grad;
                }
            }
            for (w, v) in model.weight.iter_mut().zip(&velocity.weight) {
                axpy(-lr, v, w);
            }
            axpy(-lr, &velocity.bias, &mut model.bias);
        }
    }
    let in_order = LoaderConfig { shuffle: false, drop_last: false, ..LoaderConfig::default() };
    let collect = |images| Ok(batches(images, set.normalisation, in_order)?.collect::<Vec<_>>());
    Ok((model.accuracy(&collect(&set.train)?), model.accuracy(&collect(&set.test)?)))
}

fn main() -> Result<(), data::Error> {
    let set = data::builtin();
    let flip = Augmentation { flip: true, ..Augmentation::NONE };
    let mut grid = Vec::new();
    for (name, augmentation) in [("none", Augmentation::NONE), ("flip", flip), ("standard", Augmentation::STANDARD)] {
        for lr in [3e-4, 1e-3, 3e-3] {
            for weight_decay in [0.0, 0.3] {
                grid.push((name, Setting { lr, weight_decay, augmentation }));
            }
        }
    }
    let results: Vec<_> =
        grid.par_iter().map(|&(_, setting)| train(&set, setting)).collect::<Result<_, data::Error>>()?;
    println!("{:>12} {:>8} {:>12} {:>10} {:>10}", "augmentation", "lr", "weight_decay", "train_acc", "test_acc");
    for ((name, Setting { lr, weight_decay, .. }), (train, test)) in grid.iter().zip(&results) {
        println!("{name:>12} {lr:>8} {weight_decay:>12} {train:>10.4} {test:>10.4}");
    }
    let best = results.iter().map(|&(_, test)| test).fold(0.0, f32::max);
    println!("best test accuracy of a linear classifier: {:.1} %", 100.0 * best);
    Ok(())
}
