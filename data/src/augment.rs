//! Random changes to training images, applied while bytes become normalised `f32`.
//!
//! Order: zero padding and random crop, flip, cutout, and last mixup over the whole batch. Zero means zero after normalisation: the
//! mean colour. Each choice is drawn first ([`Draw`]) and applied row by row ([`Table::write`]).

use crate::{Error, Normalisation};
use engine::rng::Rng;
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// What is done to training images; 0 or false switches a part off.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Augmentation {
    /// Pad by this many zero pixels on each side, then crop back to size at a uniformly random place.
    pub pad_crop: usize,
    /// Mirror left and right with probability 1/2.
    pub flip: bool,
    /// Side, in pixels, of a square set to 0, centred at a uniformly random pixel and clipped at the border.
    ///
    /// # Source
    /// DeVries and Taylor 2017, in the form of DARTS (`Cutout` of its `utils.py`).
    pub cutout: usize,
    /// `alpha` of mixup: a batch becomes `lambda * x + (1 - lambda) * x[permutation]`, with `lambda` from Beta(alpha, alpha), one
    /// for the batch.
    ///
    /// # Source
    /// Zhang et al., mixup: Beyond Empirical Risk Minimization, 2018 (and its `facebookresearch/mixup-cifar10`).
    pub mixup: f32,
}

impl Augmentation {
    /// Nothing: images as they are, for evaluation.
    pub const NONE: Augmentation = Augmentation { pad_crop: 0, flip: false, cutout: 0, mixup: 0.0 };

    /// The "+" of CIFAR-10+: pad by 4 and crop, flip.
    pub const STANDARD: Augmentation = Augmentation { pad_crop: 4, flip: true, ..Augmentation::NONE };

    /// Whether this makes sense for images of `height` by `width` pixels.
    ///
    /// # Errors
    /// If a padding or a cutout exceeds the image, or `mixup` is negative or not a number.
    pub fn check(&self, height: usize, width: usize) -> Result<(), Error> {
        let side = height.min(width);
        let fail = |message: String| Err(Error::Config(message));
        if self.pad_crop > 0 && self.pad_crop >= side {
            return fail(format!(
                "augmentation: pad_crop = {} would shift {height}x{width} images out of sight: choose less than {side}",
                self.pad_crop
            ));
        }
        if self.cutout > side {
            return fail(format!(
                "augmentation: cutout = {} is larger than {height}x{width} images: choose at most {side}",
                self.cutout
            ));
        }
        if !(self.mixup >= 0.0 && self.mixup.is_finite()) {
            return fail(format!(
                "augmentation: mixup = {} is no parameter of a Beta distribution: choose 0 (off) or a positive number",
                self.mixup
            ));
        }
        Ok(())
    }
}

impl Default for Augmentation {
    /// [`Augmentation::NONE`].
    fn default() -> Augmentation {
        Augmentation::NONE
    }
}

/// The choices made for one image.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Draw {
    /// Rows by which the window was moved down, left of it columns moved right; `-pad..=pad`.
    down: isize,
    right: isize,
    flip: bool,
    /// Rows and columns set to 0; may be empty.
    hole: (Range<usize>, Range<usize>),
}

impl Draw {
    pub(crate) fn new(config: &Augmentation, height: usize, width: usize, rng: &mut Rng) -> Draw {
        let mut shift = || match config.pad_crop {
            0 => 0,
            pad => rng.below(2 * pad + 1) as isize - pad as isize,
        };
        let (down, right) = (shift(), shift());
        let flip = config.flip && rng.chance(0.5);
        let mut hole = |len: usize| match config.cutout {
            0 => 0..0,
            side => {
                let end = rng.below(len) + side - side / 2;
                end.saturating_sub(side)..end.min(len)
            }
        };
        Draw { down, right, flip, hole: (hole(height), hole(width)) }
    }
}

/// The normalised value of every byte, per channel: one load instead of a conversion, a subtraction and a division.
pub(crate) struct Table([[f32; 256]; 3]);

impl Table {
    pub(crate) fn new(normalisation: Normalisation) -> Table {
        let Normalisation { mean, std } = normalisation;
        Table(std::array::from_fn(|c| std::array::from_fn(|v| (v as f32 / 255.0 - mean[c]) / std[c])))
    }

    /// One image, `(H, W, 3)` bytes to `(H, W, 3)` values.
    pub(crate) fn write(&self, image: &[u8], width: usize, draw: &Draw, out: &mut [f32]) {
        let row_len = 3 * width;
        let height = (image.len() / row_len) as isize;
        // Columns of the window that lie inside the image; the others are padding.
        let start = (-draw.right).clamp(0, width as isize) as usize;
        let end = (width as isize - draw.right).clamp(0, width as isize) as usize;
        for (y, out) in out.chunks_exact_mut(row_len).enumerate() {
            let source = y as isize + draw.down;
            if !(0..height).contains(&source) {
                out.fill(0.0);
                continue;
            }
            let source = &image[source as usize * row_len..][..row_len];
            let source = &source[3 * (start as isize + draw.right) as usize..][..3 * (end - start)];
            if draw.flip {
                // Read forwards, written backwards: the padding changes sides.
                let (left, right) = (width - end, width - start);
                out[..3 * left].fill(0.0);
                out[3 * right..].fill(0.0);
                let pixels = out[3 * left..3 * right].as_chunks_mut().0.iter_mut().rev();
                self.write_row(source, pixels);
            } else {
                out[..3 * start].fill(0.0);
                out[3 * end..].fill(0.0);
                self.write_row(source, out[3 * start..3 * end].as_chunks_mut().0.iter_mut());
            }
        }
        let (rows, columns) = draw.hole.clone();
        for y in rows {
            out[y * row_len..][..row_len][3 * columns.start..3 * columns.end].fill(0.0);
        }
    }

    fn write_row<'a>(&self, source: &[u8], out: impl Iterator<Item = &'a mut [f32; 3]>) {
        let [red, green, blue] = &self.0;
        for (pixel, &[r, g, b]) in out.zip(source.as_chunks().0) {
            *pixel = [red[usize::from(r)], green[usize::from(g)], blue[usize::from(b)]];
        }
    }
}

/// `lambda` of mixup, from Beta(alpha, alpha), for `alpha > 0`: `X / (X + Y)` of two gamma variates. In logarithms, since for small
/// `alpha` both are below the least `f64`.
pub(crate) fn beta(alpha: f32, rng: &mut Rng) -> f32 {
    let (x, y) = (log_gamma_variate(alpha.into(), rng), log_gamma_variate(alpha.into(), rng));
    (1.0 / (1.0 + libm::exp(y - x))) as f32
}

/// The logarithm of a draw from Gamma(shape, 1).
///
/// # Source
/// Marsaglia and Tsang, A simple method for generating gamma variables, 2000; below shape 1 by their
/// `Gamma(a) = Gamma(a + 1) * U^(1/a)`.
fn log_gamma_variate(shape: f64, rng: &mut Rng) -> f64 {
    if shape < 1.0 {
        let boost = libm::log(1.0 - rng.uniform_f64()) / shape;
        return log_gamma_variate(shape + 1.0, rng) + boost;
    }
    let d = shape - 1.0 / 3.0;
    let c = 1.0 / libm::sqrt(9.0 * d);
    loop {
        let x = f64::from(rng.normal());
        let v = 1.0 + c * x;
        if v > 0.0 {
            let log_v = 3.0 * libm::log(v);
            let u = 1.0 - rng.uniform_f64();
            if libm::log(u) < 0.5 * x * x + d - d * v * v * v + d * log_v {
                return libm::log(d) + log_v;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::rng::purpose;

    fn rng(stream: u64) -> Rng {
        Rng::new(3, &[purpose::TEST, stream])
    }

    fn normalise(v: u8, c: usize) -> f32 {
        let Normalisation { mean, std } = Normalisation::CIFAR10;
        (f32::from(v) / 255.0 - mean[c]) / std[c]
    }

    /// As the words say it: pad, crop, mirror, cut out, one value at a time.
    fn naive(image: &[u8], height: usize, width: usize, pad: usize, draw: &Draw) -> Vec<f32> {
        let (padded_height, padded_width) = (height + 2 * pad, width + 2 * pad);
        let mut padded = vec![0.0; padded_height * padded_width * 3];
        for (i, &v) in image.iter().enumerate() {
            let (y, x, c) = (i / 3 / width, i / 3 % width, i % 3);
            padded[((y + pad) * padded_width + x + pad) * 3 + c] = normalise(v, c);
        }
        let (top, left) = ((pad as isize + draw.down) as usize, (pad as isize + draw.right) as usize);
        let mut out = vec![0.0; image.len()];
        for (i, out) in out.iter_mut().enumerate() {
            let (y, x, c) = (i / 3 / width, i / 3 % width, i % 3);
            if !(draw.hole.0.contains(&y) && draw.hole.1.contains(&x)) {
                let x = if draw.flip { width - 1 - x } else { x };
                *out = padded[((top + y) * padded_width + left + x) * 3 + c];
            }
        }
        out
    }

    #[test]
    fn agrees_with_a_naive_reimplementation() {
        let table = Table::new(Normalisation::CIFAR10);
        for (height, width, pad_crop, cutout) in
            [(32, 32, 4, 16), (32, 32, 0, 0), (5, 7, 3, 3), (7, 5, 4, 5), (2, 1, 0, 1), (8, 8, 2, 0), (1, 1, 0, 0)]
        {
            let config = Augmentation { pad_crop, cutout, flip: true, mixup: 0.0 };
            config.check(height, width).unwrap();
            for trial in 0..100 {
                let mut rng = rng(trial);
                let image: Vec<u8> = (0..height * width * 3).map(|_| rng.bits() as u8).collect();
                let draw = Draw::new(&config, height, width, &mut rng);
                let mut out = vec![f32::NAN; image.len()];
                table.write(&image, width, &draw, &mut out);
                assert_eq!(out, naive(&image, height, width, pad_crop, &draw), "{height}x{width} {draw:?}");
            }
        }
    }

    #[test]
    fn without_augmentation_only_normalises() {
        let image: Vec<u8> = (0..=255).cycle().take(32 * 32 * 3).collect();
        let draw = Draw::new(&Augmentation::NONE, 32, 32, &mut rng(0));
        let mut out = vec![f32::NAN; image.len()];
        Table::new(Normalisation::CIFAR10).write(&image, 32, &draw, &mut out);
        assert!(out.iter().zip(&image).enumerate().all(|(i, (&out, &v))| out == normalise(v, i % 3)));
    }

    #[test]
    fn crops_flips_and_holes_are_uniform() {
        let config = Augmentation { cutout: 16, ..Augmentation::STANDARD };
        let n = 9 * 2000;
        let draws: Vec<Draw> = (0..n).map(|i| Draw::new(&config, 32, 32, &mut rng(i))).collect();
        // Counts of a binomial: five standard deviations, over some 80 comparisons.
        let near = |count: usize, p: f64| {
            let (mean, sd) = (n as f64 * p, (n as f64 * p * (1.0 - p)).sqrt());
            assert!((count as f64 - mean).abs() < 5.0 * sd, "{count} of {n}, expected {mean}");
        };
        for shift in -4..=4 {
            near(draws.iter().filter(|d| d.down == shift).count(), 1.0 / 9.0);
            near(draws.iter().filter(|d| d.right == shift).count(), 1.0 / 9.0);
        }
        near(draws.iter().filter(|d| d.flip).count(), 0.5);
        // As DARTS: a centre y covers y-8..y+8, clipped to 0..32.
        for centre in 0usize..32 {
            let hole = centre.saturating_sub(8)..(centre + 8).min(32);
            near(draws.iter().filter(|d| d.hole.0 == hole).count(), 1.0 / 32.0);
            near(draws.iter().filter(|d| d.hole.1 == hole).count(), 1.0 / 32.0);
        }
    }

    #[test]
    fn beta_has_mean_a_half_and_the_right_variance() {
        let n = 20_000;
        for (i, alpha) in [0.01f32, 0.2, 1.0, 4.0].into_iter().enumerate() {
            let mut rng = rng(i as u64);
            let draws: Vec<f64> = (0..n).map(|_| f64::from(beta(alpha, &mut rng))).collect();
            assert!(draws.iter().all(|x| (0.0..=1.0).contains(x)));
            let mean = draws.iter().sum::<f64>() / f64::from(n);
            let var = draws.iter().map(|x| (x - 0.5).powi(2)).sum::<f64>() / f64::from(n);
            let expected = 1.0 / (4.0 * (2.0 * f64::from(alpha) + 1.0));
            // (x - 1/2)^2 lies in 0..=1/4: its mean over n has a standard error below 1/8/sqrt(n), x's below 1/2/sqrt(n).
            assert!((mean - 0.5).abs() < 0.0142, "alpha {alpha}: mean {mean}");
            assert!((var - expected).abs() < 0.0036, "alpha {alpha}: variance {var}, expected {expected}");
        }
    }

    #[test]
    fn impossible_augmentations_are_refused() {
        let message = |config: Augmentation| config.check(32, 24).unwrap_err().to_string();
        assert_eq!(
            message(Augmentation { pad_crop: 24, ..Augmentation::NONE }),
            "augmentation: pad_crop = 24 would shift 32x24 images out of sight: choose less than 24"
        );
        assert_eq!(
            message(Augmentation { cutout: 25, ..Augmentation::NONE }),
            "augmentation: cutout = 25 is larger than 32x24 images: choose at most 24"
        );
        for mixup in [f32::NAN, -1.0, f32::INFINITY] {
            assert!(message(Augmentation { mixup, ..Augmentation::NONE }).starts_with("augmentation: mixup = "));
        }
    }
}
