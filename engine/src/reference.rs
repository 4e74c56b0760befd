//! Arrays of `f64` in which every op has a second, naive forward.
//!
//! The reference serves three times: it checks an op's values; its finite differences check gradients free of `f32` noise;
//! and it replays a recorded tape in `f64` (see [`crate::gradcheck`]).

use crate::shape::Shape;
use crate::tensor::Tensor;

/// A row-major array of `f64`.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// Extents.
    pub shape: Shape,
    /// Values, row-major.
    pub data: Vec<f64>,
}

impl Array {
    /// An array of zeros.
    pub fn zeros(shape: impl Into<Shape>) -> Array {
        let shape = shape.into();
        Array { shape, data: vec![0.0; shape.elements()] }
    }

    /// An array whose element at flat index `i` is `f(i)`.
    pub fn from_fn(shape: impl Into<Shape>, f: impl FnMut(usize) -> f64) -> Array {
        let shape = shape.into();
        Array { shape, data: (0..shape.elements()).map(f).collect() }
    }

    /// The values of a tensor, widened.
    pub fn from_tensor(tensor: &Tensor) -> Array {
        Array::from_fn(tensor.shape(), |i| f64::from(tensor.data()[i]))
    }

    /// `f` of every element.
    pub fn map(&self, f: impl Fn(f64) -> f64) -> Array {
        Array::from_fn(self.shape, |i| f(self.data[i]))
    }

    /// `f` of every pair of elements, after broadcasting.
    ///
    /// # Panics
    /// If the shapes do not broadcast.
    #[track_caller]
    pub fn zip(&self, other: &Array, f: impl Fn(f64, f64) -> f64) -> Array {
        let shape = self.shape.broadcast(&other.shape).expect("shapes that broadcast");
        let (a, b) = (Broadcast::new(&self.shape, &shape), Broadcast::new(&other.shape, &shape));
        Array::from_fn(shape, |i| f(self.data[a.source(i)], other.data[b.source(i)]))
    }

    /// The extents as an array.
    ///
    /// # Panics
    /// If there are not `N` of them.
    #[track_caller]
    pub fn dims<const N: usize>(&self) -> [usize; N] {
        let dims: &[usize] = &self.shape;
        dims.try_into().expect("as many dimensions as asked for")
    }
}

/// Maps a flat index of a broadcast result to the flat index of one operand.
pub struct Broadcast {
    /// For each dimension of the result: (its extent, the operand's stride there, 0 where it is stretched).
    dims: Vec<(usize, usize)>,
}

impl Broadcast {
    /// The map from `to`, a shape that `from` broadcasts to, back to `from`.
    pub fn new(from: &Shape, to: &Shape) -> Broadcast {
        let mut stride = 1;
        let mut dims = vec![(1, 0); to.len()];
        for i in 0..to.len() {
            let extent = if i < from.len() { from[from.len() - 1 - i] } else { 1 };
            dims[to.len() - 1 - i] = (to[to.len() - 1 - i], if extent == 1 { 0 } else { stride });
            stride *= extent;
        }
        Broadcast { dims }
    }

    /// The operand's flat index for flat index `i` of the result.
    pub fn source(&self, mut i: usize) -> usize {
        let mut at = 0;
        for &(extent, stride) in self.dims.iter().rev() {
            at += i % extent * stride;
            i /= extent;
        }
        at
    }
}
