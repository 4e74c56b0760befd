//! The forward pass; see the [module's page](super).

use super::load::{Maps, maps_row, zero_border};
use super::plan::Plan;
use super::tile::{MR, Store, pack_panels, panel_width, run_panels, spread};
use super::winograd::{self, Asked, Pass, Tiles};
use super::{Algorithm, ConvSize, depthwise, pointwise};
use crate::kernels::ahead::Ahead;
use crate::kernels::moments::{self, Partial};
use crate::kernels::scratch::Scratch;
use crate::kernels::simd::{Level, lanes, run};
use crate::parallel::{Pieces, sweep};
use crate::tensor::Tensor;
use pulp::{Simd, WithSimd};
use std::ops::Range;

/// What a forward pass reads.
#[derive(Clone, Copy)]
pub struct Forward<'a> {
    /// Sizes.
    pub size: ConvSize,
    /// How to compute it.
    pub algorithm: Algorithm,
    /// Input maps `(n, h, w, c_i)`.
    pub input: Maps<'a>,
    /// `(k_h, k_w, c_in/groups, c_out)`
    pub weight: &'a [f32],
    /// `(c_out)`
    pub bias: Option<&'a [f32]>,
    /// Of the output's shape; added to it.
    pub add: Option<&'a [f32]>,
    /// Whether to measure the output's moments.
    pub measure: bool,
}

/// Fills `out (n, h_out, w_out, c_out)`; returns its means and variances if asked to measure.
pub fn forward(level: Level, pass: &Forward, out: &mut [f32]) -> Option<Vec<f32>> {
    let size = &pass.size;
    if pass.algorithm.is_winograd(size) && winograd::wide::applies(size) {
        return winograd::wide::forward(level, pass, out);
    }
    if size.is_depthwise() {
        return depthwise::forward(level, pass, out);
    }
    if pass.algorithm.is_winograd(size) && winograd::narrow::wins(size) {
        return winograd::narrow::forward(level, pass, out);
    }
    if pointwise::applies(size) {
        return pointwise::forward::forward(level, pass, out);
    }
    let width = panel_width(size.c_out / size.groups, lanes(level));
    let pixels = size.h_out * size.w_out;
    let (plan, method, images) = if pass.algorithm.is_winograd(size) {
        let tiles = Tiles::new(size);
        let weights = transform_weights(level, pass, &tiles, width);
        (tiles.plan(Pass::Forward, size.c_in), Method::Winograd(tiles, weights), tiles.images_per_task())
    } else {
        let plan = Plan::forward(size);
        let (weights, images) = (pack_forward(pass, &plan, width), images_per_task(&plan, pixels));
        (plan, Method::Direct(weights), images)
    };
    let images = Pieces::even_of_at_most(size.n, images);
    let tasks = images.split(out, pixels * size.c_out);
    let pieces: Vec<Option<Partial>> = sweep(tasks, |task, out, next| {
        let next = next.map_or(0..0, |next| images.range(next));
        run(level, Task { pass, plan: &plan, method: &method, width, images: images.range(task), next, out })
    });
    pass.measure.then(|| {
        let pieces: Vec<Partial> = pieces.into_iter().flatten().collect();
        moments::merge(&pieces, size.c_out)
    })
}

/// Images of one task: about 512 output pixels, so that small maps fill whole tiles, with scratch of at most 256 KiB, half of L2.
pub(super) fn images_per_task(plan: &Plan, pixels: usize) -> usize {
    let by_pixels = 512 / pixels.max(1);
    let by_memory = 64 * 1024 / plan.scratch_len().max(1);
    by_pixels.min(by_memory).max(1)
}

fn pack_forward(pass: &Forward, plan: &Plan, width: usize) -> Tensor {
    let size = &pass.size;
    let (rows, columns) = (size.c_in / size.groups, size.c_out / size.groups);
    let class = &plan.classes[0];
    Tensor::build([size.groups * columns.div_ceil(width) * class.taps.len() * rows * width], |out| {
        pack_panels(out, width, (rows, columns), class, |(ky, kx), group, row, range, out| {
            let at = ((ky * size.k_w + kx) * rows + row) * size.c_out + group * columns;
            out.copy_from_slice(&pass.weight[at + range.start..at + range.end]);
        });
    })
}

fn transform_weights(level: Level, pass: &Forward, tiles: &Tiles, width: usize) -> Tensor {
    let ConvSize { c_in, c_out, .. } = pass.size;
    Tensor::build([c_out.div_ceil(width) * tiles.transformed() * c_in * width], |out| {
        tiles.pack_weights(level, Pass::Forward, pass.weight, [c_in, c_out], width, out);
    })
}

/// Packed weights, and what they are packed for.
enum Method {
    Direct(Tensor),
    Winograd(Tiles, Tensor),
}

struct Task<'a> {
    pass: &'a Forward<'a>,
    plan: &'a Plan,
    method: &'a Method,
    width: usize,
    /// Its images, and those of the task which is likely to follow.
    images: Range<usize>,
    next: Range<usize>,
    out: &'a mut [f32],
}

impl WithSimd for Task<'_> {
    type Output = Option<Partial>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Option<Partial> {
        let Task { pass, plan, method, width, images, next, out } = self;
        let size = &pass.size;
        let pixels = size.h_out * size.w_out;
        let (first, images) = (images.start, images.len());
        let len = plan.scratch_len();
        let add = pass.add.map(|add| &add[first * pixels * size.c_out..][..out.len()]);
        let mut memory = Scratch::new([images * len]);
        let [scratch] = memory.split([images * len]);
        for (i, scratch) in scratch.chunks_exact_mut(len).enumerate() {
            load_image(simd, &pass.input, plan, first + i, scratch);
        }
        let store =
            Store { out: &mut *out, channels: size.c_out, start: 0, len: 0, bias: pass.bias, add, accumulate: false };
        let in_pixels = size.h * size.w;
        let next = next.start * in_pixels..next.end * in_pixels;
        let mut ahead = Ahead::new([(&[], 1); 2], pass.input.maps, next);
        match method {
            Method::Winograd(tiles, weights) => {
                let weights = (weights.data(), width);
                let asked = Asked { next: &mut ahead, results: None };
                winograd::convolve(simd, (tiles, images, Pass::Forward), scratch, size.c_in, weights, store, asked);
            }
            Method::Direct(weights) => {
                let class = &plan.classes[0];
                let all = spread(&class.pixels, images, len, pixels);
                let (rows, columns) = (size.c_in / size.groups, size.c_out / size.groups);
                ahead.spread(ahead.left(), all.len().div_ceil(MR) * size.groups * columns.div_ceil(width));
                let sizes = (rows, columns, width);
                run_panels(simd, (scratch, &all), class, weights.data(), sizes, store, &mut ahead);
            }
        }
        pass.measure.then(|| moments::partial(simd, out, size.c_out))
    }
}

/// Copies image `image` of the input, padded, to `scratch`.
#[inline(always)]
pub(super) fn load_image<S: Simd>(simd: S, input: &Maps, plan: &Plan, image: usize, scratch: &mut [f32]) {
    zero_border(plan, scratch);
    load_inside(simd, input, plan, image, scratch);
}

/// [`load_image`] into a scratch whose border is zero already.
#[inline(always)]
pub(super) fn load_inside<S: Simd>(simd: S, input: &Maps, plan: &Plan, image: usize, scratch: &mut [f32]) {
    let row_len = plan.padded_columns * plan.channels;
    for y in 0..plan.rows {
        let row = &mut scratch[(plan.top + y) * row_len + plan.left * plan.channels..][..plan.columns * plan.channels];
        maps_row(simd, input, plan.channels, (image * plan.rows + y) * plan.columns, row);
    }
}
