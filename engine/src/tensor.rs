//! The tensor: values, shape, and the node that made it. No mathematics here.

use crate::autograd::Node;
use crate::memory::Buffer;
use crate::shape::Shape;
use std::fmt;
use std::sync::Arc;

/// An n-dimensional array of `f32`, row-major and contiguous; feature maps are `(N, H, W, C)`.
///
/// Cloning is cheap: clones share their values. A tensor that takes part in differentiation also holds the tape node that
/// made it (see [`crate::autograd`]).
#[derive(Clone)]
pub struct Tensor {
    values: Arc<Buffer>,
    shape: Shape,
    pub(crate) node: Option<Arc<Node>>,
    /// Per-channel moments of exactly these values, when their producer measured them while they were hot.
    pub(crate) moments: Option<Arc<[f32]>>,
}

impl Tensor {
    fn over(values: Buffer, shape: Shape) -> Tensor {
        Tensor { values: Arc::new(values), shape, node: None, moments: None }
    }

    /// A new tensor whose values `write` fills in. It is handed a slice with unspecified contents and must
    /// write every element.
    pub fn build(shape: impl Into<Shape>, write: impl FnOnce(&mut [f32])) -> Tensor {
        let shape = shape.into();
        let mut values = Buffer::uninit(shape.elements());
        write(values.as_mut_slice());
        Tensor::over(values, shape)
    }

    /// A new tensor of zeros.
    pub fn zeros(shape: impl Into<Shape>) -> Tensor {
        let shape = shape.into();
        Tensor::over(Buffer::zeros(shape.elements()), shape)
    }

    /// A new tensor with every element `value`.
    pub fn full(shape: impl Into<Shape>, value: f32) -> Tensor {
        Tensor::build(shape, |out| out.fill(value))
    }

    /// A tensor of no dimensions.
    pub fn scalar(value: f32) -> Tensor {
        Tensor::full([], value)
    }

    /// A copy of `values`.
    ///
    /// # Panics
    /// If `values` is not as long as `shape` has elements.
    #[track_caller]
    pub fn from_slice(shape: impl Into<Shape>, values: &[f32]) -> Tensor {
        let shape = shape.into();
        assert_eq!(values.len(), shape.elements(), "from_slice: {} values do not fill shape {shape}", values.len());
        Tensor::build(shape, |out| out.copy_from_slice(values))
    }

    /// A tensor whose element at flat index `i` is `f(i)`.
    pub fn from_fn(shape: impl Into<Shape>, f: impl FnMut(usize) -> f32) -> Tensor {
        let mut f = f;
        Tensor::build(shape, |out| out.iter_mut().enumerate().for_each(|(i, v)| *v = f(i)))
    }

    /// The values, row-major.
    pub fn data(&self) -> &[f32] {
        self.values.as_slice()
    }

    /// The values for writing. If another tensor shares them, this one gets a copy of its own first. What was
    /// written is not recorded on the tape.
    pub fn data_mut(&mut self) -> &mut [f32] {
        self.moments = None;
        if Arc::get_mut(&mut self.values).is_none() {
            let mut own = Buffer::uninit(self.shape.elements());
            own.as_mut_slice().copy_from_slice(self.data());
            self.values = Arc::new(own);
        }
        Arc::get_mut(&mut self.values).expect("just made unique").as_mut_slice()
    }

    /// Whether no other tensor shares these values, so that [`data_mut`](Self::data_mut) copies nothing.
    pub fn is_unique(&self) -> bool {
        Arc::strong_count(&self.values) == 1
    }

    /// The extents.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.shape.elements()
    }

    /// The extents as an array: `let [n, h, w, c] = x.dims();`
    ///
    /// # Panics
    /// If there are not `N` of them.
    #[track_caller]
    pub fn dims<const N: usize>(&self) -> [usize; N] {
        let dims: &[usize] = &self.shape;
        dims.try_into().unwrap_or_else(|_| panic!("dims: expected {N} dimensions, the tensor has shape {}", self.shape))
    }

    /// The only element.
    ///
    /// # Panics
    /// If there is not exactly one.
    #[track_caller]
    pub fn item(&self) -> f32 {
        assert_eq!(self.elements(), 1, "item: the tensor has shape {}, not one element", self.shape);
        self.data()[0]
    }

    /// The same values off the tape.
    pub fn detach(&self) -> Tensor {
        Tensor { node: None, ..self.clone() }
    }

    pub(crate) fn with_node(self, node: Node) -> Tensor {
        Tensor { node: Some(Arc::new(node)), ..self }
    }

    /// The tensor with its moments attached, as its producer measured them.
    pub(crate) fn with_moments(self, moments: Option<Vec<f32>>) -> Tensor {
        Tensor { moments: moments.map(Into::into), ..self }
    }

    /// The same values under another shape, off the tape; the recorded form is [`Tensor::reshape`].
    pub(crate) fn view(&self, shape: Shape) -> Tensor {
        debug_assert_eq!(shape.elements(), self.elements());
        Tensor { values: self.values.clone(), shape, node: None, moments: None }
    }
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = &self.data()[..self.elements().min(8)];
        write!(f, "Tensor{} {shown:?}", self.shape)?;
        if self.elements() > shown.len() { write!(f, " ...") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_share_until_written() {
        let a = Tensor::from_slice([2], &[1.0, 2.0]);
        let mut b = a.clone();
        b.data_mut()[0] = 9.0;
        assert_eq!((a.data(), b.data()), (&[1.0, 2.0][..], &[9.0, 2.0][..]));
    }

    #[test]
    #[should_panic(expected = "from_slice: 3 values do not fill shape (2, 2)")]
    fn a_wrong_length_names_both_sizes() {
        Tensor::from_slice([2, 2], &[0.0; 3]);
    }

    #[test]
    #[should_panic(expected = "dims: expected 4 dimensions, the tensor has shape (2, 3)")]
    fn a_wrong_rank_names_the_shape() {
        let [_, _, _, _] = Tensor::zeros([2, 3]).dims();
    }
}
