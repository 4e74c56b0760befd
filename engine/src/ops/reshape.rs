use crate::autograd::{Backward, Grads, OpDoc};
use crate::grad::GradOutput;
use crate::reference::Array;
use crate::shape::Shape;
use crate::tensor::Tensor;

impl Tensor {
    /// The same values, in the same row-major order, under another shape. Shares them: nothing is copied.
    ///
    /// # Shapes
    /// - `self`: any; returns `shape`, which must have as many elements
    ///
    /// # Gradient
    /// `grad_input = grad_output`, under the shape of `self`. Saves only the shape.
    ///
    /// # Panics
    /// If the numbers of elements differ.
    #[track_caller]
    pub fn reshape(&self, shape: impl Into<Shape>) -> Tensor {
        let shape = shape.into();
        assert!(
            shape.elements() == self.elements(),
            "reshape: {} has {} elements, {shape} would have {}",
            self.shape(),
            self.elements(),
            shape.elements()
        );
        self.view(shape).record(&[self], Reshape { from: self.shape(), to: shape })
    }
}

struct Reshape {
    from: Shape,
    to: Shape,
}

impl Backward for Reshape {
    fn doc(&self) -> OpDoc {
        OpDoc {
            name: "reshape",
            formula: "y = x \"under another shape\"",
            gradient: "grad_x = grad_output \"under the shape of\" x",
        }
    }

    fn inputs(&self) -> Vec<String> {
        ["x"].map(String::from).to_vec()
    }

    fn again(&self, inputs: &[&Tensor]) -> Option<Tensor> {
        Some(inputs[0].reshape(self.to))
    }

    fn backward(&self, grad_output: GradOutput, grads: &mut Grads) {
        grads.add(0, grad_output.into_tensor().view(self.from));
    }

    fn reference(&self, inputs: &[&Array]) -> Array {
        Array { shape: self.to, data: inputs[0].data.clone() }
    }
}

#[cfg(test)]
mod tests {
    use crate::gradcheck::{gradcheck, sample};
    use crate::tensor::Tensor;

    #[test]
    fn agrees_with_f64_reference() {
        gradcheck(&[sample([3, 4])], |t| t[0].reshape([2, 6]));
        gradcheck(&[sample([1, 1])], |t| t[0].reshape([]));
        gradcheck(&[sample([0, 3])], |t| t[0].reshape([7, 0]));
    }

    #[test]
    #[should_panic(expected = "reshape: (2, 3) has 6 elements, (4, 2) would have 8")]
    fn another_number_of_elements_panics() {
        Tensor::zeros([2, 3]).reshape([4, 2]);
    }
}
