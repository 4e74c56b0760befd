//! The last step of grad_input: through the activation and the affine that were applied on load, into the map's gradient.

use super::backward::Write;
use super::columns::{Columns, Vector};
use super::load::Activation;
use crate::kernels::simd::has_many_registers;
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
        let columns = Columns::new(grad_scale.len(), S::F32_LANES);
        let mut job = Vectors { finish: self, pixels, place, grad_scale, grad_shift, mask };
        // Neighbouring vectors together: a pixel's lines, one after the other, are what memory gives fastest.
        let whole = |index: usize| Some(Vector::new(simd, columns, index)).filter(Vector::is_whole).is_some();
        let mut index = 0;
        while index < columns.vectors() {
            let together = (index..columns.vectors()).take(4).take_while(|&index| whole(index)).count();
            index += match together {
                4 if has_many_registers::<S>() => {
                    job.run(simd, std::array::from_fn::<_, 4, _>(|i| Vector::whole(columns.start(index + i))));
                    4
                }
                2.. => {
                    job.run(simd, std::array::from_fn::<_, 2, _>(|i| Vector::whole(columns.start(index + i))));
                    2
                }
                _ => {
                    job.run(simd, [Vector::new(simd, columns, index)]);
                    1
                }
            };
        }
    }
}

/// The same for some vectors of channels.
struct Vectors<'a, 'b, P, M> {
    finish: Finish<'a>,
    pixels: usize,
    place: P,
    grad_scale: &'b mut [f64],
    grad_shift: &'b mut [f64],
    mask: M,
}

impl<P: Fn(usize) -> usize, M> Vectors<'_, '_, P, M> {
    #[inline(always)]
    fn run<S: Simd, const N: usize>(&mut self, simd: S, vectors: [Vector<S>; N])
    where
        M: Fn(S, S::f32s, S::f32s) -> S::f32s,
    {
        let Finish { grad_input, stride, start, map, affine, ref mut out, write, .. } = self.finish;
        let channels = self.grad_scale.len();
        let (one, zero) = (simd.splat_f32s(1.0), simd.splat_f32s(0.0));
        let read = |of: Option<&[f32]>, instead| vectors.map(|v| of.map_or(instead, |of| v.read(simd, of, 0)));
        let (scale, shift) = (read(affine.map(|affine| affine.0), one), read(affine.map(|affine| affine.1), zero));
        let (mut sum_scale, mut sum_shift) = ([zero; N], [zero; N]);
        for pixel in 0..self.pixels {
            let at = (self.place)(pixel) * channels;
            for i in 0..N {
                let g = vectors[i].read(simd, grad_input, pixel * stride + start);
                let z = vectors[i].read(simd, map, at);
                let t = (self.mask)(simd, simd.mul_add_f32s(scale[i], z, shift[i]), g);
                sum_shift[i] = simd.add_f32s(sum_shift[i], t);
                sum_scale[i] = simd.mul_add_f32s(t, z, sum_scale[i]);
                let g = match write {
                    Write::Store => simd.mul_f32s(scale[i], t),
                    Write::Add => simd.mul_add_f32s(scale[i], t, vectors[i].read(simd, out, at)),
                };
                vectors[i].write(simd, out, at, g);
            }
        }
        if affine.is_some() {
            for i in 0..N {
                vectors[i].add_to(sum_scale[i], self.grad_scale);
                vectors[i].add_to(sum_shift[i], self.grad_shift);
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
