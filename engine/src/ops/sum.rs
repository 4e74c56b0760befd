use crate::autograd::{Backward, Grads, OpDoc};
use crate::grad::GradOutput;
use crate::parallel;
use crate::reference::Array;
use crate::shape::Shape;
use crate::tensor::Tensor;

impl Tensor {
    /// Sum of all elements, added in `f64` and rounded once.
    ///
    /// # Shapes
    /// - `self`: any; returns a scalar
    ///
    /// # Gradient
    /// `grad_input = grad_output`, everywhere. Saves only the shape.
    pub fn sum(&self) -> Tensor {
        let x = self.data();
        let total = parallel::sum(x.len(), |range| x[range].iter().map(|&v| f64::from(v)).sum());
        Tensor::scalar(total as f32).record(&[self], Sum { shape: self.shape() })
    }

    /// Mean of all elements, as [`sum`](Tensor::sum) over their number.
    pub fn mean(&self) -> Tensor {
        self.sum().scale(1.0 / self.elements() as f32)
    }
}

struct Sum {
    shape: Shape,
}

impl Backward for Sum {
    fn doc(&self) -> OpDoc {
        OpDoc { name: "sum", formula: "y = sum_{i} x[i]", gradient: "grad_x[i] = grad_output" }
    }

    fn inputs(&self) -> Vec<String> {
        ["x"].map(String::from).to_vec()
    }

    fn again(&self, inputs: &[&Tensor]) -> Option<Tensor> {
        Some(inputs[0].sum())
    }

    fn backward(&self, grad_output: GradOutput, grads: &mut Grads) {
        grads.add(0, Tensor::full(self.shape, grad_output.into_tensor().item()));
    }

    fn reference(&self, inputs: &[&Array]) -> Array {
        Array { shape: Shape::new(&[]), data: vec![inputs[0].data.iter().sum()] }
    }
}

#[cfg(test)]
mod tests {
    use crate::gradcheck::{gradcheck, sample};

    #[test]
    fn agrees_with_f64_reference() {
        gradcheck(&[sample([3, 5])], |t| t[0].sum());
        gradcheck(&[sample([3, 1, 2])], |t| t[0].mean());
    }
}
