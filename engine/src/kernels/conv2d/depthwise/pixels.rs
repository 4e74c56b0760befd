//! The register tile of the backward pass: grad_input and grad_weight of a few input pixels at once.

use super::super::backward::Write;
use super::super::load::{Activation, bounds};
use super::{TILE, lines, load, store};
use crate::kernels::ahead::{LINE, ask};
use crate::kernels::simd::apart;
use pulp::{Simd, WithSimd};
use std::ops::Range;

/// What is read for a few rows of input pixels.
pub(super) struct Sources<'a> {
    /// The input from the first of them on, maybe longer.
    pub map: &'a [f32],
    /// Maps that are read after this, and where what is read of them begins: as many pixels as there are of these.
    pub next: [Option<(&'a [f32], usize)>; 3],
    /// Scales and shifts of its channels, padded to whole vectors.
    pub affine: Option<&'a (Vec<f32>, Vec<f32>)>,
    /// Applied after those.
    pub activation: Activation,
    /// Rows of dy.
    pub ring: &'a [f32],
    /// Columns of a row in the ring.
    pub columns: usize,
    /// Of each row, and of each run's first tap for the first pixel, in vectors of the ring.
    pub starts: &'a [usize],
    /// `[vector of channels][tap]`
    pub weights: &'a [f32],
    /// Taps of a channel.
    pub taps: usize,
    /// The first of those that these pixels are seen through; the others follow it.
    pub first_tap: usize,
}

/// Where grad_input goes: with `t = grad_input * activation'`, `out = scale*t`, and the sums of `t*map` and `t`.
pub(super) struct Target<'a> {
    /// The gradient from the first row on.
    pub out: &'a mut [f32],
    /// Where that begins which is written after this.
    pub next: usize,
    /// Store or add.
    pub write: Write,
    /// Of each channel, padded to whole vectors, as are the following.
    pub scale_sums: &'a mut [f32],
    /// Of each channel.
    pub shift_sums: &'a mut [f32],
}

/// The pixels of some rows that see the same taps: `first`, `first + stride`, ... of each row.
pub(super) struct Band<'a> {
    /// What to read.
    pub sources: Sources<'a>,
    /// Channels of a pixel.
    pub channels: usize,
    /// Column of the first pixel.
    pub first: usize,
    /// Distance of the pixels.
    pub stride: usize,
    /// How many of a row.
    pub pixels: usize,
    /// How many rows.
    pub rows: usize,
    /// Distance of these, in floats.
    pub row_stride: usize,
    /// If grad_input is wanted.
    pub target: Option<Target<'a>>,
    /// Sums of grad_weight, as the weights are, if wanted.
    pub grad_weight: Option<&'a mut [f32]>,
    /// Lines of what comes next that have been asked for.
    pub asked: usize,
}

/// A [`Band`] by runs of `RUN` taps. Run it [`apart`].
struct Both<'a, const RUN: usize>(Band<'a>);

/// The same for grad_input alone.
struct InputOnly<'a, const RUN: usize>(Band<'a>);

/// The same for grad_weight alone.
struct WeightOnly<'a, const RUN: usize>(Band<'a>);

impl Band<'_> {
    /// Computes what is wanted, by runs of `run_len` taps.
    #[inline(always)]
    pub fn dispatch<S: Simd>(self, simd: S, run_len: usize) {
        match run_len {
            2 => self.apart::<S, 2>(simd),
            3 => self.apart::<S, 3>(simd),
            4 => self.apart::<S, 4>(simd),
            5 => self.apart::<S, 5>(simd),
            7 => self.apart::<S, 7>(simd),
            _ => self.apart::<S, 1>(simd),
        }
    }

    #[inline(always)]
    fn apart<S: Simd, const RUN: usize>(self, simd: S) {
        match (&self.target, &self.grad_weight) {
            (Some(_), Some(_)) => apart(simd, Both::<RUN>(self)),
            (Some(_), None) => apart(simd, InputOnly::<RUN>(self)),
            (None, Some(_)) => apart(simd, WeightOnly::<RUN>(self)),
            (None, None) => {}
        }
    }
}

impl<const RUN: usize> WithSimd for Both<'_, RUN> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        self.0.run::<S, RUN, true, true>(simd);
    }
}

impl<const RUN: usize> WithSimd for InputOnly<'_, RUN> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        self.0.run::<S, RUN, true, false>(simd);
    }
}

impl<const RUN: usize> WithSimd for WeightOnly<'_, RUN> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        self.0.run::<S, RUN, false, true>(simd);
    }
}

impl Band<'_> {
    #[inline(always)]
    fn run<S: Simd, const RUN: usize, const INPUT: bool, const WEIGHT: bool>(mut self, simd: S) {
        let vectors = self.channels / S::F32_LANES;
        for line in lines::<S>(vectors) {
            self.row_by_row::<S, RUN, INPUT, WEIGHT, true>(simd, line);
        }
        if !self.channels.is_multiple_of(S::F32_LANES) {
            self.row_by_row::<S, RUN, INPUT, WEIGHT, false>(simd, vectors..vectors + 1);
        }
    }

    /// All pixels of some vectors of channels, which are `WHOLE`, or the last. (Sums of grad_weight stay in memory, which is L1: kept in
    /// registers over a row they leave too few for the rest, which took a fifth longer.)
    #[inline(always)]
    fn row_by_row<S: Simd, const RUN: usize, const INPUT: bool, const WEIGHT: bool, const WHOLE: bool>(
        &mut self,
        simd: S,
        vectors: Range<usize>,
    ) {
        let whole = if WHOLE { self.pixels / TILE * TILE } else { 0 };
        for r in 0..self.rows {
            for i in (0..whole).step_by(TILE) {
                self.tile::<S, RUN, INPUT, WEIGHT, TILE, WHOLE>(simd, (r, i), vectors.clone());
            }
            for i in whole..self.pixels {
                self.tile::<S, RUN, INPUT, WEIGHT, 1, WHOLE>(simd, (r, i), vectors.clone());
            }
        }
    }

    /// Pixels `i..i + P` of row `r` and some vectors of channels.
    #[inline(always)]
    fn tile<S: Simd, const RUN: usize, const INPUT: bool, const WEIGHT: bool, const P: usize, const WHOLE: bool>(
        &mut self,
        simd: S,
        (r, i): (usize, usize),
        vectors: Range<usize>,
    ) {
        let Sources { map, next, affine, activation, ring, columns, starts, weights, taps, first_tap } = self.sources;
        let channels = self.channels;
        let (ring, _) = S::as_simd_f32s(ring);
        let (weights, _) = S::as_simd_f32s(weights);
        let zero = simd.splat_f32s(0.0);
        let bounds = bounds(activation).map(|(low, high)| (simd.splat_f32s(low), simd.splat_f32s(high)));
        for v in vectors {
            let c = v * S::F32_LANES;
            let pixel = |j: usize| r * self.row_stride + (self.first + (i + j) * self.stride) * channels + c;
            let len = if WHOLE { S::F32_LANES } else { channels - c };
            let affine = affine.map(|(a, b)| (load(simd, a, c, S::F32_LANES), load(simd, b, c, S::F32_LANES)));
            // Lines in the order that memory has them in, as many as there are pixels times lines of channels.
            if c.is_multiple_of(LINE) {
                for (map, start) in next.into_iter().flatten() {
                    for j in 0..P {
                        ask(map, start + (self.asked + j) * LINE);
                    }
                }
                if let Some(target) = &self.target {
                    for j in 0..P {
                        ask(target.out, target.next + (self.asked + j) * LINE);
                    }
                }
                self.asked += P;
            }
            let mut x = [zero; P];
            for j in 0..P {
                x[j] = load(simd, map, pixel(j), len);
            }
            if let Some((a, b)) = affine {
                for j in 0..P {
                    x[j] = simd.mul_add_f32s(a, x[j], b);
                }
            }
            if let Some((low, high)) = bounds {
                for j in 0..P {
                    x[j] = simd.min_f32s(high, simd.max_f32s(low, x[j]));
                }
            }
            let mut grad = [zero; P];
            let runs = starts.len() / self.rows;
            let of_class = v * taps + first_tap..v * taps + first_tap + runs * RUN;
            let weights = &weights[of_class.clone()].as_chunks::<RUN>().0[..runs];
            let starts = &starts[r * runs..][..runs];
            let at = v * columns + i;
            if let (true, Some(grad_weight)) = (WEIGHT, &mut self.grad_weight) {
                let sums = S::as_mut_simd_f32s(grad_weight).0[of_class].as_chunks_mut::<RUN>().0;
                for ((start, w), sums) in starts.iter().zip(weights).zip(sums) {
                    let window = &ring[start + at..][..P - 1 + RUN];
                    for k in 0..RUN {
                        let mut sum = sums[k];
                        for j in 0..P {
                            if INPUT {
                                grad[j] = simd.mul_add_f32s(window[j + k], w[k], grad[j]);
                            }
                            sum = simd.mul_add_f32s(window[j + k], x[j], sum);
                        }
                        sums[k] = sum;
                    }
                }
            } else {
                for (start, w) in starts.iter().zip(weights) {
                    let window = &ring[start + at..][..P - 1 + RUN];
                    for k in 0..RUN {
                        for j in 0..P {
                            grad[j] = simd.mul_add_f32s(window[j + k], w[k], grad[j]);
                        }
                    }
                }
            }
            let (true, Some(target)) = (INPUT, &mut self.target) else { continue };
            if let Some((low, high)) = bounds {
                // What lies within the bounds was not moved by them.
                for j in 0..P {
                    grad[j] = simd.select_f32s(simd.greater_than_f32s(x[j], low), grad[j], zero);
                    grad[j] = simd.select_f32s(simd.less_than_f32s(x[j], high), grad[j], zero);
                }
            }
            if let Some((a, _)) = affine {
                let scale_sum = &mut S::as_mut_simd_f32s(target.scale_sums).0[v];
                let shift_sum = &mut S::as_mut_simd_f32s(target.shift_sums).0[v];
                let (mut of_scale, mut of_shift) = (*scale_sum, *shift_sum);
                for j in 0..P {
                    let z = load(simd, map, pixel(j), len);
                    of_shift = simd.add_f32s(of_shift, grad[j]);
                    of_scale = simd.mul_add_f32s(grad[j], z, of_scale);
                    grad[j] = simd.mul_f32s(a, grad[j]);
                }
                (*scale_sum, *shift_sum) = (of_scale, of_shift);
            }
            if target.write == Write::Add {
                for j in 0..P {
                    grad[j] = simd.add_f32s(grad[j], load(simd, target.out, pixel(j), len));
                }
            }
            for j in 0..P {
                store(simd, target.out, pixel(j), len, grad[j]);
            }
        }
    }
}
