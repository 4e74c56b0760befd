//! Per-channel mean and variance, in pieces.
//!
//! `E[x^2] - E[x]^2` loses all digits when the mean is large against the deviation. So each piece sums deviations from a pivot
//! (its own first row), in one pass while it is hot, and pieces are merged in `f64`:
//!
//! ```text
//! mean = pivot + s/m,  M2 = q - s^2/m        s, q: sums of (x - pivot), (x - pivot)^2 over m rows
//! merge: delta = mean_b - mean_a;  mean += delta*m_b/(m_a + m_b);  M2 += M2_b + delta^2*m_a*m_b/(m_a + m_b)
//! ```
//! (Chan, Golub, LeVeque 1983.)

use super::conv2d::columns::{Columns, Vector};
use super::simd::{Level, run};
use crate::parallel;
use pulp::{Simd, WithSimd};

/// Rows, means and sums of squared deviations of one piece.
pub struct Partial {
    rows: usize,
    mean: Vec<f32>,
    m2: Vec<f32>,
}

impl Partial {
    /// The moments of `rows` rows, of whose first `channels` channels a pivot and the sums `s` and `q` are given.
    pub fn from_sums(rows: usize, channels: usize, pivot: Vec<f32>, s: Vec<f32>, q: Vec<f32>) -> Partial {
        let inverse = 1.0 / rows as f32;
        let (mut mean, mut m2) = (pivot, q);
        mean.truncate(channels);
        m2.truncate(channels);
        for ((mean, m2), s) in mean.iter_mut().zip(&mut m2).zip(s) {
            let shift = s * inverse;
            *mean += shift;
            *m2 -= s * shift;
        }
        Partial { rows, mean, m2 }
    }
}

/// The moments of `rows`, a multiple of `channels` long.
#[inline(always)]
pub fn partial<S: Simd>(simd: S, rows: &[f32], channels: usize) -> Partial {
    let count = rows.len() / channels;
    let (mut mean, mut m2) = (vec![0.0; channels], vec![0.0; channels]);
    if count == 0 {
        return Partial { rows: 0, mean, m2 };
    }
    let inverse = simd.splat_f32s(1.0 / count as f32);
    let columns = Columns::new(channels, S::F32_LANES);
    for index in 0..columns.vectors() {
        let vector = Vector::new(simd, columns, index);
        let pivot = vector.read(simd, rows, 0);
        // Two chains, so that an addition need not wait for the one before.
        let mut sums = [[simd.splat_f32s(0.0); 2]; 2];
        for pair in rows.chunks(2 * channels) {
            for (row, [s, q]) in pair.chunks_exact(channels).zip(&mut sums) {
                let d = simd.sub_f32s(vector.read(simd, row, 0), pivot);
                *s = simd.add_f32s(*s, d);
                *q = simd.mul_add_f32s(d, d, *q);
            }
        }
        let s = simd.add_f32s(sums[0][0], sums[1][0]);
        let q = simd.add_f32s(sums[0][1], sums[1][1]);
        let shift = simd.mul_f32s(s, inverse);
        vector.write(simd, &mut mean, 0, simd.add_f32s(pivot, shift));
        vector.write(simd, &mut m2, 0, simd.sub_f32s(q, simd.mul_f32s(s, shift)));
    }
    Partial { rows: count, mean, m2 }
}

/// Mean, then biased variance, per channel, of all pieces together, merged in order. Zeros if there are no rows.
pub fn merge(pieces: &[Partial], channels: usize) -> Vec<f32> {
    // Piece by piece and not channel by channel, where each merge would wait for the one before.
    let (mut rows, mut mean, mut m2) = (0.0f64, vec![0.0f64; channels], vec![0.0f64; channels]);
    for piece in pieces.iter().filter(|p| p.rows > 0) {
        let m = piece.rows as f64;
        let total = rows + m;
        let (share, both) = (m / total, rows * m / total);
        for (((mean, m2), &piece_mean), &piece_m2) in mean.iter_mut().zip(&mut m2).zip(&piece.mean).zip(&piece.m2) {
            let delta = f64::from(piece_mean) - *mean;
            *mean += delta * share;
            *m2 += f64::from(piece_m2) + delta * delta * both;
        }
        rows = total;
    }
    // Rounding can leave a constant channel a hair below zero; NaN must stay.
    let variance = m2.into_iter().map(|m2| if m2 < 0.0 { 0.0 } else { (m2 / rows.max(1.0)) as f32 });
    mean.iter().map(|&mean| mean as f32).chain(variance).collect()
}

/// Moments of a whole map, in one pass.
pub fn moments(level: Level, map: &[f32], channels: usize) -> Vec<f32> {
    struct Piece<'a>(&'a [f32], usize);
    impl WithSimd for Piece<'_> {
        type Output = Partial;
        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) -> Partial {
            partial(simd, self.0, self.1)
        }
    }
    if channels == 0 {
        return vec![];
    }
    let len = crate::grad::channel_chunk(channels);
    let pieces = parallel::map(map.len().div_ceil(len), |i| {
        run(level, Piece(&map[i * len..((i + 1) * len).min(map.len())], channels))
    });
    merge(&pieces, channels)
}
