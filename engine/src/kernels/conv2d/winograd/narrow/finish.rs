//! `At y A` of grad_input in two halves, and the way through the activation and the affine into the maps' gradients.

use super::super::transform::output_1d;
use super::{LANES, Segment, TILE, WINDOW, inlined};
use crate::kernels::conv2d::load::Activation;
use crate::kernels::conv2d::tile::load;
use pulp::{Simd, WithSimd};

/// The rows of tiles of one segment, for one row of the transform: `out[column][c] = sum over s of At[x][s] * y[s][tile][at + c]`.
pub struct Horizontal<'a> {
    /// `[position][tile][column]`, six positions.
    pub y: &'a [f32],
    /// Floats between positions.
    pub position_len: usize,
    /// Floats between tiles.
    pub tile_len: usize,
    /// Where a tile's channels begin.
    pub at: usize,
    pub strips: usize,
    /// Tiles of a strip.
    pub columns: usize,
    pub channels: usize,
    /// One row for each strip: `strip_len` apart.
    pub out: &'a mut [f32],
    pub strip_len: usize,
}

impl WithSimd for Horizontal<'_> {
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

impl Horizontal<'_> {
    /// For `C` channels; 0 means any number.
    #[inline(always)]
    fn of<S: Simd, const C: usize>(self, simd: S) {
        let Horizontal { y, position_len, tile_len, at, strips, columns, out, strip_len, .. } = self;
        let c = if C == 0 { self.channels } else { C };
        for strip in 0..strips {
            for tx in 0..columns {
                let tile = (strip * columns + tx) * tile_len + at;
                let y = inlined(
                    #[inline(always)]
                    |s: usize| &y[s * position_len + tile..][..c],
                );
                let y = [y(0), y(1), y(2), y(3), y(4), y(5)];
                let out = &mut out[strip * strip_len + tx * TILE * c..][..TILE * c];
                if c >= LANES {
                    let mut v = 0;
                    while v < c {
                        // The last vector overlaps the one before if these are not whole vectors.
                        let at = v.min(c - LANES);
                        let y = inlined(
                            #[inline(always)]
                            |s: usize| load(simd, &y[s][at..at + LANES]),
                        );
                        let o = output_1d(simd, [y(0), y(1), y(2), y(3), y(4), y(5)]);
                        for x in 0..TILE {
                            S::as_mut_simd_f32s(&mut out[x * c + at..x * c + at + LANES]).0[0] = o[x];
                        }
                        v += LANES;
                    }
                } else {
                    let o = output_1d(simd, y.map(|y| simd.partial_load_f32s(y)));
                    for (out, v) in out.chunks_exact_mut(c).zip(o) {
                        simd.partial_store_f32s(out, v);
                    }
                }
            }
        }
    }
}

/// The columns of a strip, for one segment. With `v = scale*map + shift` and `t = (At rows) * activation'(v)`:
/// `grad = scale * t`, stored or added; `sums += [t, t*map]`, per float of a run.
pub struct Vertical<'a> {
    /// Six rows of [`Horizontal`].
    pub t: &'a [f32],
    /// Floats between them.
    pub row_len: usize,
    pub segment: &'a Segment,
    pub width: usize,
    /// The strip's pixels of the map, from the segment's first channel on, and their number of rows: 1 to 4.
    pub map: &'a [f32],
    pub rows: usize,
    /// Over a run of the segment.
    pub scale: &'a [f32],
    pub shift: &'a [f32],
    pub activation: Activation,
    /// Whether scales are 1, shifts 0 and the activation the identity: sums are not wanted.
    pub plain: bool,
    /// As `map`.
    pub grad: &'a mut [f32],
    pub add: bool,
    /// Two runs.
    pub sums: &'a mut [f32],
}

impl WithSimd for Vertical<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let zero = simd.splat_f32s(0.0);
        match self.activation {
            Activation::Identity if self.plain => self.with::<S, true>(
                simd,
                #[inline(always)]
                |_, g| g,
            ),
            Activation::Identity => self.with::<S, false>(
                simd,
                #[inline(always)]
                |_, g| g,
            ),
            Activation::Relu => self.with::<S, false>(
                simd,
                #[inline(always)]
                |v, g| simd.select_f32s(simd.greater_than_f32s(v, zero), g, zero),
            ),
            Activation::Relu6 => {
                let six = simd.splat_f32s(6.0);
                self.with::<S, false>(
                    simd,
                    #[inline(always)]
                    |v, g| {
                        let g = simd.select_f32s(simd.greater_than_f32s(v, zero), g, zero);
                        simd.select_f32s(simd.less_than_f32s(v, six), g, zero)
                    },
                );
            }
        }
    }
}

impl Vertical<'_> {
    #[inline(always)]
    fn with<S: Simd, const PLAIN: bool>(self, simd: S, mask: impl Fn(S::f32s, S::f32s) -> S::f32s) {
        if self.add { self.runs::<S, PLAIN, true>(simd, mask) } else { self.runs::<S, PLAIN, false>(simd, mask) }
    }

    #[inline(always)]
    fn runs<S: Simd, const PLAIN: bool, const ADD: bool>(self, simd: S, mask: impl Fn(S::f32s, S::f32s) -> S::f32s) {
        let Vertical { t, row_len, segment, width, map, rows, scale, shift, grad, sums, .. } = self;
        let (runs, len) = segment.runs(width);
        let image_row = width * segment.stride;
        let (sums, products) = sums.split_at_mut(len);
        let mut places = Places { scale: &scale[..len], shift: &shift[..len], sums, products };
        for run in 0..runs {
            let t = inlined(
                #[inline(always)]
                |r: usize| &t[r * row_len + run * segment.channels..][..len],
            );
            let t = [t(0), t(1), t(2), t(3), t(4), t(5)];
            let start = run * segment.stride;
            let z = inlined(
                #[inline(always)]
                |r: usize| &map[r * image_row + start..][..len],
            );
            if rows == TILE {
                let (g0, rest) = grad[start..].split_at_mut(image_row);
                let (g1, rest) = rest.split_at_mut(image_row);
                let (g2, g3) = rest.split_at_mut(image_row);
                let grads = [&mut g0[..len], &mut g1[..len], &mut g2[..len], &mut g3[..len]];
                places.four::<S, PLAIN, ADD>(simd, t, [z(0), z(1), z(2), z(3)], grads, &mask);
            } else {
                for r in 0..rows {
                    let grad = &mut grad[r * image_row + start..][..len];
                    places.one::<S, PLAIN, ADD>(simd, t, r, z(r), grad, 0, &mask);
                }
            }
        }
    }
}

/// What belongs to every pixel of a run.
struct Places<'a> {
    scale: &'a [f32],
    shift: &'a [f32],
    sums: &'a mut [f32],
    products: &'a mut [f32],
}

impl Places<'_> {
    /// Four rows of pixels.
    #[inline(always)]
    fn four<S: Simd, const PLAIN: bool, const ADD: bool>(
        &mut self,
        simd: S,
        t: [&[f32]; WINDOW],
        z: [&[f32]; TILE],
        grads: [&mut [f32]; TILE],
        mask: impl Fn(S::f32s, S::f32s) -> S::f32s,
    ) {
        let n = self.scale.len() / LANES;
        let [r0, r1, r2, r3] = grads;
        {
            let [t0, t1, t2, t3, t4, t5] = t.map(|row| &S::as_simd_f32s(row).0[..n]);
            let [z0, z1, z2, z3] = z.map(|row| &S::as_simd_f32s(row).0[..n]);
            let (a, b) = (&S::as_simd_f32s(self.scale).0[..n], &S::as_simd_f32s(self.shift).0[..n]);
            let (sums, products) = (whole::<S>(self.sums, n), whole::<S>(self.products, n));
            let (r0, r1) = (whole::<S>(r0, n), whole::<S>(r1, n));
            let (r2, r3) = (whole::<S>(r2, n), whole::<S>(r3, n));
            for i in 0..n {
                let [g0, g1, g2, g3] = output_1d(simd, [t0[i], t1[i], t2[i], t3[i], t4[i], t5[i]]);
                let affine = [a[i], b[i]];
                let both = if PLAIN { affine } else { [sums[i], products[i]] };
                let both = through::<S, PLAIN, ADD>(simd, g0, z0[i], affine, &mut r0[i], both, &mask);
                let both = through::<S, PLAIN, ADD>(simd, g1, z1[i], affine, &mut r1[i], both, &mask);
                let both = through::<S, PLAIN, ADD>(simd, g2, z2[i], affine, &mut r2[i], both, &mask);
                let both = through::<S, PLAIN, ADD>(simd, g3, z3[i], affine, &mut r3[i], both, &mask);
                if !PLAIN {
                    [sums[i], products[i]] = both;
                }
            }
        }
        if !self.scale.len().is_multiple_of(LANES) {
            for (r, (z, grad)) in z.into_iter().zip([r0, r1, r2, r3]).enumerate() {
                self.one::<S, PLAIN, ADD>(simd, t, r, z, grad, n, &mask);
            }
        }
    }

    /// Row `r` of a tile, from vector `first` on.
    #[inline(always)]
    #[allow(clippy::too_many_arguments)]
    fn one<S: Simd, const PLAIN: bool, const ADD: bool>(
        &mut self,
        simd: S,
        t: [&[f32]; WINDOW],
        r: usize,
        z: &[f32],
        grad: &mut [f32],
        first: usize,
        mask: impl Fn(S::f32s, S::f32s) -> S::f32s,
    ) {
        let len = self.scale.len();
        for at in (first * LANES..len).step_by(LANES) {
            let range = at..(at + LANES).min(len);
            let part = inlined(
                #[inline(always)]
                |row: &[f32]| simd.partial_load_f32s(&row[range.clone()]),
            );
            let g = output_1d(simd, t.map(part))[r];
            let (affine, both) = ([part(self.scale), part(self.shift)], [part(self.sums), part(self.products)]);
            let mut out = part(grad);
            let [sum, product] = through::<S, PLAIN, ADD>(simd, g, part(z), affine, &mut out, both, &mask);
            simd.partial_store_f32s(&mut grad[range.clone()], out);
            simd.partial_store_f32s(&mut self.sums[range.clone()], sum);
            simd.partial_store_f32s(&mut self.products[range], product);
        }
    }
}

/// One vector; the sums with it added.
#[inline(always)]
fn through<S: Simd, const PLAIN: bool, const ADD: bool>(
    simd: S,
    g: S::f32s,
    z: S::f32s,
    [a, b]: [S::f32s; 2],
    grad: &mut S::f32s,
    [sum, product]: [S::f32s; 2],
    mask: impl Fn(S::f32s, S::f32s) -> S::f32s,
) -> [S::f32s; 2] {
    if PLAIN {
        *grad = if ADD { simd.add_f32s(*grad, g) } else { g };
        return [sum, product];
    }
    let g = mask(simd.mul_add_f32s(a, z, b), g);
    *grad = if ADD { simd.mul_add_f32s(a, g, *grad) } else { simd.mul_f32s(a, g) };
    [simd.add_f32s(sum, g), simd.mul_add_f32s(g, z, product)]
}

#[inline(always)]
fn whole<S: Simd>(row: &mut [f32], n: usize) -> &mut [S::f32s] {
    &mut S::as_mut_simd_f32s(row).0[..n]
}
