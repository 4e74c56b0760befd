//! Means and maxima over blocks of a list of maps that is read through its affine and activation.

use super::conv2d::backward::{MapGrad, Write, split_maps};
use super::conv2d::columns::{Columns, Vector};
use super::conv2d::load::{Activation, Maps};
use super::conv2d::mask;
use super::lazy_sum::{relu, relu6};
use super::simd::{Level, run};
use crate::kernels::ahead::ask;
use crate::kernels::channel_sums;
use crate::parallel::{Pieces, sweep};
use pulp::{Simd, WithSimd};

/// What a block becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reduce {
    /// The mean of its values.
    Mean,
    /// The largest of them; NaN if there is one.
    Max,
}

/// The blocks: whole ones only; rows and columns left over at the end belong to none.
#[derive(Clone, Copy)]
pub struct Blocks {
    /// Height and width of a block.
    pub size: [usize; 2],
    /// Of the input.
    pub h: usize,
    /// Of the input.
    pub w: usize,
    /// What becomes of them.
    pub reduce: Reduce,
}

impl Blocks {
    /// Height and width of the output.
    pub fn output(self) -> [usize; 2] {
        [self.h / self.size[0], self.w / self.size[1]]
    }

    fn factor(self) -> f32 {
        1.0 / (self.size[0] * self.size[1]) as f32
    }
}

/// Writes means or maxima to `out (n, h_out, w_out, C)`.
pub fn forward(level: Level, input: &Maps, blocks: Blocks, channels: usize, out: &mut [f32]) {
    let [h_out, w_out] = blocks.output();
    let len = h_out * w_out * channels;
    if len > 0 {
        let images = out.chunks_mut(len).collect();
        sweep(images, |image, out, _| run(level, Forward { input, blocks, channels, image, out }));
    }
}

struct Forward<'a> {
    input: &'a Maps<'a>,
    blocks: Blocks,
    channels: usize,
    image: usize,
    out: &'a mut [f32],
}

impl WithSimd for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        match self.blocks.reduce {
            Reduce::Mean => self.of::<S, false>(simd),
            Reduce::Max => self.of::<S, true>(simd),
        }
    }
}

/// Whether `v` is larger than `most`, or not a number.
#[inline(always)]
fn exceeds<S: Simd>(simd: S, v: S::f32s, most: S::f32s) -> S::m32s {
    simd.or_m32s(simd.greater_than_f32s(v, most), simd.not_m32s(simd.equal_f32s(v, v)))
}

#[inline(always)]
fn identity<S: Simd>(_: S, v: S::f32s) -> S::f32s {
    v
}

impl Forward<'_> {
    #[inline(always)]
    fn of<S: Simd, const MAX: bool>(self, simd: S) {
        match self.input.activation {
            Activation::Identity => self.with::<S, MAX>(simd, identity),
            Activation::Relu => self.with::<S, MAX>(simd, relu),
            Activation::Relu6 => self.with::<S, MAX>(simd, relu6),
        }
    }

    #[inline(always)]
    fn with<S: Simd, const MAX: bool>(self, simd: S, activate: impl Fn(S, S::f32s) -> S::f32s) {
        let Forward { input, blocks, channels, image, out } = self;
        let (Blocks { size: [height, width], h, w, .. }, [h_out, w_out]) = (blocks, blocks.output());
        let factor = simd.splat_f32s(blocks.factor());
        let mut first = 0;
        for &(map, c) in input.maps {
            let map = &map[image * h * w * c..][..h * w * c];
            let columns = Columns::new(c, S::F32_LANES);
            // A vector of channels at a time: lines are too far apart for the hardware to see the next ones coming.
            let next = height * w * c;
            for y in 0..h_out {
                for index in 0..columns.vectors() {
                    let vector = Vector::new(simd, columns, index);
                    let affine = input.affine.map(
                        #[inline(always)]
                        |(scale, shift)| (vector.read(simd, scale, first), vector.read(simd, shift, first)),
                    );
                    for x in 0..w_out {
                        let mut result = simd.splat_f32s(if MAX { f32::NEG_INFINITY } else { 0.0 });
                        for row in y * height..(y + 1) * height {
                            for column in x * width..(x + 1) * width {
                                let at = (row * w + column) * c;
                                ask(map, at + next + vector.start);
                                let v = vector.read(simd, map, at);
                                let v = match affine {
                                    Some((scale, shift)) => simd.mul_add_f32s(scale, v, shift),
                                    None => v,
                                };
                                let v = activate(simd, v);
                                result = match MAX {
                                    true => simd.select_f32s(exceeds(simd, v, result), v, result),
                                    false => simd.add_f32s(result, v),
                                };
                            }
                        }
                        let result = if MAX { result } else { simd.mul_f32s(result, factor) };
                        vector.write(simd, out, (y * w_out + x) * channels + first, result);
                    }
                }
            }
            first += c;
        }
    }
}

/// Tasks of the backward pass, at most: each has sums of its own, which for each image would be new memory of every step.
const MOST_TASKS: usize = 16;

/// Writes the maps' gradients, given that of what their blocks became; returns the gradients of the affine's scales and shifts, zeros if there is none.
pub fn backward(
    level: Level,
    input: &Maps,
    blocks: Blocks,
    grad_output: &[f32],
    mut grad_maps: Vec<MapGrad>,
) -> [Vec<f32>; 2] {
    let channels: usize = input.maps.iter().map(|map| map.1).sum();
    let images = input.maps.first().map_or(0, |(map, c)| map.len() / (blocks.h * blocks.w * c).max(1));
    let mut of_images = split_maps(&mut grad_maps, input.maps, Pieces::of_at_most(images, 1), blocks.h * blocks.w);
    let len = grad_output.len() / images.max(1);
    let each = images.div_ceil(MOST_TASKS).max(1);
    let sums: Vec<[Vec<f64>; 2]> = sweep(of_images.chunks_mut(each).collect(), |task, grads, _| {
        let mut sums = [vec![0.0; channels], vec![0.0; channels]];
        for (image, grads) in (task * each..).zip(grads) {
            let grad_output = &grad_output[image * len..][..len];
            run(level, Backward { input, blocks, channels, image, grad_output, grads, sums: &mut sums });
        }
        sums
    });
    [0, 1].map(|which| channel_sums::total(channels, sums.iter().map(|sums| &sums[which][..])))
}

struct Backward<'a, 'b> {
    input: &'a Maps<'a>,
    blocks: Blocks,
    channels: usize,
    image: usize,
    grad_output: &'a [f32],
    grads: &'a mut [MapGrad<'b>],
    /// Of the affine's scale and shift, added to.
    sums: &'a mut [Vec<f64>; 2],
}

impl WithSimd for Backward<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        match self.blocks.reduce {
            Reduce::Mean => self.of::<S, false>(simd),
            Reduce::Max => self.of::<S, true>(simd),
        }
    }
}

impl Backward<'_, '_> {
    #[inline(always)]
    fn of<S: Simd, const MAX: bool>(self, simd: S) {
        match self.input.activation {
            Activation::Identity => self.with::<S, MAX>(
                simd,
                identity,
                #[inline(always)]
                |_, _, g| g,
            ),
            Activation::Relu => self.with::<S, MAX>(simd, relu, mask::relu),
            Activation::Relu6 => self.with::<S, MAX>(simd, relu6, mask::relu6),
        }
    }

    #[inline(always)]
    fn with<S: Simd, const MAX: bool>(
        self,
        simd: S,
        activate: impl Fn(S, S::f32s) -> S::f32s,
        mask: impl Fn(S, S::f32s, S::f32s) -> S::f32s,
    ) {
        let Backward { input, blocks, channels, image, grad_output, grads, sums: [of_scale, of_shift] } = self;
        let (Blocks { size: [height, width], h, w, .. }, [h_out, w_out]) = (blocks, blocks.output());
        let (one, zero) = (simd.splat_f32s(1.0), simd.splat_f32s(0.0));
        let factor = simd.splat_f32s(blocks.factor());
        let mut first = 0;
        for (&(map, c), grad) in input.maps.iter().zip(grads) {
            let (start, map) = (first, &map[image * h * w * c..][..h * w * c]);
            first += c;
            let Some((out, write)) = grad else { continue };
            if *write == Write::Store && (h_out * height, w_out * width) != (h, w) {
                out.fill(0.0);
            }
            let columns = Columns::new(c, S::F32_LANES);
            // A vector of channels at a time: lines are too far apart for the hardware to see the next ones coming.
            let next = height * w * c;
            for y in 0..h_out {
                for index in 0..columns.vectors() {
                    let vector = Vector::new(simd, columns, index);
                    let (scale, shift) = match input.affine {
                        Some((scale, shift)) => (vector.read(simd, scale, start), vector.read(simd, shift, start)),
                        None => (one, zero),
                    };
                    let (mut sum_scale, mut sum_shift) = (zero, zero);
                    for x in 0..w_out {
                        let g = vector.read(simd, grad_output, (y * w_out + x) * channels + start);
                        let g = if MAX { g } else { simd.mul_f32s(g, factor) };
                        // The first of the largest values takes all of a maximum's gradient.
                        let (mut most, mut place, mut here) = (simd.splat_f32s(f32::NEG_INFINITY), zero, 0.0);
                        if MAX {
                            for row in y * height..(y + 1) * height {
                                for column in x * width..(x + 1) * width {
                                    let z = vector.read(simd, map, (row * w + column) * c);
                                    let v = activate(simd, simd.mul_add_f32s(scale, z, shift));
                                    let exceeds = exceeds(simd, v, most);
                                    most = simd.select_f32s(exceeds, v, most);
                                    place = simd.select_f32s(exceeds, simd.splat_f32s(here), place);
                                    here += 1.0;
                                }
                            }
                        }
                        let mut here = 0.0;
                        for row in y * height..(y + 1) * height {
                            for column in x * width..(x + 1) * width {
                                let at = (row * w + column) * c;
                                ask(map, at + next + vector.start);
                                ask(out, at + next + vector.start);
                                let z = vector.read(simd, map, at);
                                let mut g = g;
                                if MAX {
                                    g = simd.select_f32s(simd.equal_f32s(place, simd.splat_f32s(here)), g, zero);
                                    here += 1.0;
                                }
                                let t = mask(simd, simd.mul_add_f32s(scale, z, shift), g);
                                sum_shift = simd.add_f32s(sum_shift, t);
                                sum_scale = simd.mul_add_f32s(t, z, sum_scale);
                                let t = match write {
                                    Write::Store => simd.mul_f32s(scale, t),
                                    Write::Add => simd.mul_add_f32s(scale, t, vector.read(simd, out, at)),
                                };
                                vector.write(simd, out, at, t);
                            }
                        }
                    }
                    vector.add_to(sum_scale, &mut of_scale[start..]);
                    vector.add_to(sum_shift, &mut of_shift[start..]);
                }
            }
        }
    }
}
