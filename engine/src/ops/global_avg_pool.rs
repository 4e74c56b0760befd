use super::pool2d::nhwc;
use crate::autograd::{Backward, Grads, OpDoc};
use crate::grad::GradOutput;
use crate::kernels::elementwise::dispatch;
use crate::parallel::chunks_mut;
use crate::reference::Array;
use crate::shape::Shape;
use crate::tensor::Tensor;

impl Tensor {
    /// Mean of each channel over the whole map: `y[n, c] = mean over h, w of x[n, h, w, c]`, added in `f64`.
    ///
    /// # Shapes
    /// - `self`: `(N, H, W, C)`, `H` and `W` at least 1
    /// - returns `(N, C)`
    ///
    /// # Gradient
    /// `grad_input[n, h, w, c] = grad_output[n, c] / (H*W)`. Saves only the shape.
    ///
    /// # Panics
    /// If `self` does not have four dimensions, or a map has no pixels.
    #[track_caller]
    pub fn global_avg_pool(&self) -> Tensor {
        let [n, h, w, c] = nhwc("global_avg_pool", self);
        assert!(h * w > 0, "global_avg_pool: x {} has maps without pixels, which have no mean", self.shape());
        let x = self.data();
        let y = Tensor::build([n, c], |out| {
            chunks_mut(out, c, |n, y| {
                let x = &x[n * h * w * c..][..h * w * c];
                let mut sums = vec![0.0f64; c];
                dispatch(|| {
                    for x in x.chunks_exact(c) {
                        sums.iter_mut().zip(x).for_each(|(sum, &x)| *sum += f64::from(x));
                    }
                });
                y.iter_mut().zip(&sums).for_each(|(y, sum)| *y = (sum / (h * w) as f64) as f32);
            });
        });
        y.record(&[self], GlobalAvgPool { shape: self.shape() })
    }
}

struct GlobalAvgPool {
    shape: Shape,
}

impl Backward for GlobalAvgPool {
    fn doc(&self) -> OpDoc {
        OpDoc {
            name: "global_avg_pool",
            formula: "y[n,c] = (1 / (H * W)) * sum_{h,w} x[n,h,w,c]",
            gradient: "grad_x[n,h,w,c] = grad_output[n,c] / (H * W)",
        }
    }

    fn inputs(&self) -> Vec<String> {
        ["x"].map(String::from).to_vec()
    }

    fn again(&self, inputs: &[&Tensor]) -> Option<Tensor> {
        Some(inputs[0].global_avg_pool())
    }

    fn backward(&self, grad_output: GradOutput, grads: &mut Grads) {
        let grad_output = grad_output.into_tensor();
        let [_, h, w, c] = [0, 1, 2, 3].map(|i| self.shape[i]);
        let (g, count) = (grad_output.data(), (h * w) as f32);
        let grad_input = Tensor::build(self.shape, |out| {
            chunks_mut(out, h * w * c, |n, out| {
                let (first, rest) = out.split_at_mut(c);
                first.iter_mut().zip(&g[n * c..][..c]).for_each(|(out, g)| *out = g / count);
                rest.chunks_exact_mut(c).for_each(|pixel| pixel.copy_from_slice(first));
            });
        });
        grads.add(0, grad_input);
    }

    fn reference(&self, inputs: &[&Array]) -> Array {
        let [n, h, w, c] = inputs[0].dims();
        Array::from_fn([n, c], |i| {
            let pixels = (0..h * w).map(|p| inputs[0].data[(i / c * h * w + p) * c + i % c]);
            pixels.sum::<f64>() / (h * w) as f64
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::gradcheck::{gradcheck, sample};

    #[test]
    fn agrees_with_f64_reference() {
        for shape in [[2, 3, 5, 7], [1, 1, 1, 1], [3, 1, 4, 17], [0, 2, 2, 3], [2, 2, 2, 0]] {
            gradcheck(&[sample(shape)], |t| t[0].global_avg_pool());
        }
    }

    #[test]
    #[should_panic(expected = "global_avg_pool: x has shape (2, 3), expected (N, H, W, C)")]
    fn a_matrix_is_no_map() {
        sample([2, 3]).global_avg_pool();
    }

    #[test]
    #[should_panic(expected = "global_avg_pool: x (2, 0, 3, 1) has maps without pixels")]
    fn a_map_without_pixels_has_no_mean() {
        sample([2, 0, 3, 1]).global_avg_pool();
    }
}
