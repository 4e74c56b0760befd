use crate::autograd::{Backward, Grads, OpDoc};
use crate::grad::{GradOutput, channel_chunk};
use crate::parallel::chunks_mut;
use crate::reference::Array;
use crate::tensor::Tensor;

impl Tensor {
    /// Logarithm of the softmax over the last dimension: `y[..., k] = x[..., k] - log(sum over j of exp(x[..., j]))`.
    ///
    /// Computed in `f64` from the differences to the largest value, so that no logit overflows.
    ///
    /// # Shapes
    /// - `self`: `(..., K)`; returns the same
    ///
    /// # Gradient
    /// `grad_input[..., k] = grad_output[..., k] - exp(y[..., k]) * (sum over j of grad_output[..., j])`.
    /// Saves `y`, shared with the caller: no extra memory.
    ///
    /// # Panics
    /// If `self` is a scalar.
    ///
    /// # Source
    /// `torch.nn.functional.log_softmax(x, dim=-1)`.
    #[track_caller]
    pub fn log_softmax(&self) -> Tensor {
        let (shape, classes) = (self.shape(), self.shape().channels());
        assert!(!shape.is_empty(), "log_softmax: x has shape {shape}, expected at least one dimension");
        let x = self.data();
        let y = Tensor::build(shape, |out| {
            let len = channel_chunk(classes);
            chunks_mut(out, len, |i, out| {
                let x = &x[i * len..][..out.len()];
                for (y, x) in out.chunks_exact_mut(classes).zip(x.chunks_exact(classes)) {
                    let log_p = row_log_softmax(x);
                    y.iter_mut().zip(x).for_each(|(y, &x)| *y = log_p(x) as f32);
                }
            });
        });
        let saved = LogSoftmax { y: y.detach() };
        y.record(&[self], saved)
    }
}

/// The map from a value of this row to the logarithm of its softmax, in `f64`. The largest value is subtracted first and
/// apart from the rest: added to a large one, the logarithm of the sum would be lost.
pub(super) fn row_log_softmax(row: &[f32]) -> impl Fn(f32) -> f64 + Copy {
    let max = f64::from(row.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let log_sum = row.iter().map(|&x| (f64::from(x) - max).exp()).sum::<f64>().ln();
    move |x| f64::from(x) - max - log_sum
}

struct LogSoftmax {
    y: Tensor,
}

impl Backward for LogSoftmax {
    fn doc(&self) -> OpDoc {
        OpDoc {
            name: "log_softmax",
            formula: "y[k] = x[k] - log(sum_{j} exp(x[j]))",
            gradient: "grad_x[k] = grad_output[k] - exp(y[k]) * sum_{j} grad_output[j]",
        }
    }

    fn inputs(&self) -> Vec<String> {
        ["x"].map(String::from).to_vec()
    }

    fn again(&self, inputs: &[&Tensor]) -> Option<Tensor> {
        Some(inputs[0].log_softmax())
    }

    fn backward(&self, grad_output: GradOutput, grads: &mut Grads) {
        let mut grad = grad_output.into_tensor();
        let (y, classes) = (self.y.data(), self.y.shape().channels());
        let len = channel_chunk(classes);
        chunks_mut(grad.data_mut(), len, |i, grad| {
            let y = &y[i * len..][..grad.len()];
            for (g, y) in grad.chunks_exact_mut(classes).zip(y.chunks_exact(classes)) {
                let sum: f64 = g.iter().map(|&g| f64::from(g)).sum();
                g.iter_mut().zip(y).for_each(|(g, &y)| *g = (f64::from(*g) - f64::from(y).exp() * sum) as f32);
            }
        });
        grads.add(0, grad);
    }

    fn reference(&self, inputs: &[&Array]) -> Array {
        let x = inputs[0];
        let classes = x.shape.channels();
        Array::from_fn(x.shape, |at| {
            let row = &x.data[at / classes * classes..][..classes];
            x.data[at] - row.iter().map(|v| v.exp()).sum::<f64>().ln()
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::gradcheck::{gradcheck, sample};
    use crate::tensor::Tensor;

    #[test]
    fn agrees_with_f64_reference() {
        for shape in [&[3, 5][..], &[2, 3, 1], &[7], &[0, 4], &[4, 0]] {
            gradcheck(&[sample(shape)], |t| t[0].log_softmax());
        }
    }

    #[test]
    fn large_logits_do_not_overflow() {
        let y = Tensor::from_slice([2, 2], &[1e30, 1e30, -1e4, 1e4]).log_softmax();
        assert_eq!(y.data(), [-(2f32.ln()), -(2f32.ln()), -2e4, 0.0]);
        let y = Tensor::from_slice([2], &[f32::NEG_INFINITY, 3.0]).log_softmax();
        assert_eq!(y.data(), [f32::NEG_INFINITY, 0.0]);
    }

    #[test]
    fn nan_spreads_over_its_row_only() {
        let y = Tensor::from_slice([2, 2], &[1.0, f32::NAN, 1.0, 1.0]).log_softmax();
        assert!(y.data()[..2].iter().all(|v| v.is_nan()) && y.data()[2..].iter().all(|v| v.is_finite()));
    }

    #[test]
    #[should_panic(expected = "log_softmax: x has shape (), expected at least one dimension")]
    fn a_scalar_has_no_classes() {
        Tensor::scalar(1.0).log_softmax();
    }
}
