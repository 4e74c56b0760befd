//! Depthwise convolution: every channel its own, so vectors run over channels.

use super::plan::{Class, Run};
use super::tile::{Store, load};
use pulp::Simd;

/// Forward or grad_input of `pixels`; `weights` are `(k_h, k_w, 1, C)`, unpacked.
#[inline(always)]
pub fn run<S: Simd>(
    simd: S,
    scratch: &[f32],
    pixels: &[(usize, usize)],
    class: &Class,
    weights: &[f32],
    k_w: usize,
    store: &mut Store,
) {
    let channels = store.channels;
    let lanes = S::F32_LANES;
    let whole = channels / lanes * lanes;
    let taps: Vec<(usize, &[f32])> = class
        .runs
        .iter()
        .zip(&class.taps)
        .map(|(run, (ky, kx))| (run.at, &weights[(ky * k_w + kx) * channels..][..channels]))
        .collect();
    for &(base, pixel) in pixels {
        let out = &mut store.out[pixel * channels..][..channels];
        for c in (0..whole).step_by(lanes) {
            let mut acc = simd.splat_f32s(0.0);
            for &(at, w) in &taps {
                let x = load(simd, &scratch[base + at + c..][..lanes]);
                acc = simd.mul_add_f32s(x, load(simd, &w[c..c + lanes]), acc);
            }
            let out = &mut S::as_mut_simd_f32s(&mut out[c..c + lanes]).0[0];
            *out = if store.accumulate { simd.add_f32s(*out, acc) } else { acc };
        }
        for c in whole..channels {
            let sum = taps.iter().fold(0.0, |acc: f32, &(at, w)| scratch[base + at + c].mul_add(w[c], acc));
            out[c] = if store.accumulate { out[c] + sum } else { sum };
        }
        if let Some(bias) = store.bias {
            out.iter_mut().zip(bias).for_each(|(o, b)| *o += b);
        }
        if let Some(add) = store.add {
            out.iter_mut().zip(&add[pixel * channels..]).for_each(|(o, a)| *o += a);
        }
    }
}

/// Adds the gradient of the weight: `grad_weight[tap][c] += sum over pixels of scratch[base + at + c] * dy[pixel][c]`.
#[inline(always)]
pub fn grad_weight<S: Simd>(
    simd: S,
    scratch: &[f32],
    pixels: &[(usize, usize)],
    runs: &[Run],
    dy: &[f32],
    channels: usize,
    grad_weight: &mut [f32],
) {
    let lanes = S::F32_LANES;
    let whole = channels / lanes * lanes;
    for (run, grad) in runs.iter().zip(grad_weight.chunks_exact_mut(channels)) {
        for c in (0..whole).step_by(lanes) {
            let mut acc = load(simd, &grad[c..c + lanes]);
            for &(base, pixel) in pixels {
                let x = load(simd, &scratch[base + run.at + c..][..lanes]);
                acc = simd.mul_add_f32s(x, load(simd, &dy[pixel * channels + c..][..lanes]), acc);
            }
            S::as_mut_simd_f32s(&mut grad[c..c + lanes]).0[0] = acc;
        }
        for c in whole..channels {
            for &(base, pixel) in pixels {
                grad[c] = scratch[base + run.at + c].mul_add(dy[pixel * channels + c], grad[c]);
            }
        }
    }
}
