use crate::autograd::{Backward, Grads, OpDoc};
use crate::grad::GradOutput;
use crate::kernels::elementwise::dispatch;
use crate::parallel::{CHUNK, chunks_mut};
use crate::reference::Array;
use crate::tensor::Tensor;

impl Tensor {
    /// `y = factor * x`, for a constant factor.
    ///
    /// # Shapes
    /// - `self`: any; returns the same
    ///
    /// # Gradient
    /// `grad_input = factor * grad_output`. Saves nothing but the factor.
    pub fn scale(&self, factor: f32) -> Tensor {
        scaled(self, factor).record(&[self], Scale { factor })
    }
}

fn scaled(x: &Tensor, factor: f32) -> Tensor {
    let values = x.data();
    Tensor::build(x.shape(), |out| {
        chunks_mut(out, CHUNK, |i, out| {
            let x = &values[i * CHUNK..][..out.len()];
            dispatch(|| out.iter_mut().zip(x).for_each(|(y, x)| *y = factor * x));
        });
    })
}

struct Scale {
    factor: f32,
}

impl Backward for Scale {
    fn doc(&self) -> OpDoc {
        OpDoc { name: "scale", formula: "y = factor * x", gradient: "grad_x = factor * grad_output" }
    }

    fn inputs(&self) -> Vec<String> {
        ["x"].map(String::from).to_vec()
    }

    fn attributes(&self) -> Vec<(&'static str, String)> {
        vec![("factor", self.factor.to_string())]
    }

    fn again(&self, inputs: &[&Tensor]) -> Option<Tensor> {
        Some(inputs[0].scale(self.factor))
    }

    fn backward(&self, grad_output: GradOutput, grads: &mut Grads) {
        grads.add(0, scaled(&grad_output.into_tensor(), self.factor));
    }

    fn reference(&self, inputs: &[&Array]) -> Array {
        inputs[0].map(|v| f64::from(self.factor) * v)
    }
}

#[cfg(test)]
mod tests {
    use crate::gradcheck::{gradcheck, sample};

    #[test]
    fn agrees_with_f64_reference() {
        gradcheck(&[sample([3, 5])], |t| t[0].scale(-2.5));
    }
}
