//! The fixed way work is cut into chunks and handed to rayon.
//!
//! Chunks depend on the size of the problem alone, never on the number of threads, and partial sums are added in the order
//! of the chunks. So results are the same bits on any number of threads.

use rayon::prelude::*;

/// Elements per task of an elementwise pass: 64 KiB, enough that handing a task out (about a microsecond) costs under a tenth.
pub const CHUNK: usize = 16 * 1024;

/// Calls `f(i, chunk)` for each chunk of `len` elements of `out` (the last may be shorter).
pub fn chunks_mut(out: &mut [f32], len: usize, f: impl Fn(usize, &mut [f32]) + Send + Sync) {
    if out.is_empty() || len == 0 {
        return;
    }
    if out.len() <= len {
        return f(0, out);
    }
    out.par_chunks_mut(len).enumerate().for_each(|(i, chunk)| f(i, chunk));
}

/// Calls `f(i, chunk_a, chunk_b)` for each pair of chunks of `len` elements of `a` and `b`, for passes with two results.
///
/// # Panics
/// If `a` and `b` differ in length.
pub fn chunks_mut_pair(
    a: &mut [f32],
    b: &mut [f32],
    len: usize,
    f: impl Fn(usize, &mut [f32], &mut [f32]) + Send + Sync,
) {
    assert_eq!(a.len(), b.len(), "chunks_mut_pair: a and b differ in length");
    if a.is_empty() || len == 0 {
        return;
    }
    if a.len() <= len {
        return f(0, a, b);
    }
    a.par_chunks_mut(len).zip(b.par_chunks_mut(len)).enumerate().for_each(|(i, (a, b))| f(i, a, b));
}

/// `f(i)` for `i` in `0..tasks`, in parallel; results in order.
pub fn map<T: Send>(tasks: usize, f: impl Fn(usize) -> T + Send + Sync) -> Vec<T> {
    if tasks <= 1 {
        return (0..tasks).map(f).collect();
    }
    (0..tasks).into_par_iter().map(f).collect()
}

/// Sum of `f` over consecutive ranges of at most [`CHUNK`] indices of `0..n`, added in order, in `f64`.
pub fn sum(n: usize, f: impl Fn(std::ops::Range<usize>) -> f64 + Send + Sync) -> f64 {
    map(n.div_ceil(CHUNK), |i| f(i * CHUNK..((i + 1) * CHUNK).min(n))).into_iter().sum()
}
