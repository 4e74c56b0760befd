//! The forward pass.

use super::input::{Source, strip_len};
use super::multiply::{Panel, Products, panels};
use super::output::Output;
use super::weights::{forward_len, pack_forward};
use super::{Block, CHANNELS, LINE, POSITIONS, Strips, Tiles, WINDOW, affine_len, eight_lanes, expand_affine};
use crate::kernels::conv2d::forward::Forward;
use crate::kernels::moments::{self, Partial};
use crate::kernels::scratch::Scratch;
use crate::kernels::simd::{Level, apart, run};
use crate::parallel::{Pieces, sweep};
use pulp::{Simd, WithSimd};

/// Tiles whose transform is held at a time.
const BLOCK_TILES: usize = 16;
/// Tiles of a task, at least, where there are small images to gather.
const TASK_TILES: usize = 32;
/// Floats of the products of the tiles that go through all channels together, about: 160 KiB.
const SUMS: usize = 40 << 10;

/// Fills `out (n, h, w, c_out)`; returns its means and variances if asked to measure.
pub fn forward(level: Level, pass: &Forward, out: &mut [f32]) -> Option<Vec<f32>> {
    let level = eight_lanes(level);
    let size = &pass.size;
    let tiles = Tiles::new(size);
    let (blocks, panels) = (Block::of(pass.input.maps.iter().map(|map| map.1)), panels(size.c_out));
    let weights = pack_forward(level, size, &blocks, &panels, pass.weight);
    let images = Pieces::even_of_at_most(size.n, TASK_TILES / tiles.per_image());
    let image_len = size.h * size.w * size.c_out;
    let shared = Shared { pass, tiles, blocks: &blocks, panels: &panels, weights: weights.data() };
    let pieces: Vec<Option<Partial>> = sweep(images.split(out, image_len), |task, out, _| {
        let images = images.range(task);
        run(level, Task { shared: &shared, first: images.start, images: images.len(), out })
    });
    pass.measure.then(|| {
        let pieces: Vec<Partial> = pieces.into_iter().flatten().collect();
        moments::merge(&pieces, size.c_out)
    })
}

struct Shared<'a> {
    pass: &'a Forward<'a>,
    tiles: Tiles,
    blocks: &'a [Block],
    panels: &'a [Panel],
    weights: &'a [f32],
}

struct Task<'a> {
    shared: &'a Shared<'a>,
    first: usize,
    images: usize,
    out: &'a mut [f32],
}

impl WithSimd for Task<'_> {
    type Output = Option<Partial>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Option<Partial> {
        let Task { shared, first, images, out } = self;
        let Shared { pass, tiles, blocks, panels, .. } = *shared;
        let size = &pass.size;
        let all = Strips::of_images(tiles, images);
        let padded: usize = panels.iter().map(|panel| panel.width).sum();
        // Strips that go through all channels together: whole blocks of tiles.
        let per_block = Strips::per_piece(&tiles, BLOCK_TILES);
        let together = (SUMS / (POSITIONS * padded) / (per_block * tiles.columns)).max(1) * per_block;
        let together = together.min(all.len().next_multiple_of(per_block));
        let block_tiles = even(per_block * tiles.columns);
        let sizes = Sizes {
            x_position: block_tiles * CHANNELS + LINE,
            y_tiles: together / per_block * block_tiles,
            y_position: together / per_block * block_tiles * padded + LINE,
            block_tiles,
            per_block,
        };
        let lengths = [
            per_block * blocks.iter().map(|block| strip_len(block, &tiles)).max().unwrap_or(0),
            WINDOW * sizes.x_position,
            POSITIONS * sizes.y_position,
            affine_len(blocks, size.w),
        ];
        let mut memory = Scratch::new(lengths);
        let [t, x, y, affine] = memory.split(lengths);
        let source = Source { input: &pass.input, tiles, first };
        for strips in all.pieces(together * tiles.columns) {
            shared.products(simd, &source, &strips, &sizes, [&mut *t, &mut *x, &mut *y, &mut *affine]);
            for (i, strips) in strips.pieces(per_block * tiles.columns).enumerate() {
                let mut column = 0;
                for &panel in panels {
                    let y = &y[sizes.y_tiles * column + i * sizes.block_tiles * panel.width..];
                    column += panel.width;
                    let (out, channels) = (&mut *out, size.c_out);
                    apart(simd, Output { strips: &strips, panel, y, y_position: sizes.y_position, out, channels });
                }
            }
        }
        shared.add_extras(first, out);
        pass.measure.then(|| moments::partial(simd, out, size.c_out))
    }
}

/// `n`, or one more.
fn even(n: usize) -> usize {
    n.next_multiple_of(2)
}

struct Sizes {
    /// Strips of a block of tiles.
    per_block: usize,
    /// Tiles of a block, even.
    block_tiles: usize,
    x_position: usize,
    y_tiles: usize,
    y_position: usize,
}

impl Shared<'_> {
    /// The products of some strips with all channels.
    #[inline(always)]
    fn products<S: Simd>(
        &self,
        simd: S,
        source: &Source,
        strips: &Strips,
        sizes: &Sizes,
        [t, x, y, affine]: [&mut [f32]; 4],
    ) {
        let (tiles, panels) = (self.tiles, self.panels);
        let mut weights = self.weights;
        for (b, block) in self.blocks.iter().enumerate() {
            let (block_weights, rest) = weights.split_at(forward_len(block, panels));
            weights = rest;
            expand_affine(source.input.affine, block, tiles.width, affine);
            source.zero_borders(block, sizes.per_block.min(strips.len()), t);
            for (i, strips) in strips.pieces(sizes.per_block * tiles.columns).enumerate() {
                source.columns_of(simd, block, &strips, affine, t);
                for r in 0..WINDOW {
                    source.rows_of(simd, block, &strips, (t, r), (&mut *x, sizes.x_position));
                    let row_len = block_weights.len() / WINDOW;
                    let products = Products {
                        x,
                        x_position: sizes.x_position,
                        x_tile: block.columns(),
                        tiles: strips.tiles(),
                        channels: block.channels,
                        weights: &block_weights[r * row_len..(r + 1) * row_len],
                        panels,
                        y: &mut y[r * WINDOW * sizes.y_position..],
                        y_position: sizes.y_position,
                        y_tiles: [sizes.y_tiles, i * sizes.block_tiles],
                        accumulate: b > 0,
                    };
                    apart(simd, products);
                }
            }
        }
    }

    /// Bias and residual sum, which these layers hardly ever have: a pass of their own.
    fn add_extras(&self, first: usize, out: &mut [f32]) {
        if let Some(bias) = self.pass.bias {
            out.chunks_exact_mut(bias.len()).for_each(|pixel| pixel.iter_mut().zip(bias).for_each(|(o, b)| *o += b));
        }
        if let Some(add) = self.pass.add {
            let size = &self.pass.size;
            let add = &add[first * size.h * size.w * size.c_out..];
            out.iter_mut().zip(add).for_each(|(o, a)| *o += a);
        }
    }
}
