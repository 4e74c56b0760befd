//! The forward pass.

use super::super::super::forward::{Forward, load_inside};
use super::super::super::load::zero_border;
use super::super::super::tile::load;
use super::super::taps::Taps;
use super::panels::Product;
use super::tiles::{Kind, Layout, Transform};
use super::{Grid, Tiling, tiling};
use crate::kernels::elementwise::add_assign;
use crate::kernels::moments::{self, Partial};
use crate::kernels::scratch::Scratch;
use crate::kernels::simd::{Level, lanes, run};
use crate::parallel;
use crate::tensor::Tensor;
use pulp::{Simd, WithSimd};
use std::ops::Range;

/// Fills `out (n, h, w, c_out)`; returns its means and variances if asked to measure.
pub fn forward(level: Level, pass: &Forward, out: &mut [f32]) -> Option<Vec<f32>> {
    match tiling(&pass.size) {
        Tiling::Four => of::<4, 6>(level, pass, out),
        Tiling::Two => of::<2, 4>(level, pass, out),
        Tiling::Whole => of::<2, 3>(level, pass, out),
    }
}

fn of<const T: usize, const W: usize>(level: Level, pass: &Forward, out: &mut [f32]) -> Option<Vec<f32>> {
    let size = &pass.size;
    let (grid, width) = (Grid::<T, W>::new(size), super::panel_width(size, lanes(level)));
    let layout = Layout::rows(W * W, grid.group_tiles(), size.c_in, width);
    let mut pieces: Vec<Partial> = vec![];
    for block in grid.blocks(size.n) {
        let groups = block.len().div_ceil(grid.group_images());
        let tiles = Tensor::build([groups * layout.group], |tiles| {
            parallel::chunks_mut(tiles, layout.group, |group, tiles| {
                let images = images_of(&grid, &block, group);
                run(level, Tiles::<T, W> { pass, grid: &grid, images, layout, out: tiles });
            });
        });
        let pixels = block.len() * grid.pixels();
        let panels = Tensor::build([size.c_out * pixels], |panels| {
            parallel::chunks_mut(panels, pixels * width, |panel, out| {
                let taps = Taps::copy(pass.weight, [size.c_in, size.c_out], panel * width, width);
                let (x, images) = (tiles.data(), block.len());
                run(level, Product::<T, W> { grid: &grid, images, x, layout, channels: size.c_in, taps, out });
            });
        });
        let image_len = grid.pixels() * size.c_out;
        let out = &mut out[block.start * image_len..block.end * image_len];
        let rows = (ROWS / grid.pixels()).max(1) * grid.pixels();
        let of_rows = parallel::each(out.chunks_mut(rows * size.c_out).collect(), |i, out| {
            let (first, count) = (i * rows, out.len() / size.c_out);
            run(
                level,
                Unite { panels: panels.data(), pixels, width, rows: first..first + count, out, channels: size.c_out },
            );
            finish(pass, block.start * grid.pixels() + first, out);
            pass.measure.then(|| run(level, Measure(out, size.c_out)))
        });
        pieces.extend(of_rows.into_iter().flatten());
    }
    pass.measure.then(|| moments::merge(&pieces, size.c_out))
}

/// Pixels of a task that puts panels together, about.
const ROWS: usize = 128;

/// Images of the `group`-th group of a block.
pub(super) fn images_of<const T: usize, const W: usize>(
    grid: &Grid<T, W>,
    block: &Range<usize>,
    group: usize,
) -> Range<usize> {
    let first = block.start + group * grid.group_images();
    first..(first + grid.group_images()).min(block.end)
}

/// Bias and residual.
fn finish(pass: &Forward, first: usize, out: &mut [f32]) {
    if let Some(bias) = pass.bias {
        out.chunks_exact_mut(bias.len()).for_each(|row| add_assign(row, bias));
    }
    if let Some(add) = pass.add {
        add_assign(out, &add[first * pass.size.c_out..][..out.len()]);
    }
}

/// Some rows of all channels, out of `panels[panel][pixel][width]`.
pub(super) struct Unite<'a> {
    pub panels: &'a [f32],
    /// Of each panel.
    pub pixels: usize,
    /// Whole vectors.
    pub width: usize,
    pub rows: Range<usize>,
    pub channels: usize,
    pub out: &'a mut [f32],
}

impl WithSimd for Unite<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Unite { panels, pixels, width, rows, channels, out } = self;
        // Row by row: what is written would otherwise come from memory a line or two at a time.
        for (row, out) in rows.zip(out.chunks_exact_mut(channels)) {
            for (panel, out) in out.chunks_exact_mut(width).enumerate() {
                let from = &panels[(panel * pixels + row) * width..][..width];
                // Vector by vector: a call for each piece costs as much as the piece.
                for (out, from) in S::as_mut_simd_f32s(out).0.iter_mut().zip(from.chunks_exact(S::F32_LANES)) {
                    *out = load(simd, from);
                }
            }
        }
    }
}

struct Measure<'a>(&'a [f32], usize);

impl WithSimd for Measure<'_> {
    type Output = Partial;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Partial {
        moments::partial(simd, self.0, self.1)
    }
}

/// One group's images into transformed tiles.
struct Tiles<'a, const T: usize, const W: usize> {
    pass: &'a Forward<'a>,
    grid: &'a Grid<T, W>,
    images: Range<usize>,
    layout: Layout,
    out: &'a mut [f32],
}

impl<const T: usize, const W: usize> WithSimd for Tiles<'_, T, W> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Tiles { pass, grid, images, layout, out } = self;
        let channels = pass.size.c_in;
        let plan = grid.plan(channels);
        let lengths = [plan.scratch_len()];
        let mut memory = Scratch::new(lengths);
        let [padded] = memory.split(lengths);
        zero_border(&plan, padded);
        clear_missing(grid, images.len(), out, layout);
        for (image, first) in images.zip((0..).step_by(grid.per_image() * layout.tile)) {
            load_inside(simd, &pass.input, &plan, image, padded);
            let out = &mut out[first..];
            Transform::<T, W> { grid, kind: Kind::Input, padded, channels, out, layout }.with_simd(simd);
        }
    }
}

/// The last group of a block may lack images: zeros there add nothing to grad_weight, and are no NaN to a product.
pub(super) fn clear_missing<const T: usize, const W: usize>(
    grid: &Grid<T, W>,
    images: usize,
    out: &mut [f32],
    layout: Layout,
) {
    if images < grid.group_images() {
        let missing = images * grid.per_image() * layout.tile;
        out.chunks_exact_mut(layout.position).for_each(|position| position[missing..].fill(0.0));
    }
}
