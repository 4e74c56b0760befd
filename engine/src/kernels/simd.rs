//! Which instruction set a kernel runs on.

use pulp::{Arch, Scalar256b, Simd, WithSimd};

/// The instruction set to run a kernel on. Results are the same bits on both: every kernel fixes the order of its sums,
/// and multiply-adds round once on either.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// The best this machine has, found at run time.
    Native,
    /// Plain Rust over arrays of eight lanes: what machines without AVX2 or NEON run, and the yardstick in tests.
    Portable,
}

/// Runs `op` at `level`.
#[inline(always)]
pub fn run<Op: WithSimd>(level: Level, op: Op) -> Op::Output {
    match (level, Arch::new()) {
        (Level::Native, arch) if !is_scalar(&arch) => arch.dispatch(op),
        _ => op.with_simd(Scalar256b),
    }
}

#[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
fn is_scalar(arch: &Arch) -> bool {
    matches!(arch, Arch::Scalar)
}

#[cfg(not(any(target_arch = "x86", target_arch = "x86_64")))]
fn is_scalar(_: &Arch) -> bool {
    false
}

/// Floats in one vector at `level`.
pub fn lanes(level: Level) -> usize {
    struct Lanes;
    impl WithSimd for Lanes {
        type Output = usize;
        fn with_simd<S: Simd>(self, _: S) -> usize {
            S::F32_LANES
        }
    }
    run(level, Lanes)
}

/// Runs `op` as a function of its own that is never inlined. A register tile inlined into a larger function loses its registers:
/// the compiler spilled accumulators to the stack inside the inner loop, at a quarter of the speed.
#[inline(never)]
pub fn apart<S: Simd, Op: WithSimd>(simd: S, op: Op) -> Op::Output {
    simd.vectorize(op)
}
