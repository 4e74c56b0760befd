//! The forward pass; see the [module's page](super).

use super::super::ConvSize;
use super::super::forward::Forward;
use super::rows::{Input, Ring, RingShape};
use super::{Class, TILE, Taps, images_per_task, is_empty, load, pack_weights, pad_channels, store};
use crate::kernels::ahead::{LINE, ask};
use crate::kernels::moments::{self, Partial};
use crate::kernels::scratch::Scratch;
use crate::kernels::simd::{Level, apart, lanes, run};
use crate::parallel::sweep;
use pulp::{Simd, WithSimd};
use std::ops::Range;

/// Fills `out (n, h_out, w_out, c)`; returns its means and variances if asked to measure.
pub fn forward(level: Level, pass: &Forward, out: &mut [f32]) -> Option<Vec<f32>> {
    let size = &pass.size;
    let (channels, lanes) = (size.c_out, lanes(level));
    let taps = |k| Taps::forward(k, size.dilation);
    let class = Class::new(&taps(size.k_h), &taps(size.k_w), size.k_w, &[3, 5, 7]);
    let shared = Shared {
        pass,
        ring: RingShape {
            height: size.h,
            width: size.w,
            channels,
            kept: class.reach_y + 1,
            left: size.padding,
            columns: size.w + 2 * size.padding,
            lanes,
        },
        input: Input::new(pass.input, channels, lanes),
        weights: pack_weights(pass.weight, &class.taps, channels, lanes),
        bias: pass.bias.map(|bias| pad_channels(Some(bias), 0.0, channels, lanes)),
        class,
    };
    let per_image = size.h_out * size.w_out * channels;
    let images = images_per_task(size.h_out * size.w_out);
    let tasks = if is_empty(size) { vec![] } else { out.chunks_mut(images * per_image).collect() };
    let pieces: Vec<Option<Partial>> =
        sweep(tasks, |task, out, _| run(level, Task { shared: &shared, first: task * images, out }));
    pass.measure.then(|| moments::merge(&pieces.into_iter().flatten().collect::<Vec<_>>(), channels))
}

struct Shared<'a> {
    pass: &'a Forward<'a>,
    ring: RingShape,
    input: Input<'a>,
    /// `[vector of channels][tap]`
    weights: Vec<f32>,
    /// Padded to whole vectors.
    bias: Option<Vec<f32>>,
    class: Class,
}

struct Task<'a> {
    shared: &'a Shared<'a>,
    first: usize,
    out: &'a mut [f32],
}

impl WithSimd for Task<'_> {
    type Output = Option<Partial>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Option<Partial> {
        let Task { shared: &Shared { pass, ref ring, ref input, ref weights, ref bias, ref class }, first, out } = self;
        let size = &pass.size;
        let row_len = size.w_out * size.c_out;
        let lengths = [ring.len(), size.w * size.c_in];
        let mut memory = Scratch::new(lengths);
        let [ring_values, line] = memory.split(lengths);
        let mut rows = Ring::new(*ring, ring_values);
        let mut starts = Vec::with_capacity(class.runs.len());
        let mut sums = pass.measure.then(|| Sums::new(size.c_out.div_ceil(S::F32_LANES) * S::F32_LANES));
        let add = pass.add.map(|add| &add[first * size.h_out * row_len..][..out.len()]);
        for (i, image) in out.chunks_exact_mut(size.h_out * row_len).enumerate() {
            rows.restart();
            let mut entered = 0;
            for y in 0..size.h_out {
                // Of the padded image, as are the columns.
                let top = y * size.stride;
                while let Some((row, values)) = rows.enter((top + class.reach_y + 1).saturating_sub(size.padding)) {
                    entered = row + 1;
                    input.enter(simd, ring, ((first + i) * size.h + row) * size.w, line, values);
                }
                starts.clear();
                let start =
                    |&(row, column): &(usize, usize)| rows.start((top + row).wrapping_sub(size.padding)) + column;
                starts.extend(class.runs.iter().map(start));
                let row = i * size.h_out + y;
                let mut job = Row {
                    size,
                    columns: ring.columns,
                    ring: rows.values(),
                    starts: &starts,
                    weights,
                    bias: bias.as_deref(),
                    add: add.map(|add| &add[row * row_len..][..row_len]),
                    sums: None,
                    out: &mut image[y * row_len..],
                    pixels: size.w_out,
                    next: input.single().map(|map| (map, ((first + i) * size.h + entered) * size.w * size.c_in)),
                };
                if let Some(sums) = &mut sums {
                    if row == 0 {
                        // The first pixel ahead of all others.
                        job.reborrow(1).dispatch(simd, class.run_len);
                        sums.pivot[..size.c_out].copy_from_slice(&job.out[..size.c_out]);
                    }
                    job.sums = Some(sums);
                }
                job.dispatch(simd, class.run_len);
            }
        }
        let count = out.len() / size.c_out;
        sums.map(|sums| Partial::from_sums(count, size.c_out, sums.pivot, sums.first, sums.second))
    }
}

/// Sums of deviations from a pivot and of their squares, padded to whole vectors.
struct Sums {
    pivot: Vec<f32>,
    first: Vec<f32>,
    second: Vec<f32>,
}

impl Sums {
    fn new(len: usize) -> Sums {
        Sums { pivot: vec![0.0; len], first: vec![0.0; len], second: vec![0.0; len] }
    }
}

/// One row of the output, or its first pixels.
struct Row<'a> {
    size: &'a ConvSize,
    columns: usize,
    ring: &'a [f32],
    /// Of each run's first tap for the first pixel, in vectors of the ring.
    starts: &'a [usize],
    weights: &'a [f32],
    bias: Option<&'a [f32]>,
    add: Option<&'a [f32]>,
    sums: Option<&'a mut Sums>,
    /// Of this row and what follows.
    out: &'a mut [f32],
    /// To compute.
    pixels: usize,
    /// A map, and where its row begins that enters the ring next.
    next: Option<(&'a [f32], usize)>,
}

/// A [`Row`] by runs of `RUN` taps, with a stride of `STRIDE`, or of any if that is 0. Run it [`apart`].
struct RowOf<'a, const RUN: usize, const STRIDE: usize>(Row<'a>);

impl Row<'_> {
    /// The first `pixels` of the same row.
    fn reborrow(&mut self, pixels: usize) -> Row<'_> {
        Row { out: &mut *self.out, pixels, sums: None, ..*self }
    }

    #[inline(always)]
    fn dispatch<S: Simd>(self, simd: S, run_len: usize) {
        match (run_len, self.size.stride) {
            (3, 1) => apart(simd, RowOf::<3, 1>(self)),
            (3, 2) => apart(simd, RowOf::<3, 2>(self)),
            (5, 1) => apart(simd, RowOf::<5, 1>(self)),
            (5, 2) => apart(simd, RowOf::<5, 2>(self)),
            (7, 1) => apart(simd, RowOf::<7, 1>(self)),
            (7, 2) => apart(simd, RowOf::<7, 2>(self)),
            (3, _) => apart(simd, RowOf::<3, 0>(self)),
            (5, _) => apart(simd, RowOf::<5, 0>(self)),
            (7, _) => apart(simd, RowOf::<7, 0>(self)),
            _ => apart(simd, RowOf::<1, 0>(self)),
        }
    }
}

impl<const RUN: usize, const STRIDE: usize> WithSimd for RowOf<'_, RUN, STRIDE> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let mut row = self.0;
        let (whole, vectors) = (row.pixels / TILE * TILE, row.size.c_out / S::F32_LANES);
        for x in (0..whole).step_by(TILE) {
            row.tile::<S, RUN, STRIDE, TILE, true>(simd, x, 0..vectors);
        }
        for x in whole..row.pixels {
            row.tile::<S, RUN, STRIDE, 1, true>(simd, x, 0..vectors);
        }
        if !row.size.c_out.is_multiple_of(S::F32_LANES) {
            for x in 0..row.pixels {
                row.tile::<S, RUN, STRIDE, 1, false>(simd, x, vectors..vectors + 1);
            }
        }
    }
}

impl Row<'_> {
    /// Pixels `x..x + P` and some vectors of channels, which are `WHOLE`, or the last.
    #[inline(always)]
    fn tile<S: Simd, const RUN: usize, const STRIDE: usize, const P: usize, const WHOLE: bool>(
        &mut self,
        simd: S,
        x: usize,
        vectors: Range<usize>,
    ) {
        let channels = self.size.c_out;
        let stride = if STRIDE == 0 { self.size.stride } else { STRIDE };
        let (ring, _) = S::as_simd_f32s(self.ring);
        let weights = S::as_simd_f32s(self.weights).0.as_chunks::<RUN>().0;
        let runs = self.starts.len();
        for v in vectors {
            let mut acc = [simd.splat_f32s(0.0); P];
            let first = v * self.columns + x * stride;
            for (start, w) in self.starts.iter().zip(&weights[v * runs..][..runs]) {
                let window = &ring[start + first..][..(P - 1) * stride + RUN];
                for i in 0..RUN {
                    for j in 0..P {
                        acc[j] = simd.mul_add_f32s(window[j * stride + i], w[i], acc[j]);
                    }
                }
            }
            let c = v * S::F32_LANES;
            let len = if WHOLE { S::F32_LANES } else { channels - c };
            if let Some(bias) = self.bias {
                let bias = load(simd, bias, c, S::F32_LANES);
                for acc in &mut acc {
                    *acc = simd.add_f32s(*acc, bias);
                }
            }
            if let Some(add) = self.add {
                for j in 0..P {
                    acc[j] = simd.add_f32s(acc[j], load(simd, add, (x + j) * channels + c, len));
                }
            }
            if let Some(sums) = &mut self.sums {
                let pivot = load(simd, &sums.pivot, c, S::F32_LANES);
                let sum = &mut S::as_mut_simd_f32s(&mut sums.first).0[v];
                let square = &mut S::as_mut_simd_f32s(&mut sums.second).0[v];
                let (mut s, mut q) = (*sum, *square);
                for j in 0..P {
                    let d = simd.sub_f32s(acc[j], pivot);
                    s = simd.add_f32s(s, d);
                    q = simd.mul_add_f32s(d, d, q);
                }
                (*sum, *square) = (s, q);
            }
            for j in 0..P {
                store(simd, self.out, (x + j) * channels + c, len, acc[j]);
            }
            // Vectors that are the first of a cache line.
            if (v * S::F32_LANES).is_multiple_of(LINE) {
                for j in 0..P {
                    ask(self.out, (self.size.w_out + x + j) * channels + c);
                }
                if let Some((map, start)) = self.next {
                    for j in 0..P * stride {
                        ask(map, start + (x * stride + j) * channels + c);
                    }
                }
            }
        }
    }
}
