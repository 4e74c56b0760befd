//! A matrix product for each position.

use super::super::tile::{MR, add_outer, add_product, load};
use super::Place;
use crate::kernels::ahead::Ahead;
use crate::kernels::simd::{apart, has_many_registers};
use pulp::{Simd, WithSimd};

/// Rows of a register tile. Six times two vectors of AVX2 fill its registers; AVX-512 has room for more, and eight divide the tiles of
/// most maps.
pub const fn tile_rows<S: Simd>() -> usize {
    if has_many_registers::<S>() { 8 } else { MR }
}

/// For every position: `y (rows x columns) = x (rows x channels) * weights (channels x columns)`.
pub struct Multiply<'a, 'b, 'c> {
    /// Transformed tiles.
    pub x: &'a [f32],
    /// `[panel][position][channel][width]`
    pub weights: &'a [f32],
    /// Floats of a panel's row: one vector or two.
    pub width: usize,
    /// Transformed outputs.
    pub y: &'a mut [f32],
    /// Tiles, a multiple of the register tile.
    pub rows: usize,
    /// Channels read.
    pub channels: usize,
    /// Where they lie.
    pub places: [Place; 2],
    /// To be asked for meanwhile.
    pub next: &'a mut Ahead<'b>,
    /// This, too.
    pub results: &'a mut Ahead<'c>,
}

impl WithSimd for Multiply<'_, '_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        match (has_many_registers::<S>(), self.width == S::F32_LANES) {
            (true, true) => self.of::<S, 8, 1>(simd),
            (true, false) => self.of::<S, 8, 2>(simd),
            (false, true) => self.of::<S, MR, 1>(simd),
            (false, false) => self.of::<S, MR, 2>(simd),
        }
    }
}

impl Multiply<'_, '_, '_> {
    #[inline(always)]
    fn of<S: Simd, const M: usize, const NV: usize>(self, simd: S) {
        let Multiply { x, weights, y, rows, channels, places: [in_x, in_y], next, results, .. } = self;
        let width = NV * S::F32_LANES;
        let panel_len = channels * width;
        let distinct = in_x.distinct * in_x.distinct;
        for (r, s) in in_x.positions() {
            let (position, _) = in_x.weights(r, s);
            for panel in 0..in_y.channels / width {
                let (w, _) = S::as_simd_f32s(&weights[(panel * distinct + position) * panel_len..][..panel_len]);
                let w = &w.as_chunks::<NV>().0[..channels];
                for tile in (0..rows).step_by(M) {
                    let x = &x[in_x.of(tile, r, s)..];
                    let y = &mut y[in_y.of(tile, r, s) + panel * width..];
                    next.step().ask();
                    results.step().ask();
                    rows_of::<S, M, NV>(simd, x, in_x.tile, w, y, in_y.tile);
                }
            }
        }
    }
}

/// `M` rows of x, `x_stride` apart, times `w`, into rows of y.
#[inline(always)]
#[allow(clippy::manual_memcpy, reason = "a copy of an array of vectors goes through memory")]
pub(super) fn rows_of<S: Simd, const M: usize, const NV: usize>(
    simd: S,
    x: &[f32],
    x_stride: usize,
    w: &[[S::f32s; NV]],
    y: &mut [f32],
    y_stride: usize,
) {
    let mut sums = [[simd.splat_f32s(0.0); NV]; M];
    let rows = std::array::from_fn(
        #[inline(always)]
        |i| &x[i * x_stride..],
    );
    add_product(simd, &mut sums, rows, w);
    for i in 0..M {
        let (out, _) = S::as_mut_simd_f32s(&mut y[i * y_stride..][..NV * S::F32_LANES]);
        for v in 0..NV {
            out[v] = sums[i][v];
        }
    }
}

/// For every position: `sums (c_in x c_out) += x^T * dy`, over `count` tiles; `=` for the first.
pub struct Outer<'a, 'b> {
    /// Transformed tiles of x.
    pub x: &'a [f32],
    /// Transformed tiles of dy.
    pub dy: &'a [f32],
    /// `[position][c_in][c_out]`
    pub sums: &'a mut [f32],
    /// Whether to store the sums instead of adding them.
    pub first: bool,
    /// Tiles.
    pub count: usize,
    /// Channels of x.
    pub c_in: usize,
    /// Channels of dy that exist.
    pub c_out: usize,
    /// Where tiles of `x` and of `dy` lie.
    pub places: [Place; 2],
    /// To be asked for meanwhile.
    pub ahead: &'a mut Ahead<'b>,
}

impl WithSimd for Outer<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        for (r, s) in self.places[0].positions() {
            let (position, first) = self.places[0].weights(r, s);
            let first = first && self.first;
            let [x, dy] = self.places.map(|place| place.of(0, r, s));
            let (x, dy) = (&self.x[x..], &self.dy[dy..]);
            let sums = &mut self.sums[position * self.c_in * self.c_out..][..self.c_in * self.c_out];
            let mut c = 0;
            while c < self.c_in {
                let mr = tile_rows::<S>().min(self.c_in - c);
                self.ahead.step().ask();
                let rows = Rows {
                    x: &x[c..],
                    dy,
                    sums: &mut sums[c * self.c_out..],
                    first,
                    strides: self.places.map(|place| place.tile),
                    count: self.count,
                    c_out: self.c_out,
                };
                match mr {
                    8 => apart(simd, RowsOf::<8>(rows)),
                    7 => apart(simd, RowsOf::<7>(rows)),
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
    first: bool,
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
        if self.0.c_out <= S::F32_LANES { self.of::<S, 1>(simd) } else { self.of::<S, 2>(simd) }
    }
}

impl<const M: usize> RowsOf<'_, M> {
    #[inline(always)]
    fn of<S: Simd, const NV: usize>(self, simd: S) {
        let Rows { x, dy, sums, first, strides: [x_stride, dy_stride], count, c_out } = self.0;
        let lanes = S::F32_LANES;
        let x = &x[..count * x_stride];
        for start in (0..c_out).step_by(NV * lanes) {
            let dy = &dy[start..][..count * dy_stride];
            let mut acc = [[simd.splat_f32s(0.0); NV]; M];
            for (x, dy) in x.chunks_exact(x_stride).zip(dy.chunks_exact(dy_stride)) {
                let (Some(x), Some(dy)) = (x.first_chunk::<M>(), dy.get(..NV * lanes)) else { break };
                let Some(dy) = S::as_simd_f32s(dy).0.first_chunk::<NV>() else { break };
                add_outer(simd, &mut acc, x, *dy);
            }
            let len = (c_out - start).min(NV * lanes);
            for (i, acc) in acc.into_iter().enumerate() {
                let mut row = &mut sums[i * c_out + start..][..len];
                for v in acc {
                    let (part, rest) = row.split_at_mut(row.len().min(lanes));
                    row = rest;
                    if part.len() == lanes {
                        let sum = if first { v } else { simd.add_f32s(load(simd, part), v) };
                        S::as_mut_simd_f32s(part).0[0] = sum;
                    } else if !part.is_empty() {
                        let sum = if first { v } else { simd.add_f32s(simd.partial_load_f32s(part), v) };
                        simd.partial_store_f32s(part, sum);
                    }
                }
            }
        }
    }
}
