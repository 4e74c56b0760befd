//! The last step of grad_input: through the activation and the affine that were applied on load, into the map's gradient.

use super::backward::Write;
use super::load::Activation;
use super::tile::load;
use pulp::Simd;

/// With `v = scale*map + shift` and `t = grad_input * activation'(v)`:
/// `out = scale * t` (stored or added), `grad_scale += sum t*map`, `grad_shift += sum t`.
pub struct Finish<'a> {
    /// Pixels x `channels`, with respect to what the convolution read.
    pub grad_input: &'a [f32],
    /// Channels of `grad_input`.
    pub channels: usize,
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
    /// Adds the sums to `grad_scale` and `grad_shift` where there is an affine.
    #[inline(always)]
    pub fn run<S: Simd>(self, simd: S, grad_scale: &mut [f64], grad_shift: &mut [f64]) {
        match self.activation {
            Activation::Identity => self.with(
                simd,
                grad_scale,
                grad_shift,
                #[inline(always)]
                |_, _, g| g,
                #[inline(always)]
                |_, g| g,
            ),
            Activation::Relu => {
                let zero = simd.splat_f32s(0.0);
                self.with(
                    simd,
                    grad_scale,
                    grad_shift,
                    #[inline(always)]
                    |simd, v, g| simd.select_f32s(simd.greater_than_f32s(v, zero), g, zero),
                    #[inline(always)]
                    |v, g| if v > 0.0 { g } else { 0.0 },
                );
            }
            Activation::Relu6 => {
                let (zero, six) = (simd.splat_f32s(0.0), simd.splat_f32s(6.0));
                self.with(
                    simd,
                    grad_scale,
                    grad_shift,
                    #[inline(always)]
                    |simd, v, g| {
                        let g = simd.select_f32s(simd.greater_than_f32s(v, zero), g, zero);
                        simd.select_f32s(simd.less_than_f32s(v, six), g, zero)
                    },
                    #[inline(always)]
                    |v, g| if v > 0.0 && v < 6.0 { g } else { 0.0 },
                );
            }
        }
    }

    #[inline(always)]
    fn with<S: Simd>(
        self,
        simd: S,
        grad_scale: &mut [f64],
        grad_shift: &mut [f64],
        wide: impl Fn(S, S::f32s, S::f32s) -> S::f32s,
        narrow: impl Fn(f32, f32) -> f32,
    ) {
        let Finish { grad_input, channels, start, map, affine, out, write, .. } = self;
        let c_map = grad_scale.len();
        let lanes = S::F32_LANES;
        let whole = c_map / lanes * lanes;
        let rows = || grad_input.chunks_exact(channels).zip(map.chunks_exact(c_map));
        for c in (0..whole).step_by(lanes) {
            let range = c..c + lanes;
            let one = simd.splat_f32s(1.0);
            let zero = simd.splat_f32s(0.0);
            let (scale, shift) =
                affine.map_or((one, zero), |(a, b)| (load(simd, &a[range.clone()]), load(simd, &b[range.clone()])));
            let (mut sum_scale, mut sum_shift) = (zero, zero);
            for ((g, z), out) in rows().zip(out.chunks_exact_mut(c_map)) {
                let g = load(simd, &g[start + c..][..lanes]);
                let z = load(simd, &z[range.clone()]);
                let t = wide(simd, simd.mul_add_f32s(scale, z, shift), g);
                sum_shift = simd.add_f32s(sum_shift, t);
                sum_scale = simd.mul_add_f32s(t, z, sum_scale);
                let out = &mut S::as_mut_simd_f32s(&mut out[range.clone()]).0[0];
                *out = match write {
                    Write::Store => simd.mul_f32s(scale, t),
                    Write::Add => simd.mul_add_f32s(scale, t, *out),
                };
            }
            if affine.is_some() {
                add_lanes::<S>(sum_scale, &mut grad_scale[range.clone()]);
                add_lanes::<S>(sum_shift, &mut grad_shift[range.clone()]);
            }
        }
        for c in whole..c_map {
            let (scale, shift) = affine.map_or((1.0, 0.0), |(a, b)| (a[c], b[c]));
            let (mut sum_scale, mut sum_shift) = (0.0f32, 0.0f32);
            for ((g, z), out) in rows().zip(out.chunks_exact_mut(c_map)) {
                let t = narrow(scale.mul_add(z[c], shift), g[start + c]);
                sum_shift += t;
                sum_scale = t.mul_add(z[c], sum_scale);
                out[c] = match write {
                    Write::Store => scale * t,
                    Write::Add => scale.mul_add(t, out[c]),
                };
            }
            if affine.is_some() {
                grad_scale[c] += f64::from(sum_scale);
                grad_shift[c] += f64::from(sum_shift);
            }
        }
    }
}

/// Adds each lane of a vector to its own total.
#[inline(always)]
pub fn add_lanes<S: Simd>(sum: S::f32s, totals: &mut [f64]) {
    let sums = [sum];
    let sums: &[f32] = pulp::bytemuck::cast_slice(&sums);
    totals.iter_mut().zip(sums).for_each(|(t, &s)| *t += f64::from(s));
}
