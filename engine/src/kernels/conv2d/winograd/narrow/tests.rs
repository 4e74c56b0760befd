//! Lists of maps of unequal widths, with everything that is fused: against the direct kernels, and level against level.

use crate::gradcheck::sample;
use crate::kernels::conv2d::backward::{Backward, MapGrad, Write, backward};
use crate::kernels::conv2d::forward::{Forward, forward};
use crate::kernels::conv2d::load::{Activation, GradTerms, Maps};
use crate::kernels::conv2d::{Algorithm, ConvSize};
use crate::kernels::simd::Level;
use crate::tensor::Tensor;

struct Case {
    /// Images, height, width.
    extent: [usize; 3],
    widths: &'static [usize],
    c_out: usize,
    activation: Activation,
    /// Whether the gradient of the output comes in terms, and the maps' gradients are added to.
    fused: bool,
}

const CASES: [Case; 8] = [
    case([2, 8, 8], &[24, 12, 12], 12, Activation::Relu, true),
    case([5, 8, 8], &[24, 12, 12, 12, 12], 12, Activation::Relu, true),
    case([2, 7, 5], &[16, 12, 12, 12, 12], 12, Activation::Relu, true),
    case([3, 5, 9], &[16, 36, 16], 16, Activation::Relu6, true),
    case([2, 16, 16], &[100, 12, 24], 24, Activation::Relu, false),
    case([2, 13, 4], &[160, 3, 7], 36, Activation::Identity, true),
    case([1, 1, 2], &[1], 1, Activation::Relu, true),
    case([17, 4, 6], &[36, 48], 40, Activation::Relu, true),
];

const fn case(extent: [usize; 3], widths: &'static [usize], c_out: usize, activation: Activation, fused: bool) -> Case {
    Case { extent, widths, c_out, activation, fused }
}

/// Everything that a forward and a backward pass yield.
fn run(level: Level, algorithm: Algorithm, case: &Case) -> Vec<Vec<f32>> {
    let &Case { extent: [n, h, w], widths, c_out, activation, fused } = case;
    let c_in: usize = widths.iter().sum();
    let size = ConvSize::new([n, h, w, c_in], [3, 3, c_in, c_out], [1, 1, 1, 1]).expect("a valid size");
    let values: Vec<Tensor> = widths.iter().map(|&c| sample([n, h, w, c])).collect();
    let maps: Vec<(&[f32], usize)> = values.iter().zip(widths).map(|(map, &c)| (map.data(), c)).collect();
    let (affine, weight, of_out) = (sample([2, c_in]), sample([3, 3, c_in, c_out]), sample([4, c_out]));
    let input = Maps { maps: &maps, affine: Some(affine.data().split_at(c_in)), activation };
    let (dy, y_map) = (sample([n, h, w, c_out]), sample([n, h, w, c_out]).scale(0.3));
    let rows: Vec<&[f32]> = of_out.data().chunks(c_out).collect();
    let (bias, add) = (fused.then_some(rows[0]), fused.then_some(y_map.data()));
    let mut y = vec![f32::NAN; dy.elements()];
    let pass = Forward { size, algorithm, input, weight: weight.data(), bias, add, measure: true };
    let moments = forward(level, &pass, &mut y).expect("asked for");
    let grad_output = GradTerms {
        grad: dy.data(),
        scale: fused.then_some(rows[1]),
        affine_of: fused.then_some((y_map.data(), rows[2], rows[3])),
    };
    let pass =
        Backward { size, algorithm, input, weight: weight.data(), grad_output, needs_weight: true, needs_bias: true };
    let mut grads: Vec<Vec<f32>> =
        values.iter().map(|map| map.data().iter().map(|v| if fused { v * 0.5 } else { f32::NAN }).collect()).collect();
    let write = if fused { Write::Add } else { Write::Store };
    let targets: Vec<MapGrad> = grads.iter_mut().map(|grad| Some((&mut grad[..], write))).collect();
    let small = backward(level, &pass, targets);
    let (scale, shift) = small.affine.expect("there is an affine");
    let weight = small.weight.expect("asked for").data().to_vec();
    [vec![y, moments, weight, small.bias.expect("asked for"), scale, shift], grads].concat()
}

#[test]
fn lists_agree_with_the_direct_kernels() {
    for case in &CASES {
        let (fast, direct) =
            (run(Level::Native, Algorithm::Winograd, case), run(Level::Native, Algorithm::Direct, case));
        for (i, (fast, direct)) in fast.iter().zip(&direct).enumerate() {
            let largest = direct.iter().fold(0.0f32, |m, v| m.max(v.abs()));
            let worst = fast.iter().zip(direct).fold(0.0f32, |m, (a, b)| m.max((a - b).abs()));
            // The transforms' constants cost a few bits (2e-5 at most, as for single maps), direct rounding 2e-6.
            let clean = fast.iter().all(|v| v.is_finite());
            assert!(clean && worst <= 3e-5 * largest, "{:?} {:?}, result {i}: {worst:e}", case.extent, case.widths);
        }
    }
}

#[test]
fn lists_have_the_same_bits_at_every_level_and_thread_count() {
    let bits = |level, case: &Case| -> Vec<Vec<u32>> {
        let results = run(level, Algorithm::Winograd, case);
        results.iter().map(|values| values.iter().map(|v| v.to_bits()).collect()).collect()
    };
    for case in &CASES {
        let native = bits(Level::Native, case);
        assert!(native == bits(Level::Portable, case), "{:?} {:?}: levels", case.extent, case.widths);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().expect("a pool");
        assert!(native == pool.install(|| bits(Level::Native, case)), "{:?} {:?}: threads", case.extent, case.widths);
    }
}
