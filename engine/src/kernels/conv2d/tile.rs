//! The register tile of forward and grad_input: [`MR`] pixels x up to two vectors of output channels.

use super::plan::{Class, Run};
use crate::kernels::ahead::Ahead;
use crate::kernels::simd::{apart, has_many_registers};
use pulp::{Simd, WithSimd};
use std::ops::Range;

/// Pixels of a tile. 6 x 2 accumulators, 2 weights and 1 broadcast value are 15 vectors: with 16 in use the compiler spills, which
/// halved the speed (measured with 4 x 3 and 8 x 12).
pub const MR: usize = 6;

/// Rows of a tile that is not of pixels: [`MR`], or what AVX-512 has room for; eight divide the tiles and the channels of most maps.
pub const fn tile_rows<S: Simd>() -> usize {
    if has_many_registers::<S>() { 8 } else { MR }
}

/// Floats of a panel of packed weights for `columns` output channels: two vectors, or one if they all fit it.
pub fn panel_width(columns: usize, lanes: usize) -> usize {
    if columns <= lanes { lanes } else { 2 * lanes }
}

/// A weight packed for `class`, as panels of `width` columns: `[group][panel][row][width]`, the last padded with zeros.
/// `rows` are the channels read and `columns` the channels computed, both of one group.
///
/// `fill(tap, group, row, columns, out)` writes the weights between one row and a range of columns.
pub fn pack_panels(
    out: &mut [f32],
    width: usize,
    (rows, columns): (usize, usize),
    class: &Class,
    fill: impl Fn((usize, usize), usize, usize, Range<usize>, &mut [f32]) + Send + Sync,
) {
    let panels = columns.div_ceil(width);
    crate::parallel::chunks_mut(out, class.taps.len() * rows * width, |p, out| {
        let (group, panel) = (p / panels, p % panels);
        let range = panel * width..((panel + 1) * width).min(columns);
        for (&tap, out) in class.taps.iter().zip(out.chunks_exact_mut(rows * width)) {
            for (row, out) in out.chunks_exact_mut(width).enumerate() {
                out[range.len()..].fill(0.0);
                fill(tap, group, row, range.clone(), &mut out[..range.len()]);
            }
        }
    });
}

/// Where a tile's result goes.
pub struct Store<'a> {
    /// Output pixels x `channels`.
    pub out: &'a mut [f32],
    /// Channels of the output.
    pub channels: usize,
    /// First channel of this panel.
    pub start: usize,
    /// Channels of this panel that exist.
    pub len: usize,
    /// Added to every pixel, over all channels.
    pub bias: Option<&'a [f32]>,
    /// Added to the output, pixel by pixel.
    pub add: Option<&'a [f32]>,
    /// Whether to add to what is in `out` instead of overwriting it.
    pub accumulate: bool,
}

/// One panel for all pixels of a class. Run it [`apart`].
pub struct Panel<'a, 'b> {
    /// The padded images.
    pub scratch: &'a [f32],
    /// Base in the scratch, and output pixel.
    pub pixels: &'a [(usize, usize)],
    /// The window.
    pub runs: &'a [Run],
    /// Packed weights: rows of one or two vectors.
    pub weights: &'a [f32],
    /// Floats of such a row.
    pub width: usize,
    /// Where to.
    pub store: Store<'a>,
    /// To be asked for meanwhile.
    pub ahead: &'a mut Ahead<'b>,
}

impl WithSimd for Panel<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        if self.width == S::F32_LANES { self.of::<S, 1>(simd) } else { self.of::<S, 2>(simd) }
    }
}

impl Panel<'_, '_> {
    #[inline(always)]
    fn of<S: Simd, const NV: usize>(self, simd: S) {
        let Panel { scratch, pixels, runs, weights, mut store, ahead, .. } = self;
        let weights = S::as_simd_f32s(weights).0.as_chunks::<NV>().0;
        for six in pixels.chunks(MR) {
            // A short tile repeats its last pixel and stores it once.
            let pixel = |i: usize| six[i.min(six.len() - 1)];
            let base: [usize; MR] = std::array::from_fn(|i| pixel(i).0);
            let mut acc = [[simd.splat_f32s(0.0); NV]; MR];
            ahead.step().ask();
            for run in runs {
                let weights = &weights[run.row..][..run.len];
                let rows = std::array::from_fn(
                    #[inline(always)]
                    |i| &scratch[base[i] + run.at..],
                );
                add_product(simd, &mut acc, rows, weights);
            }
            for (acc, &(_, pixel)) in acc.iter().zip(six) {
                store.pixel(simd, *acc, pixel);
            }
        }
    }
}

/// `acc[i] += rows[i] * weights`, over as many values as there are weights.
#[inline(always)]
pub fn add_product<S: Simd, const M: usize, const NV: usize>(
    simd: S,
    acc: &mut [[S::f32s; NV]; M],
    rows: [&[f32]; M],
    weights: &[[S::f32s; NV]],
) {
    let len = weights.len();
    let mut sums = *acc;
    // Cut to one length here, so that the loop has no checks.
    let mut cut = rows;
    for i in 0..M {
        cut[i] = &rows[i][..len];
    }
    for k in 0..len {
        for i in 0..M {
            sums[i] = outer(simd, sums[i], cut[i][k], weights[k]);
        }
    }
    *acc = sums;
}

/// `acc + x * w`
#[inline(always)]
pub fn outer<S: Simd, const NV: usize>(simd: S, mut acc: [S::f32s; NV], x: f32, w: [S::f32s; NV]) -> [S::f32s; NV] {
    let v = simd.splat_f32s(x);
    for i in 0..NV {
        acc[i] = simd.mul_add_f32s(v, w[i], acc[i]);
    }
    acc
}

/// `acc[i] += x[i] * w`
#[inline(always)]
pub fn add_outer<S: Simd, const M: usize, const NV: usize>(
    simd: S,
    acc: &mut [[S::f32s; NV]; M],
    x: &[f32; M],
    w: [S::f32s; NV],
) {
    for i in 0..M {
        acc[i] = outer(simd, acc[i], x[i], w);
    }
}

impl Store<'_> {
    /// The same place, for one more piece of work.
    pub fn reborrow(&mut self) -> Store<'_> {
        Store { out: &mut *self.out, ..*self }
    }

    #[inline(always)]
    fn pixel<S: Simd, const NV: usize>(&mut self, simd: S, acc: [S::f32s; NV], pixel: usize) {
        let at = pixel * self.channels + self.start;
        let lanes = S::F32_LANES;
        let mut rest = self.len;
        for (half, v) in acc.into_iter().enumerate() {
            let len = rest.min(lanes);
            let offset = half * lanes;
            let mut v = v;
            if len == lanes {
                if let Some(bias) = self.bias {
                    v = simd.add_f32s(v, load(simd, &bias[self.start + offset..][..lanes]));
                }
                if let Some(add) = self.add {
                    v = simd.add_f32s(v, load(simd, &add[at + offset..][..lanes]));
                }
                let out = &mut S::as_mut_simd_f32s(&mut self.out[at + offset..][..lanes]).0[0];
                *out = if self.accumulate { simd.add_f32s(*out, v) } else { v };
            } else if len > 0 {
                if let Some(bias) = self.bias {
                    v = simd.add_f32s(v, simd.partial_load_f32s(&bias[self.start + offset..][..len]));
                }
                if let Some(add) = self.add {
                    v = simd.add_f32s(v, simd.partial_load_f32s(&add[at + offset..][..len]));
                }
                let out = &mut self.out[at + offset..][..len];
                if self.accumulate {
                    v = simd.add_f32s(v, simd.partial_load_f32s(out));
                }
                simd.partial_store_f32s(out, v);
            }
            rest -= len;
        }
    }
}

/// One whole vector.
#[inline(always)]
pub fn load<S: Simd>(_simd: S, values: &[f32]) -> S::f32s {
    S::as_simd_f32s(values).0[0]
}

/// All panels of all groups: `weights` as [`pack_panels`] leaves them, `(rows, columns)` of a group in panels of `width`. Asks for a step of
/// `ahead` with each tile.
#[inline(always)]
pub fn run_panels<S: Simd>(
    simd: S,
    (scratch, pixels): (&[f32], &[(usize, usize)]),
    class: &Class,
    weights: &[f32],
    (rows, columns, width): (usize, usize, usize),
    mut store: Store,
    ahead: &mut Ahead,
) {
    let panels = columns.div_ceil(width);
    let panel_len = class.taps.len() * rows * width;
    for p in 0..store.channels / columns * panels {
        let (group, start) = (p / panels, p % panels * width);
        apart(
            simd,
            Panel {
                scratch: &scratch[group * rows..],
                pixels,
                runs: &class.runs,
                weights: &weights[p * panel_len..(p + 1) * panel_len],
                width,
                store: Store { start: group * columns + start, len: (columns - start).min(width), ..store.reborrow() },
                ahead: &mut *ahead,
            },
        );
    }
}

/// The pixels of one image repeated for several: each `scratch_len` further in the scratch and `out_pixels` in the output.
pub fn spread(pixels: &[(usize, usize)], images: usize, scratch_len: usize, out_pixels: usize) -> Vec<(usize, usize)> {
    let image = |i: usize| pixels.iter().map(move |&(base, pixel)| (base + i * scratch_len, pixel + i * out_pixels));
    (0..images).flat_map(image).collect()
}
