//! Slices in, slices out: the loops that are vectorised, threaded or shared.
//!
//! Every kernel has one generic body over pulp's SIMD token, so that one source serves AVX-512, AVX2, NEON and the portable level;
//! the portable level is always compiled and tested against the fast one.

pub mod ahead;
pub mod broadcast;
pub mod channel_sums;
pub mod conv2d;
pub mod elementwise;
pub mod gemm;
pub mod lazy_pool;
pub mod lazy_sum;
pub mod moments;
pub mod reduce;
pub mod scratch;
pub mod simd;
