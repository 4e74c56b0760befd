//! Batch norm as two things: the moments of a map, which are its own, and the affine of one consumer.
//!
//! `moments` and [`fold_batch_norm`] give the `(2, C)` affine of a [`crate::ops::Lazy`]; the reader applies it. The gradient with
//! respect to the moments comes back as two numbers per channel and reaches the map as one affine function of it, applied once
//! however many consumers the map has. It is ordinary reverse mode on `mean, var -> scale, shift`.

use crate::autograd::{Backward, Grads, OpDoc};
use crate::grad::GradOutput;
use crate::kernels::moments;
use crate::kernels::simd::Level;
use crate::reference::Array;
use crate::tensor::Tensor;

impl Tensor {
    /// Mean and biased variance of each channel, over all dimensions but the last. If the op that made this tensor measured
    /// them, nothing is computed.
    ///
    /// # Shapes
    /// - `self`: `(.., C)`
    /// - returns `(2, C)`: means, then variances
    ///
    /// # Gradient
    /// `grad_input = grad_var[c] * 2/M * (x - mean[c]) + grad_mean[c]/M` over `M` rows, left for the reader of the gradient to
    /// apply. Saves `self` and the moments, shared.
    pub fn moments(&self) -> Tensor {
        let channels = self.shape().channels();
        let y = match &self.moments {
            Some(measured) => Tensor::from_slice([2, channels], measured),
            None => Tensor::from_slice([2, channels], &moments::moments(Level::Native, self.data(), channels)),
        };
        let op = Moments { x: self.detach(), y: y.detach() };
        y.record(&[self], op)
    }
}

struct Moments {
    x: Tensor,
    y: Tensor,
}

impl Backward for Moments {
    fn doc(&self) -> OpDoc {
        OpDoc {
            name: "moments",
            formula: "mean[c] = (1 / M) * sum_{\"all but c\"} x; var[c] = (1 / M) * sum_{\"all but c\"} (x - mean[c])^2",
            gradient: "grad_x = grad_mean[c] / M + grad_var[c] * (2 / M) * (x - mean[c])",
        }
    }

    fn inputs(&self) -> Vec<String> {
        ["x"].map(String::from).to_vec()
    }

    fn attributes(&self) -> Vec<(&'static str, String)> {
        vec![("M", self.x.shape().rows().to_string())]
    }

    fn again(&self, inputs: &[&Tensor]) -> Option<Tensor> {
        Some(inputs[0].moments())
    }

    fn backward(&self, grad_output: GradOutput, grads: &mut Grads) {
        let grad = grad_output.into_tensor();
        let channels = self.x.shape().channels();
        let (grad_mean, grad_var) = grad.data().split_at(channels);
        let rows = self.x.shape().rows() as f32;
        let coefficients = Tensor::build([2, channels], |out| {
            let (slope, offset) = out.split_at_mut(channels);
            for c in 0..channels {
                slope[c] = 2.0 * grad_var[c] / rows;
                offset[c] = grad_mean[c] / rows - slope[c] * self.y.data()[c];
            }
        });
        grads.add_affine_of(0, self.x.clone(), coefficients);
    }

    fn reference(&self, inputs: &[&Array]) -> Array {
        let x = inputs[0];
        let (channels, rows) = (x.shape.channels(), x.shape.rows() as f64);
        let column = |c: usize| x.data.iter().skip(c).step_by(channels);
        let mean: Vec<f64> = (0..channels).map(|c| column(c).sum::<f64>() / rows).collect();
        let var = (0..channels).map(|c| column(c).map(|v| (v - mean[c]).powi(2)).sum::<f64>() / rows);
        let data = mean.iter().copied().chain(var).collect();
        Array { shape: [2, channels].into(), data }
    }
}

/// The affine of a batch norm: `scale = gamma / sqrt(var + eps)`, `shift = beta - mean * scale`.
///
/// # Shapes
/// - `moments`: `(2, C_i)` of each map the batch norm reads, in order
/// - `gamma`, `beta`: `(C)`, `C = sum C_i`
/// - returns `(2, C)`: scales, then shifts
///
/// # Gradient
/// With `r = 1/sqrt(var + eps)` and `t = grad_scale - mean*grad_shift`: `grad_gamma = r*t`, `grad_beta = grad_shift`,
/// `grad_mean = -scale*grad_shift`, `grad_var = -scale*r^2*t/2`. Saves the moments and `gamma`, shared.
///
/// # Panics
/// If the shapes do not meet these rules.
///
/// # Source
/// Ioffe and Szegedy 2015, with the affine split off so that a map's moments serve all its readers.
#[track_caller]
pub fn fold_batch_norm(moments: &[&Tensor], gamma: &Tensor, beta: &Tensor, eps: f32) -> Tensor {
    let channels: usize = moments.iter().map(|m| m.shape().channels()).sum();
    assert!(
        gamma.shape()[..] == [channels] && beta.shape()[..] == [channels],
        "fold_batch_norm: gamma {} and beta {} must be ({channels}), the channels of the moments",
        gamma.shape(),
        beta.shape()
    );
    let op = FoldBatchNorm { moments: moments.iter().map(|m| m.detach()).collect(), gamma: gamma.detach(), eps };
    let y = Tensor::build([2, channels], |out| {
        let (scale, shift) = out.split_at_mut(channels);
        op.each_channel(|c, mean, r| {
            scale[c] = gamma.data()[c] * r;
            shift[c] = beta.data()[c] - mean * scale[c];
        });
    });
    let mut inputs = moments.to_vec();
    inputs.extend([gamma, beta]);
    y.record(&inputs, op)
}

struct FoldBatchNorm {
    moments: Vec<Tensor>,
    gamma: Tensor,
    eps: f32,
}

impl FoldBatchNorm {
    /// Calls `f(c, mean, 1/sqrt(var + eps))` for each channel of all maps.
    fn each_channel(&self, mut f: impl FnMut(usize, f32, f32)) {
        let mut first = 0;
        for moments in &self.moments {
            let (mean, var) = moments.data().split_at(moments.shape().channels());
            for (c, (mean, var)) in mean.iter().zip(var).enumerate() {
                f(first + c, *mean, 1.0 / (var + self.eps).sqrt());
            }
            first += mean.len();
        }
    }
}

impl Backward for FoldBatchNorm {
    fn doc(&self) -> OpDoc {
        OpDoc {
            name: "fold_batch_norm",
            formula: "scale[c] = gamma[c] / sqrt(var[c] + eps); shift[c] = beta[c] - mean[c] * scale[c]",
            gradient: "t = grad_scale[c] - mean[c] * grad_shift[c]; grad_gamma[c] = t / sqrt(var[c] + eps); grad_beta[c] = grad_shift[c]; grad_mean[c] = -scale[c] * grad_shift[c]; grad_var[c] = -scale[c] * t / (2 * (var[c] + eps))",
        }
    }

    fn inputs(&self) -> Vec<String> {
        let moments = |i| if self.moments.len() == 1 { "moments".into() } else { format!("moments_{i}") };
        (0..self.moments.len()).map(moments).chain(["gamma".into(), "beta".into()]).collect()
    }

    fn attributes(&self) -> Vec<(&'static str, String)> {
        vec![("eps", self.eps.to_string())]
    }

    fn again(&self, inputs: &[&Tensor]) -> Option<Tensor> {
        let (moments, rest) = inputs.split_at(self.moments.len());
        Some(fold_batch_norm(moments, rest[0], rest[1], self.eps))
    }

    fn backward(&self, grad_output: GradOutput, grads: &mut Grads) {
        let grad = grad_output.into_tensor();
        let channels = self.gamma.elements();
        let (grad_scale, grad_shift) = grad.data().split_at(channels);
        let gamma = self.gamma.data();
        let (mut grad_gamma, mut grad_mean, mut grad_var) =
            (vec![0.0; channels], vec![0.0; channels], vec![0.0; channels]);
        self.each_channel(|c, mean, r| {
            let (t, scale) = (grad_scale[c] - mean * grad_shift[c], gamma[c] * r);
            grad_gamma[c] = r * t;
            grad_mean[c] = -scale * grad_shift[c];
            grad_var[c] = -0.5 * scale * r * r * t;
        });
        let mut first = 0;
        for (i, moments) in self.moments.iter().enumerate() {
            let range = first..first + moments.shape().channels();
            first = range.end;
            let both = [&grad_mean[range.clone()], &grad_var[range]].concat();
            grads.add(i, Tensor::from_slice(moments.shape(), &both));
        }
        grads.add(self.moments.len(), Tensor::from_slice([channels], &grad_gamma));
        grads.add(self.moments.len() + 1, Tensor::from_slice([channels], grad_shift));
    }

    fn reference(&self, inputs: &[&Array]) -> Array {
        let (moments, rest) = inputs.split_at(self.moments.len());
        let (gamma, beta) = (rest[0], rest[1]);
        let half = |which: usize| {
            let of = move |m: &&Array| m.data[which * m.shape.channels()..(which + 1) * m.shape.channels()].to_vec();
            moments.iter().flat_map(of).collect::<Vec<f64>>()
        };
        let (mean, var) = (half(0), half(1));
        let scale: Vec<f64> = gamma.data.iter().zip(&var).map(|(g, v)| g / (v + f64::from(self.eps)).sqrt()).collect();
        let shift = beta.data.iter().zip(&mean).zip(&scale).map(|((b, m), s)| b - m * s);
        let data = scale.iter().copied().chain(shift).collect();
        Array { shape: [2, gamma.data.len()].into(), data }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gradcheck::{gradcheck, sample};
    use crate::ops::{Activation, Lazy};

    #[test]
    fn moments_agree_with_f64_reference() {
        gradcheck(&[sample([2, 3, 2, 5])], |t| t[0].moments());
        gradcheck(&[sample([1, 1, 1, 9])], |t| t[0].moments());
    }

    #[test]
    fn folding_agrees_with_f64_reference() {
        let moments = |c| {
            let m = sample([2, c]);
            Tensor::from_fn([2, c], |i| if i < c { m.data()[i] } else { m.data()[i].abs() + 0.5 })
        };
        gradcheck(&[moments(3), moments(4), sample([7]), sample([7])], |t| {
            fold_batch_norm(&[&t[0], &t[1]], &t[2], &t[3], 1e-3)
        });
    }

    #[test]
    fn one_map_with_several_readers_gets_one_correction() {
        gradcheck(&[sample([2, 3, 3, 4]), sample([4]), sample([4]), sample([4]), sample([4])], |t| {
            let moments = t[0].moments();
            let reader = |gamma: &Tensor, beta: &Tensor, activation| {
                let affine = fold_batch_norm(&[&moments], gamma, beta, 1e-5);
                Lazy { affine: Some(affine), activation, ..Lazy::from(&t[0]) }
            };
            let terms = [reader(&t[1], &t[2], Activation::Relu), reader(&t[3], &t[4], Activation::Identity)];
            crate::ops::sum_lazy(&terms, Activation::Identity, false)
        });
    }

    #[test]
    fn a_large_mean_loses_no_digits() {
        // E[x^2] - E[x]^2 would be off by about 1000^2 * 1e-7 = 0.1 here.
        let x = Tensor::from_fn([64, 3], |i| 1000.0 + sample([64, 3]).data()[i]);
        let var = &x.moments().data()[3..].to_vec();
        let reference = Moments { x: x.clone(), y: x.clone() }.reference(&[&Array::from_tensor(&x)]);
        for (a, b) in var.iter().zip(&reference.data[3..]) {
            assert!((f64::from(*a) - b).abs() < 1e-4 * b, "{a} against {b}");
        }
    }
}
