//! The ring of rows that a window slides over.

use super::super::load::{GradTerms, Maps, bounds, maps_row};
use super::pad_channels;
use crate::kernels::ahead::{LINE, ask};
use pulp::Simd;

/// The last rows of an image, each `[vector of channels][column]` with zeros on either side, and a row of zeros for whatever lies
/// above and below the image.
pub(super) struct Ring<'a> {
    shape: RingShape,
    /// [`RingShape::len`] floats; the columns outside the image are zeros.
    values: &'a mut [f32],
    /// First row of the image that has not entered.
    next: usize,
}

/// Sizes of a [`Ring`].
#[derive(Clone, Copy)]
pub(super) struct RingShape {
    /// Height of the image.
    pub height: usize,
    /// Width of the image.
    pub width: usize,
    /// Channels of the image.
    pub channels: usize,
    /// Rows that are kept.
    pub kept: usize,
    /// Zero columns to the left.
    pub left: usize,
    /// Columns in all.
    pub columns: usize,
    /// Floats of a vector.
    pub lanes: usize,
}

impl RingShape {
    fn row_len(&self) -> usize {
        self.channels.div_ceil(self.lanes) * self.columns * self.lanes
    }

    /// Floats to set aside.
    pub fn len(&self) -> usize {
        (self.kept + 1) * self.row_len()
    }
}

impl<'a> Ring<'a> {
    /// An empty ring, of unspecified `values`: what rows that enter do not fill becomes zeros.
    pub fn new(shape: RingShape, values: &'a mut [f32]) -> Ring<'a> {
        let (rows, zeros) = values.split_at_mut(shape.kept * shape.row_len());
        zeros.fill(0.0);
        for row in rows.chunks_exact_mut(shape.columns * shape.lanes) {
            let (left, rest) = row.split_at_mut(shape.left * shape.lanes);
            left.fill(0.0);
            rest[shape.width * shape.lanes..].fill(0.0);
        }
        Ring { shape, values, next: 0 }
    }

    /// Starts another image.
    pub fn restart(&mut self) {
        self.next = 0;
    }

    /// The next row to enter, if fewer than `rows` have: its number, and where to write it. (An iterator's step instead of a method that
    /// takes a closure: one that is not inlined loses the caller's instruction set.)
    #[inline(always)]
    pub fn enter(&mut self, rows: usize) -> Option<(usize, &mut [f32])> {
        if self.next >= rows.min(self.shape.height) {
            return None;
        }
        let (row, len) = (self.next, self.shape.row_len());
        self.next += 1;
        Some((row, &mut self.values[row % self.shape.kept * len..][..len]))
    }

    /// All values, for [`start`](Ring::start) to point into.
    pub fn values(&self) -> &[f32] {
        self.values
    }

    /// Where `row` starts, in vectors; a row of zeros if the image has no such row. It must be one of the last that entered.
    pub fn start(&self, row: usize) -> usize {
        let at = if row < self.shape.height { row % self.shape.kept } else { self.shape.kept };
        at * self.shape.row_len() / self.shape.lanes
    }
}

/// What a convolution reads, ready for rows to enter a ring.
pub(super) struct Input<'a> {
    maps: Maps<'a>,
    /// Padded to whole vectors.
    pub affine: Option<(Vec<f32>, Vec<f32>)>,
}

impl<'a> Input<'a> {
    pub fn new(maps: Maps<'a>, channels: usize, lanes: usize) -> Input<'a> {
        let pad = |v| pad_channels(Some(v), 0.0, channels, lanes);
        Input { maps, affine: maps.affine.map(|(a, b)| (pad(a), pad(b))) }
    }

    /// The one map, unless there are several.
    pub fn single(&self) -> Option<&'a [f32]> {
        match self.maps.maps {
            &[(map, _)] => Some(map),
            _ => None,
        }
    }

    /// Enters the row whose first pixel is `first`, and asks for the one after it meanwhile; `line` has room for one, of pixels.
    #[inline(always)]
    pub fn enter<S: Simd>(&self, simd: S, shape: &RingShape, first: usize, line: &mut [f32], out: &mut [f32]) {
        let len = shape.width * shape.channels;
        let Some(map) = self.single() else {
            maps_row(simd, &self.maps, shape.channels, first, &mut line[..len]);
            return enter(
                simd,
                shape,
                (&line[..len], &[]),
                out,
                #[inline(always)]
                |_, v| v,
            );
        };
        let (map, next) = map[first * shape.channels..].split_at(len);
        match (&self.affine, bounds(self.maps.activation)) {
            (None, None) => enter(
                simd,
                shape,
                (map, next),
                out,
                #[inline(always)]
                |_, v| v,
            ),
            (None, Some((low, high))) => {
                let (low, high) = (simd.splat_f32s(low), simd.splat_f32s(high));
                enter(
                    simd,
                    shape,
                    (map, next),
                    out,
                    #[inline(always)]
                    |_, v| simd.min_f32s(high, simd.max_f32s(low, v)),
                );
            }
            (Some((a, b)), bounds) => {
                let (a, b) = (S::as_simd_f32s(a).0, S::as_simd_f32s(b).0);
                // Without an activation the bounds are infinite.
                let (low, high) = bounds.unwrap_or((f32::NEG_INFINITY, f32::INFINITY));
                let (low, high) = (simd.splat_f32s(low), simd.splat_f32s(high));
                enter(
                    simd,
                    shape,
                    (map, next),
                    out,
                    #[inline(always)]
                    |i, v| simd.min_f32s(high, simd.max_f32s(low, simd.mul_add_f32s(a[i], v, b[i]))),
                );
            }
        }
    }
}

/// A gradient's terms, ready for rows to enter a ring.
pub(super) struct Gradient<'a> {
    grad: &'a [f32],
    /// Padded to whole vectors, as are the following.
    scale: Option<Vec<f32>>,
    affine_of: Option<(&'a [f32], Vec<f32>, Vec<f32>)>,
}

impl<'a> Gradient<'a> {
    pub fn new(terms: GradTerms<'a>, channels: usize, lanes: usize) -> Gradient<'a> {
        let pad = |v| pad_channels(Some(v), 0.0, channels, lanes);
        Gradient {
            grad: terms.grad,
            scale: terms.scale.map(pad),
            affine_of: terms.affine_of.map(|(map, slope, offset)| (map, pad(slope), pad(offset))),
        }
    }

    /// Enters the row whose first pixel is `first`.
    #[inline(always)]
    pub fn enter<S: Simd>(&self, simd: S, shape: &RingShape, first: usize, out: &mut [f32]) {
        let (at, len) = (first * shape.channels, shape.width * shape.channels);
        let grad = &self.grad[at..at + len];
        let scales = self.scale.as_ref().map(|scale| S::as_simd_f32s(scale).0);
        match (scales, &self.affine_of) {
            (None, None) => enter(
                simd,
                shape,
                (grad, &[]),
                out,
                #[inline(always)]
                |_, g| g,
            ),
            (Some(scale), None) => enter(
                simd,
                shape,
                (grad, &[]),
                out,
                #[inline(always)]
                |i, g| simd.mul_f32s(g, scale[i]),
            ),
            (scale, Some((map, slope, offset))) => {
                let (slope, offset) = (S::as_simd_f32s(slope).0, S::as_simd_f32s(offset).0);
                let map = &map[at..at + len];
                match scale {
                    None => enter_two(
                        simd,
                        shape,
                        [grad, map],
                        &[],
                        out,
                        #[inline(always)]
                        |i, g, m| simd.add_f32s(g, simd.mul_add_f32s(slope[i], m, offset[i])),
                    ),
                    Some(scale) => enter_two(
                        simd,
                        shape,
                        [grad, map],
                        &[],
                        out,
                        #[inline(always)]
                        |i, g, m| simd.add_f32s(simd.mul_f32s(g, scale[i]), simd.mul_add_f32s(slope[i], m, offset[i])),
                    ),
                }
            }
        }
    }
}

/// Enters `f(i, v)` for each vector `v` of a row of pixels, the `i`th of its pixel, and asks for as much of `next`, unless that is empty.
/// Two columns at a time: they share a cache line, and what `f` reads.
#[inline(always)]
fn enter<S: Simd>(
    simd: S,
    shape: &RingShape,
    (row, next): (&[f32], &[f32]),
    out: &mut [f32],
    f: impl Fn(usize, S::f32s) -> S::f32s,
) {
    enter_two(
        simd,
        shape,
        [row, row],
        next,
        out,
        #[inline(always)]
        |i, v, _| f(i, v),
    );
}

/// The same of two rows.
#[inline(always)]
fn enter_two<S: Simd>(
    simd: S,
    shape: &RingShape,
    [a, b]: [&[f32]; 2],
    next: &[f32],
    out: &mut [f32],
    f: impl Fn(usize, S::f32s, S::f32s) -> S::f32s,
) {
    let (out, _) = S::as_mut_simd_f32s(out);
    let (channels, columns) = (shape.channels, shape.columns);
    let (whole, tail) = (channels / S::F32_LANES, channels % S::F32_LANES);
    let last = |row: &[f32]| simd.partial_load_f32s(&row[whole * S::F32_LANES..][..tail]);
    let pairs = a.chunks(2 * channels).zip(b.chunks(2 * channels));
    for (pair, (a, b)) in pairs.enumerate() {
        let x = shape.left + 2 * pair;
        for line in (0..if next.is_empty() { 0 } else { a.len() }).step_by(LINE) {
            ask(next, pair * 2 * channels + line);
        }
        if a.len() < 2 * channels {
            let (a_vectors, b_vectors) = (S::as_simd_f32s(a).0, S::as_simd_f32s(b).0);
            for i in 0..whole {
                out[i * columns + x] = f(i, a_vectors[i], b_vectors[i]);
            }
            if tail > 0 {
                out[whole * columns + x] = f(whole, last(a), last(b));
            }
            continue;
        }
        let ((a, a_next), (b, b_next)) = (a.split_at(channels), b.split_at(channels));
        let (first, second) =
            ((S::as_simd_f32s(a).0, S::as_simd_f32s(b).0), (S::as_simd_f32s(a_next).0, S::as_simd_f32s(b_next).0));
        let mut out = out[x..].chunks_mut(columns);
        for (i, out) in (0..whole).zip(&mut out) {
            let v = [f(i, first.0[i], first.1[i]), f(i, second.0[i], second.1[i])];
            out[..2].copy_from_slice(&v);
        }
        if let (true, Some(out)) = (tail > 0, out.next()) {
            out[..2].copy_from_slice(&[f(whole, last(a), last(b)), f(whole, last(a_next), last(b_next))]);
        }
    }
}
