//! Shapes, and the rules by which the shapes of several tensors meet.

use std::fmt;
use std::ops::Deref;

/// The most dimensions a tensor can have.
pub const MAX_RANK: usize = 6;

/// Extents of a row-major tensor, outermost first. A scalar has no dimensions.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shape {
    dims: [usize; MAX_RANK],
    rank: usize,
}

impl Shape {
    /// # Panics
    /// If there are more than [`MAX_RANK`] dimensions or the number of elements overflows.
    #[track_caller]
    pub fn new(dims: &[usize]) -> Shape {
        assert!(dims.len() <= MAX_RANK, "shape: {dims:?} has more than {MAX_RANK} dimensions");
        let elements = dims.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
        assert!(elements.is_some(), "shape: {dims:?} has more elements than memory can hold");
        let mut all = [1; MAX_RANK];
        all[..dims.len()].copy_from_slice(dims);
        Shape { dims: all, rank: dims.len() }
    }

    /// Number of elements; 1 for a scalar.
    pub fn elements(&self) -> usize {
        self.iter().product()
    }

    /// Extent of the innermost dimension (the channels of an NHWC map); 1 for a scalar.
    pub fn channels(&self) -> usize {
        self.last().copied().unwrap_or(1)
    }

    /// Elements per channel: `elements / channels`.
    pub fn rows(&self) -> usize {
        self[..self.rank.saturating_sub(1)].iter().product()
    }

    /// The shape both operands of an elementwise operation are stretched to: dimensions are aligned at the
    /// last one, and each pair must be equal or hold a 1 (as in NumPy and PyTorch). `None` if they don't meet.
    pub fn broadcast(&self, other: &Shape) -> Option<Shape> {
        let rank = self.rank.max(other.rank);
        let mut dims = [1; MAX_RANK];
        for i in 0..rank {
            let from_end = |s: &Shape| if i < s.rank { s[s.rank - 1 - i] } else { 1 };
            dims[rank - 1 - i] = match (from_end(self), from_end(other)) {
                (a, b) if a == b => a,
                (1, b) => b,
                (a, 1) => a,
                _ => return None,
            };
        }
        Some(Shape { dims, rank })
    }
}

impl Deref for Shape {
    type Target = [usize];
    fn deref(&self) -> &[usize] {
        &self.dims[..self.rank]
    }
}

impl<const N: usize> From<[usize; N]> for Shape {
    #[track_caller]
    fn from(dims: [usize; N]) -> Shape {
        Shape::new(&dims)
    }
}

impl From<&[usize]> for Shape {
    #[track_caller]
    fn from(dims: &[usize]) -> Shape {
        Shape::new(dims)
    }
}

/// Written as a tuple, `(N, H, W, C)`, in messages.
impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "(")?;
        for (i, d) in self.iter().enumerate() {
            write!(f, "{}{d}", if i > 0 { ", " } else { "" })?;
        }
        write!(f, ")")
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Output extent of a sliding window along one dimension, rounded down:
/// `(extent + 2*padding - dilation*(kernel_size - 1) - 1) / stride + 1`. `None` if the window does not fit
/// once, or if `stride`, `dilation` or `kernel_size` is 0.
pub fn window_output(
    extent: usize,
    kernel_size: usize,
    stride: usize,
    padding: usize,
    dilation: usize,
) -> Option<usize> {
    if stride == 0 || dilation == 0 || kernel_size == 0 {
        return None;
    }
    let span = dilation.checked_mul(kernel_size - 1)?.checked_add(1)?;
    let padded = extent.checked_add(padding.checked_mul(2)?)?;
    Some(padded.checked_sub(span)? / stride + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broadcasting_follows_numpy() {
        let b = |a: &[usize], b: &[usize]| Shape::new(a).broadcast(&Shape::new(b)).map(|s| s.to_vec());
        assert_eq!(b(&[2, 3], &[3]), Some(vec![2, 3]));
        assert_eq!(b(&[2, 1], &[1, 4]), Some(vec![2, 4]));
        assert_eq!(b(&[], &[5]), Some(vec![5]));
        assert_eq!(b(&[0, 3], &[1]), Some(vec![0, 3]));
        assert_eq!(b(&[2, 3], &[2]), None);
    }

    #[test]
    fn windows_that_do_not_fit_are_none() {
        assert_eq!(window_output(32, 3, 1, 1, 1), Some(32));
        assert_eq!(window_output(32, 3, 2, 1, 1), Some(16));
        assert_eq!(window_output(5, 3, 1, 0, 2), Some(1));
        assert_eq!(window_output(2, 3, 1, 0, 1), None);
        assert_eq!(window_output(8, 3, 0, 1, 1), None);
        assert_eq!(window_output(usize::MAX, 3, 1, 1, 1), None);
    }

    #[test]
    #[should_panic(expected = "more elements")]
    fn overflowing_shapes_panic() {
        Shape::new(&[usize::MAX, 3]);
    }
}
