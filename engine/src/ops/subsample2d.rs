use super::pool2d::nhwc;
use crate::autograd::{Backward, Grads, OpDoc};
use crate::grad::GradOutput;
use crate::kernels::elementwise::dispatch;
use crate::parallel::chunks_mut;
use crate::reference::Array;
use crate::tensor::Tensor;

impl Tensor {
    /// Every `stride`-th row and column of a feature map, starting with the first: `y[n, i, j, c] = x[n, i*stride, j*stride, c]`.
    ///
    /// # Shapes
    /// - `self`: `(N, H, W, C)`
    /// - returns `(N, H_out, W_out, C)`, `H_out = H / stride`, rounded up
    ///
    /// # Gradient
    /// `grad_input` gets `grad_output` at the pixels that were kept, and 0 elsewhere. Saves only sizes.
    ///
    /// # Panics
    /// If `self` does not have four dimensions, or `stride` is 0.
    ///
    /// # Source
    /// The parameter-free shortcut (option A) of residual networks (He et al. 2015), `x[:, ::stride, ::stride]`.
    #[track_caller]
    pub fn subsample2d(&self, stride: usize) -> Tensor {
        let input = nhwc("subsample2d", self);
        assert!(stride > 0, "subsample2d: a stride of 0 for x {}, it must be at least 1", self.shape());
        let op = Subsample2d { input, stride };
        let [n, h_out, w_out, c] = op.output();
        let (x, image) = (self.data(), op.image());
        let y = Tensor::build([n, h_out, w_out, c], |out| {
            chunks_mut(out, h_out * w_out * c, |n, y| {
                let x = &x[n * image..][..image];
                op.for_each(|from, to| y[to..][..c].copy_from_slice(&x[from..][..c]));
            });
        });
        y.record(&[self], op)
    }
}

struct Subsample2d {
    input: [usize; 4],
    stride: usize,
}

impl Subsample2d {
    fn output(&self) -> [usize; 4] {
        let [n, h, w, c] = self.input;
        [n, h.div_ceil(self.stride), w.div_ceil(self.stride), c]
    }

    /// Elements of one image of the input.
    fn image(&self) -> usize {
        self.input[1..].iter().product()
    }

    /// Calls `f` with the offsets, in an image of the input and of the output, of each pixel that is kept.
    #[inline(always)]
    fn for_each(&self, mut f: impl FnMut(usize, usize)) {
        let ([_, _, w, c], [_, h_out, w_out, _]) = (self.input, self.output());
        for i in 0..h_out {
            for j in 0..w_out {
                f((i * w + j) * self.stride * c, (i * w_out + j) * c);
            }
        }
    }
}

impl Backward for Subsample2d {
    fn doc(&self) -> OpDoc {
        OpDoc {
            name: "subsample2d",
            formula: "y[n,i,j,c] = x[n,i * stride,j * stride,c]",
            gradient: "grad_x[n,i * stride,j * stride,c] = grad_output[n,i,j,c] \", elsewhere 0\"",
        }
    }

    fn inputs(&self) -> Vec<String> {
        ["x"].map(String::from).to_vec()
    }

    fn attributes(&self) -> Vec<(&'static str, String)> {
        vec![("stride", self.stride.to_string())]
    }

    fn again(&self, inputs: &[&Tensor]) -> Option<Tensor> {
        Some(inputs[0].subsample2d(self.stride))
    }

    fn backward(&self, grad_output: GradOutput, grads: &mut Grads) {
        let grad_output = grad_output.into_tensor();
        let [_, h_out, w_out, c] = self.output();
        let len = h_out * w_out * c;
        grads.accumulate(0, |grad_input, fresh| {
            chunks_mut(grad_input, self.image(), |n, grad_input| {
                if fresh {
                    grad_input.fill(0.0);
                }
                let g = &grad_output.data()[n * len..][..len];
                dispatch(|| {
                    self.for_each(|from, to| {
                        let sum = &mut grad_input[from..][..c];
                        sum.iter_mut().zip(&g[to..][..c]).for_each(|(sum, g)| *sum += g);
                    });
                });
            });
        });
    }

    fn reference(&self, inputs: &[&Array]) -> Array {
        let ([_, h, w, c], [_, h_out, w_out, _]) = (self.input, self.output());
        Array::from_fn(self.output(), |at| {
            let (n, i, j) = (at / c / w_out / h_out, at / c / w_out % h_out, at / c % w_out);
            inputs[0].data[((n * h + i * self.stride) * w + j * self.stride) * c + at % c]
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::gradcheck::{gradcheck, sample};
    use crate::tensor::Tensor;

    #[test]
    fn agrees_with_f64_reference() {
        for (shape, stride) in
            [([2, 4, 6, 3], 2), ([2, 5, 3, 1], 2), ([1, 7, 1, 5], 3), ([1, 2, 2, 2], 1), ([1, 0, 3, 2], 2)]
        {
            gradcheck(&[sample(shape)], |t| t[0].subsample2d(stride));
        }
    }

    #[test]
    fn keeps_the_first_pixel_of_each_stride() {
        let x = Tensor::from_fn([1, 3, 3, 1], |i| i as f32);
        assert_eq!(x.subsample2d(2).data(), [0.0, 2.0, 6.0, 8.0]);
    }

    #[test]
    #[should_panic(expected = "subsample2d: x has shape (4, 4), expected (N, H, W, C)")]
    fn a_matrix_is_no_map() {
        sample([4, 4]).subsample2d(2);
    }

    #[test]
    #[should_panic(expected = "subsample2d: a stride of 0 for x (1, 4, 4, 1)")]
    fn a_stride_of_zero_is_refused() {
        sample([1, 4, 4, 1]).subsample2d(0);
    }
}
