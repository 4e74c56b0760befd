use super::pool2d::{Pool2d, Windows};
use crate::autograd::{Backward, Grads, OpDoc};
use crate::grad::GradOutput;
use crate::kernels::elementwise::dispatch;
use crate::parallel::chunks_mut;
use crate::reference::Array;
use crate::tensor::Tensor;

impl Tensor {
    /// Mean of each window, channel by channel: `y[n, i, j, c] = sum of x[n, ., ., c] under the window at (i, j) / count`.
    ///
    /// `count` is `kernel_size^2` with `count_include_pad` (padding counts as zeros), else the number of pixels under the
    /// window that are not padding.
    ///
    /// # Shapes
    /// - `self`: `(N, H, W, C)`
    /// - returns `(N, H_out, W_out, C)`, `H_out = (H + 2*padding - kernel_size) / stride + 1`, rounded down
    ///
    /// # Gradient
    /// `grad_input` gets `grad_output / count` at every pixel of each window, summed over windows that overlap. Saves only sizes.
    ///
    /// # Panics
    /// If `self` does not have four dimensions, `padding` is more than half of `kernel_size`, or the window does not fit.
    ///
    /// # Source
    /// `torch.nn.functional.avg_pool2d` (without `ceil_mode` and `divisor_override`).
    #[track_caller]
    pub fn avg_pool2d(&self, config: Pool2d, count_include_pad: bool) -> Tensor {
        let windows = Windows::new("avg_pool2d", config, self);
        let op = AvgPool2d { windows, count_include_pad };
        let (x, [_, _, w, c], image) = (self.data(), windows.input, windows.input_image());
        let y = Tensor::build(windows.output, |out| {
            chunks_mut(out, windows.output_image(), |n, y| {
                let x = &x[n * image..][..image];
                dispatch(|| {
                    windows.for_each(|o, rows, columns| {
                        let count = op.count(rows.len() * columns.len());
                        let y = &mut y[o..][..c];
                        y.fill(0.0);
                        for row in rows {
                            for column in columns.clone() {
                                let x = &x[(row * w + column) * c..][..c];
                                y.iter_mut().zip(x).for_each(|(y, x)| *y += x);
                            }
                        }
                        y.iter_mut().for_each(|y| *y /= count);
                    });
                });
            });
        });
        y.record(&[self], op)
    }
}

struct AvgPool2d {
    windows: Windows,
    count_include_pad: bool,
}

impl AvgPool2d {
    #[inline(always)]
    fn count(&self, inside: usize) -> f32 {
        (if self.count_include_pad { self.windows.area() } else { inside }) as f32
    }
}

impl Backward for AvgPool2d {
    fn doc(&self) -> OpDoc {
        OpDoc {
            name: "avg_pool2d",
            formula: "y[n,i,j,c] = (1 / count) * sum_{h,w \"in window\" (i,j)} x[n,h,w,c]",
            gradient: "grad_x[n,h,w,c] = sum_{\"windows\" (i,j) \"that hold\" (h,w)} grad_output[n,i,j,c] / count",
        }
    }

    fn inputs(&self) -> Vec<String> {
        ["x"].map(String::from).to_vec()
    }

    fn attributes(&self) -> Vec<(&'static str, String)> {
        let mut attributes = self.windows.attributes();
        attributes.push(("count_include_pad", self.count_include_pad.to_string()));
        attributes
    }

    fn again(&self, inputs: &[&Tensor]) -> Option<Tensor> {
        Some(inputs[0].avg_pool2d(self.windows.config(), self.count_include_pad))
    }

    fn backward(&self, grad_output: GradOutput, grads: &mut Grads) {
        let mut grad_output = grad_output.into_tensor();
        let ([_, _, w, c], len) = (self.windows.input, self.windows.output_image());
        chunks_mut(grad_output.data_mut(), len, |_, g| {
            dispatch(|| {
                self.windows.for_each(|o, rows, columns| {
                    let count = self.count(rows.len() * columns.len());
                    g[o..][..c].iter_mut().for_each(|g| *g /= count);
                });
            });
        });
        let g = grad_output.data();
        grads.accumulate(0, |grad_input, fresh| {
            chunks_mut(grad_input, self.windows.input_image(), |n, grad_input| {
                if fresh {
                    grad_input.fill(0.0);
                }
                let g = &g[n * len..][..len];
                dispatch(|| {
                    self.windows.for_each(|o, rows, columns| {
                        let g = &g[o..][..c];
                        for row in rows {
                            for column in columns.clone() {
                                let grad_input = &mut grad_input[(row * w + column) * c..][..c];
                                grad_input.iter_mut().zip(g).for_each(|(sum, g)| *sum += g);
                            }
                        }
                    });
                });
            });
        });
    }

    fn reference(&self, inputs: &[&Array]) -> Array {
        self.windows.reference(inputs[0], |_, values| {
            let count = if self.count_include_pad { self.windows.area() } else { values.len() };
            values.iter().sum::<f64>() / count as f64
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Pool2d;
    use crate::gradcheck::{gradcheck, sample};
    use crate::tensor::Tensor;

    fn pool(kernel_size: usize, stride: usize, padding: usize) -> Pool2d {
        Pool2d { kernel_size, stride, padding }
    }

    #[test]
    fn agrees_with_f64_reference() {
        for (shape, config) in [
            ([2, 5, 7, 3], pool(2, 2, 0)), // the last row and column are dropped
            ([2, 5, 4, 3], pool(3, 2, 1)), // windows overlap
            ([1, 6, 5, 1], pool(3, 1, 1)),
            ([1, 1, 1, 9], pool(2, 3, 1)),
            ([1, 7, 7, 2], pool(2, 3, 0)), // pixels between windows
            ([0, 4, 4, 2], pool(2, 2, 0)),
        ] {
            for count_include_pad in [false, true] {
                gradcheck(&[sample(shape)], |t| t[0].avg_pool2d(config, count_include_pad));
            }
        }
    }

    #[test]
    fn padding_counts_only_when_asked() {
        let x = Tensor::full([1, 2, 2, 1], 1.0);
        assert_eq!(x.avg_pool2d(pool(3, 1, 1), false).data(), [1.0; 4]);
        assert_eq!(x.avg_pool2d(pool(3, 1, 1), true).data(), [4.0 / 9.0; 4]);
    }

    #[test]
    #[should_panic(expected = "avg_pool2d: kernel_size 2, stride 0, padding 0 do not fit x (1, 4, 4, 1)")]
    fn a_stride_of_zero_is_refused() {
        sample([1, 4, 4, 1]).avg_pool2d(pool(2, 0, 0), true);
    }
}
