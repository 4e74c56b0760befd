//! 1x1 convolutions as matrix products.
//!
//! ```text
//! forward:      y (pixels, c_out)       = a (pixels, c_in) * w (c_in, c_out)        a = activation(scale * x + shift)
//! grad_input:   g (pixels, c_in)        = dy (pixels, c_out) * w^T
//! grad_weight:  dw (c_in, c_out)        = a^T * dy, summed over blocks of pixels
//! ```
//!
//! What makes it fast:
//! 1. *No image is padded or copied whole.* A task goes through its pixels in blocks of a few dozen rows; what neighbours left to
//!    whoever reads (affine, activation, the gradient's lazy terms) is applied while a block is copied to scratch that stays in L1 or
//!    L2, and a plain map is read where it lies.
//! 2. *The finish is part of the tile* ([`tile::Finish`]): bias, residual sum and moments in the forward pass; the activation's mask,
//!    the affine, its sums and the addition into the map's gradient in the backward pass, from registers.
//! 3. *grad_weight packs one operand* ([`outer`]), six or eight values of it against two vectors of the other, which is read where it lies.
//!    Its sums lie tile by tile until all blocks are added.
//! 4. *The next block is asked for* while this one is multiplied ([`ahead`](crate::kernels::ahead)), a line every few steps of the
//!    sums, and what the sums are about to be stored to.
//! 5. *Results wider than rows* are computed six rows at a time, all columns of them, as long as L2 holds the weights: memory then
//!    sees whole rows.
//! 6. *Channels that do not fill vectors* overlap with the vector before (`columns`): no partial stores, nothing computed on padding.
//!    Where sixteen lanes overlap by eight (24 channels), three vectors of eight lanes are computed instead of two of sixteen.
// Register tiles are indexed by constants; copies and iterators over arrays of vectors go through memory.
#![allow(clippy::needless_range_loop, clippy::manual_memcpy)]

pub mod backward;
pub mod forward;
pub mod outer;
pub mod tile;

use super::ConvSize;
use super::load::{GradTerms, Maps, grad_rows, maps_rows};
use super::tile::MR;
use crate::kernels::simd::{Level, lanes};
use pulp::{Simd, WithSimd};
use std::ops::Range;

/// Whether `size` is one of these.
pub fn applies(size: &ConvSize) -> bool {
    (size.k_h, size.k_w, size.padding, size.groups) == (1, 1, 0, 1)
}

/// `level`, or the one with narrower vectors where one of `level` could not be filled.
fn level_for(level: Level, channels: &[usize]) -> Level {
    let fills = |&c: &usize| c >= lanes(level);
    if level == Level::Native && !channels.iter().all(fills) { Level::Avx2 } else { level }
}

/// Index of the input pixel that an output pixel reads.
#[inline(always)]
fn source(size: &ConvSize, pixel: usize) -> usize {
    if size.stride == 1 {
        return pixel;
    }
    let (row, x) = (pixel / size.w_out, pixel % size.w_out);
    let (image, y) = (row / size.h_out, row % size.h_out);
    (image * size.h + y * size.stride) * size.w + x * size.stride
}

/// Distance of rows of `channels` values in scratch: a multiple of a cache line, and an odd one, because at even ones, above all
/// powers of two, rows share a few sets of L1.
fn row_stride(channels: usize) -> usize {
    const LINE: usize = 16;
    match channels.div_ceil(LINE) {
        _ if channels <= LINE / 2 => LINE / 2,
        lines => (lines | 1) * LINE,
    }
}

/// How many rows before a tile is stored memory is asked for it: stores that miss L1 wait for each other.
const ROWS_AHEAD: usize = 4 * MR;

/// Whether the input can be read where it lies.
fn is_plain(size: &ConvSize, input: &Maps) -> bool {
    size.stride == 1 && input.is_plain()
}

/// Copies what the output pixels `range` read to `out`, rows `stride` apart. Run it [`apart`](crate::kernels::simd::apart), or its addresses lose their registers
/// to those of whatever surrounds it.
struct LoadBlock<'a> {
    size: &'a ConvSize,
    input: &'a Maps<'a>,
    range: Range<usize>,
    stride: usize,
    out: &'a mut [f32],
}

impl WithSimd for LoadBlock<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let LoadBlock { size, input, range, stride, out } = self;
        if size.stride == 1 {
            return maps_rows(simd, input, (range.start, range.len()), stride, out);
        }
        for (pixel, out) in range.zip(out.chunks_mut(stride)) {
            maps_rows(simd, input, (source(size, pixel), 1), stride, out);
        }
    }
}

/// Copies the gradient of the output pixels `range` to `out`, rows `stride` apart; run it [`apart`], too.
struct LoadGrad<'a> {
    terms: &'a GradTerms<'a>,
    channels: usize,
    range: Range<usize>,
    stride: usize,
    out: &'a mut [f32],
}

impl WithSimd for LoadGrad<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let LoadGrad { terms, channels, range, stride, out } = self;
        grad_rows(simd, terms, channels, (range.start, range.len()), stride, out);
    }
}
