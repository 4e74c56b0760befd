//! The depthwise kernels against the `f64` sums of the formula, and fused against plain.

use super::super::backward::{Backward, MapGrad, Small, Write};
use super::super::forward::Forward;
use super::super::load::{Activation, GradTerms, Maps, activate};
use super::super::tests::{error, exact, size};
use super::super::{Algorithm, ConvSize};
use crate::gradcheck::sample;
use crate::kernels::moments::moments;
use crate::kernels::simd::Level;

/// Kernels of every size that has a tile of its own and one that has none, channels around a vector and odd maps.
fn sizes() -> Vec<ConvSize> {
    let mut sizes = vec![];
    for k in [3, 5, 7] {
        for stride in [1, 2] {
            for (n, h, w, c) in [(2, 7, 9, 3), (1, 8, 8, 8), (3, 5, 6, 17), (1, 9, 4, 144), (2, 4, 5, 1), (5, 1, 2, 24)]
            {
                sizes.push((([n, h, w, c]), k, [stride, k / 2, 1]));
            }
        }
    }
    sizes.extend([
        ([2, 6, 7, 5], 2, [1, 0, 1]),
        ([1, 9, 10, 9], 4, [2, 1, 1]),
        ([1, 9, 8, 12], 3, [1, 2, 2]),
        ([2, 11, 9, 7], 5, [3, 2, 1]),
        ([1, 8, 9, 6], 1, [2, 0, 1]),
        ([1, 10, 9, 8], 3, [3, 1, 2]),
        ([2, 4, 4, 8], 9, [1, 4, 1]),
        ([1, 6, 5, 8], 3, [2, 3, 1]),
        ([140, 2, 3, 10], 3, [1, 1, 1]),
    ]);
    sizes.into_iter().map(|(x, k, [s, p, d])| size(x, k, x[3], [s, p, d, x[3]])).collect()
}

/// Operands of both passes.
struct Operands {
    size: ConvSize,
    x: Vec<f32>,
    weight: Vec<f32>,
    dy: Vec<f32>,
    /// Of the input's channels, then of the output's.
    coefficients: [Vec<f32>; 5],
}

/// What both passes yield.
struct Results {
    y: Vec<f32>,
    moments: Option<Vec<f32>>,
    grad_input: Vec<f32>,
    small: Small,
}

impl Operands {
    fn new(size: ConvSize) -> Operands {
        let ConvSize { n, h, w, c_in, k_h, k_w, h_out, w_out, .. } = size;
        let coefficient = |i: usize| (0..c_in).map(|c| 1.0 + 0.1 * ((c * 7 + i * 3) % 11) as f32 - 0.5).collect();
        Operands {
            size,
            x: sample([n, h, w, c_in]).data().to_vec(),
            weight: sample([k_h, k_w, 1, c_in]).data().to_vec(),
            dy: sample([n, h_out, w_out, c_in]).data().to_vec(),
            coefficients: std::array::from_fn(coefficient),
        }
    }

    fn grad_output(&self) -> GradTerms<'_> {
        GradTerms { grad: &self.dy, scale: None, affine_of: None }
    }

    /// Both passes; `grad_input` starts as `start` if it is added to.
    fn run(&self, level: Level, input: Maps, grad_output: GradTerms, start: Option<f32>) -> Results {
        let (size, algorithm, weight) = (self.size, Algorithm::Auto, &self.weight[..]);
        let (bias, add) = (Some(&self.coefficients[0][..]), Some(&self.dy[..]));
        let (mut y, mut grad_input) = (vec![f32::NAN; self.dy.len()], vec![start.unwrap_or(f32::NAN); self.x.len()]);
        let pass = Forward { size, algorithm, input, weight, bias, add, measure: true };
        let moments = super::forward(level, &pass, &mut y);
        let pass = Backward { size, algorithm, input, weight, grad_output, needs_weight: true, needs_bias: true };
        let write = if start.is_some() { Write::Add } else { Write::Store };
        // Each map's gradient by itself, then side by side.
        let pixels = size.n * size.h * size.w;
        let mut of_maps: Vec<Vec<f32>> = input.maps.iter().map(|(_, c)| vec![grad_input[0]; pixels * c]).collect();
        let targets: Vec<MapGrad> = of_maps.iter_mut().map(|grad| Some((&mut grad[..], write))).collect();
        let small = super::backward(level, &pass, targets);
        let mut at = 0;
        for (grad, (_, c)) in of_maps.iter().zip(input.maps) {
            for (out, grad) in grad_input.chunks_mut(size.c_in).zip(grad.chunks(*c)) {
                out[at..at + c].copy_from_slice(grad);
            }
            at += c;
        }
        Results { y, moments, grad_input, small }
    }

    fn plain(&self, level: Level, x: &[f32], grad_output: GradTerms) -> Results {
        let maps = [(x, self.size.c_in)];
        self.run(level, Maps { maps: &maps, affine: None, activation: Activation::Identity }, grad_output, None)
    }
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

#[test]
fn agrees_with_f64() {
    for size in sizes() {
        let operands = Operands::new(size);
        let Results { y, moments: measured, grad_input, small } =
            operands.plain(Level::Native, &operands.x, operands.grad_output());
        let [mut exact_y, exact_input, exact_weight] = exact(size);
        let c = size.c_in;
        for (i, y) in exact_y.iter_mut().enumerate() {
            *y += f64::from(operands.coefficients[0][i % c]) + f64::from(operands.dy[i]);
        }
        let mut exact_bias = vec![0.0; c];
        operands.dy.iter().enumerate().for_each(|(i, &g)| exact_bias[i % c] += f64::from(g));
        let weight = small.weight.expect("asked for");
        let bias = small.bias.expect("asked for");
        let all = [(&y[..], exact_y), (&grad_input, exact_input), (weight.data(), exact_weight), (&bias, exact_bias)];
        for ((values, exact), name) in all.iter().zip(["forward", "grad_input", "grad_weight", "grad_bias"]) {
            // Rounding of at most a thousand products.
            let error = error(values, exact);
            assert!(error < 2e-6, "{name} of {size:?}: {error:e}");
        }
        let fresh = moments(Level::Native, &y, c);
        for (a, b) in measured.expect("asked for").iter().zip(&fresh) {
            assert!((a - b).abs() <= 1e-5 * b.abs().max(1.0), "moments of {size:?}: {a} against {b}");
        }
    }
}

#[test]
fn fused_is_plain() {
    for size in sizes() {
        for activation in [Activation::Identity, Activation::Relu, Activation::Relu6] {
            let o = Operands::new(size);
            let c = size.c_in;
            let [scale, shift, grad_scale, slope, offset] = &o.coefficients;
            let channel = |v: &[f32]| v.iter().copied().enumerate().map(|(i, v)| (i % c, v)).collect::<Vec<_>>();
            // What the fused passes apply on load, written out.
            let x = channel(&o.x).into_iter().map(|(c, v)| activate(activation, scale[c].mul_add(v, shift[c])));
            let x: Vec<f32> = x.collect();
            let dy = channel(&o.dy).into_iter().map(|(c, g)| g * grad_scale[c] + slope[c].mul_add(g, offset[c]));
            let dy: Vec<f32> = dy.collect();
            let plain = o.plain(Level::Native, &x, GradTerms { grad: &dy, ..o.grad_output() });
            let grad_output =
                GradTerms { grad: &o.dy, scale: Some(grad_scale), affine_of: Some((&o.dy, slope, offset)) };
            let maps = [(&o.x[..], c)];
            let input = Maps { maps: &maps, affine: Some((scale, shift)), activation };
            let fused = o.run(Level::Native, input, grad_output, Some(0.5));
            assert_eq!(bits(&fused.y), bits(&plain.y), "forward of {size:?} {activation:?}");
            let weights = [&fused, &plain].map(|r| r.small.weight.as_ref().expect("asked for").data().to_vec());
            assert_eq!(bits(&weights[0]), bits(&weights[1]), "grad_weight of {size:?} {activation:?}");

            let active = |x: f32| match activation {
                Activation::Identity => true,
                Activation::Relu => x > 0.0,
                Activation::Relu6 => x > 0.0 && x < 6.0,
            };
            let masked: Vec<f32> =
                plain.grad_input.iter().zip(&x).map(|(&g, &x)| if active(x) { g } else { 0.0 }).collect();
            let expected: Vec<f32> = channel(&masked).into_iter().map(|(c, g)| g * scale[c] + 0.5).collect();
            assert_eq!(bits(&fused.grad_input), bits(&expected), "grad_input of {size:?} {activation:?}");
            let (mut sums, mut sizes) = (vec![[0.0; 2]; c], vec![[0.0; 2]; c]);
            for (i, (&g, &z)) in masked.iter().zip(&o.x).enumerate() {
                for (k, term) in [f64::from(g) * f64::from(z), f64::from(g)].into_iter().enumerate() {
                    sums[i % c][k] += term;
                    sizes[i % c][k] += term.abs();
                }
            }
            let (of_scale, of_shift) = fused.small.affine.expect("there is an affine");
            for (i, (values, (sums, sizes))) in of_scale.iter().zip(&of_shift).zip(sums.iter().zip(&sizes)).enumerate()
            {
                for (k, &value) in [values.0, values.1].into_iter().enumerate() {
                    // Sums that cancel are as good as their terms.
                    let off = (f64::from(value) - sums[k]).abs();
                    assert!(
                        off <= 2e-6 * sizes[k].max(1e-9),
                        "sum {k} of channel {i}, {size:?} {activation:?}: {off:e}"
                    );
                }
            }
        }
    }
}

#[test]
fn a_list_of_maps_is_their_concatenation() {
    let size = size([2, 5, 6, 17], 3, 17, [2, 1, 1, 17]);
    let o = Operands::new(size);
    let part = |from: usize, to: usize| o.x.chunks(17).flat_map(|p| p[from..to].to_vec()).collect::<Vec<f32>>();
    let (a, b) = (part(0, 6), part(6, 17));
    let affine = Some((&o.coefficients[0][..], &o.coefficients[1][..]));
    let results = [vec![(&o.x[..], 17)], vec![(&a[..], 6), (&b[..], 11)]].map(|maps| {
        let input = Maps { maps: &maps, affine, activation: Activation::Relu };
        o.run(Level::Native, input, o.grad_output(), None)
    });
    let [one, two] = &results;
    assert_eq!(bits(&one.y), bits(&two.y));
    assert_eq!(bits(&one.grad_input), bits(&two.grad_input));
    let weights = [one, two].map(|r| r.small.weight.as_ref().expect("asked for").data());
    assert_eq!(bits(weights[0]), bits(weights[1]));
    let [(scale_1, shift_1), (scale_2, shift_2)] = [one, two].map(|r| r.small.affine.as_ref().expect("an affine"));
    for (x, y) in scale_1.iter().chain(shift_1).zip(scale_2.iter().chain(shift_2)) {
        assert!((x - y).abs() <= 1e-5 * x.abs().max(1.0), "{x} against {y}");
    }
}

#[test]
fn instruction_sets_and_numbers_of_threads_agree_bit_for_bit() {
    for size in sizes() {
        let o = Operands::new(size);
        let maps = [(&o.x[..], size.c_in)];
        let affine = Some((&o.coefficients[0][..], &o.coefficients[1][..]));
        let input = Maps { maps: &maps, affine, activation: Activation::Relu6 };
        let all = |level, threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
            let Results { y, moments, grad_input, small } =
                pool.install(|| o.run(level, input, o.grad_output(), Some(1.0)));
            let (scale, shift) = small.affine.expect("there is an affine");
            let small =
                [small.weight.expect("asked for").data().to_vec(), small.bias.expect("asked for"), scale, shift];
            [vec![y, moments.expect("asked for"), grad_input], small.to_vec()].concat().concat()
        };
        let native = all(Level::Native, 1);
        assert_eq!(bits(&native), bits(&all(Level::Portable, 1)), "{size:?}");
        assert_eq!(bits(&native), bits(&all(Level::Avx2, 1)), "{size:?}");
        assert_eq!(bits(&native), bits(&all(Level::Native, 3)), "{size:?}");
    }
}

#[test]
fn a_gradient_alone_is_that_of_both() {
    for size in sizes() {
        let o = Operands::new(size);
        let both = o.plain(Level::Native, &o.x, o.grad_output());
        let maps = [(&o.x[..], size.c_in)];
        let pass = |needs_weight| Backward {
            size,
            algorithm: Algorithm::Auto,
            input: Maps { maps: &maps, affine: None, activation: Activation::Identity },
            weight: &o.weight,
            grad_output: o.grad_output(),
            needs_weight,
            needs_bias: false,
        };
        let mut grad_input = vec![f32::NAN; o.x.len()];
        super::backward(Level::Native, &pass(false), vec![Some((&mut grad_input, Write::Store))]);
        assert_eq!(bits(&grad_input), bits(&both.grad_input), "{size:?}");
        let weight = super::backward(Level::Native, &pass(true), vec![None]).weight.expect("asked for");
        assert_eq!(bits(weight.data()), bits(both.small.weight.expect("asked for").data()), "{size:?}");
    }
}
