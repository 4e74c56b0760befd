use super::pool2d::{Pool2d, Windows};
use crate::autograd::{Backward, Grads, OpDoc};
use crate::grad::GradOutput;
use crate::kernels::elementwise::dispatch;
use crate::parallel::{chunks_mut, chunks_mut_pair};
use crate::reference::Array;
use crate::tensor::Tensor;

impl Tensor {
    /// Largest value of each window, channel by channel: `y[n, i, j, c] = max over the window at (i, j) of x[n, ., ., c]`.
    ///
    /// Padding counts as minus infinity. A NaN in a window makes its maximum NaN.
    ///
    /// # Shapes
    /// - `self`: `(N, H, W, C)`
    /// - returns `(N, H_out, W_out, C)`, `H_out = (H + 2*padding - kernel_size) / stride + 1`, rounded down
    ///
    /// # Gradient
    /// `grad_input` gets `grad_output` at the first maximum of each window (row by row), and sums over windows that overlap.
    /// Saves where in its window each maximum was: one value per output, and only when `self` is recorded.
    ///
    /// # Panics
    /// If `self` does not have four dimensions, `padding` is more than half of `kernel_size`, or the window does not fit.
    ///
    /// # Source
    /// `torch.nn.functional.max_pool2d` (without `ceil_mode` and `dilation`).
    #[track_caller]
    pub fn max_pool2d(&self, config: Pool2d) -> Tensor {
        let windows = Windows::new("max_pool2d", config, self);
        let (x, image) = (self.data(), windows.input_image());
        if !self.is_recorded() {
            return Tensor::build(windows.output, |out| {
                chunks_mut(out, windows.output_image(), |n, y| {
                    dispatch(
                        #[inline(always)]
                        || maxima(&windows, &x[n * image..][..image], y),
                    )
                });
            });
        }
        let mut position = Tensor::build(windows.output, |_| {});
        let y = Tensor::build(windows.output, |out| {
            chunks_mut_pair(out, position.data_mut(), windows.output_image(), |n, y, position| {
                dispatch(
                    #[inline(always)]
                    || maxima_and_positions(&windows, &x[n * image..][..image], y, position),
                );
            });
        });
        y.record(&[self], MaxPool2d { windows, position })
    }
}

#[inline(always)]
fn maxima(windows: &Windows, x: &[f32], y: &mut [f32]) {
    let [_, _, w, c] = windows.input;
    windows.for_each(
        #[inline(always)]
        |o, rows, columns| {
            let y = &mut y[o..][..c];
            y.fill(f32::NEG_INFINITY);
            for row in rows {
                for column in columns.clone() {
                    let x = &x[(row * w + column) * c..][..c];
                    for (y, &x) in y.iter_mut().zip(x) {
                        *y = if x > *y || x.is_nan() { x } else { *y };
                    }
                }
            }
        },
    );
}

/// Positions count the pixels of a window that are not padding, row by row. They are exact in `f32` up to 2^24, far beyond any
/// map that fits in memory with this op's channels; as `f32` they are selected by the same vector masks as the values.
#[inline(always)]
fn maxima_and_positions(windows: &Windows, x: &[f32], y: &mut [f32], position: &mut [f32]) {
    let [_, _, w, c] = windows.input;
    windows.for_each(
        #[inline(always)]
        |o, rows, columns| {
            let (y, position) = (&mut y[o..][..c], &mut position[o..][..c]);
            y.fill(f32::NEG_INFINITY);
            position.fill(0.0);
            let mut here = 0.0;
            for row in rows {
                for column in columns.clone() {
                    let x = &x[(row * w + column) * c..][..c];
                    for ((y, position), &x) in y.iter_mut().zip(position.iter_mut()).zip(x) {
                        let larger = x > *y || x.is_nan();
                        *y = if larger { x } else { *y };
                        *position = if larger { here } else { *position };
                    }
                    here += 1.0;
                }
            }
        },
    );
}

struct MaxPool2d {
    windows: Windows,
    position: Tensor,
}

impl MaxPool2d {
    /// Adds each output's gradient to the pixel of its maximum, for one image, or stores it there and zeros elsewhere.
    #[inline(always)]
    fn spread<const STORE: bool>(&self, g: &[f32], position: &[f32], grad_input: &mut [f32]) {
        let [_, _, w, c] = self.windows.input;
        self.windows.for_each(
            #[inline(always)]
            |o, rows, columns| {
                let (g, position) = (&g[o..][..c], &position[o..][..c]);
                let mut here = 0.0;
                for row in rows {
                    for column in columns.clone() {
                        let grad_input = &mut grad_input[(row * w + column) * c..][..c];
                        for ((sum, &g), &position) in grad_input.iter_mut().zip(g).zip(position) {
                            let g = if position == here { g } else { 0.0 };
                            *sum = if STORE { g } else { *sum + g };
                        }
                        here += 1.0;
                    }
                }
            },
        );
    }
}

impl Backward for MaxPool2d {
    fn doc(&self) -> OpDoc {
        OpDoc {
            name: "max_pool2d",
            formula: "y[n,i,j,c] = max_{h,w \"in window\" (i,j)} x[n,h,w,c]",
            gradient: "grad_x[n,h,w,c] = sum_{\"windows\" (i,j) \"whose first maximum is\" (h,w)} grad_output[n,i,j,c]",
        }
    }

    fn inputs(&self) -> Vec<String> {
        ["x"].map(String::from).to_vec()
    }

    fn attributes(&self) -> Vec<(&'static str, String)> {
        self.windows.attributes()
    }

    fn again(&self, inputs: &[&Tensor]) -> Option<Tensor> {
        Some(inputs[0].max_pool2d(self.windows.config()))
    }

    fn choices(&self, inputs: &[&Array]) -> Vec<u32> {
        // Where in its window each maximum lies.
        let positions = self.windows.reference(inputs[0], |_, values| {
            let largest = |best: usize, i: usize| if values[i] > values[best] { i } else { best };
            (1..values.len()).fold(0, largest) as f64
        });
        positions.data.iter().map(|&p| p as u32).collect()
    }

    fn chosen(&self) -> Option<Vec<u32>> {
        Some(self.position.data().iter().map(|&p| p as u32).collect())
    }

    fn held(&self, inputs: &[&Array], choices: &[u32]) -> Array {
        self.windows.reference(inputs[0], |at, values| values[choices[at] as usize])
    }

    fn backward(&self, grad_output: GradOutput, grads: &mut Grads) {
        let grad_output = grad_output.into_tensor();
        let (g, position) = (grad_output.data(), self.position.data());
        let len = self.windows.output_image();
        grads.accumulate(0, |grad_input, fresh| {
            chunks_mut(grad_input, self.windows.input_image(), |n, grad_input| {
                let (g, position) = (&g[n * len..][..len], &position[n * len..][..len]);
                if fresh && self.windows.partition() {
                    return dispatch(
                        #[inline(always)]
                        || self.spread::<true>(g, position, grad_input),
                    );
                }
                if fresh {
                    grad_input.fill(0.0);
                }
                dispatch(
                    #[inline(always)]
                    || self.spread::<false>(g, position, grad_input),
                );
            });
        });
    }

    fn reference(&self, inputs: &[&Array]) -> Array {
        self.windows.reference(inputs[0], |_, values| {
            values.iter().fold(f64::NEG_INFINITY, |max, &v| if v > max || v.is_nan() { v } else { max })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Pool2d;
    use crate::autograd::no_grad;
    use crate::gradcheck::{gradcheck, sample};
    use crate::tensor::Tensor;

    fn pool(kernel_size: usize, stride: usize, padding: usize) -> Pool2d {
        Pool2d { kernel_size, stride, padding }
    }

    #[test]
    fn agrees_with_f64_reference() {
        for (shape, config) in [
            ([2, 5, 7, 3], pool(2, 2, 0)), // the last row and column are dropped
            ([2, 6, 4, 3], pool(2, 2, 0)), // every pixel is in one window
            ([2, 5, 4, 3], pool(3, 2, 1)), // windows overlap
            ([1, 6, 5, 1], pool(3, 1, 1)),
            ([1, 1, 1, 9], pool(2, 3, 1)),
            ([1, 7, 7, 2], pool(2, 3, 0)), // pixels between windows
            ([0, 4, 4, 2], pool(2, 2, 0)),
        ] {
            gradcheck(&[sample(shape)], |t| t[0].max_pool2d(config));
        }
    }

    #[test]
    fn values_do_not_depend_on_recording() {
        let x = sample([2, 5, 6, 17]).requires_grad();
        let recorded = x.max_pool2d(pool(3, 2, 1));
        assert_eq!(no_grad(|| x.detach().max_pool2d(pool(3, 2, 1))).data(), recorded.data());
    }

    #[test]
    fn the_first_of_equal_maxima_gets_the_gradient() {
        let x = Tensor::from_slice([1, 2, 2, 1], &[1.0, 3.0, 3.0, 3.0]).requires_grad();
        let grads = x.max_pool2d(pool(2, 2, 0)).sum().backward();
        assert_eq!(grads.get(&x).expect("x is a leaf").data(), [0.0, 1.0, 0.0, 0.0]);
    }

    #[test]
    fn nan_propagates_and_minus_infinity_is_a_value() {
        let (nan, inf) = (f32::NAN, f32::INFINITY);
        for values in [[nan, 1.0, inf, 2.0], [1.0, inf, nan, 2.0]] {
            let x = Tensor::from_slice([1, 2, 2, 1], &values);
            assert!(x.max_pool2d(pool(2, 2, 0)).item().is_nan());
            assert!(x.requires_grad().max_pool2d(pool(2, 2, 0)).item().is_nan());
        }
        let x = Tensor::full([1, 2, 2, 1], -inf).requires_grad();
        let y = x.max_pool2d(pool(2, 2, 0));
        assert_eq!(y.item(), -inf);
        assert_eq!(y.sum().backward().get(&x).expect("x is a leaf").data(), [1.0, 0.0, 0.0, 0.0]);
    }

    #[test]
    #[should_panic(expected = "max_pool2d: x has shape (4, 4), expected (N, H, W, C)")]
    fn a_matrix_is_no_map() {
        sample([4, 4]).max_pool2d(pool(2, 2, 0));
    }

    #[test]
    #[should_panic(expected = "max_pool2d: padding 2 is more than half of kernel_size 3")]
    fn padding_is_at_most_half_a_window() {
        sample([1, 4, 4, 1]).max_pool2d(pool(3, 1, 2));
    }

    #[test]
    #[should_panic(expected = "max_pool2d: kernel_size 5, stride 1, padding 0 do not fit x (1, 4, 4, 1)")]
    fn a_window_larger_than_the_map_does_not_fit() {
        sample([1, 4, 4, 1]).max_pool2d(pool(5, 1, 0));
    }
}
