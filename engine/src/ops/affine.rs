use crate::autograd::{Backward, Grads, OpDoc};
use crate::grad::{GradOutput, channel_chunk};
use crate::kernels::channel_sums::channel_sums;
use crate::kernels::elementwise::dispatch;
use crate::parallel::chunks_mut;
use crate::reference::Array;
use crate::tensor::Tensor;

impl Tensor {
    /// Scales and moves each channel: `y[..., c] = gamma[c] * x[..., c] + beta[c]`.
    ///
    /// # Shapes
    /// - `self`: `(..., C)`; returns the same
    /// - `gamma`, `beta`: `(C)`
    ///
    /// # Gradient
    /// `grad_input = grad_output * gamma`, `grad_gamma = sum of grad_output * x` and `grad_beta = sum of grad_output` over all
    /// dimensions but the last. Saves `x` and `gamma`, shared with the caller: no extra memory.
    ///
    /// # Panics
    /// If `self` is a scalar, or `gamma` or `beta` is not `(C)`.
    ///
    /// # Source
    /// The second half of batch norm (Ioffe and Szegedy 2015); [`standardise`](Tensor::standardise) is the first.
    #[track_caller]
    pub fn affine(&self, gamma: &Tensor, beta: &Tensor) -> Tensor {
        let (shape, channels) = (self.shape(), self.shape().channels());
        assert!(
            !shape.is_empty() && gamma.shape() == [channels].into() && beta.shape() == [channels].into(),
            "affine: gamma {} and beta {} for x {shape}, both must be (C), C the last dimension of x",
            gamma.shape(),
            beta.shape()
        );
        let (x, scale, shift) = (self.data(), gamma.data(), beta.data());
        let y = Tensor::build(shape, |out| {
            let len = channel_chunk(channels);
            chunks_mut(out, len, |i, out| {
                let x = &x[i * len..][..out.len()];
                dispatch(|| {
                    for (y, x) in out.chunks_exact_mut(channels).zip(x.chunks_exact(channels)) {
                        for (((y, &x), &scale), &shift) in y.iter_mut().zip(x).zip(scale).zip(shift) {
                            *y = scale * x + shift;
                        }
                    }
                });
            });
        });
        y.record(&[self, gamma, beta], Affine { x: self.detach(), gamma: gamma.detach() })
    }
}

struct Affine {
    x: Tensor,
    gamma: Tensor,
}

impl Backward for Affine {
    fn doc(&self) -> OpDoc {
        OpDoc {
            name: "affine",
            formula: "y[...,c] = gamma[c] * x[...,c] + beta[c]",
            gradient: "grad_x[...,c] = gamma[c] * grad_output[...,c]; grad_gamma[c] = sum_{\"all but c\"} grad_output * x; grad_beta[c] = sum_{\"all but c\"} grad_output",
        }
    }

    fn inputs(&self) -> Vec<String> {
        ["x", "gamma", "beta"].map(String::from).to_vec()
    }

    fn again(&self, inputs: &[&Tensor]) -> Option<Tensor> {
        Some(inputs[0].affine(inputs[1], inputs[2]))
    }

    fn backward(&self, grad_output: GradOutput, grads: &mut Grads) {
        let grad_output = grad_output.into_tensor();
        if grads.needs(1) || grads.needs(2) {
            let sums = channel_sums(grad_output.data(), self.x.data(), self.gamma.data(), |g, x, _| (g * x, g));
            for (i, sums) in sums.iter().enumerate() {
                grads.add(i + 1, Tensor::from_fn([sums.len()], |c| sums[c] as f32));
            }
        }
        // Left to whoever reads the gradient next, often a pass over it anyway.
        grads.add_scaled(0, grad_output, self.gamma.clone());
    }

    fn reference(&self, inputs: &[&Array]) -> Array {
        inputs[0].zip(inputs[1], |x, gamma| x * gamma).zip(inputs[2], |x, beta| x + beta)
    }
}

#[cfg(test)]
mod tests {
    use crate::gradcheck::{gradcheck, sample};

    #[test]
    fn agrees_with_f64_reference() {
        for shape in [&[2, 3, 1, 5][..], &[3, 1], &[7], &[2, 17], &[0, 3], &[3, 0]] {
            let channels = shape[shape.len() - 1];
            let parameters = sample([2, channels]);
            let [gamma, beta] =
                [0, 1].map(|i| crate::Tensor::from_fn([channels], |c| parameters.data()[i * channels + c]));
            gradcheck(&[sample(shape), gamma, beta], |t| t[0].affine(&t[1], &t[2]));
        }
    }

    #[test]
    fn batch_norm_agrees_with_f64_reference() {
        gradcheck(&[sample([2, 3, 2, 3]), sample([3]), sample([3]).scale(2.0)], |t| {
            t[0].standardise(1e-5).affine(&t[1], &t[2])
        });
    }

    #[test]
    #[should_panic(expected = "affine: gamma (4) and beta (5) for x (2, 5), both must be (C)")]
    fn parameters_fit_the_channels() {
        sample([2, 5]).affine(&sample([4]), &sample([5]));
    }
}
