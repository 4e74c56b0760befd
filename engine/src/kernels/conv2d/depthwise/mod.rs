//! Depthwise convolution: every channel its own, so vectors run over channels.
//!
//! ```text
//! forward:   y[oy, ox] = sum over ky, kx of x[oy*s + ky*d - p, ox*s + kx*d - p] * w[ky, kx]
//! backward:  for each input pixel (iy, ix), each tap (ky, kx) whose dy[(iy + p - ky*d)/s, (ix + p - kx*d)/s] exists:
//!            g[iy, ix] += dy * w[ky, kx];   dw[ky, kx] += dy * x[iy, ix]
//! ```
//!
//! There are two operations for each value that memory delivers and not much else, so memory decides:
//! 1. *Each map is read once, each result written once.* A pass walks down an image with the last few rows of what its window slides
//!    over in a ring that stays in L2 ([`rows`]); affine and activation, or the gradient's lazy terms, are applied when a row enters it.
//!    Backward walks the **input's** pixels: grad_input and grad_weight then read the same window of dy, once for both, and the
//!    pixel's own value serves as factor of grad_weight, for the activation's mask and for the affine's sums, in registers.
//! 2. *Rows of the ring lie as `[vector of channels][column]`*, zeros on either side: a window of a row is contiguous, its
//!    columns at constant distances, so a tile of 4 pixels loads a value once for all its uses and nothing checks for borders.
//! 3. *A few rows at a time go through a cache line of channels*, then through the next: their weights, sums and part of the ring stay near.
//! 4. *The next rows are asked for*, of each map that is read or written, line by line in the order of memory, while these are computed
//!    ([`ahead`](crate::kernels::ahead)).
//! 5. *The moments of the output* are summed from the tile's registers, against a pivot known before: the first pixel, computed ahead.
// Register tiles are indexed by constants; copies and iterators over arrays of vectors go through memory.
#![allow(clippy::needless_range_loop, clippy::manual_memcpy)]

mod backward;
mod forward;
mod pixels;
mod rows;
#[cfg(test)]
mod tests;

pub(super) use backward::backward;
pub(super) use forward::forward;

use super::ConvSize;
use crate::kernels::ahead::LINE;
use pulp::Simd;
use std::ops::Range;

/// Pixels of a tile.
const TILE: usize = 4;

/// Pixels and floats of a band of rows, at most, unless it is a single row: enough that what belongs to the channels is read once for many
/// pixels, and so few that L2 holds a band and the next one of all maps.
const BAND_PIXELS: usize = 64;
const BAND_FLOATS: usize = 8 * 1024;

/// Pixels of one task, about; small images go several at a time.
const TASK_PIXELS: usize = 128;

/// Some taps of one dimension, nearest the origin of the map first.
struct Taps {
    /// Index of the tap, and its distance from the first of these.
    taps: Vec<(usize, usize)>,
    /// Forward, how far the last tap stands from the first; backward, how far the first stands before the output that the pixel
    /// itself falls to.
    reach: usize,
}

impl Taps {
    /// The taps that output pixels see in the input.
    fn forward(k: usize, dilation: usize) -> Taps {
        Taps { taps: (0..k).map(|tap| (tap, tap * dilation)).collect(), reach: (k - 1) * dilation }
    }

    /// The taps through which input pixels with `(i + padding) % stride == remainder` are seen, by distance in the output.
    fn backward(k: usize, dilation: usize, stride: usize, remainder: usize) -> Taps {
        let reached: Vec<usize> = (0..k).rev().filter(|tap| tap * dilation % stride == remainder).collect();
        let reach = reached.first().map_or(0, |tap| tap * dilation / stride);
        Taps { taps: reached.into_iter().map(|tap| (tap, reach - tap * dilation / stride)).collect(), reach }
    }
}

/// The window of pixels that see the same taps: runs of taps in neighbouring columns.
struct Class {
    /// Taps of a run.
    run_len: usize,
    /// Row and column of each run's first tap.
    runs: Vec<(usize, usize)>,
    /// `ky*k_w + kx` of each tap, run by run.
    taps: Vec<usize>,
    /// [`Taps::reach`] of the rows.
    reach_y: usize,
    /// [`Taps::reach`] of the columns.
    reach_x: usize,
}

impl Class {
    /// Whole rows of the window are runs if neighbouring and of a length in `lengths`; else each tap is one.
    fn new(y: &Taps, x: &Taps, k_w: usize, lengths: &[usize]) -> Class {
        let neighbours = x.taps.iter().enumerate().all(|(i, &(_, distance))| distance == i);
        let whole = neighbours && lengths.contains(&x.taps.len());
        let taps = y.taps.iter().flat_map(|&(ky, _)| x.taps.iter().map(move |&(kx, _)| ky * k_w + kx)).collect();
        let columns = if whole { &x.taps[..1] } else { &x.taps[..] };
        let runs = y.taps.iter().flat_map(|&(_, row)| columns.iter().map(move |&(_, column)| (row, column))).collect();
        Class { run_len: if whole { x.taps.len() } else { 1 }, runs, taps, reach_y: y.reach, reach_x: x.reach }
    }
}

/// `(k_h, k_w, 1, C)` as `[vector of channels][tap]`, taps in the order given and channels padded with zeros.
fn pack_weights(weight: &[f32], taps: &[usize], channels: usize, lanes: usize) -> Vec<f32> {
    let mut out = vec![0.0; channels.div_ceil(lanes) * taps.len() * lanes];
    for (v, out) in out.chunks_exact_mut((taps.len() * lanes).max(1)).enumerate() {
        for (&tap, out) in taps.iter().zip(out.chunks_exact_mut(lanes)) {
            let from = &weight[tap * channels..][v * lanes..channels.min((v + 1) * lanes)];
            out[..from.len()].copy_from_slice(from);
        }
    }
    out
}

/// `values` padded with zeros to whole vectors; `fill` for every channel if there are none.
fn pad_channels(values: Option<&[f32]>, fill: f32, channels: usize, lanes: usize) -> Vec<f32> {
    let mut out = vec![0.0; channels.div_ceil(lanes) * lanes];
    match values {
        Some(values) => out[..channels].copy_from_slice(values),
        None => out[..channels].fill(fill),
    }
    out
}

/// The vector at `at` of a row of pixels, of which `len` channels exist.
#[inline(always)]
fn load<S: Simd>(simd: S, row: &[f32], at: usize, len: usize) -> S::f32s {
    if len >= S::F32_LANES {
        S::as_simd_f32s(&row[at..][..S::F32_LANES]).0[0]
    } else {
        simd.partial_load_f32s(&row[at..][..len])
    }
}

/// Writes the vector at `at` of a row of pixels, of which `len` channels exist.
#[inline(always)]
fn store<S: Simd>(simd: S, row: &mut [f32], at: usize, len: usize, v: S::f32s) {
    if len >= S::F32_LANES {
        S::as_mut_simd_f32s(&mut row[at..][..S::F32_LANES]).0[0] = v;
    } else {
        simd.partial_store_f32s(&mut row[at..][..len], v);
    }
}

/// The vectors of channels that share a cache line, line by line. All pixels of a row go through one line, then through the next: what
/// belongs to the channels, weights and sums, then stays in registers or L1, and so does a window's part of the ring.
#[inline(always)]
fn lines<S: Simd>(vectors: usize) -> impl Iterator<Item = Range<usize>> {
    let each = LINE / S::F32_LANES;
    (0..vectors).step_by(each).map(
        #[inline(always)]
        move |v| v..vectors.min(v + each),
    )
}

/// Rows of `width` pixels that go through a line of channels together.
fn band_rows(width: usize, channels: usize) -> usize {
    (BAND_FLOATS / (width * channels).max(1)).min(BAND_PIXELS / width.max(1)).max(1)
}

/// Images of a task, at least one.
fn images_per_task(pixels: usize) -> usize {
    (TASK_PIXELS / pixels.max(1)).max(1)
}

/// Whether something is computed at all.
fn is_empty(size: &ConvSize) -> bool {
    size.n * size.h_out * size.w_out * size.c_out == 0
}
