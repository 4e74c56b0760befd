//! Properties of the ops over random shapes and values, beside the fixed cases in each op's file.

use engine::gradcheck::check;
use engine::rng::{Rng, purpose};
use engine::{Array, Shape, Tensor};
use proptest::prelude::*;

/// Two shapes that broadcast: a common one of up to four dimensions, of which each operand stretches some, and may lack
/// leading ones.
fn broadcasting_shapes() -> impl Strategy<Value = (Shape, Shape)> {
    let dims = prop::collection::vec((0usize..5, 0u8..4), 0..5);
    (dims, 0usize..3, 0usize..3).prop_map(|(dims, lack_a, lack_b)| {
        // Of each dimension: 0 is stretched in both, 1 in a, 2 in b, 3 in neither.
        let operand = |bit: u8, lack: usize| {
            let dims: Vec<usize> = dims.iter().map(|&(d, keep)| if keep & bit == 0 { 1 } else { d }).collect();
            Shape::new(&dims[lack.min(dims.len())..])
        };
        (operand(1, lack_a), operand(2, lack_b))
    })
}

/// Values with `0.5 <= |v| < 1.5`, so that quotients and their derivatives are tame.
fn values(shape: Shape, stream: u64, seed: u64) -> Tensor {
    let mut rng = Rng::new(seed, &[purpose::TEST, stream]);
    Tensor::from_fn(shape, |_| {
        let magnitude = 0.5 + rng.uniform();
        if rng.uniform() < 0.5 { -magnitude } else { magnitude }
    })
}

type Arithmetic = (&'static str, fn(&Tensor, &Tensor) -> Tensor, fn(f64, f64) -> f64);

const ARITHMETIC: [Arithmetic; 4] = [
    ("add", |a, b| a.add(b), |a, b| a + b),
    ("sub", |a, b| a.sub(b), |a, b| a - b),
    ("mul", |a, b| a.mul(b), |a, b| a * b),
    ("div", |a, b| a.div(b), |a, b| a / b),
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn broadcasting_arithmetic_agrees_with_f64((a, b) in broadcasting_shapes(), seed: u64) {
        let inputs = [values(a, 1, seed), values(b, 2, seed)];
        for (name, op, exact) in ARITHMETIC {
            let y = op(&inputs[0], &inputs[1]);
            let reference = Array::from_tensor(&inputs[0]).zip(&Array::from_tensor(&inputs[1]), exact);
            prop_assert_eq!(y.shape(), reference.shape, "{}", name);
            for (y, exact) in y.data().iter().zip(&reference.data) {
                // One rounding of one operation: half an ulp.
                let bound = f64::from(f32::EPSILON) * exact.abs() / 2.0 + f64::from(f32::MIN_POSITIVE);
                prop_assert!((f64::from(*y) - exact).abs() <= bound, "{}: {} instead of {}", name, y, exact);
            }
            // Gradients are sums of up to 4^4 terms, rounded once each and then summed in f64.
            let report = check(&inputs, |t| op(&t[0], &t[1]));
            prop_assert!(report.worst.as_ref().is_none_or(|w| w.relative_error < 1e-4), "{}: {:?}", name, report);
        }
    }

    #[test]
    fn shapes_that_do_not_broadcast_are_refused(dims in prop::collection::vec(2usize..5, 1..4), at in 0usize..4) {
        let a = Shape::new(&dims);
        let mut other = dims.clone();
        let at = at % dims.len();
        other[at] += 1;
        let b = Shape::new(&other);
        for (name, op, _) in ARITHMETIC {
            let refused = std::panic::catch_unwind(|| op(&Tensor::zeros(a), &Tensor::zeros(b)));
            let message = *refused.expect_err("these shapes do not broadcast").downcast::<String>().expect("a message");
            let expected = format!("{name}: shapes {a} and {b} do not broadcast");
            prop_assert!(message.starts_with(&expected), "{}", message);
        }
    }

    #[test]
    fn matmul_agrees_with_f64(m in 0usize..20, k in 0usize..40, n in 0usize..40, seed: u64) {
        let report = check(&[values([m, k].into(), 1, seed), values([k, n].into(), 2, seed)], |t| t[0].matmul(&t[1]));
        // 40 products of magnitude about 1, each rounded: about 40 * 6e-8 of the largest, rarely.
        prop_assert!(report.value_error < 1e-5, "{:?}", report);
        prop_assert!(report.worst.as_ref().is_none_or(|w| w.relative_error < 1e-4), "{:?}", report);
    }

    #[test]
    fn a_product_transposed_is_the_product_of_transposes(m in 1usize..20, k in 1usize..20, n in 1usize..40, seed: u64) {
        let (a, b) = (values([m, k].into(), 1, seed), values([k, n].into(), 2, seed));
        // The same fused multiply-adds in the same order: the same bits.
        let swapped = b.transpose().matmul(&a.transpose()).transpose();
        let product = a.matmul(&b);
        prop_assert_eq!(product.data(), swapped.data());
    }

    #[test]
    fn sums_along_every_axis_are_the_whole_sum(dims in prop::collection::vec(0usize..6, 1..5), seed: u64) {
        let x = values(Shape::new(&dims), 1, seed);
        let mut folded = x.clone();
        while !folded.shape().is_empty() {
            folded = folded.sum_axis(folded.shape().len() / 2, false);
        }
        // A rounding to f32 after each of at most four axes, of at most 625 terms below 1.5.
        let (whole, folded) = (x.sum().item(), folded.item());
        prop_assert!((whole - folded).abs() <= 4.0 * f32::EPSILON * 1000.0, "{} and {}", whole, folded);
    }
}
