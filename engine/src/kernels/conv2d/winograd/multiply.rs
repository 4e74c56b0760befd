//! The 36 matrix products.

use super::super::tile::{MR, load, outer};
use super::{POSITIONS, Place};
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
    /// Where they lie.
    pub places: [Place; 2],
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
        let Multiply { x, weights, y, rows, places: [in_x, in_y], .. } = self;
        let channels = if K == 0 { self.channels } else { K };
        let width = 2 * S::F32_LANES;
        let panel_len = channels * width;
        for position in 0..POSITIONS {
            for panel in 0..in_y.channels / width {
                let (w, _) = S::as_simd_f32s(&weights[(panel * POSITIONS + position) * panel_len..][..panel_len]);
                let w = &w.as_chunks::<2>().0[..channels];
                for tile in (0..rows).step_by(MR) {
                    let x = &x[in_x.at(tile, position)..];
                    let y = &mut y[in_y.at(tile, position) + panel * width..];
                    six_rows(simd, x, in_x.tile, w, y, in_y.tile);
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
    /// Where tiles of `x` and of `dy` lie.
    pub places: [Place; 2],
}

impl WithSimd for Outer<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        for position in 0..POSITIONS {
            let [x, dy] = self.places.map(|place| place.at(0, position));
            let (x, dy) = (&self.x[x..], &self.dy[dy..]);
            let sums = &mut self.sums[position * self.c_in * self.c_out..][..self.c_in * self.c_out];
            let mut c = 0;
            while c < self.c_in {
                let mr = MR.min(self.c_in - c);
                let rows = Rows {
                    x: &x[c..],
                    dy,
                    sums: &mut sums[c * self.c_out..],
                    strides: self.places.map(|place| place.tile),
                    count: self.count,
                    c_out: self.c_out,
                };
                match mr {
                    6 => apart(simd, RowsOf::<6>(rows)),
                    5 => apart(simd, RowsOf::<5>(rows)),
                    4 => apart(simd, RowsOf::<4>(rows)),
                    3 => apart(simd, RowsOf::<3>(rows)),
                    2 => apart(simd, RowsOf::<2>(rows)),
                    _ => apart(simd, RowsOf::<1>(rows)),
                }
                c += mr;
            }
        }
    }
}

/// A few input channels against all output channels, over `count` tiles.
struct Rows<'a> {
    x: &'a [f32],
    dy: &'a [f32],
    sums: &'a mut [f32],
    /// Floats between tiles of x and of dy.
    strides: [usize; 2],
    count: usize,
    c_out: usize,
}

/// [`Rows`] of `M` input channels; a function of its own to keep its sums in registers.
struct RowsOf<'a, const M: usize>(Rows<'a>);

impl<const M: usize> WithSimd for RowsOf<'_, M> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Rows { x, dy, sums, strides: [x_stride, dy_stride], count, c_out } = self.0;
        let lanes = S::F32_LANES;
        let x = &x[..count * x_stride];
        for start in (0..c_out).step_by(2 * lanes) {
            let dy = &dy[start..][..count * dy_stride];
            let mut acc = [[simd.splat_f32s(0.0); 2]; M];
            for (x, dy) in x.chunks_exact(x_stride).zip(dy.chunks_exact(dy_stride)) {
                let (Some(x), Some(dy)) = (x.first_chunk::<M>(), dy.get(..2 * lanes)) else { break };
                let (w0, w1) = (load(simd, &dy[..lanes]), load(simd, &dy[lanes..]));
                for i in 0..M {
                    acc[i] = outer(simd, acc[i], x[i], w0, w1);
                }
            }
            let len = (c_out - start).min(2 * lanes);
            for (i, [a, b]) in acc.into_iter().enumerate() {
                let row = &mut sums[i * c_out + start..][..len];
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
}
