use crate::autograd::{Backward, Grads, OpDoc};
use crate::grad::{GradOutput, channel_chunk};
use crate::kernels::channel_sums::channel_sums;
use crate::kernels::elementwise::dispatch;
use crate::parallel::chunks_mut;
use crate::reference::Array;
use crate::tensor::Tensor;

impl Tensor {
    /// Each channel moved and scaled to mean 0 and variance 1: `y = (x - mean) / sqrt(var + eps)`, with mean and biased variance
    /// taken over all dimensions but the last.
    ///
    /// One pass over `x` gives both, of the differences to its first row: a large common offset costs no precision.
    ///
    /// # Shapes
    /// - `self`: `(..., C)`; returns the same
    ///
    /// # Gradient
    /// `grad_input = (grad_output - mean(grad_output) - y * mean(grad_output * y)) / sqrt(var + eps)`, means as above.
    /// Saves `y`, shared with the caller, and `1 / sqrt(var + eps)`, `(C)`.
    ///
    /// # Panics
    /// If `self` is a scalar, or `eps` is negative or NaN.
    ///
    /// # Source
    /// The first half of batch norm (Ioffe and Szegedy 2015) in training; [`affine`](Tensor::affine) is the second.
    /// `torch.nn.functional.batch_norm` refuses a single row; here its `y` is 0.
    #[track_caller]
    pub fn standardise(&self, eps: f32) -> Tensor {
        let (shape, channels) = (self.shape(), self.shape().channels());
        assert!(!shape.is_empty(), "standardise: x has shape {shape}, expected at least one dimension");
        assert!(eps >= 0.0, "standardise: eps {eps} is not at least 0");
        let (x, rows) = (self.data(), shape.rows() as f64);
        let mut pivot = vec![0.0; channels];
        pivot.iter_mut().zip(x).for_each(|(pivot, x)| *pivot = *x);
        let [sums, squares] = channel_sums(x, x, &pivot, |x, _, pivot| (x - pivot, (x - pivot) * (x - pivot)));
        // The mean keeps its f64: rounded, it would shift every y by up to half a unit in the last place of the offset.
        let mut mean = vec![0.0; channels];
        let inv_std = Tensor::build([channels], |inv_std| {
            for c in 0..channels {
                let from_pivot = sums[c] / rows;
                let var = (squares[c] / rows - from_pivot * from_pivot).max(0.0);
                mean[c] = f64::from(pivot[c]) + from_pivot;
                inv_std[c] = (1.0 / (var + f64::from(eps)).sqrt()) as f32;
            }
        });
        let y = Tensor::build(shape, |out| {
            let (inv_std, len) = (inv_std.data(), channel_chunk(channels));
            chunks_mut(out, len, |i, out| {
                let x = &x[i * len..][..out.len()];
                dispatch(|| {
                    for (y, x) in out.chunks_exact_mut(channels).zip(x.chunks_exact(channels)) {
                        for (((y, &x), &mean), &inv_std) in y.iter_mut().zip(x).zip(&mean).zip(inv_std) {
                            *y = (f64::from(x) - mean) as f32 * inv_std;
                        }
                    }
                });
            });
        });
        let saved = Standardise { y: y.detach(), inv_std, eps };
        y.record(&[self], saved)
    }
}

struct Standardise {
    y: Tensor,
    inv_std: Tensor,
    eps: f32,
}

impl Backward for Standardise {
    fn doc(&self) -> OpDoc {
        OpDoc {
            name: "standardise",
            formula: "y = (x - mean[c]) / sqrt(var[c] + eps)",
            gradient: "grad_x = (grad_output - mean_{\"all but c\"} (grad_output) - y * mean_{\"all but c\"} (grad_output * y)) / sqrt(var[c] + eps)",
        }
    }

    fn inputs(&self) -> Vec<String> {
        ["x"].map(String::from).to_vec()
    }

    fn attributes(&self) -> Vec<(&'static str, String)> {
        vec![("eps", self.eps.to_string())]
    }

    fn again(&self, inputs: &[&Tensor]) -> Option<Tensor> {
        Some(inputs[0].standardise(self.eps))
    }

    fn backward(&self, grad_output: GradOutput, grads: &mut Grads) {
        let mut grad = grad_output.into_tensor();
        let (y, inv_std, shape) = (self.y.data(), self.inv_std.data(), self.y.shape());
        let mean = |sums: Vec<f64>| -> Vec<f32> { sums.iter().map(|s| (s / shape.rows() as f64) as f32).collect() };
        let [of_grad, of_product] = channel_sums(grad.data(), y, inv_std, |g, y, _| (g, g * y)).map(mean);
        let (channels, len) = (shape.channels(), channel_chunk(shape.channels()));
        chunks_mut(grad.data_mut(), len, |i, grad| {
            let y = &y[i * len..][..grad.len()];
            dispatch(|| {
                for (g, y) in grad.chunks_exact_mut(channels).zip(y.chunks_exact(channels)) {
                    let per_channel = of_grad.iter().zip(&of_product).zip(inv_std);
                    for ((g, &y), ((&of_grad, &of_product), &inv_std)) in g.iter_mut().zip(y).zip(per_channel) {
                        *g = (*g - of_grad - y * of_product) * inv_std;
                    }
                }
            });
        });
        grads.add(0, grad);
    }

    fn reference(&self, inputs: &[&Array]) -> Array {
        let x = inputs[0];
        let (channels, rows) = (x.shape.channels(), x.shape.rows() as f64);
        let mean_of =
            |f: &dyn Fn(usize) -> f64, c: usize| (c..x.data.len()).step_by(channels).map(f).sum::<f64>() / rows;
        let mean: Vec<f64> = (0..channels).map(|c| mean_of(&|at| x.data[at], c)).collect();
        let var: Vec<f64> = (0..channels).map(|c| mean_of(&|at| (x.data[at] - mean[c]).powi(2), c)).collect();
        Array::from_fn(x.shape, |at| {
            let c = at % channels;
            (x.data[at] - mean[c]) / (var[c] + f64::from(self.eps)).sqrt()
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::gradcheck::{gradcheck, sample};
    use crate::tensor::Tensor;

    #[test]
    fn agrees_with_f64_reference() {
        for shape in [&[2, 3, 5, 3][..], &[7, 1], &[2, 2, 2, 17], &[5], &[1, 4], &[0, 3], &[3, 0]] {
            gradcheck(&[sample(shape)], |t| t[0].standardise(1e-5));
        }
    }

    #[test]
    fn channels_get_mean_0_and_variance_1_over_several_chunks() {
        let x = sample([20_000, 3]).scale(5.0);
        let y = x.standardise(0.0);
        for c in 0..3 {
            let column = || y.data().iter().skip(c).step_by(3).map(|&v| f64::from(v));
            let mean = column().sum::<f64>() / 20_000.0;
            let var = column().map(|v| (v - mean).powi(2)).sum::<f64>() / 20_000.0;
            // Each y carries a relative rounding of 1e-7; means of many are far closer.
            assert!(mean.abs() < 1e-7 && (var - 1.0).abs() < 1e-6, "channel {c}: mean {mean}, variance {var}");
        }
    }

    #[test]
    fn a_large_offset_costs_no_precision() {
        // Multiples of 1/8 stay exact beside 2^20 in f32, so both inputs hold the same differences.
        let x = Tensor::from_fn([1000, 1], |i| (i * i % 101) as f32 / 8.0);
        let moved = Tensor::from_fn([1000, 1], |i| x.data()[i] + 1048576.0);
        let (y, moved) = (x.standardise(1e-5), moved.standardise(1e-5));
        let worst = y.data().iter().zip(moved.data()).fold(0.0f32, |m, (a, b)| m.max((a - b).abs()));
        // One rounding of x - mean, whose mean differs in the 16th digit.
        assert!(worst < 1e-6, "{worst}");
    }

    #[test]
    fn a_constant_channel_becomes_0() {
        assert_eq!(Tensor::full([5, 2], 3.7).standardise(1e-5).data(), [0.0; 10]);
    }

    #[test]
    #[should_panic(expected = "standardise: x has shape (), expected at least one dimension")]
    fn a_scalar_has_no_channels() {
        Tensor::scalar(1.0).standardise(1e-5);
    }

    #[test]
    #[should_panic(expected = "standardise: eps -1 is not at least 0")]
    fn eps_is_not_negative() {
        sample([2, 2]).standardise(-1.0);
    }
}
