//! Broadcasting, as the arithmetic ops share it: stretching on the way forward, summing on the way back.

use crate::kernels::broadcast;
use crate::kernels::reduce::{Around, sum_middle};
use crate::shape::{MAX_RANK, Shape};
use crate::tensor::Tensor;
use std::ops::Range;

/// `f(a, b)` elementwise, off the tape, after stretching both as NumPy does.
///
/// # Panics
/// In the name of `op`, if the shapes do not broadcast.
#[track_caller]
pub(super) fn zip(op: &str, a: &Tensor, b: &Tensor, f: impl Fn(f32, f32) -> f32 + Send + Sync) -> Tensor {
    let Some(shape) = a.shape().broadcast(&b.shape()) else {
        panic!(
            "{op}: shapes {} and {} do not broadcast: aligned at the last dimension, extents must be equal or 1",
            a.shape(),
            b.shape()
        );
    };
    Tensor::build(shape, |y| broadcast::zip((a.data(), a.shape()), (b.data(), b.shape()), (y, shape), f))
}

/// Undoes broadcasting for a gradient: sums `x` over the dimensions in which `shape` was stretched to `x`'s shape.
///
/// # Shapes
/// - `x`: any that `shape` broadcasts to; returns `shape`
pub(super) fn sum_to(x: Tensor, shape: Shape) -> Tensor {
    if x.shape() == shape {
        return x;
    }
    let rank = x.shape().len();
    let mut aligned = [1; MAX_RANK];
    aligned[rank - shape.len()..rank].copy_from_slice(&shape);
    let stretched = |d: usize, extent: usize| aligned[d] == 1 && extent != 1;
    let mut dims: Vec<usize> = x.shape().to_vec();
    let mut x = x;
    // Neighbouring stretched dimensions are one sum.
    while let Some(first) = (0..rank).find(|&d| stretched(d, dims[d])) {
        let end = (first..rank).find(|&d| dims[d] != 1 && !stretched(d, dims[d])).unwrap_or(rank);
        let product = |d: Range<usize>| dims[d].iter().product::<usize>();
        let size = Around { outer: product(0..first), len: product(first..end), inner: product(end..rank) };
        x = Tensor::build([size.outer, size.inner], |y| sum_middle(size, x.data(), y));
        dims[first..end].fill(1);
    }
    x.view(shape)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gradcheck::sample;
    use crate::reference::{Array, Broadcast};

    #[test]
    fn sum_to_undoes_broadcasting() {
        let cases: [(&[usize], &[usize]); 9] = [
            (&[2, 3], &[2, 3]),
            (&[2, 3], &[3]),
            (&[2, 3], &[]),
            (&[2, 3, 4, 5], &[3, 1, 5]),
            (&[2, 3, 4], &[2, 1, 1]),
            (&[2, 1, 4], &[1, 1, 4]),
            (&[1, 2, 1], &[1]),
            (&[0, 3], &[1, 3]),
            (&[3, 0], &[3, 1]),
        ];
        for (from, to) in cases {
            let (x, to) = (sample(from), Shape::new(to));
            let source = Broadcast::new(&to, &x.shape());
            let mut sums = Array::zeros(to);
            for (i, x) in x.data().iter().enumerate() {
                sums.data[source.source(i)] += f64::from(*x);
            }
            let y = sum_to(x.clone(), to);
            assert_eq!(y.shape(), to);
            for (y, sum) in y.data().iter().zip(&sums.data) {
                assert!((f64::from(*y) - sum).abs() < 1e-6, "{} to {to}", x.shape());
            }
        }
    }
}
