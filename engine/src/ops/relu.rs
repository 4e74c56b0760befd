use crate::autograd::{Backward, Grads, OpDoc};
use crate::grad::GradOutput;
use crate::kernels::elementwise::dispatch;
use crate::ops::lazy::{Activation, activation_choices, activation_held};
use crate::parallel::{CHUNK, chunks_mut};
use crate::reference::Array;
use crate::tensor::Tensor;

impl Tensor {
    /// Rectified linear unit, elementwise: `y = max(x, 0)`.
    ///
    /// # Shapes
    /// - `self`: any; returns the same
    ///
    /// # Gradient
    /// `grad_input = grad_output` where `y > 0`, else 0 (at `x = 0` we take 0, as PyTorch does).
    /// Saves `y`, shared with the caller: no extra memory.
    pub fn relu(&self) -> Tensor {
        let x = self.data();
        let y = Tensor::build(self.shape(), |out| {
            chunks_mut(out, CHUNK, |i, out| {
                let x = &x[i * CHUNK..][..out.len()];
                dispatch(|| out.iter_mut().zip(x).for_each(|(y, &x)| *y = if x <= 0.0 { 0.0 } else { x }));
            });
        });
        let saved = Relu { y: y.detach() };
        y.record(&[self], saved)
    }
}

struct Relu {
    y: Tensor,
}

impl Backward for Relu {
    fn doc(&self) -> OpDoc {
        OpDoc { name: "relu", formula: "y = max(x, 0)", gradient: "grad_x = grad_output * (y > 0)" }
    }

    fn inputs(&self) -> Vec<String> {
        ["x"].map(String::from).to_vec()
    }

    fn again(&self, inputs: &[&Tensor]) -> Option<Tensor> {
        Some(inputs[0].relu())
    }

    fn choices(&self, inputs: &[&Array]) -> Vec<u32> {
        activation_choices(inputs[0].data.iter().copied(), Activation::Relu)
    }

    fn chosen(&self) -> Option<Vec<u32>> {
        Some(activation_choices(self.y.data().iter().map(|&y| f64::from(y)), Activation::Relu))
    }

    fn held(&self, inputs: &[&Array], choices: &[u32]) -> Array {
        activation_held(inputs[0].clone(), choices)
    }

    fn backward(&self, grad_output: GradOutput, grads: &mut Grads) {
        let mut grad = grad_output.into_tensor();
        let y = self.y.data();
        chunks_mut(grad.data_mut(), CHUNK, |i, g| {
            let y = &y[i * CHUNK..][..g.len()];
            dispatch(|| g.iter_mut().zip(y).for_each(|(g, &y)| *g = if y > 0.0 { *g } else { 0.0 }));
        });
        grads.add(0, grad);
    }

    fn reference(&self, inputs: &[&Array]) -> Array {
        inputs[0].map(|v| v.max(0.0))
    }
}

#[cfg(test)]
mod tests {
    use crate::gradcheck::{gradcheck, sample};
    use crate::tensor::Tensor;

    #[test]
    fn agrees_with_f64_reference() {
        // relu has no derivative at 0
        gradcheck(&[sample([3, 5]).away_from(0.0)], |t| t[0].relu());
        gradcheck(&[sample([0]).away_from(0.0)], |t| t[0].relu());
    }

    #[test]
    fn nan_stays_and_zero_gets_no_gradient() {
        assert!(Tensor::scalar(f32::NAN).relu().item().is_nan());
        let x = Tensor::from_slice([3], &[0.0, -1.0, 2.0]).requires_grad();
        let grads = x.relu().sum().backward();
        assert_eq!(grads.get(&x).expect("x is a leaf").data(), [0.0, 0.0, 1.0]);
    }
}
