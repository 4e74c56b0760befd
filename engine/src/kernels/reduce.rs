//! Sums over one dimension.
//!
//! ```text
//! for o in 0..outer, i in 0..inner:  y[o][i] = sum over l in 0..len of x[o][l][i]
//! ```
//!
//! 1. Terms are added in **`f64`** and rounded once, so a bias gradient over a million rows is exact to half an ulp or so.
//! 2. Rows are added to a row of accumulators, which vectorises; where `inner` is 1, eight accumulators take turns.
//! 3. Where a sum is longer than a task should be, it is cut into **parts**, by sizes alone, which are added in order:
//!    the bits do not depend on the number of threads.

use crate::kernels::elementwise::dispatch;
use crate::parallel::{self, CHUNK, chunks_mut};
use std::ops::Range;

/// Most columns that a task accumulates: 8 KiB of `f64`, in L1.
const COLUMNS: usize = 1024;

/// Extents around the dimension that is summed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Around {
    /// Product of the extents before it.
    pub outer: usize,
    /// Its extent.
    pub len: usize,
    /// Product of the extents after it.
    pub inner: usize,
}

/// `y[o][i] = sum over l of x[o][l][i]`, added in `f64`.
///
/// # Shapes
/// - `x`: `(outer, len, inner)`
/// - `y`: `(outer, inner)`
///
/// # Panics
/// If a slice is not as long as its shape says.
pub fn sum_middle(size: Around, x: &[f32], y: &mut [f32]) {
    let Around { outer, len, inner } = size;
    assert_eq!(x.len(), outer * len * inner, "sum_middle: x is not outer * len * inner long");
    assert_eq!(y.len(), outer * inner, "sum_middle: y is not outer * inner long");
    if len == 0 {
        return y.fill(0.0);
    }
    let block = len * inner;
    if block <= CHUNK {
        // Short sums: a task takes several.
        let sums = (CHUNK / block.max(1)).max(1);
        return chunks_mut(y, sums * inner, |task, y| {
            let mut totals = vec![0.0; inner];
            for (i, y) in y.chunks_exact_mut(inner).enumerate() {
                totals.fill(0.0);
                add_rows(inner, &x[(task * sums + i) * block..][..block], 0..inner, &mut totals);
                y.iter_mut().zip(&totals).for_each(|(y, t)| *y = *t as f32);
            }
        });
    }
    let columns = inner.min(COLUMNS);
    let stripes = inner.div_ceil(columns);
    // At least 16 rows a part, so that the parts' totals stay small beside x.
    let rows = (CHUNK / columns).max(16);
    let parts = len.div_ceil(rows);
    let totals = parallel::map(outer * stripes * parts, |task| {
        let (o, stripe, part) = (task / parts / stripes, task / parts % stripes, task % parts);
        let columns = stripe * columns..((stripe + 1) * columns).min(inner);
        let mut totals = vec![0.0; columns.len()];
        let rows = part * rows..((part + 1) * rows).min(len);
        add_rows(inner, &x[o * block..][rows.start * inner..rows.end * inner], columns, &mut totals);
        totals
    });
    let stripes = y.chunks_exact_mut(inner).flat_map(|y| y.chunks_mut(columns));
    for (y, parts) in stripes.zip(totals.chunks_exact(parts)) {
        let mut total = vec![0.0; y.len()];
        for part in parts {
            total.iter_mut().zip(part).for_each(|(t, p)| *t += p);
        }
        y.iter_mut().zip(&total).for_each(|(y, t)| *y = *t as f32);
    }
}

/// Adds some columns of rows of `inner` values to `totals`, one per column.
fn add_rows(inner: usize, x: &[f32], columns: Range<usize>, totals: &mut [f64]) {
    dispatch(
        #[inline(always)]
        || {
            if inner == 1 {
                let (x, rest) = x.as_chunks::<8>();
                let mut lanes = [0.0; 8];
                for x in x {
                    for (lane, x) in lanes.iter_mut().zip(x) {
                        *lane += f64::from(*x);
                    }
                }
                totals[0] += lanes.iter().sum::<f64>() + rest.iter().map(|&x| f64::from(x)).sum::<f64>();
            } else {
                for row in x.chunks_exact(inner) {
                    totals.iter_mut().zip(&row[columns.clone()]).for_each(|(t, x)| *t += f64::from(*x));
                }
            }
        },
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gradcheck::sample;

    fn check(outer: usize, len: usize, inner: usize) {
        let x = sample([outer, len, inner]);
        let mut y = vec![f32::NAN; outer * inner];
        sum_middle(Around { outer, len, inner }, x.data(), &mut y);
        for (i, y) in y.iter().enumerate() {
            let terms = (0..len).map(|l| f64::from(x.data()[(i / inner * len + l) * inner + i % inner]));
            let exact: f64 = terms.sum();
            // Summed in f64, rounded once to f32.
            assert!((f64::from(*y) - exact).abs() <= 1e-7 * exact.abs() + 1e-10, "({outer}, {len}, {inner}) at {i}");
        }
    }

    #[test]
    fn agrees_with_the_naive_sum() {
        for outer in [0, 1, 3] {
            for len in [0, 1, 7, 8, 9] {
                for inner in [0, 1, 5, 16] {
                    check(outer, len, inner);
                }
            }
        }
    }

    #[test]
    fn agrees_with_the_naive_sum_in_parts() {
        check(1, 3 * CHUNK + 5, 1); // parts of one long sum
        check(2, CHUNK / 3 + 7, 5); // parts of rows
        check(2, 40, COLUMNS + 3); // stripes of columns
        check(CHUNK, 3, 1); // many short sums
        check(3, 2, CHUNK); // two long rows
    }

    #[test]
    fn bits_do_not_depend_on_the_number_of_threads() {
        let size = Around { outer: 2, len: CHUNK, inner: 3 };
        let x = sample([size.outer, size.len, size.inner]);
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
            let mut y = vec![f32::NAN; 6];
            pool.install(|| sum_middle(size, x.data(), &mut y));
            y
        };
        assert_eq!(run(1), run(3));
    }
}
