//! The kernels against each other: algorithms, instruction sets, and the `f64` sums of the formula.

use super::backward::{Backward, MapGrad, Write, backward};
use super::forward::{Forward, forward};
use super::load::{Activation, GradTerms, Maps};
use super::{Algorithm, ConvSize};
use crate::gradcheck::sample;
use crate::kernels::simd::Level;
use crate::tensor::Tensor;

/// Output, grad_input and grad_weight of one convolution without extras.
fn run(level: Level, algorithm: Algorithm, size: ConvSize) -> [Vec<f32>; 3] {
    let ConvSize { n, h, w, c_in, c_out, k_h, k_w, groups, h_out, w_out, .. } = size;
    let (x, weight) = (sample([n, h, w, c_in]), sample([k_h, k_w, c_in / groups, c_out]));
    let dy = sample([n, h_out, w_out, c_out]);
    let maps = [(x.data(), c_in)];
    let input = Maps { maps: &maps, affine: None, activation: Activation::Identity };
    // NaN shows an element that nobody wrote.
    let (mut y, mut grad_input) = (vec![f32::NAN; dy.elements()], vec![f32::NAN; x.elements()]);
    let pass = Forward { size, algorithm, input, weight: weight.data(), bias: None, add: None, measure: false };
    forward(level, &pass, &mut y);
    let grad_output = GradTerms { grad: dy.data(), scale: None, affine_of: None };
    let pass =
        Backward { size, algorithm, input, weight: weight.data(), grad_output, needs_weight: true, needs_bias: false };
    let targets: Vec<MapGrad> = vec![Some((&mut grad_input, Write::Store))];
    let grad_weight = backward(level, &pass, targets).weight.expect("asked for").data().to_vec();
    [y, grad_input, grad_weight]
}

/// The same by the formulas, in `f64`.
pub(super) fn exact(size: ConvSize) -> [Vec<f64>; 3] {
    let ConvSize { n, h, w, c_in, c_out, k_h, k_w, stride, padding, dilation, groups, h_out, w_out } = size;
    let values = |t: Tensor| t.data().iter().map(|&v| f64::from(v)).collect::<Vec<f64>>();
    let (x, weight) = (values(sample([n, h, w, c_in])), values(sample([k_h, k_w, c_in / groups, c_out])));
    let dy = values(sample([n, h_out, w_out, c_out]));
    let [mut y, mut gx, mut gw] = [vec![0.0; dy.len()], vec![0.0; x.len()], vec![0.0; weight.len()]];
    let (in_group, out_group) = (c_in / groups, c_out / groups);
    for (image, oy, ox) in (0..n * h_out * w_out).map(|i| (i / (h_out * w_out), i / w_out % h_out, i % w_out)) {
        for (ky, kx) in (0..k_h * k_w).map(|t| (t / k_w, t % k_w)) {
            let iy = (oy * stride + ky * dilation).wrapping_sub(padding);
            let ix = (ox * stride + kx * dilation).wrapping_sub(padding);
            if iy >= h || ix >= w {
                continue;
            }
            for (o, i) in (0..c_out).flat_map(|o| (0..in_group).map(move |i| (o, i))) {
                let at_y = ((image * h_out + oy) * w_out + ox) * c_out + o;
                let at_x = ((image * h + iy) * w + ix) * c_in + o / out_group * in_group + i;
                let at_w = ((ky * k_w + kx) * in_group + i) * c_out + o;
                y[at_y] += x[at_x] * weight[at_w];
                gx[at_x] += dy[at_y] * weight[at_w];
                gw[at_w] += dy[at_y] * x[at_x];
            }
        }
    }
    [y, gx, gw]
}

pub(super) fn size(x: [usize; 4], k: usize, c_out: usize, [stride, padding, dilation, groups]: [usize; 4]) -> ConvSize {
    ConvSize::new(x, [k, k, x[3] / groups, c_out], [stride, padding, dilation, groups]).expect("a valid size")
}

/// Largest difference as a share of the largest value.
pub(super) fn error(values: &[f32], exact: &[f64]) -> f64 {
    let largest = exact.iter().fold(0.0f64, |m, v| m.max(v.abs()));
    let off = values.iter().zip(exact).map(|(a, b)| (f64::from(*a) - b).abs());
    off.fold(0.0f64, |m, e| if e.is_nan() { f64::INFINITY } else { m.max(e) }) / largest
}

/// Direct: rounding of up to a few thousand products. Winograd: a few bits more, from the constants of its transforms; with stride 2
/// these are 1 and -1.
fn assert_close(level: Level, algorithm: Algorithm, size: ConvSize) {
    let tolerance = if algorithm.is_winograd(&size) && size.stride == 1 { 2e-5 } else { 2e-6 };
    let names = ["forward", "grad_input", "grad_weight"];
    for ((values, exact), name) in run(level, algorithm, size).iter().zip(&exact(size)).zip(names) {
        let error = error(values, exact);
        assert!(error < tolerance, "{name} of {size:?} by {algorithm:?}: {error:e}");
    }
}

/// Sizes around register tiles, panels, blocks of tiles and groups of images.
fn winograd_sizes() -> Vec<ConvSize> {
    let cases = [
        ([1, 4, 4, 8], 8),
        ([2, 5, 7, 3], 5),
        ([1, 1, 2, 1], 1),
        ([3, 8, 8, 17], 19),
        ([7, 6, 9, 12], 12),
        ([2, 32, 32, 16], 16),
        ([1, 13, 4, 33], 40),
        ([13, 8, 8, 64], 24),
        ([2, 5, 7, 17], 67),
    ];
    cases.map(|(x, c_out)| size(x, 3, c_out, [1, 1, 1, 1])).to_vec()
}

/// Sizes that are cut by channels: F(4x4) with whole and cut tiles, F(2x2), several blocks of images.
fn wide_sizes() -> Vec<ConvSize> {
    let cases = [
        ([7, 4, 4, 256], 256),
        ([1, 7, 5, 272], 256),
        ([14, 2, 2, 256], 288),
        ([1, 3, 1, 256], 256),
        ([80, 1, 1, 256], 256),
    ];
    cases.map(|(x, c_out)| size(x, 3, c_out, [1, 1, 1, 1])).to_vec()
}

/// Stride 2: whole and cut tiles, padded panels, one and several blocks of an image.
fn strided_sizes() -> Vec<ConvSize> {
    let cases = [
        ([5, 9, 9, 16], 32),
        ([2, 32, 32, 16], 32),
        ([3, 7, 6, 48], 16),
        ([1, 1, 2, 16], 48),
        ([9, 16, 16, 32], 64),
        ([2, 8, 8, 64], 128),
        ([50, 2, 3, 16], 16),
    ];
    cases.map(|(x, c_out)| size(x, 3, c_out, [2, 1, 1, 1])).to_vec()
}

#[test]
fn winograd_agrees_with_f64() {
    for size in [winograd_sizes(), wide_sizes(), strided_sizes()].concat() {
        for level in [Level::Native, Level::Avx2] {
            assert_close(level, Algorithm::Winograd, size);
        }
    }
}

/// Other kernels, strides, dilations and groups.
fn direct_sizes() -> Vec<ConvSize> {
    vec![
        size([5, 9, 9, 16], 3, 32, [2, 1, 1, 1]),
        size([5, 9, 9, 16], 3, 16, [2, 1, 1, 1]),
        size([2, 7, 9, 6], 1, 33, [1, 0, 1, 1]),
        size([2, 8, 8, 20], 1, 16, [2, 0, 1, 1]),
        size([2, 16, 16, 24], 1, 50, [1, 0, 1, 1]),
        size([3, 9, 9, 50], 1, 24, [1, 0, 1, 1]),
        size([3, 7, 9, 70], 1, 56, [1, 0, 1, 1]),
        size([2, 8, 8, 58], 1, 58, [1, 0, 1, 1]),
        size([1, 9, 8, 200], 1, 50, [1, 0, 1, 1]),
        size([2, 5, 5, 48], 1, 96, [1, 0, 1, 1]),
        size([1, 11, 12, 4], 5, 8, [3, 2, 1, 1]),
        size([2, 9, 9, 4], 3, 6, [1, 2, 2, 2]),
        size([1, 8, 9, 24], 3, 24, [2, 1, 1, 24]),
    ]
}

#[test]
fn direct_agrees_with_f64() {
    let sizes = [winograd_sizes(), direct_sizes()].concat();
    for size in sizes {
        assert_close(Level::Native, Algorithm::Direct, size);
    }
}

#[test]
fn instruction_sets_agree_bit_for_bit() {
    for size in [winograd_sizes(), direct_sizes(), strided_sizes()].concat() {
        for algorithm in [Algorithm::Direct, Algorithm::Winograd] {
            assert_same_bits(algorithm, size);
        }
    }
}

#[test]
fn instruction_sets_agree_bit_for_bit_by_channels() {
    for size in wide_sizes() {
        assert_same_bits(Algorithm::Winograd, size);
    }
}

fn assert_same_bits(algorithm: Algorithm, size: ConvSize) {
    let bits = |level| run(level, algorithm, size).map(|v| v.iter().map(|v| v.to_bits()).collect::<Vec<_>>());
    let portable = bits(Level::Portable);
    for level in [Level::Native, Level::Avx2] {
        assert!(bits(level) == portable, "{size:?} by {algorithm:?} at {level:?}");
    }
}
