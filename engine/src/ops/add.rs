use super::broadcast::{sum_to, zip};
use crate::autograd::{Backward, Grads, OpDoc};
use crate::grad::GradOutput;
use crate::reference::Array;
use crate::shape::Shape;
use crate::tensor::Tensor;

impl Tensor {
    /// Sum, elementwise with broadcasting: `y = a + b`.
    ///
    /// # Shapes
    /// - `self`, `other`: any two that broadcast as in NumPy; returns the shape both are stretched to
    ///
    /// # Gradient
    /// `grad_a = grad_output`, `grad_b = grad_output`, each summed (in `f64`) over the dimensions in which its operand was
    /// stretched. Saves only the shapes.
    ///
    /// # Panics
    /// If the shapes do not broadcast.
    #[track_caller]
    pub fn add(&self, other: &Tensor) -> Tensor {
        let saved = Add { shapes: [self.shape(), other.shape()] };
        zip("add", self, other, |a, b| a + b).record(&[self, other], saved)
    }

    /// Difference, elementwise with broadcasting: `y = a - b`.
    ///
    /// # Shapes
    /// - `self`, `other`: any two that broadcast as in NumPy; returns the shape both are stretched to
    ///
    /// # Gradient
    /// `grad_a = grad_output`, `grad_b = -grad_output`, each summed (in `f64`) over the dimensions in which its operand was
    /// stretched. Saves only the shapes.
    ///
    /// # Panics
    /// If the shapes do not broadcast.
    #[track_caller]
    pub fn sub(&self, other: &Tensor) -> Tensor {
        let saved = Sub { shapes: [self.shape(), other.shape()] };
        zip("sub", self, other, |a, b| a - b).record(&[self, other], saved)
    }
}

struct Add {
    shapes: [Shape; 2],
}

impl Backward for Add {
    fn doc(&self) -> OpDoc {
        let gradient = if self.shapes[0] == self.shapes[1] {
            "grad_a = grad_output; grad_b = grad_output"
        } else {
            "grad_a = sum_{\"stretched dimensions\"} grad_output; grad_b = sum_{\"stretched dimensions\"} grad_output"
        };
        OpDoc { name: "add", formula: "y = a + b", gradient }
    }

    fn inputs(&self) -> Vec<String> {
        ["a", "b"].map(String::from).to_vec()
    }

    fn again(&self, inputs: &[&Tensor]) -> Option<Tensor> {
        Some(inputs[0].add(inputs[1]))
    }

    fn backward(&self, grad_output: GradOutput, grads: &mut Grads) {
        let grad = grad_output.into_tensor();
        for (i, shape) in self.shapes.into_iter().enumerate() {
            if grads.needs(i) {
                grads.add(i, sum_to(grad.clone(), shape));
            }
        }
    }

    fn reference(&self, inputs: &[&Array]) -> Array {
        inputs[0].zip(inputs[1], |a, b| a + b)
    }
}

struct Sub {
    shapes: [Shape; 2],
}

impl Backward for Sub {
    fn doc(&self) -> OpDoc {
        let gradient = if self.shapes[0] == self.shapes[1] {
            "grad_a = grad_output; grad_b = -grad_output"
        } else {
            "grad_a = sum_{\"stretched dimensions\"} grad_output; grad_b = sum_{\"stretched dimensions\"} (-grad_output)"
        };
        OpDoc { name: "sub", formula: "y = a - b", gradient }
    }

    fn inputs(&self) -> Vec<String> {
        ["a", "b"].map(String::from).to_vec()
    }

    fn again(&self, inputs: &[&Tensor]) -> Option<Tensor> {
        Some(inputs[0].sub(inputs[1]))
    }

    fn backward(&self, grad_output: GradOutput, grads: &mut Grads) {
        let grad = grad_output.into_tensor();
        let [a, b] = self.shapes;
        if grads.needs(0) {
            grads.add(0, sum_to(grad.clone(), a));
        }
        if grads.needs(1) {
            grads.add(1, sum_to(grad, b).neg());
        }
    }

    fn reference(&self, inputs: &[&Array]) -> Array {
        inputs[0].zip(inputs[1], |a, b| a - b)
    }
}

#[cfg(test)]
mod tests {
    use crate::gradcheck::{gradcheck, sample};
    use crate::tensor::Tensor;

    #[test]
    fn agrees_with_f64_reference() {
        let cases: [(&[usize], &[usize]); 8] = [
            (&[3, 5], &[3, 5]),
            (&[3, 5], &[5]),
            (&[], &[2, 3]),
            (&[3, 1], &[1, 5]),
            (&[2, 1, 3], &[3, 1]),
            (&[1, 3], &[3]),
            (&[0, 3], &[3]),
            (&[2, 3, 0], &[3, 1]),
        ];
        for (a, b) in cases {
            gradcheck(&[sample(a), sample(b).scale(0.5)], |t| t[0].add(&t[1]));
            gradcheck(&[sample(a), sample(b).scale(0.5)], |t| t[0].sub(&t[1]));
        }
    }

    #[test]
    fn an_operand_may_be_used_twice() {
        gradcheck(&[sample([3])], |t| t[0].add(&t[0]).sub(&t[0].scale(3.0)));
    }

    #[test]
    fn a_bias_gradient_over_many_rows_is_exact() {
        let bias = Tensor::zeros([3]).requires_grad();
        let x = Tensor::zeros([100_000, 3]);
        let grads = x.add(&bias).sum().backward();
        assert_eq!(grads.get(&bias).expect("bias is a leaf").data(), [100_000.0; 3]);
    }

    #[test]
    #[should_panic(expected = "add: shapes (2, 3) and (2) do not broadcast")]
    fn shapes_that_do_not_meet_panic() {
        Tensor::zeros([2, 3]).add(&Tensor::zeros([2]));
    }

    #[test]
    #[should_panic(expected = "sub: shapes (2, 3) and (4, 3) do not broadcast")]
    fn shapes_that_do_not_meet_panic_in_sub() {
        Tensor::zeros([2, 3]).sub(&Tensor::zeros([4, 3]));
    }
}
