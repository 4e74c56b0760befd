//! The yardstick: how many fused multiply-adds the machine does when nothing is loaded or stored.

use super::timing::Times;
use pulp::{Arch, Simd, WithSimd};
use std::hint::black_box;
use std::time::Duration;

/// Independent sums: enough to hide the latency of an FMA (4 cycles, 2 a cycle) with some to spare, few enough for the
/// registers.
const SUMS: usize = 12;
/// Multiply-adds of each sum: about 1 ms.
const ROUNDS: usize = 1 << 18;

struct Chains;

impl WithSimd for Chains {
    /// Lanes, and a value that keeps the work from being optimised away.
    type Output = (usize, f32);

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> (usize, f32) {
        let (a, b) = (simd.splat_f32s(black_box(0.999)), simd.splat_f32s(black_box(0.001)));
        let mut sums = [simd.splat_f32s(black_box(0.5)); SUMS];
        for _ in 0..ROUNDS {
            for sum in &mut sums {
                *sum = simd.mul_add_e_f32s(*sum, a, b);
            }
        }
        let total = sums.into_iter().reduce(|x, y| simd.add_f32s(x, y)).unwrap_or(a);
        (S::F32_LANES, simd.reduce_sum_f32s(total))
    }
}

/// The FMA peak of all the pool's workers together, in GFLOP/s (two operations a multiply-add): the best of several tries.
pub fn fma_peak() -> f64 {
    let arch = Arch::new();
    let mut operations = 0.0;
    let times = Times::within(Duration::from_millis(120), || {
        let lanes = rayon::broadcast(|_| {
            let (lanes, value) = arch.dispatch(Chains);
            black_box(value);
            lanes
        });
        operations = lanes.iter().map(|lanes| 2.0 * (lanes * SUMS * ROUNDS) as f64).sum();
    });
    operations / times.min() / 1e6
}
