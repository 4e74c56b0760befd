//! The last step of grad_input: through the activation and the affine that were applied on load, into the map's gradient.

use super::backward::Write;
use super::columns::{Columns, Vector};
use super::load::Activation;
use pulp::Simd;

/// With `v = scale*map + shift` and `t = grad_input * activation'(v)`:
/// `out = scale * t` (stored or added), `grad_scale += sum t*map`, `grad_shift += sum t`.
pub struct Finish<'a> {
    /// Of each pixel, with respect to what the convolution read.
    pub grad_input: &'a [f32],
    /// Distance of two pixels in `grad_input`.
    pub stride: usize,
    /// Where this map's channels begin in it.
    pub start: usize,
    /// The map.
    pub map: &'a [f32],
    /// This map's scales and shifts.
    pub affine: Option<(&'a [f32], &'a [f32])>,
    /// As on load.
    pub activation: Activation,
    /// The map's gradient.
    pub out: &'a mut [f32],
    /// Store or add.
    pub write: Write,
}

impl Finish<'_> {
    /// For `pixels` pixels, of which the map's are consecutive. Adds the sums to `grad_scale` and `grad_shift`, which are as long as
    /// the map has channels, where there is an affine.
    #[inline(always)]
    pub fn run<S: Simd>(self, simd: S, pixels: usize, grad_scale: &mut [f64], grad_shift: &mut [f64]) {
        self.run_at(
            simd,
            pixels,
            #[inline(always)]
            |pixel| pixel,
            grad_scale,
            grad_shift,
        );
    }

    /// The same with pixel `i` of `grad_input` being pixel `place(i)` of the map.
    #[inline(always)]
    pub fn run_at<S: Simd>(
        self,
        simd: S,
        pixels: usize,
        place: impl Fn(usize) -> usize,
        grad_scale: &mut [f64],
        grad_shift: &mut [f64],
    ) {
        match self.activation {
            Activation::Identity => self.with(
                simd,
                pixels,
                place,
                grad_scale,
                grad_shift,
                #[inline(always)]
                |_, _, g| g,
            ),
            Activation::Relu => self.with(simd, pixels, place, grad_scale, grad_shift, relu),
            Activation::Relu6 => self.with(simd, pixels, place, grad_scale, grad_shift, relu6),
        }
    }

    #[inline(always)]
    fn with<S: Simd>(
        self,
        simd: S,
        pixels: usize,
        place: impl Fn(usize) -> usize,
        grad_scale: &mut [f64],
        grad_shift: &mut [f64],
        mask: impl Fn(S, S::f32s, S::f32s) -> S::f32s,
    ) {
        let Finish { grad_input, stride, start, map, affine, out, write, .. } = self;
        let channels = grad_scale.len();
        let columns = Columns::new(channels, S::F32_LANES);
        let (one, zero) = (simd.splat_f32s(1.0), simd.splat_f32s(0.0));
        for index in 0..columns.vectors() {
            let vector = Vector::new(simd, columns, index);
            let (scale, shift) = match affine {
                Some((a, b)) => (vector.read(simd, a, 0), vector.read(simd, b, 0)),
                None => (one, zero),
            };
            let (mut sum_scale, mut sum_shift) = (zero, zero);
            for pixel in 0..pixels {
                let at = place(pixel) * channels;
                let g = vector.read(simd, grad_input, pixel * stride + start);
                let z = vector.read(simd, map, at);
                let t = mask(simd, simd.mul_add_f32s(scale, z, shift), g);
                sum_shift = simd.add_f32s(sum_shift, t);
                sum_scale = simd.mul_add_f32s(t, z, sum_scale);
                let g = match write {
                    Write::Store => simd.mul_f32s(scale, t),
                    Write::Add => simd.mul_add_f32s(scale, t, vector.read(simd, out, at)),
                };
                vector.write(simd, out, at, g);
            }
            if affine.is_some() {
                vector.add_to(sum_scale, grad_scale);
                vector.add_to(sum_shift, grad_shift);
            }
        }
    }
}

/// `g` where `v > 0`, else 0.
#[inline(always)]
pub fn relu<S: Simd>(simd: S, v: S::f32s, g: S::f32s) -> S::f32s {
    let zero = simd.splat_f32s(0.0);
    simd.select_f32s(simd.greater_than_f32s(v, zero), g, zero)
}

/// `g` where `0 < v < 6`, else 0.
#[inline(always)]
pub fn relu6<S: Simd>(simd: S, v: S::f32s, g: S::f32s) -> S::f32s {
    let (zero, six) = (simd.splat_f32s(0.0), simd.splat_f32s(6.0));
    let within = simd.and_m32s(simd.greater_than_f32s(v, zero), simd.less_than_f32s(v, six));
    simd.select_f32s(within, g, zero)
}

/// Adds each lane of a vector to its own total.
#[inline(always)]
pub fn add_lanes<S: Simd>(sum: S::f32s, totals: &mut [f64]) {
    let sums = [sum];
    let sums: &[f32] = pulp::bytemuck::cast_slice(&sums);
    totals.iter_mut().zip(sums).for_each(|(t, &s)| *t += f64::from(s));
}
