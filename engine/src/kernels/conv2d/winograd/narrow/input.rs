//! `Bt x B` (and `A dy At`) in two halves, over a list of maps.

use super::super::transform::{grad_output_1d, input_1d, six};
use super::{Block, LANES, Segment, Strips, TILE, Tiles, WINDOW, inlined, row_len};
use crate::kernels::conv2d::load::{Activation, Maps};
use crate::kernels::conv2d::tile::load;
use crate::kernels::simd::apart;
use pulp::{Simd, WithSimd};

/// The columns of a strip of tiles, for one segment: `out[r][column][c] = sum over rows of Bt[r][row] * activation(scale*x + shift)`,
/// zeros beyond the image. With `GRAD` it is `A` instead of `Bt`, whose tiles have four rows and no border.
pub struct Vertical<'a, const GRAD: bool> {
    /// One image of the map, from the segment's first channel on.
    pub image: &'a [f32],
    /// Rows and columns of the image.
    pub extent: [usize; 2],
    pub segment: &'a Segment,
    /// Row of tiles.
    pub tile_row: usize,
    /// Over a run of the segment.
    pub scale: &'a [f32],
    pub shift: &'a [f32],
    pub activation: Activation,
    /// Six rows. Those columns that no image has are not written.
    pub out: &'a mut [f32],
    /// Floats between them.
    pub row_len: usize,
}

impl<const GRAD: bool> WithSimd for Vertical<'_, GRAD> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let zero = simd.splat_f32s(0.0);
        match self.activation {
            Activation::Identity => self.with(
                simd,
                #[inline(always)]
                |v| v,
            ),
            Activation::Relu => self.with(
                simd,
                #[inline(always)]
                |v| simd.max_f32s(zero, v),
            ),
            Activation::Relu6 => {
                let six = simd.splat_f32s(6.0);
                self.with(
                    simd,
                    #[inline(always)]
                    |v| simd.min_f32s(six, simd.max_f32s(zero, v)),
                );
            }
        }
    }
}

impl<const GRAD: bool> Vertical<'_, GRAD> {
    #[inline(always)]
    fn with<S: Simd>(self, simd: S, activate: impl Fn(S::f32s) -> S::f32s) {
        let Vertical { image, extent: [height, width], segment, tile_row, scale, shift, out, row_len, .. } = self;
        let border = usize::from(!GRAD);
        let (first, count) = (tile_row * TILE, if GRAD { TILE } else { WINDOW });
        let exists = |r: usize| r < count && (border..height + border).contains(&(first + r));
        let valid = [exists(0), exists(1), exists(2), exists(3), exists(4), exists(5)];
        // A row that does not exist is read at the place of one that does, and then not used.
        let last = height - 1;
        let start = |r: usize| (first + r).saturating_sub(border).min(last) * width * segment.stride;
        let rows = [start(0), start(1), start(2), start(3), start(4), start(5)];
        let (runs, len) = segment.runs(width);
        for run in 0..runs {
            let from = rows.map(|row| &image[row + run * segment.stride..][..len]);
            let at = (border + run) * segment.channels;
            let out = &mut out[at..];
            if valid == [true, true, true, true, !GRAD, !GRAD] {
                run_of::<S, GRAD, true>(simd, from, &valid, [scale, shift], out, row_len, &activate);
            } else {
                run_of::<S, GRAD, false>(simd, from, &valid, [scale, shift], out, row_len, &activate);
            }
        }
    }
}

/// One run of consecutive floats; `WHOLE` if all rows exist.
#[inline(always)]
fn run_of<S: Simd, const GRAD: bool, const WHOLE: bool>(
    simd: S,
    from: [&[f32]; WINDOW],
    valid: &[bool; WINDOW],
    [scale, shift]: [&[f32]; 2],
    out: &mut [f32],
    row_len: usize,
    activate: impl Fn(S::f32s) -> S::f32s,
) {
    let len = from[0].len();
    let (o0, out) = out.split_at_mut(row_len);
    let (o1, out) = out.split_at_mut(row_len);
    let (o2, out) = out.split_at_mut(row_len);
    let (o3, out) = out.split_at_mut(row_len);
    let (o4, o5) = out.split_at_mut(row_len);
    let zero = simd.splat_f32s(0.0);
    let column = inlined(
        #[inline(always)]
        |d: [S::f32s; WINDOW], a: S::f32s, b: S::f32s| {
            let d = six(
                #[inline(always)]
                |r| {
                    let exists = !(GRAD && r >= TILE) && (WHOLE || valid[r]);
                    if exists { activate(simd.mul_add_f32s(a, d[r], b)) } else { zero }
                },
            );
            if GRAD { grad_output_1d(simd, [d[0], d[1], d[2], d[3]]) } else { input_1d(simd, d) }
        },
    );
    let n = len / LANES;
    let [f0, f1, f2, f3, f4, f5] = from.map(|row| &S::as_simd_f32s(row).0[..n]);
    let (a, b) = (&S::as_simd_f32s(scale).0[..n], &S::as_simd_f32s(shift).0[..n]);
    {
        let (p0, p1, p2) = (whole::<S>(o0, n), whole::<S>(o1, n), whole::<S>(o2, n));
        let (p3, p4, p5) = (whole::<S>(o3, n), whole::<S>(o4, n), whole::<S>(o5, n));
        for i in 0..n {
            let o = column([f0[i], f1[i], f2[i], f3[i], f4[i], f5[i]], a[i], b[i]);
            (p0[i], p1[i], p2[i], p3[i], p4[i], p5[i]) = (o[0], o[1], o[2], o[3], o[4], o[5]);
        }
    }
    if len > n * LANES {
        // The last vector again, as far right as it goes; or, if there is none, what there is.
        let at = len.saturating_sub(LANES);
        let take = inlined(
            #[inline(always)]
            |row: &[f32]| if n > 0 { load(simd, &row[at..at + LANES]) } else { simd.partial_load_f32s(row) },
        );
        let d = from.map(take);
        let o = column(d, take(&scale[..len]), take(&shift[..len]));
        for (row, v) in [o0, o1, o2, o3, o4, o5].into_iter().zip(o) {
            if n > 0 {
                S::as_mut_simd_f32s(&mut row[at..at + LANES]).0[0] = v;
            } else {
                simd.partial_store_f32s(&mut row[..len], v);
            }
        }
    }
}

#[inline(always)]
fn whole<S: Simd>(row: &mut [f32], n: usize) -> &mut [S::f32s] {
    &mut S::as_mut_simd_f32s(row).0[..n]
}

/// The rows of tiles, for one row of the vertical half: `out[s][tile][at + c] = sum over x of Bt[s][x] * t[column of tile + x][c]`.
pub struct Horizontal<'a, const GRAD: bool> {
    /// One row for each strip: `strip_len` apart.
    pub t: &'a [f32],
    pub strip_len: usize,
    pub strips: usize,
    /// Tiles of a strip.
    pub columns: usize,
    /// Channels of `t`.
    pub channels: usize,
    /// Six positions.
    pub out: &'a mut [f32],
    /// Floats between them.
    pub position_len: usize,
    /// Floats between tiles.
    pub tile_len: usize,
    /// Where a tile's channels begin.
    pub at: usize,
}

impl<const GRAD: bool> WithSimd for Horizontal<'_, GRAD> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        match self.channels {
            12 => self.of::<S, 12>(simd),
            16 => self.of::<S, 16>(simd),
            24 => self.of::<S, 24>(simd),
            48 => self.of::<S, 48>(simd),
            _ => self.of::<S, 0>(simd),
        }
    }
}

impl<const GRAD: bool> Horizontal<'_, GRAD> {
    /// For `C` channels; 0 means any number.
    #[inline(always)]
    fn of<S: Simd, const C: usize>(self, simd: S) {
        let Horizontal { t, strip_len, strips, columns, out, position_len, tile_len, at, .. } = self;
        let c = if C == 0 { self.channels } else { C };
        let pixels = if GRAD { TILE } else { WINDOW };
        let (x0, out) = out.split_at_mut(position_len);
        let (x1, out) = out.split_at_mut(position_len);
        let (x2, out) = out.split_at_mut(position_len);
        let (x3, out) = out.split_at_mut(position_len);
        let (x4, x5) = out.split_at_mut(position_len);
        for strip in 0..strips {
            for tx in 0..columns {
                let window = &t[strip * strip_len + tx * TILE * c..][..pixels * c];
                let tile = (strip * columns + tx) * tile_len + at;
                let out = [
                    &mut x0[tile..tile + c],
                    &mut x1[tile..tile + c],
                    &mut x2[tile..tile + c],
                    &mut x3[tile..tile + c],
                    &mut x4[tile..tile + c],
                    &mut x5[tile..tile + c],
                ];
                if c >= LANES {
                    one_tile::<S, GRAD>(simd, window, c, out);
                } else {
                    let d = |x: usize| simd.partial_load_f32s(&window[x.min(pixels - 1) * c..][..c]);
                    let o = transform::<S, GRAD>(simd, [d(0), d(1), d(2), d(3), d(4), d(5)]);
                    for (out, v) in out.into_iter().zip(o) {
                        simd.partial_store_f32s(out, v);
                    }
                }
            }
        }
    }
}

#[inline(always)]
fn transform<S: Simd, const GRAD: bool>(simd: S, d: [S::f32s; WINDOW]) -> [S::f32s; WINDOW] {
    if GRAD { grad_output_1d(simd, [d[0], d[1], d[2], d[3]]) } else { input_1d(simd, d) }
}

/// At least one vector of channels: the last overlaps the one before if they are not whole vectors.
#[inline(always)]
fn one_tile<S: Simd, const GRAD: bool>(simd: S, window: &[f32], c: usize, out: [&mut [f32]; WINDOW]) {
    let [o0, o1, o2, o3, o4, o5] = out;
    let mut v = 0;
    while v < c {
        let at = v.min(c - LANES);
        let d = inlined(
            #[inline(always)]
            |x: usize| {
                if GRAD && x >= TILE {
                    simd.splat_f32s(0.0)
                } else {
                    load(simd, &window[x * c + at..x * c + at + LANES])
                }
            },
        );
        let o = transform::<S, GRAD>(simd, [d(0), d(1), d(2), d(3), d(4), d(5)]);
        store::<S>(o0, at, o[0]);
        store::<S>(o1, at, o[1]);
        store::<S>(o2, at, o[2]);
        store::<S>(o3, at, o[3]);
        store::<S>(o4, at, o[4]);
        store::<S>(o5, at, o[5]);
        v += LANES;
    }
}

#[inline(always)]
fn store<S: Simd>(out: &mut [f32], at: usize, v: S::f32s) {
    S::as_mut_simd_f32s(&mut out[at..at + LANES]).0[0] = v;
}

/// The maps of some consecutive images, as tiles.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    pub input: &'a Maps<'a>,
    pub tiles: Tiles,
    /// The image that strips count from.
    pub first: usize,
}

impl<'a> Source<'a> {
    /// An image's values of a segment, from its first channel on.
    #[inline(always)]
    pub fn image(&self, segment: &Segment, image: usize) -> &'a [f32] {
        let len = self.tiles.height * self.tiles.width * segment.stride;
        &self.input.maps[segment.map].0[(self.first + image) * len..][..len][segment.first..]
    }

    /// Zeros where the columns of `strips` strips have no pixels: once for each block of channels.
    pub fn zero_borders(&self, block: &Block, strips: usize, t: &mut [f32]) {
        let Tiles { width, columns, .. } = self.tiles;
        let mut rest = &mut t[..strips * strip_len(block, &self.tiles)];
        for segment in block.segments.iter().cycle().take(strips * block.segments.len()) {
            let row_len = row_len(columns * TILE + 2, segment.channels);
            let (rows, tail) = std::mem::take(&mut rest).split_at_mut(WINDOW * row_len);
            rest = tail;
            for row in rows.chunks_exact_mut(row_len) {
                row[..segment.channels].fill(0.0);
                row[(width + 1) * segment.channels..].fill(0.0);
            }
        }
    }

    /// The columns of `strips`, as `t[strip][segment][row]`. `affine` is [expanded](super::expand_affine).
    #[inline(always)]
    pub fn columns_of<S: Simd>(&self, simd: S, block: &Block, strips: &Strips, affine: &[f32], t: &mut [f32]) {
        let Tiles { height, width, columns, .. } = self.tiles;
        let strip_len = strip_len(block, &self.tiles);
        let (mut start, mut affine) = (0, affine);
        for segment in &block.segments {
            let (_, len) = segment.runs(width);
            let ([scale, shift], rest) = two(affine, len);
            affine = rest;
            let row_len = row_len(columns * TILE + 2, segment.channels);
            for (i, (image, tile_row)) in strips.places().enumerate() {
                let out = &mut t[i * strip_len + start..][..WINDOW * row_len];
                let extent = [height, width];
                let (image, activation) = (self.image(segment, image), self.input.activation);
                apart(
                    simd,
                    Vertical::<false> { image, extent, segment, tile_row, scale, shift, activation, out, row_len },
                );
            }
            start += WINDOW * row_len;
        }
    }

    /// Row `r` of the transform of `strips`, as `x[position][tile][channel]`.
    #[inline(always)]
    pub fn rows_of<S: Simd>(
        &self,
        simd: S,
        block: &Block,
        strips: &Strips,
        (t, r): (&[f32], usize),
        (x, position_len): (&mut [f32], usize),
    ) {
        let columns = self.tiles.columns;
        let mut start = 0;
        for &Segment { channels, at, .. } in &block.segments {
            let row_len = row_len(columns * TILE + 2, channels);
            apart(
                simd,
                Horizontal::<false> {
                    t: &t[start + r * row_len..],
                    strip_len: strip_len(block, &self.tiles),
                    strips: strips.len(),
                    columns,
                    channels,
                    out: &mut *x,
                    position_len,
                    tile_len: block.columns(),
                    at,
                },
            );
            start += WINDOW * row_len;
        }
    }
}

/// Floats of a strip's columns.
pub fn strip_len(block: &Block, tiles: &Tiles) -> usize {
    let of = |segment: &Segment| WINDOW * row_len(tiles.columns * TILE + 2, segment.channels);
    block.segments.iter().map(of).sum()
}

/// Two slices of `len`, and the rest.
#[inline(always)]
pub fn two(values: &[f32], len: usize) -> ([&[f32]; 2], &[f32]) {
    let (first, rest) = values.split_at(len);
    let (second, rest) = rest.split_at(len);
    ([first, second], rest)
}
