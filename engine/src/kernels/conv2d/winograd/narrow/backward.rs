//! grad_input and grad_weight.

use super::finish;
use super::input::{self, Source, strip_len, two};
use super::multiply::{GradProducts, Outer};
use super::weights::{backward_len, finish_grad_weight, pack_grad_input, split};
use super::{
    Block, CHANNELS, LINE, POSITIONS, Segment, Strips, TILE, Tiles, WINDOW, affine_len, eight_lanes, expand_affine,
    row_len,
};
use crate::kernels::channel_sums;
use crate::kernels::conv2d::backward::{Backward, MapGrad, Small, Write, chunk_count, split_maps};
use crate::kernels::conv2d::load::{Activation, GradTerms};
use crate::kernels::scratch::Scratch;
use crate::kernels::simd::{Level, apart, run};
use crate::parallel::{Pieces, sweep};
use crate::tensor::Tensor;
use pulp::{Simd, WithSimd};
use std::ops::Range;

/// Tiles whose transform is held at a time.
const BLOCK_TILES: usize = 16;
/// Tiles of a group of images, at least, where there are small images to gather.
const GROUP_TILES: usize = 32;

/// Writes the maps' gradients and returns the small ones.
pub fn backward(level: Level, pass: &Backward, mut grad_maps: Vec<MapGrad>) -> Small {
    let level = eight_lanes(level);
    let size = &pass.size;
    let tiles = Tiles::new(size);
    let blocks = Block::of(pass.input.maps.iter().map(|map| map.1));
    let needs_input = grad_maps.iter().any(Option::is_some);
    let weights = needs_input.then(|| pack_grad_input(level, size, &blocks, pass.weight));

    // Chunks of whole groups of images, each with sums of its own.
    let images = (GROUP_TILES / tiles.per_image()).max(1);
    let groups = size.n.div_ceil(images);
    let sums_len: usize = blocks.iter().map(|block| backward_len(block, size.c_out)).sum();
    let chunked = Pieces::power_of_two(groups, chunk_count(size.macs(), sums_len));
    let chunks = chunked.count();
    let sums_len = if pass.needs_weight { sums_len } else { 0 };
    // Each chunk zeroes its own sums, while it has them in its cache.
    let mut sums = Tensor::build([chunks, sums_len], |_| {});
    let mut grads = split_maps(&mut grad_maps, pass.input.maps, chunked, images * size.h * size.w);
    let shared = Shared { pass, tiles, blocks: &blocks, weights: weights.as_ref().map(Tensor::data), images };
    let pieces = split(sums.data_mut(), std::iter::repeat_n(sums_len, chunks));
    let totals: Vec<Totals> = sweep(grads.iter_mut().zip(pieces).collect(), |chunk, (grads, sums), _| {
        let groups = chunked.range(chunk);
        let range = groups.start * images..(groups.end * images).min(size.n);
        run(level, Chunk { shared: &shared, range, grads, sums })
    });

    let total = |f: fn(&Totals) -> &[f64], channels| channel_sums::total(channels, totals.iter().map(f));
    Small {
        weight: pass.needs_weight.then(|| finish_grad_weight(level, size, &blocks, sums.data())),
        bias: pass.needs_bias.then(|| total(|s| &s.bias, size.c_out)),
        affine: (needs_input && pass.input.affine.is_some())
            .then(|| (total(|s| &s.scale, size.c_in), total(|s| &s.shift, size.c_in))),
    }
}

struct Shared<'a> {
    pass: &'a Backward<'a>,
    tiles: Tiles,
    blocks: &'a [Block],
    /// Packed for grad_input, if any is wanted.
    weights: Option<&'a [f32]>,
    /// Images of a group.
    images: usize,
}

/// Sums of one chunk.
struct Totals {
    bias: Vec<f64>,
    scale: Vec<f64>,
    shift: Vec<f64>,
}

struct Chunk<'a, 'b> {
    shared: &'a Shared<'a>,
    range: Range<usize>,
    grads: &'a mut Vec<MapGrad<'b>>,
    /// Of grad_weight, transformed.
    sums: &'a mut [f32],
}

impl WithSimd for Chunk<'_, '_> {
    type Output = Totals;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Totals {
        let Chunk { shared, range, grads, sums } = self;
        let size = &shared.pass.size;
        sums.fill(0.0);
        let mut totals = Totals {
            bias: vec![0.0; if shared.pass.needs_bias { size.c_out } else { 0 }],
            scale: vec![0.0; size.c_in],
            shift: vec![0.0; size.c_in],
        };
        for first in range.clone().step_by(shared.images) {
            let group = Group {
                first,
                done: first - range.start,
                strips: Strips::of_images(shared.tiles, shared.images.min(range.end - first)),
            };
            shared.group(simd, &group, grads, sums, &mut totals);
        }
        totals
    }
}

/// Some consecutive images of a chunk.
struct Group {
    /// Of the whole batch.
    first: usize,
    /// The chunk's images before it.
    done: usize,
    strips: Strips,
}

impl Shared<'_> {
    #[inline(always)]
    fn group<S: Simd>(&self, simd: S, group: &Group, grads: &mut [MapGrad], sums: &mut [f32], totals: &mut Totals) {
        let Shared { pass, tiles, blocks, .. } = *self;
        let (c_out, width) = (pass.size.c_out, tiles.width);
        let per_block = Strips::per_piece(&tiles, BLOCK_TILES).min(group.strips.len());
        let six_position = per_block * tiles.columns * CHANNELS + LINE;
        let dy_position = group.strips.tiles() * c_out + LINE;
        let images = group.strips.len() / tiles.rows;
        let dy_t = WINDOW * row_len(tiles.columns * TILE + 2, c_out);
        let affine = affine_len(blocks, width);
        let lengths = [
            images * tiles.height * width * c_out + 5 * width * c_out,
            if pass.needs_weight { POSITIONS * dy_position } else { 0 },
            if self.weights.is_some() { POSITIONS * dy_position } else { 0 },
            dy_t.max(per_block * blocks.iter().map(|block| strip_len(block, &tiles)).max().unwrap_or(0)),
            WINDOW * six_position,
            affine,
            affine,
        ];
        let mut memory = Scratch::new(lengths);
        let [dy, dy_outer, dy_input, t, six, affine, run_sums] = memory.split(lengths);
        let (ones, dy) = dy.split_at_mut(5 * width * c_out);
        self.load_grad(simd, group.first, ones, dy);
        if pass.needs_bias {
            for dy in dy.chunks_exact(c_out) {
                totals.bias.iter_mut().zip(dy).for_each(|(s, &g)| *s += f64::from(g));
            }
        }
        let dy = GradMap { dy, tiles, c_out, ones: &ones[..2 * width * c_out] };
        if pass.needs_weight {
            dy.transform::<S, true>(simd, &group.strips, t, dy_outer, dy_position);
        }
        if self.weights.is_some() {
            dy.transform::<S, false>(simd, &group.strips, t, dy_input, dy_position);
        }

        let source = Source { input: &pass.input, tiles, first: group.first };
        let (mut weights, mut sums) = (self.weights.unwrap_or(&[]), sums);
        for block in blocks {
            let len = backward_len(block, c_out);
            expand_affine(pass.input.affine, block, width, affine);
            let mut work = Work { source: &source, block, affine, per_block, t: &mut *t, six: &mut *six, six_position };
            if pass.needs_weight {
                let (block_sums, rest) = sums.split_at_mut(len);
                sums = rest;
                work.grad_weight(simd, &group.strips, (&*dy_outer, dy_position, c_out), block_sums);
            }
            if self.weights.is_some() {
                let (block_weights, rest) = weights.split_at(len);
                weights = rest;
                work.grad_input(simd, group, (&*dy_input, dy_position, c_out), block_weights, grads, run_sums);
                work.add_sums(run_sums, totals);
            }
        }
    }

    /// The gradient of the output of some images, its terms applied. `rows` are five rows of working memory, of which the first two
    /// are left as ones and zeros: the affine that changes nothing.
    #[inline(always)]
    fn load_grad<S: Simd>(&self, simd: S, first: usize, rows: &mut [f32], dy: &mut [f32]) {
        let terms = &self.pass.grad_output;
        let c_out = self.pass.size.c_out;
        let row = self.tiles.width * c_out;
        let (ones, rest) = rows.split_at_mut(row);
        let (zeros, rest) = rest.split_at_mut(row);
        let (scale, rest) = rest.split_at_mut(row);
        let (slope, offset) = rest.split_at_mut(row);
        ones.fill(1.0);
        zeros.fill(0.0);
        let repeat = |values: Option<&[f32]>, default: f32, row: &mut [f32]| match values {
            None => row.fill(default),
            Some(values) => row.chunks_exact_mut(c_out).for_each(|pixel| pixel.copy_from_slice(values)),
        };
        repeat(terms.scale, 1.0, scale);
        repeat(terms.affine_of.map(|(_, slope, _)| slope), 0.0, slope);
        repeat(terms.affine_of.map(|(.., offset)| offset), 0.0, offset);
        let start = first * self.tiles.height * row;
        apart(simd, LoadGrad { terms, start, scale, slope, offset, out: dy });
    }
}

/// `out = scale*grad + slope*map + offset`, factors given over a row of pixels.
struct LoadGrad<'a> {
    terms: &'a GradTerms<'a>,
    start: usize,
    scale: &'a [f32],
    slope: &'a [f32],
    offset: &'a [f32],
    out: &'a mut [f32],
}

impl WithSimd for LoadGrad<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let LoadGrad { terms, start, scale, slope, offset, out } = self;
        let grad = &terms.grad[start..][..out.len()];
        let row = scale.len();
        match terms.affine_of {
            None if terms.scale.is_none() => out.copy_from_slice(grad),
            None => {
                for (out, grad) in out.chunks_exact_mut(row).zip(grad.chunks_exact(row)) {
                    out.iter_mut().zip(grad).zip(scale).for_each(|((o, g), s)| *o = g * s);
                }
            }
            Some((map, ..)) => {
                let rows = out.chunks_exact_mut(row).zip(grad.chunks_exact(row)).zip(map[start..].chunks_exact(row));
                for ((out, grad), map) in rows {
                    let (out, tail) = S::as_mut_simd_f32s(out);
                    let n = out.len();
                    let (s, a, b) = (vectors::<S>(scale, n), vectors::<S>(slope, n), vectors::<S>(offset, n));
                    let (g, m) = (vectors::<S>(grad, n), vectors::<S>(map, n));
                    for i in 0..n {
                        out[i] = simd.mul_add_f32s(g[i], s[i], simd.mul_add_f32s(a[i], m[i], b[i]));
                    }
                    for (i, o) in tail.iter_mut().enumerate().map(|(i, o)| (row - row % super::LANES + i, o)) {
                        *o = grad[i].mul_add(scale[i], slope[i].mul_add(map[i], offset[i]));
                    }
                }
            }
        }
    }
}

#[inline(always)]
fn vectors<S: Simd>(row: &[f32], n: usize) -> &[S::f32s] {
    &S::as_simd_f32s(row).0[..n]
}

/// The gradient of the output of some images.
struct GradMap<'a> {
    dy: &'a [f32],
    tiles: Tiles,
    c_out: usize,
    /// A row of ones and one of zeros.
    ones: &'a [f32],
}

impl GradMap<'_> {
    /// `A dy At` if `GRAD`, else `Bt dy B`, as `out[position][tile][c_out]`.
    #[inline(always)]
    fn transform<S: Simd, const GRAD: bool>(
        &self,
        simd: S,
        strips: &Strips,
        t: &mut [f32],
        out: &mut [f32],
        position_len: usize,
    ) {
        let GradMap { dy, tiles, c_out, ones } = *self;
        let Tiles { height, width, columns, .. } = tiles;
        let segment = Segment { map: 0, first: 0, channels: c_out, stride: c_out, at: 0 };
        let ([scale, shift], _) = two(ones, width * c_out);
        let row_len = row_len(columns * TILE + 2, c_out);
        let t = &mut t[..WINDOW * row_len];
        t.fill(0.0);
        for (i, (image, tile_row)) in strips.places().enumerate() {
            let image = &dy[image * height * width * c_out..][..height * width * c_out];
            apart(
                simd,
                input::Vertical::<GRAD> {
                    image,
                    extent: [height, width],
                    segment: &segment,
                    tile_row,
                    scale,
                    shift,
                    activation: Activation::Identity,
                    out: &mut *t,
                    row_len,
                },
            );
            for r in 0..WINDOW {
                let rows = input::Horizontal::<GRAD> {
                    t: &t[r * row_len..],
                    strip_len: 0,
                    strips: 1,
                    columns,
                    channels: c_out,
                    out: &mut out[r * WINDOW * position_len..],
                    position_len,
                    tile_len: c_out,
                    at: i * columns * c_out,
                };
                apart(simd, rows);
            }
        }
    }
}

/// What the two gradients of a block of channels share.
struct Work<'a> {
    source: &'a Source<'a>,
    block: &'a Block,
    affine: &'a [f32],
    /// Strips of a block of tiles.
    per_block: usize,
    t: &'a mut [f32],
    /// Six positions.
    six: &'a mut [f32],
    six_position: usize,
}

impl Work<'_> {
    #[inline(always)]
    fn grad_weight<S: Simd>(
        &mut self,
        simd: S,
        strips: &Strips,
        (dy, dy_position, c_out): (&[f32], usize, usize),
        sums: &mut [f32],
    ) {
        let Work { source, block, affine, per_block, ref mut t, ref mut six, six_position } = *self;
        let columns = source.tiles.columns;
        source.zero_borders(block, per_block, t);
        let row_sums = sums.len() / WINDOW;
        for (i, strips) in strips.pieces(per_block * columns).enumerate() {
            source.columns_of(simd, block, &strips, affine, t);
            for r in 0..WINDOW {
                source.rows_of(simd, block, &strips, (t, r), (&mut *six, six_position));
                let outer = Outer {
                    x: six,
                    x_position: six_position,
                    columns: block.columns(),
                    dy: &dy[r * WINDOW * dy_position + i * per_block * columns * c_out..],
                    dy_position,
                    c_out,
                    tiles: strips.tiles(),
                    sums: &mut sums[r * row_sums..(r + 1) * row_sums],
                };
                apart(simd, outer);
            }
        }
    }

    #[inline(always)]
    fn grad_input<S: Simd>(
        &mut self,
        simd: S,
        group: &Group,
        (dy, dy_position, c_out): (&[f32], usize, usize),
        weights: &[f32],
        grads: &mut [MapGrad],
        sums: &mut [f32],
    ) {
        let Work { source, block, per_block, six_position, .. } = *self;
        let columns = source.tiles.columns;
        let strip_len = strip_len(block, &source.tiles);
        let row_weights = weights.len() / WINDOW;
        sums.fill(0.0);
        for (i, strips) in group.strips.pieces(per_block * columns).enumerate() {
            for r in 0..WINDOW {
                let products = GradProducts {
                    dy: &dy[r * WINDOW * dy_position + i * per_block * columns * c_out..],
                    dy_position,
                    tiles: strips.tiles(),
                    c_out,
                    weights: &weights[r * row_weights..(r + 1) * row_weights],
                    columns: block.columns(),
                    y: &mut *self.six,
                    y_position: six_position,
                };
                apart(simd, products);
                let mut start = 0;
                for &Segment { channels, at, .. } in &block.segments {
                    let row_len = row_len(columns * TILE + 2, channels);
                    let rows = finish::Horizontal {
                        y: &*self.six,
                        position_len: six_position,
                        tile_len: block.columns(),
                        at,
                        strips: strips.len(),
                        columns,
                        channels,
                        out: &mut self.t[start + r * row_len..],
                        strip_len,
                    };
                    apart(simd, rows);
                    start += WINDOW * row_len;
                }
            }
            self.finish(simd, group, &strips, grads, sums);
        }
    }

    /// From the rows of some strips into the maps' gradients.
    #[inline(always)]
    fn finish<S: Simd>(&self, simd: S, group: &Group, strips: &Strips, grads: &mut [MapGrad], mut sums: &mut [f32]) {
        let Work { source, block, mut affine, ref t, .. } = *self;
        let Tiles { height, width, columns, .. } = source.tiles;
        let input = source.input;
        let plain = input.affine.is_none() && input.activation == Activation::Identity;
        let strip_len = strip_len(block, &source.tiles);
        let mut start = 0;
        for segment in &block.segments {
            let (_, len) = segment.runs(width);
            let ([scale, shift], rest) = two(affine, len);
            affine = rest;
            let (segment_sums, rest) = std::mem::take(&mut sums).split_at_mut(2 * len);
            sums = rest;
            let row_len = row_len(columns * TILE + 2, segment.channels);
            let Some((grad, write)) = &mut grads[segment.map] else {
                start += WINDOW * row_len;
                continue;
            };
            for (i, (image, tile_row)) in strips.places().enumerate() {
                let row = tile_row * TILE * width * segment.stride;
                let at = (group.done + image) * height * width * segment.stride + row + segment.first;
                let vertical = finish::Vertical {
                    t: &t[i * strip_len + start..],
                    row_len,
                    segment,
                    width,
                    map: &source.image(segment, image)[row..],
                    rows: (height - tile_row * TILE).min(TILE),
                    scale,
                    shift,
                    activation: input.activation,
                    plain,
                    grad: &mut grad[at..],
                    add: *write == Write::Add,
                    sums: &mut *segment_sums,
                };
                apart(simd, vertical);
            }
            start += WINDOW * row_len;
        }
    }

    /// Adds the sums of the affine to the totals of their channels.
    #[inline(always)]
    fn add_sums(&self, mut sums: &[f32], totals: &mut Totals) {
        for segment in &self.block.segments {
            let (_, len) = segment.runs(self.source.tiles.width);
            let ([shift, scale], rest) = two(sums, len);
            sums = rest;
            let first = self.block.first + segment.at;
            for (totals, sums) in [(&mut totals.shift, shift), (&mut totals.scale, scale)] {
                let totals = &mut totals[first..first + segment.channels];
                for pixel in sums.chunks_exact(segment.channels) {
                    totals.iter_mut().zip(pixel).for_each(|(total, &sum)| *total += f64::from(sum));
                }
            }
        }
    }
}
