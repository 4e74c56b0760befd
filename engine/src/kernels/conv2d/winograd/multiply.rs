//! A matrix product for each position.

use super::super::tile::{MR, add_outer, add_product, load, tile_rows};
use super::Place;
use crate::kernels::ahead::{Ahead, ask};
use crate::kernels::simd::{apart, has_many_registers};
use pulp::{Simd, WithSimd};

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

/// Output channels whose sums lie together.
pub(super) const PANEL: usize = 32;

/// Floats of sums that stay near enough to be read without being asked for.
const NEAR: usize = 1 << 16;

/// Panels of sums: the first output channel of each, and how many it has. A panel's sums lie `[c_in][columns]`, one panel behind the other:
/// those of a tile are neighbours, and the next tile's follow, so that they come from memory in a stream.
#[inline(always)]
pub(super) fn panels(c_out: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..c_out).step_by(PANEL).map(
        #[inline(always)]
        move |start| (start, (c_out - start).min(PANEL)),
    )
}

/// For every position: `sums (c_in x c_out) += x^T * dy`, over `count` tiles; `=` for the first.
pub struct Outer<'a, 'b> {
    /// Transformed tiles of x.
    pub x: &'a [f32],
    /// Transformed tiles of dy.
    pub dy: &'a [f32],
    /// Of each position, in `panels`.
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
        let (c_in, c_out, count) = (self.c_in, self.c_out, self.count);
        let strides = self.places.map(|place| place.tile);
        let whole = c_in / tile_rows::<S>() * tile_rows::<S>();
        let far = self.sums.len() > NEAR;
        for (r, s) in self.places[0].positions() {
            let (position, first) = self.places[0].weights(r, s);
            let first = first && self.first;
            let [x, dy] = self.places.map(|place| place.of(0, r, s));
            let (x, dy) = (&self.x[x..], &self.dy[dy..]);
            let sums = &mut self.sums[position * c_in * c_out..][..c_in * c_out];
            for (start, columns) in panels(c_out) {
                let (sums, rest) = sums[start * c_in..][..columns * c_in].split_at_mut(whole * columns);
                let dy = &dy[start..];
                let ahead = &mut *self.ahead;
                let rows = Rows { x, dy, sums, first, strides, count, columns, ahead };
                match tile_rows::<S>() {
                    8 if far => apart(simd, RowsOf::<8, true>(rows)),
                    8 => apart(simd, RowsOf::<8, false>(rows)),
                    _ if far => apart(simd, RowsOf::<MR, true>(rows)),
                    _ => apart(simd, RowsOf::<MR, false>(rows)),
                }
                if rest.is_empty() {
                    continue;
                }
                let (x, ahead) = (&x[whole..], &mut *self.ahead);
                let rows = Rows { x, dy, sums: rest, first, strides, count, columns, ahead };
                match c_in - whole {
                    7 => apart(simd, RowsOf::<7, false>(rows)),
                    6 => apart(simd, RowsOf::<6, false>(rows)),
                    5 => apart(simd, RowsOf::<5, false>(rows)),
                    4 => apart(simd, RowsOf::<4, false>(rows)),
                    3 => apart(simd, RowsOf::<3, false>(rows)),
                    2 => apart(simd, RowsOf::<2, false>(rows)),
                    _ => apart(simd, RowsOf::<1, false>(rows)),
                }
            }
        }
    }
}

/// Input channels, a few at a time, against the output channels of a panel, over `count` tiles.
struct Rows<'a, 'b> {
    x: &'a [f32],
    dy: &'a [f32],
    sums: &'a mut [f32],
    first: bool,
    /// Floats between tiles of x and of dy.
    strides: [usize; 2],
    count: usize,
    columns: usize,
    ahead: &'a mut Ahead<'b>,
}

/// [`Rows`], `M` input channels at a time; a function of its own to keep their sums in registers. It asks for sums that are `FAR` before it adds
/// to them.
struct RowsOf<'a, 'b, const M: usize, const FAR: bool>(Rows<'a, 'b>);

impl<const M: usize, const FAR: bool> WithSimd for RowsOf<'_, '_, M, FAR> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        if self.0.columns <= S::F32_LANES { self.of::<S, 1>(simd) } else { self.of::<S, 2>(simd) }
    }
}

impl<const M: usize, const FAR: bool> RowsOf<'_, '_, M, FAR> {
    #[inline(always)]
    fn of<S: Simd, const NV: usize>(self, simd: S) {
        let Rows { x, dy, sums, first, strides: [x_stride, dy_stride], count, columns, ahead } = self.0;
        let lanes = S::F32_LANES;
        let step = (M * columns).div_ceil(count.max(1));
        for (group, sums) in sums.chunks_exact_mut(M * columns).enumerate() {
            let x = &x[group * M..][..count * x_stride];
            ahead.step().ask();
            for start in (0..columns).step_by(NV * lanes) {
                let dy = &dy[start..][..count * dy_stride];
                let mut acc = [[simd.splat_f32s(0.0); NV]; M];
                for (i, (x, dy)) in x.chunks_exact(x_stride).zip(dy.chunks_exact(dy_stride)).enumerate() {
                    if FAR {
                        ask(sums, i * step);
                    }
                    let (Some(x), Some(dy)) = (x.first_chunk::<M>(), dy.get(..NV * lanes)) else { break };
                    let Some(dy) = S::as_simd_f32s(dy).0.first_chunk::<NV>() else { break };
                    add_outer(simd, &mut acc, x, *dy);
                }
                let len = (columns - start).min(NV * lanes);
                for (i, acc) in acc.into_iter().enumerate() {
                    let mut row = &mut sums[i * columns + start..][..len];
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
}
