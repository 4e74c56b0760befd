//! The work of one panel of channels: everything between the transformed tiles and the result.

use super::super::super::tile::{MR, load, outer};
use super::super::multiply::six_rows;
use super::tiles::{Layout, Output};
use super::{Grid, form};
use crate::kernels::scratch::Scratch;
use crate::kernels::simd::apart;
use pulp::{Simd, WithSimd};

/// A weight, seen from one panel: `data[tap * tap_stride + row * row_stride..][..width]`.
#[derive(Clone, Copy)]
pub struct Taps<'a> {
    pub data: &'a [f32],
    pub tap_stride: usize,
    pub row_stride: usize,
}

impl Taps<'_> {
    #[inline(always)]
    fn vector<S: Simd>(&self, simd: S, tap: usize, row: usize, v: usize) -> S::f32s {
        load(simd, &self.data[tap * self.tap_stride + row * self.row_stride + v..][..S::F32_LANES])
    }

    /// Column `x` of the taps times a row of `G`.
    #[inline(always)]
    fn half<S: Simd>(&self, simd: S, g: &[f32; 3], x: usize, row: usize, v: usize) -> S::f32s {
        let [g0, g1, g2] = [g[0], g[1], g[2]].map(|v| simd.splat_f32s(v));
        let sum = simd.mul_f32s(g0, self.vector(simd, x, row, v));
        let sum = simd.mul_add_f32s(g1, self.vector(simd, 3 + x, row, v), sum);
        simd.mul_add_f32s(g2, self.vector(simd, 6 + x, row, v), sum)
    }
}

/// Transforms the panel's weight, multiplies all tiles by it and transforms back: `out[pixel][width]`.
pub struct Product<'a, const T: usize, const W: usize> {
    pub grid: &'a Grid<T>,
    pub images: usize,
    /// Transformed tiles, as rows.
    pub x: &'a [f32],
    pub layout: Layout,
    /// Channels read.
    pub channels: usize,
    pub taps: Taps<'a>,
    pub out: &'a mut [f32],
}

impl<const T: usize, const W: usize> WithSimd for Product<'_, T, W> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Product { grid, images, x, layout, channels, taps, out } = self;
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
    taps: Taps<'a>,
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
        let g = &form::g::<W>()[row];
        let len = channels * width;
        for channel in 0..channels {
            for v in (0..width).step_by(S::F32_LANES) {
                let (h0, h1, h2) = (
                    taps.half(simd, g, 0, channel, v),
                    taps.half(simd, g, 1, channel, v),
                    taps.half(simd, g, 2, channel, v),
                );
                for (s, g) in form::g::<W>().iter().take(W).enumerate() {
                    let [a, b, c] = g.map(|v| simd.splat_f32s(v));
                    let sum = simd.mul_add_f32s(c, h2, simd.mul_add_f32s(b, h1, simd.mul_f32s(a, h0)));
                    S::as_mut_simd_f32s(&mut out[s * len + channel * width + v..][..S::F32_LANES]).0[0] = sum;
                }
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
        let Rows { x, layout, groups, weights, y, tile_len } = self;
        let weights = S::as_simd_f32s(weights).0.as_chunks::<2>().0;
        let tiles = layout.position / layout.tile;
        for group in 0..groups {
            for tile in (0..tiles).step_by(MR) {
                let x = &x[group * layout.group + tile * layout.tile..];
                let y = &mut y[(group * tiles + tile) * tile_len..];
                six_rows(simd, x, layout.tile, weights, y, tile_len);
            }
        }
    }
}

/// grad_weight between one panel of input and one of output channels.
pub struct Pair<'a, 'b, const W: usize> {
    /// Transformed tiles of x and of dy: this panel of the first group.
    pub x: &'a [f32],
    pub dy: &'a [f32],
    /// Floats between groups of x and of dy.
    pub groups: [usize; 2],
    pub count: usize,
    /// Tiles of a group.
    pub tiles: usize,
    pub width: usize,
    /// For each tap, rows of `c_out` channels from the panel's first input channel on.
    pub out: &'a mut [&'b mut [f32]],
    pub c_out: usize,
    /// First row and column of `out`.
    pub at: [usize; 2],
    /// Whether to add to `out`.
    pub accumulate: bool,
}

impl<const W: usize> WithSimd for Pair<'_, '_, W> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let lengths = [W * W * MR * self.width];
        let mut memory = Scratch::new(lengths);
        let [sums] = memory.split(lengths);
        let parts = self.width.div_ceil(MR);
        let mut start = 0;
        for part in 0..parts {
            // 16 rows as 6 + 5 + 5: four would leave too few sums to hide the latency of their additions.
            let m = (self.width - start).div_ceil(parts - part);
            match m {
                6 => self.part::<S, 6>(simd, start, sums),
                5 => self.part::<S, 5>(simd, start, sums),
                _ => self.part::<S, 4>(simd, start, sums),
            }
            start += m;
        }
    }
}

impl<const W: usize> Pair<'_, '_, W> {
    #[inline(always)]
    fn part<S: Simd, const M: usize>(&mut self, simd: S, start: usize, sums: &mut [f32]) {
        let Pair { x, dy, groups, count, tiles, width, c_out, at: [row, column], accumulate, .. } = *self;
        apart(simd, Sums::<W, M> { x: &x[start..], dy, groups, count, tiles, width, sums });
        let out = &mut *self.out;
        apart(simd, Finish::<W, M> { sums, width, out, c_out, row: row + start, column, accumulate });
    }
}

/// `sums[position][M][width]`: for every position, `M` channels of x times the panel of dy, over all tiles.
struct Sums<'a, const W: usize, const M: usize> {
    x: &'a [f32],
    dy: &'a [f32],
    groups: [usize; 2],
    count: usize,
    tiles: usize,
    width: usize,
    sums: &'a mut [f32],
}

impl<const W: usize, const M: usize> WithSimd for Sums<'_, W, M> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Sums { x, dy, groups, count, tiles, width, sums } = self;
        let lanes = S::F32_LANES;
        let len = tiles * width;
        for (position, sums) in sums.chunks_exact_mut(M * width).take(W * W).enumerate() {
            let mut acc = [[simd.splat_f32s(0.0); 2]; M];
            for group in 0..count {
                let x = &x[group * groups[0] + position * len..];
                let x = &x[..len.min(x.len())];
                let dy = &dy[group * groups[1] + position * len..][..len];
                for (x, dy) in x.chunks(width).zip(S::as_simd_f32s(dy).0.as_chunks::<2>().0) {
                    let Some(x) = x.first_chunk::<M>() else { break };
                    for i in 0..M {
                        acc[i] = outer(simd, acc[i], x[i], dy[0], dy[1]);
                    }
                }
            }
            for i in 0..M {
                let (out, _) = S::as_mut_simd_f32s(&mut sums[i * width..][..2 * lanes]);
                out[0] = acc[i][0];
                out[1] = acc[i][1];
            }
        }
    }
}

/// `Gt sums G`, into the nine taps.
struct Finish<'a, 'b, const W: usize, const M: usize> {
    sums: &'a [f32],
    width: usize,
    out: &'a mut [&'b mut [f32]],
    c_out: usize,
    row: usize,
    column: usize,
    accumulate: bool,
}

impl<const W: usize, const M: usize> WithSimd for Finish<'_, '_, W, M> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Finish { sums, width, out, c_out, row, column, accumulate } = self;
        let g = form::g::<W>();
        for i in 0..M {
            for v in (0..width).step_by(S::F32_LANES) {
                let at = i * width + v;
                let mut taps = [[simd.splat_f32s(0.0); 3]; 3];
                for s in 0..W {
                    let mut half = [simd.splat_f32s(0.0); 3];
                    for r in 0..W {
                        let sum = load(simd, &sums[(r * W + s) * M * width + at..][..S::F32_LANES]);
                        for (h, &g) in half.iter_mut().zip(&g[r]) {
                            *h = simd.mul_add_f32s(simd.splat_f32s(g), sum, *h);
                        }
                    }
                    for (taps, half) in taps.iter_mut().zip(&half) {
                        for (t, &g) in taps.iter_mut().zip(&g[s]) {
                            *t = simd.mul_add_f32s(simd.splat_f32s(g), *half, *t);
                        }
                    }
                }
                for (tap, out) in out.iter_mut().enumerate() {
                    let out = &mut out[(row + i) * c_out + column + v..][..S::F32_LANES];
                    let out = &mut S::as_mut_simd_f32s(out).0[0];
                    let value = taps[tap / 3 % 3][tap % 3];
                    *out = if accumulate { simd.add_f32s(*out, value) } else { value };
                }
            }
        }
    }
}
