//! Tiles into their transforms, and back.

use super::super::super::tile::load;
use super::super::form;
use super::Grid;
use pulp::{Simd, WithSimd};

/// Where transformed values lie: `position * p + tile * t + (c / width) * panel + c % width`.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// Floats between positions.
    pub position: usize,
    /// Floats between tiles.
    pub tile: usize,
    /// Floats between panels of `width` channels.
    pub panel: usize,
    /// Channels of a panel.
    pub width: usize,
    /// Floats of a group of tiles.
    pub group: usize,
}

impl Layout {
    /// A tile's channels together: rows of a matrix product.
    pub fn rows(positions: usize, tiles: usize, channels: usize, width: usize) -> Layout {
        let tile = channels + super::SKEW;
        Layout { position: tiles * tile, tile, panel: width, width, group: positions * tiles * tile }
    }

    /// A panel's tiles together: sums over tiles.
    pub fn panels(positions: usize, tiles: usize, channels: usize, width: usize) -> Layout {
        let panel = positions * tiles * width;
        Layout { position: tiles * width, tile: width, panel, width, group: channels / width * panel }
    }
}

/// Which transform.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `Bt x B` of windows.
    Input,
    /// `A dy At` of `T` x `T` pixels.
    GradOutput,
}

/// All tiles of a padded image.
pub struct Transform<'a, const T: usize, const W: usize> {
    pub grid: &'a Grid<T, W>,
    pub kind: Kind,
    /// As [`Grid::plan`] pads it.
    pub padded: &'a [f32],
    pub channels: usize,
    pub out: &'a mut [f32],
    pub layout: Layout,
}

impl<const T: usize, const W: usize> WithSimd for Transform<'_, T, W> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Transform { grid, kind, padded, channels, out, layout } = self;
        let border = Grid::<T, W>::BORDER;
        let row_len = (grid.columns * T + 2 * border) * channels;
        for t in 0..grid.per_image() {
            let (y, x) = (t / grid.columns * T, t % grid.columns * T);
            let at = y * row_len + x * channels;
            let out = &mut out[t * layout.tile..];
            for c in (0..channels).step_by(S::F32_LANES) {
                let out = &mut out[c / layout.width * layout.panel + c % layout.width..];
                match kind {
                    Kind::Input => input::<S, W>(simd, &padded[at + c..], [row_len, channels], out, layout.position),
                    Kind::GradOutput => {
                        // A tile's output begins behind the border of its window.
                        let dy = &padded[at + border * (row_len + channels) + c..];
                        grad_output::<S, T, W>(simd, dy, [row_len, channels], out, layout.position);
                    }
                }
            }
        }
    }
}

#[inline(always)]
fn input<S: Simd, const W: usize>(simd: S, pixels: &[f32], [dy, dx]: [usize; 2], out: &mut [f32], stride: usize) {
    let mut columns = [[simd.splat_f32s(0.0); W]; W];
    for (x, column) in columns.iter_mut().take(form::window(W)).enumerate() {
        let mut values = [simd.splat_f32s(0.0); W];
        for (y, v) in values.iter_mut().take(form::window(W)).enumerate() {
            *v = load(simd, &pixels[y * dy + x * dx..][..S::F32_LANES]);
        }
        *column = form::input(simd, values);
    }
    for r in 0..W {
        let mut row = [columns[0][r]; W];
        for (v, column) in row.iter_mut().zip(&columns) {
            *v = column[r];
        }
        for (s, &v) in form::input(simd, row).iter().enumerate() {
            S::as_mut_simd_f32s(&mut out[(r * W + s) * stride..][..S::F32_LANES]).0[0] = v;
        }
    }
}

#[inline(always)]
fn grad_output<S: Simd, const T: usize, const W: usize>(
    simd: S,
    pixels: &[f32],
    [dy, dx]: [usize; 2],
    out: &mut [f32],
    stride: usize,
) {
    let mut columns = [[simd.splat_f32s(0.0); W]; T];
    for (x, column) in columns.iter_mut().enumerate() {
        let mut values = [simd.splat_f32s(0.0); T];
        for (y, v) in values.iter_mut().enumerate() {
            *v = load(simd, &pixels[y * dy + x * dx..][..S::F32_LANES]);
        }
        *column = form::grad_output::<S, T, W>(simd, values);
    }
    for r in 0..W {
        let mut row = [columns[0][r]; T];
        for (v, column) in row.iter_mut().zip(&columns) {
            *v = column[r];
        }
        for (s, &v) in form::grad_output::<S, T, W>(simd, row).iter().enumerate() {
            S::as_mut_simd_f32s(&mut out[(r * W + s) * stride..][..S::F32_LANES]).0[0] = v;
        }
    }
}

/// `At m A` of all tiles of `images` images: `y[tile][position][width]` into `out[pixel][width]`.
pub struct Output<'a, const T: usize, const W: usize> {
    pub grid: &'a Grid<T, W>,
    pub images: usize,
    pub y: &'a [f32],
    pub width: usize,
    pub out: &'a mut [f32],
}

impl<const T: usize, const W: usize> WithSimd for Output<'_, T, W> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Output { grid, images, y, width, out } = self;
        let tiles = y.chunks_exact(W * W * width).take(images * grid.per_image());
        for (t, m) in tiles.enumerate() {
            let (image, tile) = (t / grid.per_image(), t % grid.per_image());
            let (y, x) = (tile / grid.columns * T, tile % grid.columns * T);
            for c in (0..width).step_by(S::F32_LANES) {
                let mut columns = [[simd.splat_f32s(0.0); T]; W];
                for (x, column) in columns.iter_mut().enumerate() {
                    let mut values = [simd.splat_f32s(0.0); W];
                    for (r, v) in values.iter_mut().enumerate() {
                        *v = load(simd, &m[(r * W + x) * width + c..][..S::F32_LANES]);
                    }
                    *column = form::output::<S, T, W>(simd, values);
                }
                for r in 0..T.min(grid.height - y) {
                    let mut row = [columns[0][r]; W];
                    for (v, column) in row.iter_mut().zip(&columns) {
                        *v = column[r];
                    }
                    let row = form::output::<S, T, W>(simd, row);
                    for (s, &v) in row.iter().enumerate().take(grid.width - x) {
                        let at = ((image * grid.height + y + r) * grid.width + x + s) * width + c;
                        S::as_mut_simd_f32s(&mut out[at..][..S::F32_LANES]).0[0] = v;
                    }
                }
            }
        }
    }
}
