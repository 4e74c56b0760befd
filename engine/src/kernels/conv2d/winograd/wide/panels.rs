//! The work of one panel of channels: everything between the transformed tiles and the result.

use super::super::super::tile::{MR, load};
use super::super::form;
use super::super::multiply::rows_of;
use super::super::taps::Taps;
use super::Grid;
use super::tiles::{Layout, Output};
use crate::kernels::scratch::Scratch;
use crate::kernels::simd::{apart, has_many_registers};
use pulp::{Simd, WithSimd};

/// Row `row` of `G` times column `x` of the taps.
#[inline(always)]
fn half<S: Simd, const W: usize>(simd: S, taps: [&[f32]; 9], row: usize, x: usize, at: usize) -> S::f32s {
    let tap = |y: usize| load(simd, &taps[3 * y + x][at..][..S::F32_LANES]);
    form::weight_at::<S, W>(simd, [tap(0), tap(1), tap(2)], row)
}

/// Transforms the panel's weight, multiplies all tiles by it and transforms back: `out[pixel][width]`.
pub struct Product<'a, const T: usize, const W: usize> {
    pub grid: &'a Grid<T, W>,
    pub images: usize,
    /// Transformed tiles, as rows.
    pub x: &'a [f32],
    pub layout: Layout,
    /// Channels read.
    pub channels: usize,
    pub taps: Taps,
    pub out: &'a mut [f32],
}

impl<const T: usize, const W: usize> WithSimd for Product<'_, T, W> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Product { grid, images, x, layout, channels, mut taps, out } = self;
        let taps = taps.each();
        let width = layout.width;
        let groups = images.div_ceil(grid.group_images());
        let (weight_len, tile_len) = (channels * width, W * W * width);
        let lengths = [W * weight_len, groups * grid.group_tiles() * tile_len];
        let mut memory = Scratch::new(lengths);
        let [weights, y] = memory.split(lengths);
        for r in 0..W {
            // A row of positions at a time, so that its weights stay in L2.
            apart(simd, Weights::<W> { taps, row: r, channels, width, out: weights });
            for (s, weights) in weights.chunks_exact(weight_len).enumerate() {
                let position = r * W + s;
                let y = &mut y[position * width..];
                apart(simd, Rows { x: &x[position * layout.position..], layout, groups, weights, y, tile_len });
            }
        }
        apart(simd, Output::<T, W> { grid, images, y, width, out });
    }
}

/// Row `row` of the positions of `G w Gt`, as `[position][channel][width]`.
struct Weights<'a, const W: usize> {
    taps: [&'a [f32]; 9],
    row: usize,
    channels: usize,
    width: usize,
    out: &'a mut [f32],
}

impl<const W: usize> WithSimd for Weights<'_, W> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Weights { taps, row, channels, width, out } = self;
        let len = channels * width;
        for at in (0..len).step_by(S::F32_LANES) {
            let halves = [
                half::<S, W>(simd, taps, row, 0, at),
                half::<S, W>(simd, taps, row, 1, at),
                half::<S, W>(simd, taps, row, 2, at),
            ];
            for (s, &w) in form::weight::<S, W>(simd, halves).iter().enumerate() {
                S::as_mut_simd_f32s(&mut out[s * len + at..][..S::F32_LANES]).0[0] = w;
            }
        }
    }
}

/// One position: the tiles of all groups times the panel's weights.
struct Rows<'a> {
    x: &'a [f32],
    layout: Layout,
    groups: usize,
    weights: &'a [f32],
    y: &'a mut [f32],
    tile_len: usize,
}

impl WithSimd for Rows<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        if self.layout.width == S::F32_LANES { self.of::<S, 1>(simd) } else { self.of::<S, 2>(simd) }
    }
}

impl Rows<'_> {
    #[inline(always)]
    fn of<S: Simd, const NV: usize>(self, simd: S) {
        // Twice the rows, where there are registers for them, read the weights half as often.
        const MANY: usize = 2 * MR;
        let tiles = self.layout.position / self.layout.tile;
        if has_many_registers::<S>() && tiles.is_multiple_of(MANY) {
            self.in_tiles::<S, MANY, NV>(simd, tiles);
        } else {
            self.in_tiles::<S, MR, NV>(simd, tiles);
        }
    }

    #[inline(always)]
    fn in_tiles<S: Simd, const M: usize, const NV: usize>(self, simd: S, tiles: usize) {
        let Rows { x, layout, groups, weights, y, tile_len } = self;
        let weights = S::as_simd_f32s(weights).0.as_chunks::<NV>().0;
        for group in 0..groups {
            for tile in (0..tiles).step_by(M) {
                let x = &x[group * layout.group + tile * layout.tile..];
                let y = &mut y[(group * tiles + tile) * tile_len..];
                rows_of::<S, M, NV>(simd, x, layout.tile, weights, y, tile_len);
            }
        }
    }
}
