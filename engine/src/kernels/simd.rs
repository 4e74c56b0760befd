//! Which instruction set a kernel runs on.

use pulp::{Arch, Scalar256b, Simd, WithSimd};

/// The instruction set to run a kernel on. Results are the same bits on all of them: every kernel fixes the order of its sums,
/// and multiply-adds round once on each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// The best this machine has, found at run time.
    Native,
    /// The best with vectors of 256 bits or less: AVX2 where there is AVX-512, otherwise the same as [`Level::Native`].
    Avx2,
    /// Plain Rust over arrays of eight lanes: what machines without AVX2 or NEON run, and the yardstick in tests.
    Portable,
}

/// Runs `op` at `level`.
#[inline(always)]
pub fn run<Op: WithSimd>(level: Level, op: Op) -> Op::Output {
    let arch = match level {
        Level::Native => Arch::new(),
        Level::Avx2 => narrower(Arch::new()),
        Level::Portable => return op.with_simd(Scalar256b),
    };
    if is_scalar(&arch) { op.with_simd(Scalar256b) } else { arch.dispatch(op) }
}

#[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
fn is_scalar(arch: &Arch) -> bool {
    matches!(arch, Arch::Scalar)
}

#[cfg(not(any(target_arch = "x86", target_arch = "x86_64")))]
fn is_scalar(_: &Arch) -> bool {
    false
}

#[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
#[inline(always)]
fn narrower(arch: Arch) -> Arch {
    match arch {
        Arch::V4(_) => pulp::x86::V3::try_new().map_or(Arch::Scalar, Arch::V3),
        other => other,
    }
}

#[cfg(not(any(target_arch = "x86", target_arch = "x86_64")))]
fn narrower(arch: Arch) -> Arch {
    arch
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

/// Whether `S` has the 32 registers of AVX-512 to hold a tile in.
pub const fn has_many_registers<S: Simd>() -> bool {
    S::REGISTER_COUNT >= 32 && S::F32_LANES > 8
}

/// Vectors of eight lanes.
#[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
pub type Eight = pulp::x86::V3;
/// Vectors of eight lanes.
#[cfg(not(any(target_arch = "x86", target_arch = "x86_64")))]
pub type Eight = Scalar256b;

/// In a kernel of sixteen lanes: vectors of eight, for what would fill half of one. Inlined into that kernel they have the 32 registers of AVX-512.
#[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
#[inline(always)]
pub fn half<S: Simd>(simd: S) -> Option<Eight> {
    (&simd as &dyn std::any::Any).downcast_ref::<pulp::x86::V4>().map(|simd| **simd)
}

/// As above; nothing has sixteen lanes here.
#[cfg(not(any(target_arch = "x86", target_arch = "x86_64")))]
#[inline(always)]
pub fn half<S: Simd>(_: S) -> Option<Eight> {
    None
}

/// Runs `op` as a function of its own that is never inlined. A register tile inlined into a larger function loses its registers:
/// the compiler spilled accumulators to the stack inside the inner loop, at a quarter of the speed.
#[inline(never)]
pub fn apart<S: Simd, Op: WithSimd>(simd: S, op: Op) -> Op::Output {
    simd.vectorize(op)
}
