//! grad_weight as outer products of packed panels; see the [module's page](super).

use super::ConvSize;
use super::backward::Shared;
use super::load::maps_row;
use super::plan::Plan;
use super::tile::add_outer;
use crate::kernels::scratch::Scratch;
use crate::kernels::simd::{apart, has_many_registers};
use pulp::{Simd, WithSimd};
use std::ops::Range;

/// Input channels of the next tile, of `left` that remain: six against two vectors fill the registers of AVX2, twelve those of AVX-512. The
/// more, the less often is dy read.
const fn rows<S: Simd>(left: usize) -> usize {
    match left {
        12.. if has_many_registers::<S>() => 12,
        8..12 if has_many_registers::<S>() => 8,
        6.. => 6,
        _ => left,
    }
}

impl Shared<'_> {
    /// `dy` as `[group][panel][pixel][width]`, the last panel of a group padded with zeros.
    #[inline(always)]
    pub(super) fn pack_dy(&self, dy: &[f32], pixels: usize, panels: &mut [f32]) {
        let size = &self.pass.size;
        let columns = size.c_out / size.groups;
        let per_group = columns.div_ceil(self.dy_width);
        for (p, panel) in panels.chunks_exact_mut(pixels * self.dy_width).enumerate() {
            let start = p % per_group * self.dy_width;
            let len = (columns - start).min(self.dy_width);
            let at = p / per_group * columns + start;
            for (out, dy) in panel.chunks_exact_mut(self.dy_width).zip(dy.chunks_exact(size.c_out)) {
                let dy = &dy[at..at + len];
                // A fixed length is a few vector moves instead of a call.
                match (out.first_chunk_mut::<16>(), dy.first_chunk::<16>()) {
                    (Some(out), Some(dy)) if len == 16 && self.dy_width == 16 => *out = *dy,
                    (Some(_), Some(_)) if len == 32 => out[..32].copy_from_slice(&dy[..32]),
                    _ => {
                        out[..len].copy_from_slice(dy);
                        out[len..].fill(0.0);
                    }
                }
            }
        }
    }

    /// x as `[group][panel][image][padded pixel][channel]`, panels of [`rows`] channels.
    #[inline(always)]
    pub(super) fn pack_x<S: Simd>(&self, simd: S, range: Range<usize>, x: &mut [f32]) {
        let Shared { pass, x_plan: plan, .. } = *self;
        let size = &pass.size;
        let per_group = size.c_in / size.groups;
        let pixels = range.len() * plan.padded_rows * plan.padded_columns;
        let row_len = [plan.padded_columns * size.c_in];
        let mut memory = Scratch::new(row_len);
        let [row] = memory.split(row_len);
        row.fill(0.0);
        for y in 0..range.len() * plan.padded_rows {
            let (image, y_in) = (y / plan.padded_rows, (y % plan.padded_rows).wrapping_sub(plan.top));
            let inside = y_in < plan.rows;
            if inside {
                let out = &mut row[plan.left * size.c_in..][..plan.columns * size.c_in];
                let first = ((range.start + image) * plan.rows + y_in) * plan.columns;
                maps_row(simd, &pass.input, size.c_in, first, out);
            }
            for group in 0..size.groups {
                let mut c = 0;
                while c < per_group {
                    let mr = rows::<S>(per_group - c);
                    let channel = group * per_group + c;
                    // A panel of `mr` channels starts after all earlier channels of every pixel.
                    let at = channel * pixels + y * plan.padded_columns * mr;
                    let out = &mut x[at..at + plan.padded_columns * mr];
                    let from = &row[channel..];
                    match mr {
                        _ if !inside => out.fill(0.0),
                        12 => pack_columns::<12>(from, size.c_in, out),
                        8 => pack_columns::<8>(from, size.c_in, out),
                        6 => pack_columns::<6>(from, size.c_in, out),
                        5 => pack_columns::<5>(from, size.c_in, out),
                        4 => pack_columns::<4>(from, size.c_in, out),
                        3 => pack_columns::<3>(from, size.c_in, out),
                        2 => pack_columns::<2>(from, size.c_in, out),
                        _ => pack_columns::<1>(from, size.c_in, out),
                    }
                    c += mr;
                }
            }
        }
    }

    /// Adds `x` times `dy`, both in panels, to the partial grad_weight, or stores it if it is the `first`.
    #[inline(always)]
    pub(super) fn grad_weight<S: Simd>(
        &self,
        simd: S,
        images: usize,
        x: &[f32],
        dy: &[f32],
        (partial, first): (&mut [f32], bool),
    ) {
        let Shared { pass, x_plan: plan, .. } = *self;
        let size = &pass.size;
        let (per_group, columns) = (size.c_in / size.groups, size.c_out / size.groups);
        let padded = plan.padded_rows * plan.padded_columns;
        let pixels = size.h_out * size.w_out;
        let dy_panels = columns.div_ceil(self.dy_width);
        for group in 0..size.groups {
            let mut c = 0;
            while c < per_group {
                let mr = rows::<S>(per_group - c);
                let x = &x[(group * per_group + c) * images * padded..][..images * padded * mr];
                for panel in 0..dy_panels {
                    let dy = &dy[(group * dy_panels + panel) * images * pixels * self.dy_width..]
                        [..images * pixels * self.dy_width];
                    let start = panel * self.dy_width;
                    let panels = Outer {
                        size,
                        plan,
                        x,
                        dy,
                        images,
                        c,
                        column: group * columns + start,
                        columns: (columns - start).min(self.dy_width),
                        width: self.dy_width,
                        per_group,
                        partial: &mut *partial,
                        first,
                    };
                    match mr {
                        12 => apart(simd, OuterOf::<12>(panels)),
                        8 => apart(simd, OuterOf::<8>(panels)),
                        6 => apart(simd, OuterOf::<6>(panels)),
                        5 => apart(simd, OuterOf::<5>(panels)),
                        4 => apart(simd, OuterOf::<4>(panels)),
                        3 => apart(simd, OuterOf::<3>(panels)),
                        2 => apart(simd, OuterOf::<2>(panels)),
                        _ => apart(simd, OuterOf::<1>(panels)),
                    }
                }
                c += mr;
            }
        }
    }
}

/// The first `M` channels of each pixel. A fixed length is a vector move or two instead of a call.
#[inline(always)]
fn pack_columns<const M: usize>(row: &[f32], channels: usize, out: &mut [f32]) {
    for (out, pixel) in out.as_chunks_mut::<M>().0.iter_mut().zip(row.chunks(channels)) {
        if let Some(pixel) = pixel.first_chunk::<M>() {
            *out = *pixel;
        }
    }
}

/// One panel of x against one panel of dy, for every tap.
struct Outer<'a> {
    size: &'a ConvSize,
    plan: &'a Plan,
    x: &'a [f32],
    dy: &'a [f32],
    images: usize,
    c: usize,
    column: usize,
    columns: usize,
    /// Floats of a row of `dy`: one vector or two.
    width: usize,
    per_group: usize,
    partial: &'a mut [f32],
    first: bool,
}

/// [`Outer`] for panels of `M` input channels; a function of its own for the same reason as [`super::tile::Panel`].
struct OuterOf<'a, const M: usize>(Outer<'a>);

impl<const M: usize> WithSimd for OuterOf<'_, M> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        if self.0.width == S::F32_LANES { self.0.run::<S, M, 1>(simd) } else { self.0.run::<S, M, 2>(simd) }
    }
}

impl Outer<'_> {
    #[inline(always)]
    fn run<S: Simd, const M: usize, const NV: usize>(self, simd: S) {
        let size = self.size;
        let lanes = S::F32_LANES;
        for tap in 0..size.k_h * size.k_w {
            let (ky, kx) = (tap / size.k_w, tap % size.k_w);
            let acc = self.tap::<S, M, NV>(simd, ky, kx);
            for (i, acc) in acc.into_iter().enumerate() {
                let at = (tap * self.per_group + self.c + i) * size.c_out + self.column;
                let mut rest = &mut self.partial[at..at + self.columns];
                for v in acc {
                    let len = rest.len().min(lanes);
                    let (out, tail) = rest.split_at_mut(len);
                    rest = tail;
                    if len == lanes {
                        let out = &mut S::as_mut_simd_f32s(out).0[0];
                        *out = if self.first { v } else { simd.add_f32s(*out, v) };
                    } else if len > 0 {
                        let sum = if self.first { v } else { simd.add_f32s(simd.partial_load_f32s(out), v) };
                        simd.partial_store_f32s(out, sum);
                    }
                }
            }
        }
    }

    #[inline(always)]
    fn tap<S: Simd, const M: usize, const NV: usize>(&self, simd: S, ky: usize, kx: usize) -> [[S::f32s; NV]; M] {
        let Outer { size, plan, .. } = *self;
        let (x, _) = self.x.as_chunks::<M>();
        let (dy, _) = S::as_simd_f32s(self.dy);
        let (dy, _) = dy.as_chunks::<NV>();
        let mut sum = [[simd.splat_f32s(0.0); NV]; M];
        for image in 0..self.images {
            for y in 0..size.h_out {
                let row = image * plan.padded_rows + y * size.stride + ky * size.dilation;
                let x = &x[row * plan.padded_columns + kx * size.dilation..];
                let dy = &dy[(image * size.h_out + y) * size.w_out..][..size.w_out];
                if size.stride == 1 {
                    for (x, dy) in x[..size.w_out].iter().zip(dy) {
                        add_outer(simd, &mut sum, x, *dy);
                    }
                } else {
                    for (x, dy) in x.iter().step_by(size.stride).zip(dy) {
                        add_outer(simd, &mut sum, x, *dy);
                    }
                }
            }
        }
        sum
    }
}
