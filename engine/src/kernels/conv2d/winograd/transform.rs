//! The transforms, a vector of channels at a time.

use super::super::tile::{Store, load};
use super::{Block, Pass, Place, TILE, Tiles, WINDOW};
use pulp::{Simd, WithSimd};
use std::ops::Range;

/// `Bt` times six values.
#[inline(always)]
pub(super) fn input_1d<S: Simd>(simd: S, d: [S::f32s; 6]) -> [S::f32s; 6] {
    let (two, four, five) = (simd.splat_f32s(2.0), simd.splat_f32s(4.0), simd.splat_f32s(5.0));
    // d4 - 4*d2 and d3 - 4*d1; d4 - d2 and d3 - d1
    let (a, b) = (simd.negate_mul_add_f32s(four, d[2], d[4]), simd.negate_mul_add_f32s(four, d[1], d[3]));
    let (c, e) = (simd.sub_f32s(d[4], d[2]), simd.sub_f32s(d[3], d[1]));
    [
        simd.mul_add_f32s(four, d[0], simd.negate_mul_add_f32s(five, d[2], d[4])),
        simd.add_f32s(a, b),
        simd.sub_f32s(a, b),
        simd.mul_add_f32s(two, e, c),
        simd.negate_mul_add_f32s(two, e, c),
        simd.mul_add_f32s(four, d[1], simd.negate_mul_add_f32s(five, d[3], d[5])),
    ]
}

/// `At` times six values.
#[inline(always)]
pub(super) fn output_1d<S: Simd>(simd: S, m: [S::f32s; 6]) -> [S::f32s; 4] {
    let (two, four, eight) = (simd.splat_f32s(2.0), simd.splat_f32s(4.0), simd.splat_f32s(8.0));
    let (p, q) = (simd.add_f32s(m[1], m[2]), simd.sub_f32s(m[1], m[2]));
    let (r, s) = (simd.add_f32s(m[3], m[4]), simd.sub_f32s(m[3], m[4]));
    [
        simd.add_f32s(simd.add_f32s(m[0], p), r),
        simd.mul_add_f32s(two, s, q),
        simd.mul_add_f32s(four, r, p),
        simd.add_f32s(simd.mul_add_f32s(eight, s, q), m[5]),
    ]
}

/// `A` times four values.
#[inline(always)]
pub(super) fn grad_output_1d<S: Simd>(simd: S, d: [S::f32s; 4]) -> [S::f32s; 6] {
    let (two, four) = (simd.splat_f32s(2.0), simd.splat_f32s(4.0));
    // Even and odd parts at 1 and at 2.
    let (even, odd) = (simd.add_f32s(d[0], d[2]), simd.add_f32s(d[1], d[3]));
    let (even2, odd2) = (simd.mul_add_f32s(four, d[2], d[0]), simd.mul_add_f32s(four, d[3], d[1]));
    [
        d[0],
        simd.add_f32s(even, odd),
        simd.sub_f32s(even, odd),
        simd.mul_add_f32s(two, odd2, even2),
        simd.negate_mul_add_f32s(two, odd2, even2),
        d[3],
    ]
}

/// `Bt x B` of a block of tiles.
pub struct Input<'a>(pub Block<'a>);

impl WithSimd for Input<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let vectors = self.0.channels / S::F32_LANES;
        match vectors {
            _ if !self.0.channels.is_multiple_of(S::F32_LANES) => self.any(simd),
            1 => self.whole::<S, 1>(simd),
            2 => self.whole::<S, 2>(simd),
            4 => self.whole::<S, 4>(simd),
            8 => self.whole::<S, 8>(simd),
            16 => self.whole::<S, 16>(simd),
            32 => self.whole::<S, 32>(simd),
            _ => self.any(simd),
        }
    }
}

impl Input<'_> {
    /// For channels of `V` vectors: with the sizes known, no index is checked in the loop.
    #[inline(always)]
    fn whole<S: Simd, const V: usize>(self, simd: S) {
        let Block { tiles, padded, channels, block, out, place } = self.0;
        for (i, t) in block.enumerate() {
            let rows = six(
                #[inline(always)]
                |r| pixels::<S, V, WINDOW>(row(tiles, padded, channels, t, (r, 0, WINDOW))),
            );
            let [Some(r0), Some(r1), Some(r2), Some(r3), Some(r4), Some(r5)] = rows else { continue };
            let Some(out) = rows_of::<S, V>(out, place, i) else { continue };
            for v in 0..V {
                let columns = six(
                    #[inline(always)]
                    |x| input_1d(simd, [r0[x][v], r1[x][v], r2[x][v], r3[x][v], r4[x][v], r5[x][v]]),
                );
                for r in 0..WINDOW {
                    let [c0, c1, c2, c3, c4, c5] = &columns;
                    let row = input_1d(simd, [c0[r], c1[r], c2[r], c3[r], c4[r], c5[r]]);
                    for s in 0..WINDOW {
                        out[r][s][v] = row[s];
                    }
                }
            }
        }
    }

    #[inline(always)]
    fn any<S: Simd>(self, simd: S) {
        let Block { tiles, padded, channels, block, out, place } = self.0;
        for (i, t) in block.enumerate() {
            let rows = six(
                #[inline(always)]
                |r| row(tiles, padded, channels, t, (r, 0, WINDOW)),
            );
            let mut c = 0;
            while c < channels {
                let len = (channels - c).min(S::F32_LANES);
                let columns = six(
                    #[inline(always)]
                    |x| {
                        let column = six(
                            #[inline(always)]
                            |r| some(simd, &rows[r][x * channels + c..], len),
                        );
                        input_1d(simd, column)
                    },
                );
                for r in 0..WINDOW {
                    let row = input_1d(simd, columns.each_ref().map(|column| column[r]));
                    for (s, v) in row.into_iter().enumerate() {
                        put(simd, &mut out[place.of(i, r, s) + c..], len, v);
                    }
                }
                c += len;
            }
        }
    }
}

/// Row `r` of the `size` x `size` window of tile `t`, which begins `border` pixels into the padded image.
#[inline(always)]
fn row<'a>(
    tiles: &Tiles,
    padded: &'a [f32],
    channels: usize,
    t: usize,
    (r, border, size): (usize, usize, usize),
) -> &'a [f32] {
    let row_len = (tiles.columns * TILE + 2) * channels;
    let image_len = (tiles.rows * TILE + 2) * row_len;
    let (image, ty, tx) = tiles.place(t);
    let (y, x) = (ty * TILE + border + r, tx * TILE + border);
    &padded[image * image_len + y * row_len + x * channels..][..size * channels]
}

/// The six rows of six positions of transformed tile `i`, `V` vectors each.
#[inline(always)]
fn rows_of<S: Simd, const V: usize>(
    out: &mut [f32],
    place: Place,
    i: usize,
) -> Option<[&mut [[S::f32s; V]; WINDOW]; WINDOW]> {
    let mut rows = out.chunks_mut(place.row);
    Some([
        row_of::<S, V>(rows.next()?, place, i)?,
        row_of::<S, V>(rows.next()?, place, i)?,
        row_of::<S, V>(rows.next()?, place, i)?,
        row_of::<S, V>(rows.next()?, place, i)?,
        row_of::<S, V>(rows.next()?, place, i)?,
        row_of::<S, V>(rows.next()?, place, i)?,
    ])
}

/// One row of them.
#[inline(always)]
fn row_of<S: Simd, const V: usize>(row: &mut [f32], place: Place, i: usize) -> Option<&mut [[S::f32s; V]; WINDOW]> {
    let row = row.get_mut(i * place.tile..)?.get_mut(..WINDOW * place.channels)?;
    S::as_mut_simd_f32s(row).0.as_chunks_mut::<V>().0.first_chunk_mut::<WINDOW>()
}

/// `N` pixels of `V` vectors each.
#[inline(always)]
fn pixels<S: Simd, const V: usize, const N: usize>(values: &[f32]) -> Option<&[[S::f32s; V]; N]> {
    S::as_simd_f32s(values).0.as_chunks::<V>().0.first_chunk::<N>()
}

/// `A dy At` of a block of tiles, zeros beyond the channels. A tile begins one pixel further into the padded images than that of x.
pub struct GradOutput<'a>(pub Block<'a>);

impl WithSimd for GradOutput<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        match self.0.channels / S::F32_LANES {
            _ if self.0.channels != self.0.place.channels => self.any(simd),
            1 => self.whole::<S, 1>(simd),
            2 => self.whole::<S, 2>(simd),
            4 => self.whole::<S, 4>(simd),
            8 => self.whole::<S, 8>(simd),
            16 => self.whole::<S, 16>(simd),
            32 => self.whole::<S, 32>(simd),
            _ => self.any(simd),
        }
    }
}

impl GradOutput<'_> {
    /// For channels of `V` vectors: with the sizes known, no index is checked in the loop.
    #[inline(always)]
    fn whole<S: Simd, const V: usize>(self, simd: S) {
        let Block { tiles, padded, channels, block, out, place } = self.0;
        for (i, t) in block.enumerate() {
            let rows = four(
                #[inline(always)]
                |r| pixels::<S, V, TILE>(row(tiles, padded, channels, t, (r, 1, TILE))),
            );
            let [Some(r0), Some(r1), Some(r2), Some(r3)] = rows else { continue };
            let Some(out) = rows_of::<S, V>(out, place, i) else { continue };
            for v in 0..V {
                let columns = four(
                    #[inline(always)]
                    |x| grad_output_1d(simd, [r0[x][v], r1[x][v], r2[x][v], r3[x][v]]),
                );
                for r in 0..WINDOW {
                    let [c0, c1, c2, c3] = &columns;
                    let row = grad_output_1d(simd, [c0[r], c1[r], c2[r], c3[r]]);
                    for s in 0..WINDOW {
                        out[r][s][v] = row[s];
                    }
                }
            }
        }
    }

    #[inline(always)]
    fn any<S: Simd>(self, simd: S) {
        let Block { tiles, padded, channels, block, out, place } = self.0;
        let lanes = S::F32_LANES;
        for (i, t) in block.enumerate() {
            let rows = four(
                #[inline(always)]
                |r| row(tiles, padded, channels, t, (r, 1, TILE)),
            );
            for c in (0..place.channels).step_by(lanes) {
                let len = channels.saturating_sub(c).min(lanes);
                let columns = four(
                    #[inline(always)]
                    |x| {
                        let column = four(
                            #[inline(always)]
                            |r| some(simd, &rows[r][(x * channels + c).min(rows[r].len())..], len),
                        );
                        grad_output_1d(simd, column)
                    },
                );
                for r in 0..WINDOW {
                    let row = grad_output_1d(simd, columns.each_ref().map(|column| column[r]));
                    for (s, v) in row.into_iter().enumerate() {
                        put(simd, &mut out[place.of(i, r, s) + c..], lanes, v);
                    }
                }
            }
        }
    }
}

/// `At m A` of a block of tiles, into the output.
pub struct Output<'a> {
    /// The cut of the images.
    pub tiles: &'a Tiles,
    /// Which tiles.
    pub block: Range<usize>,
    /// Transformed outputs.
    pub y: &'a [f32],
    /// Where they lie.
    pub place: Place,
    /// The output.
    pub store: Store<'a>,
}

impl WithSimd for Output<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let channels = self.store.channels;
        match channels / S::F32_LANES {
            _ if channels != self.place.channels || self.store.bias.is_some() => self.any(simd),
            1 => self.whole::<S, 1>(simd),
            2 => self.whole::<S, 2>(simd),
            4 => self.whole::<S, 4>(simd),
            8 => self.whole::<S, 8>(simd),
            16 => self.whole::<S, 16>(simd),
            32 => self.whole::<S, 32>(simd),
            _ => self.any(simd),
        }
    }
}

impl Output<'_> {
    /// For channels of `V` vectors, without bias: whole tiles are written without choices or checks in the loop.
    #[inline(always)]
    fn whole<S: Simd, const V: usize>(mut self, simd: S) {
        let channels = self.store.channels;
        let [_, map_width] = self.tiles.writes(Pass::Forward);
        for (i, t) in self.block.clone().enumerate() {
            let (corner, [height, width]) = self.place(t);
            let y = six(
                #[inline(always)]
                |r| pixels::<S, V, WINDOW>(&self.y[self.place.of(i, r, 0)..][..WINDOW * channels]),
            );
            let whole = height == TILE && width == TILE;
            let ([Some(y0), Some(y1), Some(y2), Some(y3), Some(y4), Some(y5)], true) = (y, whole) else {
                self.tile(simd, i, t);
                continue;
            };
            let Store { out, add, accumulate, .. } = &mut self.store;
            for v in 0..V {
                let columns = six(
                    #[inline(always)]
                    |x| output_1d(simd, [y0[x][v], y1[x][v], y2[x][v], y3[x][v], y4[x][v], y5[x][v]]),
                );
                for r in 0..TILE {
                    let [c0, c1, c2, c3, c4, c5] = &columns;
                    let mut row = output_1d(simd, [c0[r], c1[r], c2[r], c3[r], c4[r], c5[r]]);
                    let at = corner + r * map_width * channels;
                    if let Some(add) = add.and_then(|add| pixels::<S, V, TILE>(&add[at..][..TILE * channels])) {
                        for s in 0..TILE {
                            row[s] = simd.add_f32s(row[s], add[s][v]);
                        }
                    }
                    let out = S::as_mut_simd_f32s(&mut out[at..][..TILE * channels]).0.as_chunks_mut::<V>().0;
                    let Some(out) = out.first_chunk_mut::<TILE>() else { continue };
                    for s in 0..TILE {
                        out[s][v] = if *accumulate { simd.add_f32s(out[s][v], row[s]) } else { row[s] };
                    }
                }
            }
        }
    }

    #[inline(always)]
    fn any<S: Simd>(mut self, simd: S) {
        for (i, t) in self.block.clone().enumerate() {
            self.tile(simd, i, t);
        }
    }

    /// Where tile `t` begins in the output, and how much of it exists.
    #[inline(always)]
    fn place(&self, t: usize) -> (usize, [usize; 2]) {
        let [height, width] = self.tiles.writes(Pass::Forward);
        let (image, ty, tx) = self.tiles.place(t);
        let (y, x) = (ty * TILE, tx * TILE);
        let corner = ((image * height + y) * width + x) * self.store.channels;
        (corner, [(height - y).min(TILE), (width - x).min(TILE)])
    }

    /// Any tile, the `i`-th of the block.
    #[inline(always)]
    fn tile<S: Simd>(&mut self, simd: S, i: usize, t: usize) {
        let (corner, [height, width]) = self.place(t);
        let (y, place) = (self.y, self.place);
        let [_, map_width] = self.tiles.writes(Pass::Forward);
        let Store { out, channels, bias, add, accumulate, .. } = &mut self.store;
        let channels = *channels;
        let mut c = 0;
        while c < channels {
            let len = (channels - c).min(S::F32_LANES);
            let columns = six(
                #[inline(always)]
                |x| {
                    let column = six(
                        #[inline(always)]
                        |r| load(simd, &y[place.of(i, r, x) + c..][..S::F32_LANES]),
                    );
                    output_1d(simd, column)
                },
            );
            for r in 0..height {
                let [c0, c1, c2, c3, c4, c5] = &columns;
                let row = output_1d(simd, [c0[r], c1[r], c2[r], c3[r], c4[r], c5[r]]);
                for (s, mut v) in row.into_iter().enumerate().take(width) {
                    let at = corner + (r * map_width + s) * channels + c;
                    if let Some(bias) = bias {
                        v = simd.add_f32s(v, some(simd, &bias[c..], len));
                    }
                    if let Some(add) = add {
                        v = simd.add_f32s(v, some(simd, &add[at..], len));
                    }
                    if *accumulate {
                        v = simd.add_f32s(v, some(simd, &out[at..], len));
                    }
                    put(simd, &mut out[at..], len, v);
                }
            }
            c += len;
        }
    }
}

/// `f` of 0 to 5. (Not a loop over an array of zeros, which costs a memset and, iterated by value, a memmove.)
#[inline(always)]
pub(super) fn six<T>(f: impl Fn(usize) -> T) -> [T; 6] {
    [f(0), f(1), f(2), f(3), f(4), f(5)]
}

/// `f` of 0 to 3.
#[inline(always)]
fn four<T>(f: impl Fn(usize) -> T) -> [T; 4] {
    [f(0), f(1), f(2), f(3)]
}

/// The first `len` values, zeros behind them.
#[inline(always)]
pub(super) fn some<S: Simd>(simd: S, values: &[f32], len: usize) -> S::f32s {
    if len == S::F32_LANES { load(simd, &values[..S::F32_LANES]) } else { simd.partial_load_f32s(&values[..len]) }
}

/// Stores the first `len` lanes.
#[inline(always)]
pub(super) fn put<S: Simd>(simd: S, out: &mut [f32], len: usize, v: S::f32s) {
    if len == S::F32_LANES {
        S::as_mut_simd_f32s(&mut out[..S::F32_LANES]).0[0] = v;
    } else {
        simd.partial_store_f32s(&mut out[..len], v);
    }
}

/// Rows of `G`.
pub(super) const G: [[f32; 3]; WINDOW] = [
    [0.25, 0.0, 0.0],
    [-1.0 / 6.0, -1.0 / 6.0, -1.0 / 6.0],
    [-1.0 / 6.0, 1.0 / 6.0, -1.0 / 6.0],
    [1.0 / 24.0, 1.0 / 12.0, 1.0 / 6.0],
    [1.0 / 24.0, -1.0 / 12.0, 1.0 / 6.0],
    [0.0, 0.0, 1.0],
];
