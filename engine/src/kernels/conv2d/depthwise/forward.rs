//! The forward pass; see the [module's page](super).

use super::super::ConvSize;
use super::super::forward::Forward;
use super::rows::{Input, Ring, RingShape};
use super::{Class, TILE, Taps, band_rows, images_per_task, is_empty, lines, load, pack_weights, pad_channels, store};
use crate::kernels::ahead::{LINE, ask};
use crate::kernels::moments::{self, Partial};
use crate::kernels::scratch::Scratch;
use crate::kernels::simd::{Level, apart, has_many_registers, lanes, run};
use crate::parallel::{Pieces, sweep};
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
            kept: class.reach_y + 1 + (band_rows(size.w_out, size.c_out) - 1) * size.stride,
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
    let images = Pieces::even_of_at_most(size.n, images_per_task(size.h_out * size.w_out));
    let tasks = if is_empty(size) { vec![] } else { images.split(out, per_image) };
    let pieces: Vec<Option<Partial>> =
        sweep(tasks, |task, out, _| run(level, Task { shared: &shared, first: images.range(task).start, out }));
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
        let mut starts = vec![];
        let mut sums = pass.measure.then(|| Sums::new(size.c_out.div_ceil(S::F32_LANES) * S::F32_LANES));
        let add = pass.add.map(|add| &add[first * size.h_out * row_len..][..out.len()]);
        for (i, image) in out.chunks_exact_mut(size.h_out * row_len).enumerate() {
            rows.restart();
            let mut entered = 0;
            for y in (0..size.h_out).step_by(band_rows(size.w_out, size.c_out)) {
                let band = y..(y + band_rows(size.w_out, size.c_out)).min(size.h_out);
                // Of the padded image, as are the columns.
                let bottom = (band.end - 1) * size.stride + class.reach_y;
                while let Some((row, values)) = rows.enter((bottom + 1).saturating_sub(size.padding)) {
                    entered = row + 1;
                    input.enter(simd, ring, ((first + i) * size.h + row) * size.w, line, values);
                }
                starts.clear();
                for top in band.clone().map(|y| y * size.stride) {
                    let start =
                        |&(row, column): &(usize, usize)| rows.start((top + row).wrapping_sub(size.padding)) + column;
                    starts.extend(class.runs.iter().map(start));
                }
                let row = i * size.h_out + y;
                let mut job = Band {
                    size,
                    columns: ring.columns,
                    ring: rows.values(),
                    starts: &starts,
                    weights,
                    bias: bias.as_deref(),
                    add: add.map(|add| &add[row * row_len..]),
                    sums: None,
                    out: &mut image[y * row_len..],
                    rows: band.len(),
                    pixels: size.w_out,
                    next: input.single().map(|map| (map, ((first + i) * size.h + entered) * size.w * size.c_in)),
                    asked: 0,
                };
                if let Some(sums) = &mut sums {
                    if row == 0 {
                        // The first pixel ahead of all others.
                        job.first_pixel().dispatch(simd, class.run_len);
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

/// A few rows of the output, or their first pixels.
struct Band<'a> {
    size: &'a ConvSize,
    columns: usize,
    ring: &'a [f32],
    /// Of each row, and of each run's first tap for the first pixel, in vectors of the ring.
    starts: &'a [usize],
    weights: &'a [f32],
    bias: Option<&'a [f32]>,
    add: Option<&'a [f32]>,
    sums: Option<&'a mut Sums>,
    /// Of these rows and what follows.
    out: &'a mut [f32],
    /// To compute.
    rows: usize,
    /// To compute, of each row.
    pixels: usize,
    /// A map, and where the rows begin that enter the ring next.
    next: Option<(&'a [f32], usize)>,
    /// Lines of the next rows of the output that have been asked for.
    asked: usize,
}

/// A [`Band`] by runs of `RUN` taps, with a stride of `STRIDE`, or of any if that is 0. Run it [`apart`].
struct BandOf<'a, const RUN: usize, const STRIDE: usize>(Band<'a>);

impl Band<'_> {
    /// The first pixel of the first row.
    fn first_pixel(&mut self) -> Band<'_> {
        let starts = &self.starts[..self.starts.len() / self.rows];
        Band { out: &mut *self.out, starts, rows: 1, pixels: 1, sums: None, ..*self }
    }

    #[inline(always)]
    fn dispatch<S: Simd>(self, simd: S, run_len: usize) {
        match (run_len, self.size.stride) {
            (3, 1) => apart(simd, BandOf::<3, 1>(self)),
            (3, 2) => apart(simd, BandOf::<3, 2>(self)),
            (5, 1) => apart(simd, BandOf::<5, 1>(self)),
            (5, 2) => apart(simd, BandOf::<5, 2>(self)),
            (7, 1) => apart(simd, BandOf::<7, 1>(self)),
            (7, 2) => apart(simd, BandOf::<7, 2>(self)),
            (3, _) => apart(simd, BandOf::<3, 0>(self)),
            (5, _) => apart(simd, BandOf::<5, 0>(self)),
            (7, _) => apart(simd, BandOf::<7, 0>(self)),
            _ => apart(simd, BandOf::<1, 0>(self)),
        }
    }
}

impl<const RUN: usize, const STRIDE: usize> WithSimd for BandOf<'_, RUN, STRIDE> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let mut band = self.0;
        let vectors = band.size.c_out / S::F32_LANES;
        let is_square = RUN == 3 && band.starts.len() == RUN * band.rows;
        for line in lines::<S>(vectors) {
            if is_square && has_many_registers::<S>() {
                for v in line {
                    band.square::<S, RUN, STRIDE>(simd, v);
                }
                continue;
            }
            band.row_by_row::<S, RUN, STRIDE, true>(simd, line);
        }
        if !band.size.c_out.is_multiple_of(S::F32_LANES) {
            band.row_by_row::<S, RUN, STRIDE, false>(simd, vectors..vectors + 1);
        }
    }
}

/// Pivot, sum, and sum of squares of a vector of channels.
type State<S> = [<S as Simd>::f32s; 3];

impl Band<'_> {
    #[inline(always)]
    fn stride<const STRIDE: usize>(&self) -> usize {
        if STRIDE == 0 { self.size.stride } else { STRIDE }
    }

    /// All pixels of one vector of channels, which is whole, by a square window, whose weights stay in registers.
    #[inline(always)]
    fn square<S: Simd, const K: usize, const STRIDE: usize>(&mut self, simd: S, v: usize) {
        let (at, stride) = (v * self.columns, self.stride::<STRIDE>());
        let weights = &S::as_simd_f32s(self.weights).0.as_chunks::<K>().0[v * K..];
        let ring = S::as_simd_f32s(self.ring).0;
        let mut w = [weights[0]; K];
        for k in 0..K {
            w[k] = weights[k];
        }
        let mut state = self.state(simd, v);
        let whole = self.pixels / TILE * TILE;
        for r in 0..self.rows {
            let mut rows = [ring; K];
            for k in 0..K {
                rows[k] = &ring[self.starts[r * K + k] + at..];
            }
            for x in (0..whole).step_by(TILE) {
                let acc = slide_down::<S, K, TILE>(simd, rows, x * stride, &w, stride);
                self.finish::<S, STRIDE, TILE, true>(simd, (r, x, v), acc, &mut state);
            }
            for x in whole..self.pixels {
                let acc = slide_down::<S, K, 1>(simd, rows, x * stride, &w, stride);
                self.finish::<S, STRIDE, 1, true>(simd, (r, x, v), acc, &mut state);
            }
        }
        self.keep(simd, v, state);
    }

    /// All pixels of some vectors of channels, which are `WHOLE`, or the last.
    #[inline(always)]
    fn row_by_row<S: Simd, const RUN: usize, const STRIDE: usize, const WHOLE: bool>(
        &mut self,
        simd: S,
        vectors: Range<usize>,
    ) {
        let whole = if WHOLE { self.pixels / TILE * TILE } else { 0 };
        for r in 0..self.rows {
            for x in (0..whole).step_by(TILE) {
                self.tile::<S, RUN, STRIDE, TILE, WHOLE>(simd, (r, x), vectors.clone());
            }
            for x in whole..self.pixels {
                self.tile::<S, RUN, STRIDE, 1, WHOLE>(simd, (r, x), vectors.clone());
            }
        }
    }

    /// Pixels `x..x + P` of row `r` and some vectors of channels.
    #[inline(always)]
    fn tile<S: Simd, const RUN: usize, const STRIDE: usize, const P: usize, const WHOLE: bool>(
        &mut self,
        simd: S,
        (r, x): (usize, usize),
        vectors: Range<usize>,
    ) {
        let stride = self.stride::<STRIDE>();
        let (ring, _) = S::as_simd_f32s(self.ring);
        let weights = S::as_simd_f32s(self.weights).0.as_chunks::<RUN>().0;
        let runs = self.starts.len() / self.rows;
        for v in vectors {
            let mut acc = [simd.splat_f32s(0.0); P];
            let first = v * self.columns + x * stride;
            for (start, w) in self.starts[r * runs..][..runs].iter().zip(&weights[v * runs..][..runs]) {
                acc = slide(simd, acc, &ring[start + first..], *w, stride);
            }
            let mut state = self.state(simd, v);
            self.finish::<S, STRIDE, P, WHOLE>(simd, (r, x, v), acc, &mut state);
            self.keep(simd, v, state);
        }
    }

    #[inline(always)]
    fn state<S: Simd>(&self, simd: S, v: usize) -> State<S> {
        match &self.sums {
            None => [simd.splat_f32s(0.0); 3],
            Some(Sums { pivot, first, second }) => {
                [S::as_simd_f32s(pivot).0[v], S::as_simd_f32s(first).0[v], S::as_simd_f32s(second).0[v]]
            }
        }
    }

    #[inline(always)]
    fn keep<S: Simd>(&mut self, _: S, v: usize, [_, sum, squares]: State<S>) {
        if let Some(Sums { first, second, .. }) = &mut self.sums {
            S::as_mut_simd_f32s(first).0[v] = sum;
            S::as_mut_simd_f32s(second).0[v] = squares;
        }
    }

    /// Adds bias and `add` to the sums of some pixels, measures and stores them, and asks for what follows.
    #[inline(always)]
    fn finish<S: Simd, const STRIDE: usize, const P: usize, const WHOLE: bool>(
        &mut self,
        simd: S,
        (r, x, v): (usize, usize, usize),
        mut acc: [S::f32s; P],
        state: &mut State<S>,
    ) {
        let channels = self.size.c_out;
        let c = v * S::F32_LANES;
        let row = r * self.size.w_out * channels;
        let len = if WHOLE { S::F32_LANES } else { channels - c };
        if let Some(bias) = self.bias {
            let bias = load(simd, bias, c, S::F32_LANES);
            for acc in &mut acc {
                *acc = simd.add_f32s(*acc, bias);
            }
        }
        if let Some(add) = self.add {
            for j in 0..P {
                acc[j] = simd.add_f32s(acc[j], load(simd, add, row + (x + j) * channels + c, len));
            }
        }
        if self.sums.is_some() {
            let [pivot, mut sum, mut squares] = *state;
            for j in 0..P {
                let d = simd.sub_f32s(acc[j], pivot);
                sum = simd.add_f32s(sum, d);
                squares = simd.mul_add_f32s(d, d, squares);
            }
            *state = [pivot, sum, squares];
        }
        for j in 0..P {
            store(simd, self.out, row + (x + j) * channels + c, len, acc[j]);
        }
        // Lines in the order that memory has them in, as many as there are pixels times lines of channels.
        if c.is_multiple_of(LINE) {
            let next_rows = self.rows * self.size.w_out * channels;
            for j in 0..P {
                ask(self.out, next_rows + (self.asked + j) * LINE);
            }
            if let Some((map, start)) = self.next {
                // As many rows as the window moves down, as many columns as it moves on.
                let stride = self.stride::<STRIDE>();
                for j in 0..P * stride * stride {
                    ask(map, start + (self.asked * stride * stride + j) * LINE);
                }
            }
            self.asked += P;
        }
    }
}

/// The sums of a square window at `P` places of `rows`, of which the first begins at `x`.
#[inline(always)]
fn slide_down<S: Simd, const K: usize, const P: usize>(
    simd: S,
    rows: [&[S::f32s]; K],
    x: usize,
    w: &[[S::f32s; K]; K],
    stride: usize,
) -> [S::f32s; P] {
    // All checks before all products: a product moved past a check keeps its operands in registers that others need.
    let mut windows = rows;
    for k in 0..K {
        windows[k] = &rows[k][x..][..(P - 1) * stride + K];
    }
    let mut acc = [simd.splat_f32s(0.0); P];
    for k in 0..K {
        acc = slide(simd, acc, windows[k], w[k], stride);
    }
    acc
}

/// `acc[j] += window[j*stride + i] * w[i]`
#[inline(always)]
fn slide<S: Simd, const RUN: usize, const P: usize>(
    simd: S,
    mut acc: [S::f32s; P],
    window: &[S::f32s],
    w: [S::f32s; RUN],
    stride: usize,
) -> [S::f32s; P] {
    let window = &window[..(P - 1) * stride + RUN];
    for i in 0..RUN {
        for j in 0..P {
            acc[j] = simd.mul_add_f32s(window[j * stride + i], w[i], acc[j]);
        }
    }
    acc
}
