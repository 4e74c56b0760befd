//! Elementwise functions of one tensor whose derivative follows from the input or the output of the same element.

use crate::autograd::{Backward, Grads, OpDoc};
use crate::grad::GradOutput;
use crate::kernels::elementwise::dispatch;
use crate::ops::lazy::{Activation, activation_choices, activation_held};
use crate::parallel::{CHUNK, chunks_mut};
use crate::reference::Array;
use crate::tensor::Tensor;

impl Tensor {
    /// Negation: `y = -x`, as [`scale`](Tensor::scale) by -1.
    ///
    /// # Shapes
    /// - `self`: any; returns the same
    pub fn neg(&self) -> Tensor {
        self.scale(-1.0)
    }

    /// Sum with a constant: `y = x + value`.
    ///
    /// # Shapes
    /// - `self`: any; returns the same
    ///
    /// # Gradient
    /// `grad_input = grad_output`. Saves nothing but the constant.
    pub fn add_scalar(&self, value: f32) -> Tensor {
        map(self, |x| x + value).record(&[self], AddScalar { value })
    }

    /// Exponential, elementwise: `y = exp(x)`.
    ///
    /// # Shapes
    /// - `self`: any; returns the same
    ///
    /// # Gradient
    /// `grad_input = grad_output * y`. Saves `y`, shared with the caller: no extra memory.
    pub fn exp(&self) -> Tensor {
        let doc = OpDoc { name: "exp", formula: "y = exp(x)", gradient: "grad_x = grad_output * y" };
        let y = map(self, f32::exp);
        let saved = Unary {
            doc,
            saved: y.detach(),
            grad: |g, y| g * y,
            reference: f64::exp,
            again: Tensor::exp,
            kinks: Activation::Identity,
        };
        y.record(&[self], saved)
    }

    /// Natural logarithm, elementwise: `y = ln(x)`; minus infinity at 0, NaN below.
    ///
    /// # Shapes
    /// - `self`: any; returns the same
    ///
    /// # Gradient
    /// `grad_input = grad_output / x`. Saves `x`, shared with the caller: no extra memory.
    pub fn log(&self) -> Tensor {
        let doc = OpDoc { name: "log", formula: "y = ln(x)", gradient: "grad_x = grad_output / x" };
        let saved = Unary {
            doc,
            saved: self.detach(),
            grad: |g, x| g / x,
            reference: f64::ln,
            again: Tensor::log,
            kinks: Activation::Identity,
        };
        map(self, f32::ln).record(&[self], saved)
    }

    /// Square root, elementwise: `y = sqrt(x)`; NaN below 0.
    ///
    /// # Shapes
    /// - `self`: any; returns the same
    ///
    /// # Gradient
    /// `grad_input = grad_output / (2*y)`, infinite at 0 as in PyTorch. Saves `y`, shared with the caller: no extra memory.
    pub fn sqrt(&self) -> Tensor {
        let doc = OpDoc { name: "sqrt", formula: "y = sqrt(x)", gradient: "grad_x = grad_output / (2*y)" };
        let y = map(self, f32::sqrt);
        let saved = Unary {
            doc,
            saved: y.detach(),
            grad: |g, y| g / (2.0 * y),
            reference: f64::sqrt,
            again: Tensor::sqrt,
            kinks: Activation::Identity,
        };
        y.record(&[self], saved)
    }

    /// Hyperbolic tangent, elementwise: `y = tanh(x)`.
    ///
    /// # Shapes
    /// - `self`: any; returns the same
    ///
    /// # Gradient
    /// `grad_input = grad_output * (1 - y*y)`. Saves `y`, shared with the caller: no extra memory.
    pub fn tanh(&self) -> Tensor {
        let doc = OpDoc { name: "tanh", formula: "y = tanh(x)", gradient: "grad_x = grad_output * (1 - y*y)" };
        let y = map(self, f32::tanh);
        let saved = Unary {
            doc,
            saved: y.detach(),
            grad: |g, y| g * (1.0 - y * y),
            reference: f64::tanh,
            again: Tensor::tanh,
            kinks: Activation::Identity,
        };
        y.record(&[self], saved)
    }

    /// Logistic sigmoid, elementwise: `y = 1 / (1 + exp(-x))`, computed without overflow on either side.
    ///
    /// # Shapes
    /// - `self`: any; returns the same
    ///
    /// # Gradient
    /// `grad_input = grad_output * y * (1 - y)`. Saves `y`, shared with the caller: no extra memory.
    pub fn sigmoid(&self) -> Tensor {
        let doc =
            OpDoc { name: "sigmoid", formula: "y = 1 / (1 + exp(-x))", gradient: "grad_x = grad_output * y * (1 - y)" };
        let y = map(self, |x| {
            let e = (-x.abs()).exp(); // at most 1
            (if x >= 0.0 { 1.0 } else { e }) / (1.0 + e)
        });
        let reference = |x: f64| {
            let e = (-x.abs()).exp();
            (if x >= 0.0 { 1.0 } else { e }) / (1.0 + e)
        };
        let saved = Unary {
            doc,
            saved: y.detach(),
            grad: |g, y| g * (y * (1.0 - y)),
            reference,
            again: Tensor::sigmoid,
            kinks: Activation::Identity,
        };
        y.record(&[self], saved)
    }

    /// Rectified linear unit with a ceiling, elementwise: `y = min(max(x, 0), 6)`. NaN stays NaN.
    ///
    /// # Shapes
    /// - `self`: any; returns the same
    ///
    /// # Gradient
    /// `grad_input = grad_output` where `0 < y < 6`, else 0 (also at the two corners, as in PyTorch). Saves `y`, shared with the
    /// caller: no extra memory.
    ///
    /// # Source
    /// Howard et al., MobileNets (2017); `torch.nn.functional.relu6`.
    pub fn relu6(&self) -> Tensor {
        let doc =
            OpDoc { name: "relu6", formula: "y = min(max(x, 0), 6)", gradient: "grad_x = grad_output * (0 < y < 6)" };
        let y = map(self, |x| {
            let x = if x <= 0.0 { 0.0 } else { x };
            if x >= 6.0 { 6.0 } else { x }
        });
        let grad = |g, y| if y > 0.0 && y < 6.0 { g } else { 0.0 };
        let saved = Unary {
            doc,
            saved: y.detach(),
            grad,
            reference: |x: f64| x.clamp(0.0, 6.0),
            again: Tensor::relu6,
            kinks: Activation::Relu6,
        };
        y.record(&[self], saved)
    }
}

/// `f` of every element.
fn map(x: &Tensor, f: impl Fn(f32) -> f32 + Send + Sync) -> Tensor {
    let values = x.data();
    Tensor::build(x.shape(), |out| {
        chunks_mut(out, CHUNK, |i, out| {
            let x = &values[i * CHUNK..][..out.len()];
            dispatch(|| out.iter_mut().zip(x).for_each(|(y, &x)| *y = f(x)));
        });
    })
}

struct AddScalar {
    value: f32,
}

impl Backward for AddScalar {
    fn doc(&self) -> OpDoc {
        OpDoc { name: "add_scalar", formula: "y = x + value", gradient: "grad_x = grad_output" }
    }

    fn inputs(&self) -> Vec<String> {
        ["x"].map(String::from).to_vec()
    }

    fn attributes(&self) -> Vec<(&'static str, String)> {
        vec![("value", self.value.to_string())]
    }

    fn again(&self, inputs: &[&Tensor]) -> Option<Tensor> {
        Some(inputs[0].add_scalar(self.value))
    }

    fn backward(&self, grad_output: GradOutput, grads: &mut Grads) {
        grads.add(0, grad_output.into_tensor());
    }

    fn reference(&self, inputs: &[&Array]) -> Array {
        inputs[0].map(|x| x + f64::from(self.value))
    }
}

/// An op whose gradient is `grad(grad_output, saved)`, element by element.
struct Unary<G, R> {
    doc: OpDoc,
    /// The input or the output.
    saved: Tensor,
    grad: G,
    reference: R,
    again: fn(&Tensor) -> Tensor,
    /// The activation whose choices it makes, if any; `saved` is then the output.
    kinks: Activation,
}

impl<G: Fn(f32, f32) -> f32 + Send + Sync, R: Fn(f64) -> f64 + Send + Sync> Backward for Unary<G, R> {
    fn doc(&self) -> OpDoc {
        self.doc
    }

    fn inputs(&self) -> Vec<String> {
        ["x"].map(String::from).to_vec()
    }

    fn again(&self, inputs: &[&Tensor]) -> Option<Tensor> {
        Some((self.again)(inputs[0]))
    }

    fn choices(&self, inputs: &[&Array]) -> Vec<u32> {
        activation_choices(inputs[0].data.iter().copied(), self.kinks)
    }

    fn chosen(&self) -> Option<Vec<u32>> {
        let choices = activation_choices(self.saved.data().iter().map(|&y| f64::from(y)), self.kinks);
        (self.kinks != Activation::Identity).then_some(choices)
    }

    fn held(&self, inputs: &[&Array], choices: &[u32]) -> Array {
        match self.kinks {
            Activation::Identity => self.reference(inputs),
            _ => activation_held(inputs[0].clone(), choices),
        }
    }

    fn backward(&self, grad_output: GradOutput, grads: &mut Grads) {
        let mut grad = grad_output.into_tensor();
        let saved = self.saved.data();
        chunks_mut(grad.data_mut(), CHUNK, |i, g| {
            let saved = &saved[i * CHUNK..][..g.len()];
            dispatch(|| g.iter_mut().zip(saved).for_each(|(g, &s)| *g = (self.grad)(*g, s)));
        });
        grads.add(0, grad);
    }

    fn reference(&self, inputs: &[&Array]) -> Array {
        inputs[0].map(&self.reference)
    }
}

#[cfg(test)]
mod tests {
    use crate::gradcheck::{gradcheck, sample};
    use crate::shape::Shape;
    use crate::tensor::Tensor;

    #[test]
    fn agrees_with_f64_reference() {
        for dims in [&[3usize, 5][..], &[1], &[], &[0, 3]] {
            let x = [sample(dims)];
            let positive = [Tensor::from_fn(Shape::new(dims), |i| x[0].data()[i].abs() + 0.3)];
            gradcheck(&x, |t| t[0].neg());
            gradcheck(&x, |t| t[0].add_scalar(0.7));
            gradcheck(&x, |t| t[0].exp());
            gradcheck(&x, |t| t[0].tanh());
            gradcheck(&x, |t| t[0].sigmoid());
            gradcheck(&positive, |t| t[0].log());
            gradcheck(&positive, |t| t[0].sqrt());
            // relu6 has no derivative at 0 and 6
            gradcheck(&[x[0].scale(4.0).away_from(0.0).away_from(6.0)], |t| t[0].relu6());
        }
    }

    #[test]
    fn sigmoid_saturates_without_overflow() {
        let x = Tensor::from_slice([5], &[-200.0, -100.0, 0.0, 100.0, f32::NAN]).requires_grad();
        let y = x.sigmoid();
        assert_eq!(y.data()[..4], [0.0, (-100f32).exp(), 0.5, 1.0]);
        assert!(y.data()[4].is_nan());
        let grads = y.sum().backward();
        assert_eq!(grads.get(&x).expect("x is a leaf").data()[..4], [0.0, (-100f32).exp(), 0.25, 0.0]);
    }

    #[test]
    fn relu6_keeps_nan_and_has_no_gradient_at_its_corners() {
        assert!(Tensor::scalar(f32::NAN).relu6().item().is_nan());
        let x = Tensor::from_slice([5], &[-1.0, 0.0, 2.0, 6.0, 7.0]).requires_grad();
        let y = x.relu6();
        assert_eq!(y.data(), [0.0, 0.0, 2.0, 6.0, 6.0]);
        assert_eq!(y.sum().backward().get(&x).expect("x is a leaf").data(), [0.0, 0.0, 1.0, 0.0, 0.0]);
    }

    #[test]
    fn the_edges_of_log_and_sqrt_follow_ieee_754() {
        assert_eq!(Tensor::scalar(0.0).log().item(), f32::NEG_INFINITY);
        assert!(Tensor::scalar(-1.0).log().item().is_nan());
        assert!(Tensor::scalar(-1.0).sqrt().item().is_nan());
    }
}
