//! The 36 matrix products.

use super::super::tile::{MR, load, outer};
use super::POSITIONS;
use crate::kernels::simd::apart;
use pulp::{Simd, WithSimd};

/// For every position: `y (rows x columns) = x (rows x channels) * weights (channels x columns)`.
pub struct Multiply<'a> {
    /// Transformed tiles.
    pub x: &'a [f32],
    /// `[panel][position][channel][two vectors]`
    pub weights: &'a [f32],
    /// Transformed outputs.
    pub y: &'a mut [f32],
    /// Tiles, a multiple of the register tile.
    pub rows: usize,
    /// Channels read.
    pub channels: usize,
    /// Channels computed, in whole panels.
    pub columns: usize,
    /// Floats between tiles of `x`.
    pub x_stride: usize,
    /// Floats between tiles of `y`.
    pub y_stride: usize,
}

impl WithSimd for Multiply<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        // With the length known, the loop over channels is unrolled.
        match self.channels {
            16 => self.of::<S, 16>(simd),
            32 => self.of::<S, 32>(simd),
            64 => self.of::<S, 64>(simd),
            _ => self.of::<S, 0>(simd),
        }
    }
}

impl Multiply<'_> {
    /// For `K` channels; 0 means any number.
    #[inline(always)]
    fn of<S: Simd, const K: usize>(self, simd: S) {
        let Multiply { x, weights, y, rows, columns, x_stride, y_stride, .. } = self;
        let channels = if K == 0 { self.channels } else { K };
        let width = 2 * S::F32_LANES;
        let panel_len = channels * width;
        for position in 0..POSITIONS {
            for panel in 0..columns / width {
                let (w, _) = S::as_simd_f32s(&weights[(panel * POSITIONS + position) * panel_len..][..panel_len]);
                let w = &w.as_chunks::<2>().0[..channels];
                for tile in (0..rows).step_by(MR) {
                    let x = &x[tile * x_stride + position * channels..];
                    let y = &mut y[tile * y_stride + position * columns + panel * width..];
                    six_rows(simd, x, x_stride, w, y, y_stride);
                }
            }
        }
    }
}

#[inline(always)]
pub(super) fn six_rows<S: Simd>(
    simd: S,
    x: &[f32],
    x_stride: usize,
    w: &[[S::f32s; 2]],
    y: &mut [f32],
    y_stride: usize,
) {
    let channels = w.len();
    let row = |i: usize| &x[i * x_stride..][..channels];
    let (x0, x1, x2, x3, x4, x5) = (row(0), row(1), row(2), row(3), row(4), row(5));
    let zero = [simd.splat_f32s(0.0); 2];
    let [mut a0, mut a1, mut a2, mut a3, mut a4, mut a5] = [zero; MR];
    for k in 0..channels {
        let [w0, w1] = w[k];
        a0 = outer(simd, a0, x0[k], w0, w1);
        a1 = outer(simd, a1, x1[k], w0, w1);
        a2 = outer(simd, a2, x2[k], w0, w1);
        a3 = outer(simd, a3, x3[k], w0, w1);
        a4 = outer(simd, a4, x4[k], w0, w1);
        a5 = outer(simd, a5, x5[k], w0, w1);
    }
    for (i, sum) in [a0, a1, a2, a3, a4, a5].into_iter().enumerate() {
        let (out, _) = S::as_mut_simd_f32s(&mut y[i * y_stride..][..2 * S::F32_LANES]);
        out[0] = sum[0];
        out[1] = sum[1];
    }
}

/// For every position: `sums (c_in x c_out) += x^T * dy`, over `count` tiles.
pub struct Outer<'a> {
    /// Transformed tiles of x.
    pub x: &'a [f32],
    /// Transformed tiles of dy.
    pub dy: &'a [f32],
    /// `[position][c_in][c_out]`
    pub sums: &'a mut [f32],
    /// Tiles.
    pub count: usize,
    /// Channels of x.
    pub c_in: usize,
    /// Channels of dy that exist.
    pub c_out: usize,
    /// Channels of a row of `dy`, in whole panels.
    pub columns: usize,
    /// Floats between tiles of `x`.
    pub x_stride: usize,
    /// Floats between tiles of `dy`.
    pub y_stride: usize,
}

impl WithSimd for Outer<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let width = 2 * S::F32_LANES;
        for position in 0..POSITIONS {
            let x = &self.x[position * self.c_in..self.count * self.x_stride];
            let dy = &self.dy[position * self.columns..self.count * self.y_stride];
            let sums = &mut self.sums[position * self.c_in * self.c_out..][..self.c_in * self.c_out];
            let mut c = 0;
            while c < self.c_in {
                let mr = MR.min(self.c_in - c);
                for start in (0..self.c_out).step_by(width) {
                    let (x, dy) = (&x[c..], &dy[start..]);
                    let sums = &mut sums[c * self.c_out + start..];
                    let sizes = (self.x_stride, self.y_stride, self.c_out, (self.c_out - start).min(width));
                    match mr {
                        6 => rows::<S, 6>(simd, x, dy, sums, sizes),
                        5 => rows::<S, 5>(simd, x, dy, sums, sizes),
                        4 => rows::<S, 4>(simd, x, dy, sums, sizes),
                        3 => rows::<S, 3>(simd, x, dy, sums, sizes),
                        2 => rows::<S, 2>(simd, x, dy, sums, sizes),
                        _ => rows::<S, 1>(simd, x, dy, sums, sizes),
                    }
                }
                c += mr;
            }
        }
    }
}

#[inline(always)]
fn rows<S: Simd, const M: usize>(
    simd: S,
    x: &[f32],
    dy: &[f32],
    sums: &mut [f32],
    (x_stride, y_stride, c_out, len): (usize, usize, usize, usize),
) {
    apart(simd, Rows::<M> { x, dy, sums, x_stride, y_stride, c_out, len });
}

/// `M` input channels against two vectors of output channels; a function of its own to keep its sums in registers.
struct Rows<'a, const M: usize> {
    x: &'a [f32],
    dy: &'a [f32],
    sums: &'a mut [f32],
    x_stride: usize,
    y_stride: usize,
    c_out: usize,
    len: usize,
}

impl<const M: usize> WithSimd for Rows<'_, M> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Rows { x, dy, sums, x_stride, y_stride, c_out, len } = self;
        let lanes = S::F32_LANES;
        let mut acc = [[simd.splat_f32s(0.0); 2]; M];
        for (x, dy) in x.chunks(x_stride).zip(dy.chunks(y_stride)) {
            let (Some(x), Some(dy)) = (x.first_chunk::<M>(), dy.get(..2 * lanes)) else { break };
            let (w0, w1) = (load(simd, &dy[..lanes]), load(simd, &dy[lanes..]));
            for i in 0..M {
                acc[i] = outer(simd, acc[i], x[i], w0, w1);
            }
        }
        for (i, [a, b]) in acc.into_iter().enumerate() {
            let row = &mut sums[i * c_out..][..len];
            if len == 2 * lanes {
                let (row, _) = S::as_mut_simd_f32s(row);
                row[0] = simd.add_f32s(row[0], a);
                row[1] = simd.add_f32s(row[1], b);
            } else {
                let (first, second) = row.split_at_mut(len.min(lanes));
                for (part, v) in [(first, a), (second, b)] {
                    let sum = simd.add_f32s(simd.partial_load_f32s(part), v);
                    simd.partial_store_f32s(part, sum);
                }
            }
        }
    }
}
