//! Winograd for few output channels over a list of maps: the layers of DenseNet and SparseNet.
//!
//! With 12 output channels an input value is used 12 times and no more, so its way into the products counts as much as the products.
//! The [other driver](super::convolve) copies a padded image of all channels, transforms it whole and multiplies by panels of 16:
//! for 160 channels every one of these leaves L2, and a quarter of the products are of padding. Here:
//!
//! ```text
//! forward:      for each block of up to 48 channels: for each block of tiles:
//!                   columns of the maps -> affine, activation, Bt                        (input, "vertical")
//!                   for each of the 6 rows of the transform: rows -> B (input, "horizontal"); 6 products, added to y  (multiply)
//!               At y A -> output                                                          (output)
//! grad_weight:  the same, with outer products of x and A dy At                            (multiply, weights)
//! grad_input:   for each block of channels, of tiles: for each row: 6 products of Bt dy B; rows -> A (finish, "horizontal");
//!               columns -> At, mask, scale, the affine's sums, into the maps' gradients   (finish, "vertical")
//! ```
//!
//! 1. *Vertical transforms are flat*: along a row of a map, pixels and channels are one stretch of memory, so that 12 channels cost one
//!    and a half vectors, not two. Affine and activation happen there, in registers; nothing padded is written.
//! 2. *Neighbouring tiles share the vertical part*: 34 columns for 8 tiles instead of 48.
//! 3. *A row of the transform at a time*: what is multiplied (6 positions, 16 tiles, 48 channels: 18 KiB) stays in L1.
//! 4. *Panels of 12*: two tiles' last four channels share a vector (`multiply`), so that 12 channels are computed as 12.
//! 5. *Blocks of channels* bound everything but the weights; those of a block pass through L2 once for each group of images.
//!
//! Always eight lanes, whatever the machine has: the layouts depend on it.
// Register tiles are indexed by constants; copies and iterators over arrays of vectors go through memory.
#![allow(clippy::needless_range_loop, clippy::manual_memcpy)]

mod backward;
mod finish;
mod forward;
mod input;
mod multiply;
mod output;
#[cfg(test)]
mod tests;
mod weights;

pub use backward::backward;
pub use forward::forward;

use super::{POSITIONS, TILE, Tiles, WINDOW, possible};
use crate::kernels::conv2d::ConvSize;
use crate::kernels::simd::{Level, lanes};
use std::ops::Range;

/// Floats of a vector.
const LANES: usize = 8;
/// Channels of a block, at most.
const CHANNELS: usize = 48;
/// Floats of a cache line.
const LINE: usize = 16;

/// Whether this driver is faster than the other: by shape alone.
pub fn wins(size: &ConvSize) -> bool {
    possible(size) && size.stride == 1 && size.c_out < 64 && !(size.c_out.is_multiple_of(16) && size.c_in <= 64)
}

/// `level` or, if its vectors do not have eight lanes, one whose vectors do.
fn eight_lanes(level: Level) -> Level {
    [level, Level::Avx2].into_iter().find(|&level| lanes(level) == LANES).unwrap_or(Level::Portable)
}

/// Consecutive channels of one map.
#[derive(Clone, Copy, Debug)]
struct Segment {
    map: usize,
    /// First channel, within the map.
    first: usize,
    channels: usize,
    /// Channels of the map: floats from pixel to pixel.
    stride: usize,
    /// First channel, within the block.
    at: usize,
}

impl Segment {
    /// Whether pixels follow each other without a gap.
    fn is_flat(&self) -> bool {
        self.channels == self.stride
    }

    /// Runs of consecutive floats in a row of `width` pixels: how many, and how long.
    fn runs(&self, width: usize) -> (usize, usize) {
        if self.is_flat() { (1, width * self.channels) } else { (width, self.channels) }
    }
}

/// Consecutive channels of the concatenation that are worked on together.
#[derive(Clone, Debug)]
struct Block {
    /// First channel of the concatenation.
    first: usize,
    channels: usize,
    segments: Vec<Segment>,
}

impl Block {
    /// The channels in whole pairs of vectors.
    fn columns(&self) -> usize {
        self.channels.next_multiple_of(2 * LANES)
    }

    /// Cuts maps of `widths` channels into blocks. A map that fits a block is not split.
    fn of(widths: impl Iterator<Item = usize>) -> Vec<Block> {
        let mut blocks: Vec<Block> = vec![];
        let mut first = 0;
        for (map, stride) in widths.enumerate() {
            // Pieces of equal length, in whole vectors.
            let piece = stride.div_ceil(stride.div_ceil(CHANNELS).max(1)).next_multiple_of(LANES);
            for start in (0..stride).step_by(piece.max(1)) {
                let channels = piece.min(stride - start);
                match blocks.last_mut() {
                    Some(block) if block.channels + channels <= CHANNELS => {
                        block.segments.push(Segment { map, first: start, channels, stride, at: block.channels });
                        block.channels += channels;
                    }
                    _ => {
                        let segments = vec![Segment { map, first: start, channels, stride, at: 0 }];
                        blocks.push(Block { first, channels, segments });
                    }
                }
                first += channels;
            }
        }
        blocks
    }
}

/// Consecutive rows of tiles, of one or several images.
#[derive(Clone, Debug)]
struct Strips {
    tiles: Tiles,
    range: Range<usize>,
}

impl Strips {
    /// All rows of tiles of `images` images.
    fn of_images(tiles: Tiles, images: usize) -> Strips {
        Strips { tiles, range: 0..images * tiles.rows }
    }

    /// Pieces of about `tiles` tiles, the last possibly smaller.
    fn pieces(&self, tiles: usize) -> impl Iterator<Item = Strips> + use<> {
        let (strips, all) = (self.clone(), self.range.clone());
        let step = Strips::per_piece(&self.tiles, tiles);
        all.clone().step_by(step).map(move |first| Strips { range: first..(first + step).min(all.end), ..strips })
    }

    /// Strips of a piece of about `tiles` tiles.
    fn per_piece(of: &Tiles, tiles: usize) -> usize {
        (tiles / of.columns.max(1)).max(1)
    }

    fn len(&self) -> usize {
        self.range.len()
    }

    /// Tiles in these strips.
    fn tiles(&self) -> usize {
        self.len() * self.tiles.columns
    }

    /// Image and row of tiles of each strip.
    fn places(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let rows = self.tiles.rows;
        self.range.clone().map(move |strip| (strip / rows, strip % rows))
    }
}

/// `f`, so that an attribute can stand at a closure with a name: one that is not inlined loses the instruction set.
#[inline(always)]
fn inlined<F>(f: F) -> F {
    f
}

/// Floats of a row of a strip: `pixels` of `channels`, in whole cache lines.
fn row_len(pixels: usize, channels: usize) -> usize {
    (pixels * channels).next_multiple_of(LINE)
}

/// The affine's scales and shifts of a block, repeated along the runs of its segments: `[segment][scale, shift][run]`.
fn expand_affine(affine: Option<(&[f32], &[f32])>, block: &Block, width: usize, out: &mut [f32]) {
    let mut rest = out;
    for segment in &block.segments {
        let (_, len) = segment.runs(width);
        let (both, tail) = rest.split_at_mut(2 * len);
        rest = tail;
        let (scale, shift) = both.split_at_mut(len);
        match affine {
            None => {
                scale.fill(1.0);
                shift.fill(0.0);
            }
            Some((scales, shifts)) => {
                let channels = block.first + segment.at..block.first + segment.at + segment.channels;
                for (row, values) in [(scale, &scales[channels.clone()]), (shift, &shifts[channels])] {
                    row.chunks_exact_mut(segment.channels).for_each(|pixel| pixel.copy_from_slice(values));
                }
            }
        }
    }
}

/// Floats that [`expand_affine`] fills, at most.
fn affine_len(blocks: &[Block], width: usize) -> usize {
    let of = |block: &Block| block.segments.iter().map(|s| 2 * s.runs(width).1).sum();
    blocks.iter().map(of).max().unwrap_or(0)
}
