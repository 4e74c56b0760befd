//! The products of one row of the transform: six positions at a time.
//!
//! Forward computes panels of 12 channels, six tiles at once, as three pairs: of a pair's 24 sums the last four of either tile share a
//! vector, `[8 of a][4 of a, 4 of b][8 of b]`. Its factor is `x_a` in the lower and `x_b` in the upper half, a blend of the two
//! that are broadcast anyway; the weights' last four lie twice beside each other. So nine sums, two weights and three factors fill 14 of
//! 16 registers, and no lane is wasted. Panels of 16 are as in the other driver.

use super::{LANES, WINDOW};
use crate::kernels::conv2d::tile::outer;
use pulp::{Simd, WithSimd};

/// Width of a register tile's columns: two vectors.
pub const PANEL: usize = 2 * LANES;
/// Tiles of a register tile.
const ROWS: usize = 6;
/// Output channels of a blended panel.
pub const BLENDED: usize = 12;

/// Output channels that are computed together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Panel {
    /// First output channel.
    pub start: usize,
    /// 12 or 16.
    pub width: usize,
    /// Output channels that exist.
    pub len: usize,
}

/// `c_out` channels in panels of 16 and 12, with as little padding as possible.
pub fn panels(c_out: usize) -> Vec<Panel> {
    let narrow = |wide: usize| c_out.saturating_sub(PANEL * wide).div_ceil(BLENDED);
    let padded = |wide: &usize| PANEL * wide + BLENDED * narrow(*wide);
    let wide = (0..=c_out.div_ceil(PANEL)).rev().min_by_key(padded).unwrap_or(0);
    let widths = std::iter::repeat_n(PANEL, wide).chain(std::iter::repeat_n(BLENDED, narrow(wide)));
    let mut start = 0;
    widths
        .map(|width| {
            let panel = Panel { start, width, len: width.min(c_out - start) };
            start += width;
            panel
        })
        .collect()
}

/// `y += x * w` (or `y = x * w`) at six positions.
pub struct Products<'a> {
    /// `[position][tile][channel]`
    pub x: &'a [f32],
    /// Floats between positions of `x`.
    pub x_position: usize,
    /// Floats between tiles of `x`.
    pub x_tile: usize,
    pub tiles: usize,
    pub channels: usize,
    /// `[position][panel][channel][16]`
    pub weights: &'a [f32],
    pub panels: &'a [Panel],
    /// `[position][panel][tile][width]`, tiles of a blended panel in pairs.
    pub y: &'a mut [f32],
    /// Floats between positions of `y`.
    pub y_position: usize,
    /// Tiles of `y` in all, and the first to write.
    pub y_tiles: [usize; 2],
    pub accumulate: bool,
}

impl WithSimd for Products<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Products { x, x_position, x_tile, tiles, channels, weights, panels, y, y_position, accumulate, .. } = self;
        let [y_tiles, first] = self.y_tiles;
        let panel_len = channels * PANEL;
        for position in 0..WINDOW {
            let x = &x[position * x_position..];
            let mut column = 0;
            for (p, panel) in panels.iter().enumerate() {
                let w = &weights[(position * panels.len() + p) * panel_len..][..panel_len];
                let w = &S::as_simd_f32s(w).0.as_chunks::<2>().0[..channels];
                let y = &mut y[position * y_position + y_tiles * column + first * panel.width..];
                column += panel.width;
                if panel.width == BLENDED {
                    blended_tiles(simd, x, x_tile, tiles, w, y, accumulate);
                } else {
                    let mut tile = 0;
                    while tile < tiles {
                        let (x, y) = (&x[tile * x_tile..], &mut y[tile * PANEL..]);
                        match tiles - tile {
                            1 => rows::<S, 1>(simd, x, x_tile, w, y, PANEL, accumulate),
                            2 => rows::<S, 2>(simd, x, x_tile, w, y, PANEL, accumulate),
                            3 => rows::<S, 3>(simd, x, x_tile, w, y, PANEL, accumulate),
                            4 => rows::<S, 4>(simd, x, x_tile, w, y, PANEL, accumulate),
                            5 => rows::<S, 5>(simd, x, x_tile, w, y, PANEL, accumulate),
                            _ => rows::<S, 6>(simd, x, x_tile, w, y, PANEL, accumulate),
                        }
                        tile += ROWS;
                    }
                }
            }
        }
    }
}

#[inline(always)]
fn blended_tiles<S: Simd>(
    simd: S,
    x: &[f32],
    x_tile: usize,
    tiles: usize,
    w: &[[S::f32s; 2]],
    y: &mut [f32],
    accumulate: bool,
) {
    let pairs = tiles.div_ceil(2);
    let mut pair = 0;
    while pair < pairs {
        let (x, y) = (&x[2 * pair * x_tile..], &mut y[2 * pair * BLENDED..]);
        match pairs - pair {
            1 => blended::<S, 1>(simd, x, x_tile, w, y, accumulate),
            2 => blended::<S, 2>(simd, x, x_tile, w, y, accumulate),
            _ => blended::<S, 3>(simd, x, x_tile, w, y, accumulate),
        }
        pair += ROWS / 2;
    }
}

/// `P` pairs of tiles. An odd last tile has a neighbour whose values do not matter.
#[inline(always)]
fn blended<S: Simd, const P: usize>(
    simd: S,
    x: &[f32],
    x_tile: usize,
    w: &[[S::f32s; 2]],
    y: &mut [f32],
    accumulate: bool,
) {
    let channels = w.len();
    let lower = simd.mask_between_m32s(0, LANES as u32 / 2).mask();
    let row = |i: usize| &x[i.min(2 * P - 1) * x_tile..][..channels];
    let (x0, x1, x2, x3, x4, x5) = (row(0), row(1), row(2), row(3), row(4), row(5));
    let (y, _) = S::as_mut_simd_f32s(y).0.as_chunks_mut::<3>();
    let y = &mut y[..P];
    let mut sums = [[simd.splat_f32s(0.0); 3]; P];
    if accumulate {
        for p in 0..P {
            sums[p] = y[p];
        }
    }
    for k in 0..channels {
        let [whole, twice] = w[k];
        for p in 0..P {
            let (a, b) = match p {
                0 => (x0[k], x1[k]),
                1 => (x2[k], x3[k]),
                _ => (x4[k], x5[k]),
            };
            let (a, b) = (simd.splat_f32s(a), simd.splat_f32s(b));
            let [s0, s1, s2] = sums[p];
            sums[p] = [
                simd.mul_add_f32s(a, whole, s0),
                simd.mul_add_f32s(simd.select_f32s(lower, a, b), twice, s1),
                simd.mul_add_f32s(b, whole, s2),
            ];
        }
    }
    for p in 0..P {
        y[p] = sums[p];
    }
}

/// `R` tiles by two vectors of columns.
#[inline(always)]
fn rows<S: Simd, const R: usize>(
    simd: S,
    x: &[f32],
    x_tile: usize,
    w: &[[S::f32s; 2]],
    y: &mut [f32],
    y_tile: usize,
    accumulate: bool,
) {
    let channels = w.len();
    let row = |i: usize| &x[i.min(R - 1) * x_tile..][..channels];
    let (x0, x1, x2, x3, x4, x5) = (row(0), row(1), row(2), row(3), row(4), row(5));
    let mut sums = [[simd.splat_f32s(0.0); 2]; R];
    if accumulate {
        for r in 0..R {
            let (from, _) = S::as_simd_f32s(&y[r * y_tile..][..PANEL]);
            sums[r] = [from[0], from[1]];
        }
    }
    for k in 0..channels {
        let [w0, w1] = w[k];
        for r in 0..R {
            let x = match r {
                0 => x0[k],
                1 => x1[k],
                2 => x2[k],
                3 => x3[k],
                4 => x4[k],
                _ => x5[k],
            };
            sums[r] = outer(simd, sums[r], x, [w0, w1]);
        }
    }
    for r in 0..R {
        let (to, _) = S::as_mut_simd_f32s(&mut y[r * y_tile..][..PANEL]);
        [to[0], to[1]] = sums[r];
    }
}

/// grad_input at six positions: `y = dy * w`, whose columns are input channels.
pub struct GradProducts<'a> {
    /// `[position][tile][output channel]`
    pub dy: &'a [f32],
    pub dy_position: usize,
    pub tiles: usize,
    pub c_out: usize,
    /// `[position][panel of 16][output channel][16]`
    pub weights: &'a [f32],
    /// Input channels, in whole panels.
    pub columns: usize,
    /// `[position][tile][column]`
    pub y: &'a mut [f32],
    pub y_position: usize,
}

impl WithSimd for GradProducts<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        match self.c_out {
            12 => self.of::<S, 12>(simd),
            16 => self.of::<S, 16>(simd),
            24 => self.of::<S, 24>(simd),
            _ => self.of::<S, 0>(simd),
        }
    }
}

impl GradProducts<'_> {
    /// For `K` output channels; 0 means any number.
    #[inline(always)]
    fn of<S: Simd, const K: usize>(self, simd: S) {
        let GradProducts { dy, dy_position, tiles, weights, columns, y, y_position, .. } = self;
        let c_out = if K == 0 { self.c_out } else { K };
        let panel_len = c_out * PANEL;
        for position in 0..WINDOW {
            let (dy, y) = (&dy[position * dy_position..], &mut y[position * y_position..]);
            for panel in 0..columns / PANEL {
                let w = &weights[(position * (columns / PANEL) + panel) * panel_len..][..panel_len];
                let w = &S::as_simd_f32s(w).0.as_chunks::<2>().0[..c_out];
                let mut tile = 0;
                while tile < tiles {
                    let (x, y) = (&dy[tile * c_out..], &mut y[tile * columns + panel * PANEL..]);
                    match tiles - tile {
                        1 => rows::<S, 1>(simd, x, c_out, w, y, columns, false),
                        2 => rows::<S, 2>(simd, x, c_out, w, y, columns, false),
                        3 => rows::<S, 3>(simd, x, c_out, w, y, columns, false),
                        4 => rows::<S, 4>(simd, x, c_out, w, y, columns, false),
                        5 => rows::<S, 5>(simd, x, c_out, w, y, columns, false),
                        _ => rows::<S, 6>(simd, x, c_out, w, y, columns, false),
                    }
                    tile += ROWS;
                }
            }
        }
    }
}

/// grad_weight at six positions: `sums[o][c] += sum over tiles of dy[tile][o] * x[tile][c]`.
pub struct Outer<'a> {
    /// `[position][tile][column]`
    pub x: &'a [f32],
    pub x_position: usize,
    pub columns: usize,
    /// `[position][tile][output channel]`
    pub dy: &'a [f32],
    pub dy_position: usize,
    pub c_out: usize,
    pub tiles: usize,
    /// `[position][panel of 16][output channel][16]`
    pub sums: &'a mut [f32],
}

impl WithSimd for Outer<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        match (self.c_out, self.columns) {
            (12, 48) => self.of::<S, 12, 48>(simd),
            _ => self.of::<S, 0, 0>(simd),
        }
    }
}

impl Outer<'_> {
    /// For `K` output channels and `C` columns; 0 means any number.
    #[inline(always)]
    fn of<S: Simd, const K: usize, const C: usize>(self, simd: S) {
        let Outer { x, x_position, dy, dy_position, tiles, sums, .. } = self;
        let c_out = if K == 0 { self.c_out } else { K };
        let columns = if C == 0 { self.columns } else { C };
        let panels = columns / PANEL;
        for position in 0..WINDOW {
            let x = &x[position * x_position..][..tiles * columns];
            let dy = &dy[position * dy_position..][..tiles * c_out];
            for panel in 0..panels {
                let sums = &mut sums[(position * panels + panel) * c_out * PANEL..][..c_out * PANEL];
                for (i, sums) in sums.chunks_mut(ROWS * PANEL).enumerate() {
                    let (x, dy) = (&x[panel * PANEL..], &dy[i * ROWS..]);
                    match sums.len() / PANEL {
                        1 => sums_of::<S, 1>(simd, x, columns, dy, c_out, sums),
                        2 => sums_of::<S, 2>(simd, x, columns, dy, c_out, sums),
                        3 => sums_of::<S, 3>(simd, x, columns, dy, c_out, sums),
                        4 => sums_of::<S, 4>(simd, x, columns, dy, c_out, sums),
                        5 => sums_of::<S, 5>(simd, x, columns, dy, c_out, sums),
                        _ => sums_of::<S, 6>(simd, x, columns, dy, c_out, sums),
                    }
                }
            }
        }
    }
}

/// `R` output channels by two vectors of input channels, over all tiles.
#[inline(always)]
fn sums_of<S: Simd, const R: usize>(simd: S, x: &[f32], columns: usize, dy: &[f32], c_out: usize, sums: &mut [f32]) {
    let (sums, _) = S::as_mut_simd_f32s(sums).0.as_chunks_mut::<2>();
    let Some(sums) = sums.first_chunk_mut::<R>() else { return };
    let mut acc = *sums;
    for (x, dy) in x.chunks(columns).zip(dy.chunks(c_out)) {
        let (Some(x), Some(dy)) = (x.get(..PANEL), dy.first_chunk::<R>()) else { break };
        let (x, _) = S::as_simd_f32s(x);
        let (x0, x1) = (x[0], x[1]);
        for r in 0..R {
            acc[r] = outer(simd, acc[r], dy[r], [x0, x1]);
        }
    }
    *sums = acc;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panels_pad_as_little_as_they_can() {
        let widths = |c_out: usize| panels(c_out).iter().map(|p| (p.width, p.len)).collect::<Vec<_>>();
        assert_eq!(widths(12), [(12, 12)]);
        assert_eq!(widths(16), [(16, 16)]);
        assert_eq!(widths(24), [(12, 12), (12, 12)]);
        assert_eq!(widths(36), [(12, 12); 3]);
        assert_eq!(widths(40), [(16, 16), (12, 12), (12, 12)]);
        assert_eq!(widths(48), [(16, 16); 3]);
        assert_eq!(widths(5), [(12, 5)]);
        assert_eq!(widths(19), [(12, 12), (12, 7)]);
    }
}
