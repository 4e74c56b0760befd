use super::broadcast::{sum_to, zip};
use crate::autograd::{Backward, Grads, OpDoc};
use crate::grad::GradOutput;
use crate::reference::Array;
use crate::shape::Shape;
use crate::tensor::Tensor;

impl Tensor {
    /// Product, elementwise with broadcasting: `y = a * b`.
    ///
    /// # Shapes
    /// - `self`, `other`: any two that broadcast as in NumPy; returns the shape both are stretched to
    ///
    /// # Gradient
    /// `grad_a = grad_output * b`, `grad_b = grad_output * a`, each summed (in `f64`) over the dimensions in which its operand
    /// was stretched. Saves, for each operand that is differentiable, the other one.
    ///
    /// # Panics
    /// If the shapes do not broadcast.
    #[track_caller]
    pub fn mul(&self, other: &Tensor) -> Tensor {
        let saved = Mul {
            shapes: [self.shape(), other.shape()],
            a: other.is_recorded().then(|| self.detach()),
            b: self.is_recorded().then(|| other.detach()),
        };
        zip("mul", self, other, |a, b| a * b).record(&[self, other], saved)
    }
}

struct Mul {
    shapes: [Shape; 2],
    a: Option<Tensor>,
    b: Option<Tensor>,
}

impl Backward for Mul {
    fn doc(&self) -> OpDoc {
        let gradient = if self.shapes[0] == self.shapes[1] {
            "grad_a = grad_output * b; grad_b = grad_output * a"
        } else {
            "grad_a = sum_{\"stretched dimensions\"} grad_output * b; grad_b = sum_{\"stretched dimensions\"} grad_output * a"
        };
        OpDoc { name: "mul", formula: "y = a * b", gradient }
    }

    fn inputs(&self) -> Vec<String> {
        ["a", "b"].map(String::from).to_vec()
    }

    fn again(&self, inputs: &[&Tensor]) -> Option<Tensor> {
        Some(inputs[0].mul(inputs[1]))
    }

    fn backward(&self, grad_output: GradOutput, grads: &mut Grads) {
        let grad = grad_output.into_tensor();
        for (i, other) in [&self.b, &self.a].into_iter().enumerate() {
            if let Some(other) = other {
                grads.add(i, sum_to(zip("mul", &grad, other, |g, v| g * v), self.shapes[i]));
            }
        }
    }

    fn reference(&self, inputs: &[&Array]) -> Array {
        inputs[0].zip(inputs[1], |a, b| a * b)
    }
}

#[cfg(test)]
mod tests {
    use crate::gradcheck::{gradcheck, sample};
    use crate::tensor::Tensor;

    #[test]
    fn agrees_with_f64_reference() {
        let cases: [(&[usize], &[usize]); 7] = [
            (&[3, 5], &[3, 5]),
            (&[3, 5], &[5]),
            (&[], &[2, 3]),
            (&[3, 1], &[1, 5]),
            (&[2, 1, 3], &[3, 1]),
            (&[1, 3], &[3]),
            (&[0, 3], &[3]),
        ];
        for (a, b) in cases {
            gradcheck(&[sample(a), sample(b).scale(0.5)], |t| t[0].mul(&t[1]));
        }
    }

    #[test]
    fn a_constant_gets_no_gradient_and_a_square_gets_both() {
        let constant = sample([1, 5]);
        gradcheck(&[sample([3, 5])], |t| t[0].mul(&constant));
        gradcheck(&[sample([3, 5])], |t| constant.mul(&t[0]));
        gradcheck(&[sample([3, 5])], |t| t[0].mul(&t[0]));
    }

    #[test]
    #[should_panic(expected = "mul: shapes (2, 3) and (2) do not broadcast")]
    fn shapes_that_do_not_meet_panic() {
        Tensor::zeros([2, 3]).mul(&Tensor::zeros([2]));
    }
}
