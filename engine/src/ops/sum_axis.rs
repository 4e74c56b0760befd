use crate::autograd::{Backward, Grads, OpDoc};
use crate::grad::GradOutput;
use crate::kernels::broadcast;
use crate::kernels::reduce::{Around, sum_middle};
use crate::reference::Array;
use crate::shape::Shape;
use crate::tensor::Tensor;

impl Tensor {
    /// Sum along one axis, added in `f64` and rounded once.
    ///
    /// # Shapes
    /// - `self`: any of at least one dimension
    /// - returns that shape with extent 1 at `axis` if `keep_dim`, else without that dimension
    ///
    /// # Gradient
    /// `grad_input = grad_output`, repeated along the axis. Saves only the shape.
    ///
    /// # Panics
    /// If there is no such axis.
    #[track_caller]
    pub fn sum_axis(&self, axis: usize, keep_dim: bool) -> Tensor {
        assert_axis("sum_axis", self.shape(), axis);
        let saved = SumAxis { shape: self.shape(), axis, keep_dim };
        let size = around(self.shape(), axis);
        Tensor::build(without(self.shape(), axis, keep_dim), |y| sum_middle(size, self.data(), y))
            .record(&[self], saved)
    }

    /// Mean along one axis: [`sum_axis`](Tensor::sum_axis) over its extent; NaN where that is 0.
    ///
    /// # Shapes
    /// As [`sum_axis`](Tensor::sum_axis).
    ///
    /// # Panics
    /// If there is no such axis.
    #[track_caller]
    pub fn mean_axis(&self, axis: usize, keep_dim: bool) -> Tensor {
        assert_axis("mean_axis", self.shape(), axis);
        self.sum_axis(axis, keep_dim).scale(1.0 / self.shape()[axis] as f32)
    }
}

#[track_caller]
fn assert_axis(op: &str, shape: Shape, axis: usize) {
    assert!(axis < shape.len(), "{op}: axis {axis} of shape {shape}, which has {} dimensions", shape.len());
}

fn around(shape: Shape, axis: usize) -> Around {
    Around { outer: shape[..axis].iter().product(), len: shape[axis], inner: shape[axis + 1..].iter().product() }
}

fn without(shape: Shape, axis: usize, keep_dim: bool) -> Shape {
    let mut dims = shape.to_vec();
    if keep_dim {
        dims[axis] = 1;
    } else {
        dims.remove(axis);
    }
    Shape::new(&dims)
}

struct SumAxis {
    shape: Shape,
    axis: usize,
    keep_dim: bool,
}

impl Backward for SumAxis {
    fn doc(&self) -> OpDoc {
        OpDoc {
            name: "sum_axis",
            formula: "y = sum_{\"axis\"} x",
            gradient: "grad_x = grad_output \", repeated along the axis\"",
        }
    }

    fn inputs(&self) -> Vec<String> {
        ["x"].map(String::from).to_vec()
    }

    fn attributes(&self) -> Vec<(&'static str, String)> {
        vec![("axis", self.axis.to_string())]
    }

    fn again(&self, inputs: &[&Tensor]) -> Option<Tensor> {
        Some(inputs[0].sum_axis(self.axis, self.keep_dim))
    }

    fn backward(&self, grad_output: GradOutput, grads: &mut Grads) {
        let grad = grad_output.into_tensor().view(without(self.shape, self.axis, true));
        let grad = Tensor::build(self.shape, |y| {
            let grad = (grad.data(), grad.shape());
            broadcast::zip(grad, grad, (y, self.shape), |g, _| g);
        });
        grads.add(0, grad);
    }

    fn reference(&self, inputs: &[&Array]) -> Array {
        let Around { len, inner, .. } = around(self.shape, self.axis);
        Array::from_fn(without(self.shape, self.axis, self.keep_dim), |at| {
            (0..len).map(|l| inputs[0].data[(at / inner * len + l) * inner + at % inner]).sum()
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::gradcheck::{gradcheck, sample};
    use crate::tensor::Tensor;

    #[test]
    fn agrees_with_f64_reference() {
        for axis in 0..3 {
            for keep_dim in [false, true] {
                gradcheck(&[sample([3, 1, 5])], |t| t[0].sum_axis(axis, keep_dim));
                gradcheck(&[sample([2, 3, 4])], |t| t[0].mean_axis(axis, keep_dim));
            }
        }
        gradcheck(&[sample([5])], |t| t[0].sum_axis(0, false));
        gradcheck(&[sample([0, 3])], |t| t[0].sum_axis(0, false));
        gradcheck(&[sample([0, 3])], |t| t[0].sum_axis(1, true));
    }

    #[test]
    fn a_kept_dimension_has_extent_1() {
        let x = Tensor::full([2, 3, 4], 1.0);
        assert_eq!(x.sum_axis(1, true).shape(), [2, 1, 4].into());
        assert_eq!(x.sum_axis(1, false).shape(), [2, 4].into());
        assert_eq!(x.sum_axis(1, false).data(), [3.0; 8]);
        assert_eq!(x.mean_axis(2, false).data(), [1.0; 6]);
    }

    #[test]
    #[should_panic(expected = "sum_axis: axis 2 of shape (2, 3), which has 2 dimensions")]
    fn an_axis_out_of_range_panics() {
        Tensor::zeros([2, 3]).sum_axis(2, false);
    }

    #[test]
    #[should_panic(expected = "mean_axis: axis 0 of shape (), which has 0 dimensions")]
    fn a_scalar_has_no_axis() {
        Tensor::scalar(1.0).mean_axis(0, false);
    }
}
