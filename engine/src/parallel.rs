//! The fixed way work is cut into chunks and handed to rayon.
//!
//! Chunks depend on the size of the problem alone, never on the number of threads, and partial sums are added in the order
//! of the chunks. So results are the same bits on any number of threads.

use rayon::prelude::*;
use std::cell::Cell;

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

thread_local! {
    /// Whether the next [`sweep`] that this thread begins goes from the last task to the first.
    static TURNS: Cell<bool> = const { Cell::new(false) };
}

/// `f(i, task, next)` for each task, in parallel; results in the order of the tasks. `next` is the task that is likely to follow on the
/// same thread, if any does.
///
/// For passes over the images of a batch: one goes from the first task to the last, the next one back, and so on, so that it begins with
/// what the one before has just written or read, and finds it in the cache. A batch is larger than the cache, and passes that all began at
/// the front would find nothing. No result depends on it.
pub fn sweep<T: Send, R: Send>(tasks: Vec<T>, f: impl Fn(usize, T, Option<usize>) -> R + Send + Sync) -> Vec<R> {
    let count = tasks.len();
    let back = TURNS.replace(!TURNS.get());
    let mut tasks: Vec<(usize, T)> = tasks.into_iter().enumerate().collect();
    if back {
        tasks.reverse();
    }
    let run = |(i, task): (usize, T)| {
        let next = if back { i.checked_sub(1) } else { Some(i + 1).filter(|&next| next < count) };
        f(i, task, next)
    };
    let mut results: Vec<R> =
        if count <= 1 { tasks.into_iter().map(run).collect() } else { tasks.into_par_iter().map(run).collect() };
    if back {
        results.reverse();
    }
    results
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

#[cfg(test)]
mod tests {
    use super::sweep;

    #[test]
    fn a_sweep_keeps_the_order_of_its_results_either_way() {
        for _ in 0..2 {
            let results = sweep((0..100).collect(), |i, task: usize, next| {
                assert!(next.is_none_or(|next| next.abs_diff(i) == 1 && next < 100));
                (i, task)
            });
            assert_eq!(results, (0..100).map(|i| (i, i)).collect::<Vec<_>>());
        }
    }
}
