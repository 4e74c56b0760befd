//! The transforms of 3x3 convolutions with stride 2: two outputs of one dimension from five products instead of six, four of two
//! dimensions from 25 instead of 36.
//!
//! The outer taps read every other pixel, the middle tap those between; the two outer ones are a convolution of two taps, F(2, 2):
//!
//! ```text
//! y0 = w0 x0 + w1 x1 + w2 x2       m = [w0 (x0 - x2), (w0 + w2) x2, w2 (x2 - x4), w1 x1, w1 x3]
//! y1 = w0 x2 + w1 x3 + w2 x4       y0 = m0 + m1 + m3,  y1 = m1 - m2 + m4
//! ```
//!
//! and so is the gradient of the pixels that the outer taps read, with the taps mirrored. Products with the same weights share them: 16 are
//! distinct. The constants are 1 and -1, so that errors are those of direct sums.

use super::super::tile::{Store, load};
use super::{Block, Pass, Place, Tiles};
use pulp::{Simd, WithSimd};
use std::ops::Range;

/// Positions of a transformed tile, each way.
pub(super) const SIDE: usize = 5;
/// Output pixels of a tile, each way.
pub(super) const TILE: usize = 2;

/// Rows of `G`; the last is that of two positions.
pub(super) const G: [[f32; 3]; SIDE - 1] = [[1.0, 0.0, 0.0], [1.0, 0.0, 1.0], [0.0, 0.0, 1.0], [0.0, 1.0, 0.0]];

/// What the outer taps read, and what the middle one reads, in one dimension.
#[inline(always)]
fn input_1d<S: Simd>(simd: S, outer: [S::f32s; 3], middle: [S::f32s; 2]) -> [S::f32s; SIDE] {
    let [a, b, c] = outer;
    [simd.sub_f32s(a, b), b, simd.sub_f32s(b, c), middle[0], middle[1]]
}

/// Two outputs; or the gradients of four neighbours, those that the middle tap reads and, between them, those that the outer ones read.
#[inline(always)]
fn results_1d<S: Simd, const N: usize>(simd: S, m: [S::f32s; SIDE]) -> [S::f32s; N] {
    let (a, b) = (simd.add_f32s(m[0], m[1]), simd.sub_f32s(m[1], m[2]));
    let mut results = [a; N];
    if N == TILE {
        results[0] = simd.add_f32s(a, m[3]);
        results[1] = simd.add_f32s(b, m[4]);
    } else {
        results[0] = m[3];
        results[2] = m[4];
        results[3] = b;
    }
    results
}

/// Gradients of the products from those of two outputs.
#[inline(always)]
fn grad_output_1d<S: Simd>(simd: S, d: [S::f32s; 2]) -> [S::f32s; SIDE] {
    [d[0], simd.add_f32s(d[0], d[1]), simd.neg_f32s(d[1]), d[0], d[1]]
}

/// Row `r` of the `N` x `N` window of tile `t`, which begins `step` pixels after that of its neighbour and ends one after its beginning.
#[inline(always)]
fn row<'a, const N: usize>(
    tiles: &Tiles,
    padded: &'a [f32],
    (channels, step): (usize, usize),
    t: usize,
    r: usize,
) -> &'a [f32] {
    let row_len = (tiles.columns * step + 1) * channels;
    let image_len = (tiles.rows * step + 1) * row_len;
    let (image, ty, tx) = tiles.place(t);
    &padded[image * image_len + (ty * step + r) * row_len + tx * step * channels..][..N * channels]
}

/// The rows of positions of transformed tile `i`.
#[inline(always)]
fn rows_of(out: &mut [f32], place: Place, i: usize) -> [&mut [f32]; SIDE] {
    let mut rows = out.chunks_mut(place.row);
    let mut row = || rows.next().map_or(Default::default(), |row| &mut row[i * place.tile..][..SIDE * place.channels]);
    [row(), row(), row(), row(), row()]
}

/// Of a block of tiles, what the products of a pass read.
pub(super) struct Input<'a>(pub Pass, pub Block<'a>);

impl WithSimd for Input<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        match self.0 {
            Pass::Forward => self.forward(simd),
            Pass::GradInput => self.grad_input(simd),
        }
    }
}

impl Input<'_> {
    #[inline(always)]
    fn forward<S: Simd>(self, simd: S) {
        let Block { tiles, padded, channels, block, out, place } = self.1;
        for (i, t) in block.enumerate() {
            let [r0, r1, r2, r3, r4] = five(
                #[inline(always)]
                |r| row::<5>(tiles, padded, (channels, 2 * TILE), t, r),
            );
            let out = rows_of(out, place, i);
            for c in (0..channels).step_by(S::F32_LANES) {
                let columns = five(
                    #[inline(always)]
                    |x| {
                        let at = x * channels + c;
                        let [r0, r1, r2, r3, r4] = [
                            at_of(simd, r0, at),
                            at_of(simd, r1, at),
                            at_of(simd, r2, at),
                            at_of(simd, r3, at),
                            at_of(simd, r4, at),
                        ];
                        input_1d(simd, [r0, r2, r4], [r1, r3])
                    },
                );
                let [c0, c1, c2, c3, c4] = &columns;
                for r in 0..SIDE {
                    put(simd, out[r], channels, c, input_1d(simd, [c0[r], c2[r], c4[r]], [c1[r], c3[r]]));
                }
            }
        }
    }

    #[inline(always)]
    fn grad_input<S: Simd>(self, simd: S) {
        let Block { tiles, padded, channels, block, out, place } = self.1;
        for (i, t) in block.enumerate() {
            let [r0, r1, r2] = three(
                #[inline(always)]
                |r| row::<3>(tiles, padded, (channels, TILE), t, r),
            );
            let out = rows_of(out, place, i);
            for c in (0..channels).step_by(S::F32_LANES) {
                let [c0, c1, c2] = three(
                    #[inline(always)]
                    |x| {
                        let at = x * channels + c;
                        let [r0, r1, r2] = [at_of(simd, r0, at), at_of(simd, r1, at), at_of(simd, r2, at)];
                        input_1d(simd, [r0, r1, r2], [r0, r1])
                    },
                );
                for r in 0..SIDE {
                    put(simd, out[r], channels, c, input_1d(simd, [c0[r], c1[r], c2[r]], [c0[r], c1[r]]));
                }
            }
        }
    }
}

/// Of a block of tiles, what grad_weight multiplies of dy; zeros beyond the channels.
pub(super) struct GradOutput<'a>(pub Block<'a>);

impl WithSimd for GradOutput<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Block { tiles, padded, channels, block, out, place } = self.0;
        for (i, t) in block.enumerate() {
            let r0 = row::<2>(tiles, padded, (channels, TILE), t, 0);
            let r1 = row::<2>(tiles, padded, (channels, TILE), t, 1);
            let mut out = rows_of(out, place, i);
            for c in (0..channels).step_by(S::F32_LANES) {
                let [c0, c1] = [
                    grad_output_1d(simd, [at_of(simd, r0, c), at_of(simd, r1, c)]),
                    grad_output_1d(simd, [at_of(simd, r0, channels + c), at_of(simd, r1, channels + c)]),
                ];
                for r in 0..SIDE {
                    put(simd, out[r], place.channels, c, grad_output_1d(simd, [c0[r], c1[r]]));
                }
            }
            // Sums of whole panels read these.
            for row in &mut out {
                row.chunks_mut(place.channels).for_each(|position| position[channels..].fill(0.0));
            }
        }
    }
}

/// A block of tiles' products into the output (forward) or the input's gradient.
pub(super) struct Output<'a> {
    pub tiles: &'a Tiles,
    pub pass: Pass,
    pub block: Range<usize>,
    pub y: &'a [f32],
    pub place: Place,
    pub store: Store<'a>,
}

impl WithSimd for Output<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let (channels, [height, width]) = (self.store.channels, self.tiles.writes(self.pass));
        let step = match self.pass {
            Pass::Forward => TILE,
            Pass::GradInput => 2 * TILE,
        };
        for (i, t) in self.block.clone().enumerate() {
            let (image, ty, tx) = self.tiles.place(t);
            let (y, x) = (ty * step, tx * step);
            let corner = ((image * height + y) * width + x) * channels;
            let inside = [(height - y).min(step), (width - x).min(step)];
            let rows = five(
                #[inline(always)]
                |r| &self.y[self.place.of(i, r, 0)..][..SIDE * self.place.channels],
            );
            for c in (0..channels).step_by(S::F32_LANES) {
                let y = Vectors { rows, channels: self.place.channels, c };
                let at = (corner + c, width * channels);
                match self.pass {
                    Pass::Forward => results::<S, TILE>(simd, y, &mut self.store, at, inside),
                    Pass::GradInput => results::<S, { 2 * TILE }>(simd, y, &mut self.store, at, inside),
                }
            }
        }
    }
}

/// One vector of channels of all products of a tile.
#[derive(Clone, Copy)]
struct Vectors<'a> {
    rows: [&'a [f32]; SIDE],
    channels: usize,
    c: usize,
}

impl Vectors<'_> {
    /// Those of a column of positions.
    #[inline(always)]
    fn column<S: Simd>(&self, simd: S, x: usize) -> [S::f32s; SIDE] {
        five(
            #[inline(always)]
            |r| at_of(simd, self.rows[r], x * self.channels + self.c),
        )
    }
}

/// `N` x `N` pixels of one vector, of those that are `inside` the map.
#[inline(always)]
fn results<S: Simd, const N: usize>(
    simd: S,
    y: Vectors,
    store: &mut Store,
    (at, row_len): (usize, usize),
    [height, width]: [usize; 2],
) {
    let [c0, c1, c2, c3, c4] = five(
        #[inline(always)]
        |x| results_1d::<S, N>(simd, y.column(simd, x)),
    );
    for r in 0..N {
        let row = results_1d::<S, N>(simd, [c0[r], c1[r], c2[r], c3[r], c4[r]]);
        for (s, &v) in row.iter().enumerate() {
            if r < height && s < width {
                pixel(simd, store, at + r * row_len + s * store.channels, v);
            }
        }
    }
}

/// One vector of a pixel, which begins at `at`.
#[inline(always)]
fn pixel<S: Simd>(simd: S, store: &mut Store, at: usize, mut v: S::f32s) {
    if let Some(bias) = store.bias {
        v = simd.add_f32s(v, at_of(simd, bias, at % store.channels));
    }
    if let Some(add) = store.add {
        v = simd.add_f32s(v, at_of(simd, add, at));
    }
    let out = &mut S::as_mut_simd_f32s(&mut store.out[at..][..S::F32_LANES]).0[0];
    *out = if store.accumulate { simd.add_f32s(*out, v) } else { v };
}

/// The vector at `at`.
#[inline(always)]
fn at_of<S: Simd>(simd: S, values: &[f32], at: usize) -> S::f32s {
    load(simd, &values[at..][..S::F32_LANES])
}

/// Vector `c` of a row of positions of `channels` channels.
#[inline(always)]
fn put<S: Simd>(_simd: S, out: &mut [f32], channels: usize, c: usize, row: [S::f32s; SIDE]) {
    for s in 0..SIDE {
        S::as_mut_simd_f32s(&mut out[s * channels + c..][..S::F32_LANES]).0[0] = row[s];
    }
}

/// `f` of 0 to 4; not a loop, as [`super::transform::six`].
#[inline(always)]
fn five<T>(f: impl Fn(usize) -> T) -> [T; 5] {
    [f(0), f(1), f(2), f(3), f(4)]
}

/// `f` of 0 to 2.
#[inline(always)]
fn three<T>(f: impl Fn(usize) -> T) -> [T; 3] {
    [f(0), f(1), f(2)]
}
