//! Elementwise arithmetic on two operands that are stretched to a common shape.
//!
//! ```text
//! for i in 0..elements of the result:  y[i] = f(a[source_a(i)], b[source_b(i)])
//! ```
//!
//! 1. Neighbouring dimensions in which each operand is either stretched or not are **merged**: equal shapes become one
//!    dimension, a map and its bias `(rows, C)` two, whatever the rank was.
//! 2. The last merged dimension is walked in **runs** in which each operand advances by one or stands still, so the
//!    inner loop has no index arithmetic and vectorises. Offsets of the outer dimensions are counted up, not divided out.

use crate::kernels::elementwise::dispatch;
use crate::parallel::{CHUNK, chunks_mut};
use crate::shape::Shape;

/// `y = f(a, b)` elementwise, both stretched to `shape`.
///
/// # Panics
/// If an operand's values do not fill its shape, or `y` does not fill `shape`. The shapes must broadcast to `shape`.
pub fn zip(a: (&[f32], Shape), b: (&[f32], Shape), y: (&mut [f32], Shape), f: impl Fn(f32, f32) -> f32 + Send + Sync) {
    let ((a, a_shape), (b, b_shape), (y, shape)) = (a, b, y);
    assert_eq!(a.len(), a_shape.elements(), "zip: a does not fill its shape");
    assert_eq!(b.len(), b_shape.elements(), "zip: b does not fill its shape");
    assert_eq!(y.len(), shape.elements(), "zip: y does not fill its shape");
    let dims = merge(a_shape, b_shape, shape);
    let strides = dims[dims.len() - 1].strides;
    chunks_mut(y, CHUNK, |i, y| {
        // Whatever is called here rather than inlined would be compiled without the wide instructions.
        dispatch(
            #[inline(always)]
            || {
                runs(
                    &dims,
                    i * CHUNK,
                    y,
                    #[inline(always)]
                    |y, at| zip_run(strides, &a[at[0]..], &b[at[1]..], y, &f),
                )
            },
        );
    });
}

/// One run: each operand advances by its stride, 0 or 1.
#[inline(always)]
fn zip_run(strides: [usize; 2], a: &[f32], b: &[f32], y: &mut [f32], f: impl Fn(f32, f32) -> f32) {
    let n = y.len();
    match strides {
        [0, 0] => y.fill(f(a[0], b[0])),
        [0, _] => {
            let a = a[0];
            y.iter_mut().zip(&b[..n]).for_each(|(y, &b)| *y = f(a, b));
        }
        [_, 0] => {
            let b = b[0];
            y.iter_mut().zip(&a[..n]).for_each(|(y, &a)| *y = f(a, b));
        }
        _ => y.iter_mut().zip(&a[..n]).zip(&b[..n]).for_each(|((y, &a), &b)| *y = f(a, b)),
    }
}

/// A dimension of the result, perhaps several merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Dim {
    extent: usize,
    /// What each operand's offset grows by per step; 0 where it is stretched.
    strides: [usize; 2],
}

/// The dimensions of the result, outermost first, merged; at least one.
fn merge(a: Shape, b: Shape, shape: Shape) -> Vec<Dim> {
    let mut merged: Vec<Dim> = vec![]; // innermost first
    let mut next = [1, 1];
    for i in 0..shape.len() {
        let extent = shape[shape.len() - 1 - i];
        if extent == 1 {
            continue;
        }
        let mut strides = [0, 0];
        for (operand, s) in [a, b].iter().enumerate() {
            if i < s.len() && s[s.len() - 1 - i] != 1 {
                strides[operand] = next[operand];
                next[operand] *= extent;
            }
        }
        match merged.last_mut() {
            Some(last) if (0..2).all(|o| last.strides[o] * last.extent == strides[o]) => last.extent *= extent,
            _ => merged.push(Dim { extent, strides }),
        }
    }
    if merged.is_empty() {
        merged.push(Dim { extent: 1, strides: [0, 0] });
    }
    merged.reverse();
    merged
}

/// Calls `f(piece of y, offsets of the operands)` for the runs of the last dimension that make up `y`, a slice of the result
/// which begins at flat index `start`.
#[inline(always)]
fn runs(dims: &[Dim], start: usize, y: &mut [f32], f: impl Fn(&mut [f32], [usize; 2])) {
    let mut position = vec![0; dims.len()];
    let mut at = [0, 0];
    let mut rest = start;
    for (position, dim) in position.iter_mut().zip(dims).rev() {
        *position = rest % dim.extent;
        rest /= dim.extent;
        for (at, stride) in at.iter_mut().zip(dim.strides) {
            *at += *position * stride;
        }
    }
    let last = dims.len() - 1;
    let mut y = y;
    loop {
        let len = (dims[last].extent - position[last]).min(y.len());
        let (run, rest) = y.split_at_mut(len);
        f(run, at);
        y = rest;
        if y.is_empty() {
            return;
        }
        // Counts up to the next run: the last dimension was walked to its end, so the one before it advances.
        for (at, stride) in at.iter_mut().zip(dims[last].strides) {
            *at -= position[last] * stride;
        }
        position[last] = 0;
        for d in (0..last).rev() {
            position[d] += 1;
            for (at, stride) in at.iter_mut().zip(dims[d].strides) {
                *at += stride;
            }
            if position[d] < dims[d].extent {
                break;
            }
            for (at, stride) in at.iter_mut().zip(dims[d].strides) {
                *at -= dims[d].extent * stride;
            }
            position[d] = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::Broadcast;

    fn check(a: &[usize], b: &[usize]) {
        let (a, b) = (Shape::new(a), Shape::new(b));
        let shape = a.broadcast(&b).expect("shapes that broadcast");
        let values = |s: Shape, from: f32| (0..s.elements()).map(|i| from + i as f32).collect::<Vec<f32>>();
        let (x, z) = (values(a, 0.0), values(b, 0.25));
        let mut y = vec![f32::NAN; shape.elements()];
        zip((&x, a), (&z, b), (&mut y, shape), |x, z| x - z);
        let (from_a, from_b) = (Broadcast::new(&a, &shape), Broadcast::new(&b, &shape));
        for (i, y) in y.iter().enumerate() {
            assert_eq!(*y, x[from_a.source(i)] - z[from_b.source(i)], "{a} and {b} at {i}");
        }
    }

    #[test]
    fn agrees_with_index_arithmetic() {
        check(&[], &[]);
        check(&[3], &[]);
        check(&[], &[2, 3]);
        check(&[0, 3], &[1, 3]);
        check(&[1, 1], &[1]);
        check(&[4, 1, 3], &[2, 1]);
        check(&[5, 1], &[1, 7]);
        check(&[2, 3, 1, 5], &[3, 4, 1]);
        check(&[1, 2, 1, 3, 1, 2], &[2, 1, 2, 1, 2, 1]);
    }

    #[test]
    fn agrees_with_index_arithmetic_across_chunks() {
        check(&[CHUNK / 5 + 3, 7], &[7]);
        check(&[3, CHUNK + 1], &[3, 1]);
        check(&[2, 3, CHUNK / 4 + 1], &[2, 1, CHUNK / 4 + 1]);
        check(&[2 * CHUNK + 9], &[1]);
    }

    #[test]
    fn dimensions_merge() {
        let dims = |a: &[usize], b: &[usize]| {
            let (a, b) = (Shape::new(a), Shape::new(b));
            let dims = merge(a, b, a.broadcast(&b).expect("shapes that broadcast"));
            dims.iter().map(|d| (d.extent, d.strides)).collect::<Vec<_>>()
        };
        assert_eq!(dims(&[2, 3, 4], &[2, 3, 4]), [(24, [1, 1])]);
        assert_eq!(dims(&[2, 3, 5, 4], &[4]), [(30, [4, 0]), (4, [1, 1])]);
        assert_eq!(dims(&[2, 3, 4], &[]), [(24, [1, 0])]);
        assert_eq!(dims(&[2, 1, 3], &[2, 4, 1]), [(2, [3, 4]), (4, [0, 1]), (3, [1, 0])]);
    }
}
