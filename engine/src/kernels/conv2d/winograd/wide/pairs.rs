//! grad_weight between one panel of input and one of output channels.

use super::super::super::tile::{add_outer, tile_rows};
use super::super::form;
use crate::kernels::ahead::{LINE, ask};
use crate::kernels::scratch::Scratch;
use crate::kernels::simd::apart;
use pulp::{Simd, WithSimd};

/// Where a panel's transformed tiles lie: floats between groups, between positions, between tiles.
#[derive(Clone, Copy)]
pub struct Place {
    pub group: usize,
    pub position: usize,
    pub tile: usize,
}

/// Which sums, and where they go.
#[derive(Clone, Copy)]
pub struct At {
    pub x: Place,
    pub dy: Place,
    /// Groups of tiles.
    pub groups: usize,
    /// Tiles of a group.
    pub tiles: usize,
    /// First input channel.
    pub row: usize,
    /// First output channel.
    pub column: usize,
    /// Output channels of a row.
    pub c_out: usize,
    /// Whether to add to what is there.
    pub accumulate: bool,
}

/// `Gt [sum over tiles of x^T dy] G` of two panels of `width` channels, one vector or two, into nine taps with rows of `c_out` channels.
#[inline(always)]
pub fn pair<S: Simd, const W: usize>(simd: S, x: &[f32], dy: &[f32], width: usize, at: At, taps: &mut [&mut [f32]]) {
    if width == S::F32_LANES {
        pair_of::<S, W, 1>(simd, x, dy, at, taps);
    } else {
        pair_of::<S, W, 2>(simd, x, dy, at, taps);
    }
}

#[inline(always)]
fn pair_of<S: Simd, const W: usize, const NV: usize>(simd: S, x: &[f32], dy: &[f32], at: At, taps: &mut [&mut [f32]]) {
    let width = NV * S::F32_LANES;
    let lengths = [W * W * width * width];
    let mut memory = Scratch::new(lengths);
    let [sums] = memory.split(lengths);
    // 16 rows as 6 + 5 + 5: four would leave too few sums to hide the latency of their additions.
    let parts = width.div_ceil(tile_rows::<S>());
    let lines = width.div_ceil(LINE);
    for (position, sums) in sums.chunks_exact_mut(width * width).enumerate() {
        // All rows of a position, while it is in L1.
        let mut start = 0;
        for part in 0..parts {
            let m = (width - start).div_ceil(parts - part);
            // Each part asks for a line of every tile of the next position.
            let next = match part / lines {
                0 => (x, at.x, part * LINE),
                _ => (dy, at.dy, part % lines * LINE),
            };
            let sums = &mut sums[start * width..(start + m) * width];
            let of = Sums { x: &x[start..], dy, at, position, next, sums };
            match m {
                8 => apart(simd, SumsOf::<8, NV>(of)),
                6 => apart(simd, SumsOf::<6, NV>(of)),
                5 => apart(simd, SumsOf::<5, NV>(of)),
                _ => apart(simd, SumsOf::<4, NV>(of)),
            }
            start += m;
        }
    }
    apart(simd, Finish::<W, NV> { sums, taps, at });
}

/// `sums[M][width]`: `M` channels of x times the panel of dy at one position, over all tiles.
struct Sums<'a> {
    x: &'a [f32],
    dy: &'a [f32],
    at: At,
    position: usize,
    /// The operand, its place and the float of a tile to ask for, at the next position.
    next: (&'a [f32], Place, usize),
    sums: &'a mut [f32],
}

/// [`Sums`] of `M` channels and a panel of `NV` vectors; a function of its own to keep them in registers.
struct SumsOf<'a, const M: usize, const NV: usize>(Sums<'a>);

impl<const M: usize, const NV: usize> WithSimd for SumsOf<'_, M, NV> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Sums { x, dy, at, position, next: (next, next_place, float), sums } = self.0;
        let lanes = S::F32_LANES;
        let (x_len, dy_len) = ((at.tiles - 1) * at.x.tile + M, (at.tiles - 1) * at.dy.tile + NV * lanes);
        let mut acc = [[simd.splat_f32s(0.0); NV]; M];
        for group in 0..at.groups {
            let x = &x[group * at.x.group + position * at.x.position..][..x_len];
            let dy = &dy[group * at.dy.group + position * at.dy.position..][..dy_len];
            let mut next_at = group * next_place.group + (position + 1) * next_place.position + float;
            for (x, dy) in x.chunks(at.x.tile).zip(dy.chunks(at.dy.tile)) {
                ask(next, next_at);
                next_at += next_place.tile;
                let (Some(x), Some(dy)) = (x.first_chunk::<M>(), dy.get(..NV * lanes)) else { break };
                let Some(dy) = S::as_simd_f32s(dy).0.first_chunk::<NV>() else { break };
                add_outer(simd, &mut acc, x, *dy);
            }
        }
        let (out, _) = S::as_mut_simd_f32s(sums);
        for i in 0..M {
            for v in 0..NV {
                out[NV * i + v] = acc[i][v];
            }
        }
    }
}

/// `Gt sums G`, into the nine taps.
struct Finish<'a, 'b, const W: usize, const NV: usize> {
    sums: &'a [f32],
    taps: &'a mut [&'b mut [f32]],
    at: At,
}

impl<const W: usize, const NV: usize> WithSimd for Finish<'_, '_, W, NV> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Finish { sums, taps, at } = self;
        let (sums, _) = S::as_simd_f32s(sums);
        let vectors = NV * NV * S::F32_LANES;
        for v in 0..vectors {
            let mut halves = [[sums[0]; 3]; W];
            for (s, half) in halves.iter_mut().enumerate() {
                let mut column = [sums[0]; W];
                for (r, c) in column.iter_mut().enumerate() {
                    *c = sums[(r * W + s) * vectors + v];
                }
                *half = form::grad_weight(simd, column);
            }
            for y in 0..3 {
                let mut row = [halves[0][y]; W];
                for (v, half) in row.iter_mut().zip(&halves) {
                    *v = half[y];
                }
                let row = form::grad_weight(simd, row);
                for (x, &value) in row.iter().enumerate() {
                    let first = (at.row + v / NV) * at.c_out + at.column + v % NV * S::F32_LANES;
                    let out = &mut taps[3 * y + x][first..][..S::F32_LANES];
                    let out = &mut S::as_mut_simd_f32s(out).0[0];
                    *out = if at.accumulate { simd.add_f32s(*out, value) } else { value };
                }
            }
        }
    }
}
