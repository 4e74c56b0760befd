//! `At y A`: the forward pass's output.

use super::super::transform::output_1d;
use super::multiply::{BLENDED, PANEL, Panel};
use super::{LANES, POSITIONS, Strips, TILE, WINDOW, inlined};
use pulp::{Simd, WithSimd, bytemuck};

/// The tiles of some strips, for one panel of output channels.
pub struct Output<'a> {
    pub strips: &'a Strips,
    pub panel: Panel,
    /// `[position][tile][width]` from the first of these tiles on, tiles of a blended panel in pairs.
    pub y: &'a [f32],
    /// Floats between positions.
    pub y_position: usize,
    /// Images x height x width x `channels`.
    pub out: &'a mut [f32],
    pub channels: usize,
}

impl WithSimd for Output<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Output { strips, panel, y, y_position, out, channels } = self;
        let mut write = Write { strips, panel, out, channels };
        if panel.width == BLENDED {
            for pair in 0..strips.tiles().div_ceil(2) {
                let [a, ab, b] = [0, LANES, 2 * LANES].map(|at| pair * 2 * BLENDED + at);
                let (tile, next) = (2 * pair, 2 * pair + 1);
                let v = inverse(simd, y, y_position, a);
                write.tile(tile, 0, |pixel| &bytes::<S>(&v)[pixel * LANES..][..LANES]);
                let v = inverse(simd, y, y_position, ab);
                write.tile(tile, LANES, |pixel| &bytes::<S>(&v)[pixel * LANES..][..LANES / 2]);
                write.tile(next, LANES, |pixel| &bytes::<S>(&v)[pixel * LANES + LANES / 2..][..LANES / 2]);
                let v = inverse(simd, y, y_position, b);
                write.tile(next, 0, |pixel| &bytes::<S>(&v)[pixel * LANES..][..LANES]);
            }
        } else {
            for tile in 0..strips.tiles() {
                for at in [0, LANES] {
                    let v = inverse(simd, y, y_position, tile * PANEL + at);
                    write.tile(tile, at, |pixel| &bytes::<S>(&v)[pixel * LANES..][..LANES]);
                }
            }
        }
    }
}

#[inline(always)]
fn bytes<S: Simd>(v: &[S::f32s; TILE * TILE]) -> &[f32] {
    bytemuck::cast_slice(v)
}

/// The 16 pixels of a vector of channels.
#[inline(always)]
fn inverse<S: Simd>(simd: S, y: &[f32], position_len: usize, at: usize) -> [S::f32s; TILE * TILE] {
    let y = |position: usize| S::as_simd_f32s(&y[position * position_len + at..][..LANES]).0[0];
    let row = inlined(
        #[inline(always)]
        |r: usize| {
            let at = r * WINDOW;
            output_1d(simd, [y(at), y(at + 1), y(at + 2), y(at + 3), y(at + 4), y(at + 5)])
        },
    );
    const { assert!(POSITIONS == WINDOW * WINDOW) };
    let rows = [row(0), row(1), row(2), row(3), row(4), row(5)];
    let column = inlined(
        #[inline(always)]
        |x: usize| output_1d(simd, [rows[0][x], rows[1][x], rows[2][x], rows[3][x], rows[4][x], rows[5][x]]),
    );
    let [c0, c1, c2, c3] = [column(0), column(1), column(2), column(3)];
    [c0[0], c1[0], c2[0], c3[0], c0[1], c1[1], c2[1], c3[1], c0[2], c1[2], c2[2], c3[2], c0[3], c1[3], c2[3], c3[3]]
}

struct Write<'a> {
    strips: &'a Strips,
    panel: Panel,
    out: &'a mut [f32],
    channels: usize,
}

impl Write<'_> {
    /// Stores what exists of a tile's channels from `at` on.
    #[inline(always)]
    fn tile<'v>(&mut self, tile: usize, at: usize, values: impl Fn(usize) -> &'v [f32]) {
        if tile >= self.strips.tiles() || at >= self.panel.len {
            return;
        }
        let tiles = &self.strips.tiles;
        let strip = self.strips.range.start + tile / tiles.columns;
        let (image, y, x) = (strip / tiles.rows, strip % tiles.rows * TILE, tile % tiles.columns * TILE);
        let (height, width) = ((tiles.height - y).min(TILE), (tiles.width - x).min(TILE));
        let start = ((image * tiles.height + y) * tiles.width + x) * self.channels + self.panel.start + at;
        let row_len = tiles.width * self.channels;
        for r in 0..height {
            for s in 0..width {
                let values = values(r * TILE + s);
                let len = values.len().min(self.panel.len - at);
                let out = &mut self.out[start + r * row_len + s * self.channels..][..len];
                if len == LANES {
                    out.copy_from_slice(&values[..LANES]);
                } else if len == LANES / 2 {
                    out.copy_from_slice(&values[..LANES / 2]);
                } else {
                    out.copy_from_slice(&values[..len]);
                }
            }
        }
    }
}
