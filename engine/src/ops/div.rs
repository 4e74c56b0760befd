use super::broadcast::{sum_to, zip};
use crate::autograd::{Backward, Grads, OpDoc};
use crate::grad::GradOutput;
use crate::reference::Array;
use crate::shape::Shape;
use crate::tensor::Tensor;

impl Tensor {
    /// Quotient, elementwise with broadcasting: `y = a / b`. Division by 0 gives an infinity or NaN, as in IEEE 754.
    ///
    /// # Shapes
    /// - `self`, `other`: any two that broadcast as in NumPy; returns the shape both are stretched to
    ///
    /// # Gradient
    /// `grad_a = grad_output / b`, `grad_b = -grad_output * y / b`, each summed (in `f64`) over the dimensions in which its
    /// operand was stretched. Saves `b`, and `y` if `b` is differentiable; both are shared, no extra memory.
    ///
    /// # Panics
    /// If the shapes do not broadcast.
    #[track_caller]
    pub fn div(&self, other: &Tensor) -> Tensor {
        let y = zip("div", self, other, |a, b| a / b);
        let saved = Div { a_shape: self.shape(), b: other.detach(), y: other.is_recorded().then(|| y.detach()) };
        y.record(&[self, other], saved)
    }
}

struct Div {
    a_shape: Shape,
    b: Tensor,
    y: Option<Tensor>,
}

impl Backward for Div {
    fn doc(&self) -> OpDoc {
        OpDoc { name: "div", formula: "y = a / b", gradient: "grad_a = grad_output / b; grad_b = -grad_output * y / b" }
    }

    fn inputs(&self) -> Vec<String> {
        ["a", "b"].map(String::from).to_vec()
    }

    fn again(&self, inputs: &[&Tensor]) -> Option<Tensor> {
        Some(inputs[0].div(inputs[1]))
    }

    fn backward(&self, grad_output: GradOutput, grads: &mut Grads) {
        let quotient = zip("div", &grad_output.into_tensor(), &self.b, |g, b| g / b);
        if let Some(y) = &self.y {
            grads.add(1, sum_to(zip("div", &quotient, y, |q, y| -q * y), self.b.shape()));
        }
        if grads.needs(0) {
            grads.add(0, sum_to(quotient, self.a_shape));
        }
    }

    fn reference(&self, inputs: &[&Array]) -> Array {
        inputs[0].zip(inputs[1], |a, b| a / b)
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
            // Near a zero divisor the quotient curves too fast for finite differences.
            let b = Tensor::from_fn(b, |i| if i % 2 == 0 { 0.75 + 0.1 * i as f32 } else { -1.5 });
            gradcheck(&[sample(a), b.clone()], |t| t[0].div(&t[1]));
            gradcheck(&[sample(a)], |t| t[0].div(&b));
            gradcheck(&[b], |t| sample(a).div(&t[0]));
        }
    }

    #[test]
    #[should_panic(expected = "div: shapes (2, 3) and (2) do not broadcast")]
    fn shapes_that_do_not_meet_panic() {
        Tensor::zeros([2, 3]).div(&Tensor::zeros([2]));
    }
}
