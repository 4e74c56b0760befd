use super::lazy::{
    Activation, Lazy, activate, activate_reference, activation_choices, activation_held, scale_shift, with_map_grads,
};
use super::pool2d::Pool2d;
use crate::autograd::{Backward, Grads, OpDoc, no_grad};
use crate::grad::GradOutput;
use crate::kernels::lazy_pool::{self, Blocks, Reduce};
use crate::kernels::simd::Level;
use crate::ops::concat;
use crate::reference::Array;
use crate::tensor::Tensor;

impl Lazy {
    /// Mean over blocks of `size` x `size` pixels of the concatenated, affinely mapped and activated maps, none of which is written out:
    /// `y[n, i, j, c] = 1/size^2 * sum over the block at (i, j) of activation(scale[c]*x[n, ., ., c] + shift[c])`.
    ///
    /// # Shapes
    /// - `self`: maps `(N, H, W, C_i)`, `C = sum C_i`
    /// - returns `(N, H / size, W / size, C)`, rounded down: as `avg_pool2d` with `kernel_size = stride = size`
    ///
    /// # Gradient
    /// As the composition's. Saves maps and affine, shared.
    ///
    /// # Panics
    /// If `size` is 0 or more than height or width.
    #[track_caller]
    pub fn avg_pool2d(&self, size: usize) -> Tensor {
        let shape = self.shape();
        let (h, w) = (shape[1], shape[2]);
        assert!(
            size > 0 && size <= h && size <= w,
            "avg_pool2d: blocks of {size} x {size} do not fit maps {shape}; the size is at least 1, at most height and width"
        );
        self.blocks([size, size], Reduce::Mean)
    }

    /// Largest value of each window of the concatenated, affinely mapped and activated maps: [`Tensor::max_pool2d`] of what
    /// [`materialise`](Lazy::materialise) gives, with the same values. Where windows lie side by side (`stride = kernel_size`, no padding),
    /// nothing is written out:
    /// `y[n, i, j, c] = max over the window at (i, j) of activation(scale[c]*x[n, ., ., c] + shift[c])`.
    ///
    /// # Shapes
    /// - `self`: maps `(N, H, W, C_i)`, `C = sum C_i`
    /// - returns `(N, H_out, W_out, C)`, as [`Tensor::max_pool2d`]
    ///
    /// # Gradient
    /// As the composition's: that of a maximum goes to the first of equal values. Saves maps and affine, shared, and looks for the maxima again.
    ///
    /// # Panics
    /// As [`Tensor::max_pool2d`].
    #[track_caller]
    pub fn max_pool2d(&self, config: Pool2d) -> Tensor {
        let (shape, Pool2d { kernel_size, stride, padding }) = (self.shape(), config);
        let plain = matches!((&self.maps[..], &self.affine, self.activation), ([_], None, Activation::Identity));
        let side_by_side = stride == kernel_size && padding == 0 && (1..=shape[1].min(shape[2])).contains(&kernel_size);
        if plain || !side_by_side {
            return self.materialise().max_pool2d(config);
        }
        self.blocks([kernel_size, kernel_size], Reduce::Max)
    }

    /// Mean of each channel over the whole map: [`Tensor::global_avg_pool`] of the concatenated, affinely mapped and activated maps, none
    /// of which is written out. (Added in `f32`, that of a plain map in `f64`.)
    ///
    /// # Shapes
    /// - `self`: maps `(N, H, W, C_i)`, `C = sum C_i`, `H` and `W` at least 1
    /// - returns `(N, C)`
    ///
    /// # Gradient
    /// As the composition's. Saves maps and affine, shared.
    ///
    /// # Panics
    /// If a map has no pixels.
    #[track_caller]
    pub fn global_avg_pool(&self) -> Tensor {
        if let ([map], None, Activation::Identity) = (&self.maps[..], &self.affine, self.activation) {
            return map.global_avg_pool();
        }
        let shape = self.shape();
        assert!(shape[1] * shape[2] > 0, "global_avg_pool: maps {shape} have no pixels, so there is no mean");
        self.blocks([shape[1], shape[2]], Reduce::Mean).reshape([shape[0], shape[3]])
    }

    fn blocks(&self, size: [usize; 2], reduce: Reduce) -> Tensor {
        let shape = self.shape();
        let blocks = Blocks { size, h: shape[1], w: shape[2], reduce };
        let [h_out, w_out] = blocks.output();
        let maps = self.kernel_maps();
        let y = Tensor::build([shape[0], h_out, w_out, shape[3]], |out| {
            lazy_pool::forward(Level::Native, &self.kernel_input(&maps), blocks, shape[3], out);
        });
        let inputs: Vec<&Tensor> = self.maps.iter().chain(&self.affine).collect();
        y.record(&inputs, LazyPool2d { input: self.detach(), blocks })
    }
}

struct LazyPool2d {
    input: Lazy,
    blocks: Blocks,
}

impl LazyPool2d {
    fn affine<'a, T>(&self, inputs: &'a [T]) -> Option<&'a T> {
        self.input.affine.as_ref().map(|_| &inputs[self.input.maps.len()])
    }

    /// What the activation is applied to.
    fn affine_reference(&self, inputs: &[&Array]) -> Array {
        activate_reference(&inputs[..self.input.maps.len()], self.affine(inputs).copied(), Activation::Identity)
    }

    /// What the activation gives.
    fn activated_reference(&self, inputs: &[&Array]) -> Array {
        activate_reference(&inputs[..self.input.maps.len()], self.affine(inputs).copied(), self.input.activation)
    }

    /// `f` of each output's flat index and the values of its block, row by row.
    fn of_blocks(&self, x: &Array, f: impl Fn(usize, &[f64]) -> f64) -> Array {
        let (Blocks { size: [height, width], h, w, .. }, [h_out, w_out]) = (self.blocks, self.blocks.output());
        let (n, c) = (x.shape[0], x.shape[3]);
        Array::from_fn([n, h_out, w_out, c], |at| {
            let (pixel, c_) = (at / c, at % c);
            let (image, i, j) = (pixel / w_out / h_out, pixel / w_out % h_out, pixel % w_out);
            let pixels =
                (0..height * width).map(|k| ((image * h + i * height + k / width) * w + j * width + k % width) * c);
            f(at, &pixels.map(|at| x.data[at + c_]).collect::<Vec<_>>())
        })
    }

    fn reduced_reference(&self, x: &Array) -> Array {
        self.of_blocks(x, |_, values| match self.blocks.reduce {
            Reduce::Mean => values.iter().sum::<f64>() / values.len() as f64,
            Reduce::Max => values[first_largest(values)],
        })
    }

    /// Where in its block each maximum is, if there are any.
    fn places(&self, x: &Array) -> Vec<u32> {
        match self.blocks.reduce {
            Reduce::Mean => vec![],
            Reduce::Max => {
                self.of_blocks(x, |_, values| first_largest(values) as f64).data.iter().map(|&p| p as u32).collect()
            }
        }
    }
}

/// The index of the first of the largest values, or of a NaN.
fn first_largest(values: &[f64]) -> usize {
    (1..values.len()).fold(0, |most, i| if values[i] > values[most] || values[i].is_nan() { i } else { most })
}

impl Backward for LazyPool2d {
    fn doc(&self) -> OpDoc {
        match self.blocks.reduce {
            Reduce::Mean => OpDoc {
                name: "lazy_avg_pool2d",
                formula: "a = activation(scale[c] * x + shift[c]); y[n,i,j,c] = (1 / (height * width)) * sum_{h,w \"in block\" (i,j)} a[n,h,w,c]",
                gradient: "grad_a[n,h,w,c] = grad_output[n,i,j,c] / (height * width); grad_x = scale[c] * grad_a * activation'; \
                           grad_scale[c] = sum_{n,h,w} grad_a * activation' * x; grad_shift[c] = sum_{n,h,w} grad_a * activation'",
            },
            Reduce::Max => OpDoc {
                name: "lazy_max_pool2d",
                formula: "a = activation(scale[c] * x + shift[c]); y[n,i,j,c] = max_{h,w \"in block\" (i,j)} a[n,h,w,c]",
                gradient: "grad_a[n,h,w,c] = sum_{\"blocks\" (i,j) \"whose first maximum is\" (h,w)} grad_output[n,i,j,c]; \
                           grad_x = scale[c] * grad_a * activation'; \
                           grad_scale[c] = sum_{n,h,w} grad_a * activation' * x; grad_shift[c] = sum_{n,h,w} grad_a * activation'",
            },
        }
    }

    fn inputs(&self) -> Vec<String> {
        let maps = self.input.maps.len();
        let map = |k| if maps == 1 { "x".into() } else { format!("x_{k}") };
        (0..maps).map(map).chain(self.input.affine.as_ref().map(|_| "affine".into())).collect()
    }

    fn attributes(&self) -> Vec<(&'static str, String)> {
        vec![
            ("size", format!("{:?}", self.blocks.size)),
            ("activation", format!("{:?}", self.input.activation).to_lowercase()),
        ]
    }

    fn again(&self, inputs: &[&Tensor]) -> Option<Tensor> {
        let maps = self.input.maps.len();
        let mut x = if maps == 1 { inputs[0].clone() } else { concat(&inputs[..maps]) };
        if let Some(affine) = self.affine(inputs) {
            x = scale_shift(&x, affine);
        }
        let (x, Blocks { size, h, w, reduce }) = (activate(x, self.input.activation), self.blocks);
        let config = Pool2d { kernel_size: size[0], stride: size[0], padding: 0 };
        if reduce == Reduce::Max {
            return Some(x.max_pool2d(config));
        }
        if size == [h, w] {
            let mean = x.global_avg_pool();
            let [n, c] = [mean.shape()[0], mean.shape()[1]];
            return Some(mean.reshape([n, 1, 1, c]));
        }
        Some(x.avg_pool2d(config, true))
    }

    fn choices(&self, inputs: &[&Array]) -> Vec<u32> {
        // The activation's, then where each maximum is.
        let values = self.affine_reference(inputs).data.into_iter();
        let mut choices = activation_choices(values, self.input.activation);
        choices.extend(self.places(&self.activated_reference(inputs)));
        choices
    }

    fn chosen(&self) -> Option<Vec<u32>> {
        if self.blocks.reduce == Reduce::Mean {
            return self.input.chosen();
        }
        let mut choices = self.input.chosen().unwrap_or_default();
        let written = no_grad(|| self.input.materialise());
        choices.extend(self.places(&Array::from_tensor(&written)));
        Some(choices)
    }

    fn held(&self, inputs: &[&Array], choices: &[u32]) -> Array {
        let affine = self.affine_reference(inputs);
        let activations = if self.input.activation == Activation::Identity { 0 } else { affine.data.len() };
        let (of_activation, places) = choices.split_at(activations);
        let x = activation_held(affine, of_activation);
        match self.blocks.reduce {
            Reduce::Mean => self.reduced_reference(&x),
            Reduce::Max => self.of_blocks(&x, |at, values| values[places[at] as usize]),
        }
    }

    fn backward(&self, grad_output: GradOutput, grads: &mut Grads) {
        let grad_output = grad_output.into_tensor();
        let affine = self.input.maps.len();
        let needs_affine = self.input.affine.is_some() && grads.needs(affine);
        let maps = self.input.kernel_maps();
        let sums = with_map_grads(&self.input, needs_affine, grads, |targets| {
            let input = self.input.kernel_input(&maps);
            lazy_pool::backward(Level::Native, &input, self.blocks, grad_output.data(), targets)
        });
        if needs_affine {
            grads.add(affine, Tensor::from_slice([2, grad_output.shape().channels()], &sums.concat()));
        }
    }

    fn reference(&self, inputs: &[&Array]) -> Array {
        self.reduced_reference(&self.activated_reference(inputs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gradcheck::{gradcheck, sample};

    #[test]
    fn agrees_with_f64_reference() {
        // Lists and single maps, channels below, at and beyond whole vectors, rows and columns left over.
        for (channels, size, [h, w]) in
            [(vec![3, 9], 2, [4, 6]), (vec![16], 2, [5, 4]), (vec![8, 21, 1], 3, [3, 7]), (vec![12], 4, [4, 4])]
        {
            for activation in [Activation::Identity, Activation::Relu, Activation::Relu6] {
                let mut inputs = vec![sample([2, channels.iter().sum()])];
                inputs.extend(channels.iter().map(|&c| sample([2, h, w, c])));
                let lazy = |t: &[Tensor]| Lazy { maps: t[1..].to_vec(), affine: Some(t[0].clone()), activation };
                gradcheck(&inputs, |t| lazy(t).avg_pool2d(size));
                gradcheck(&inputs, |t| lazy(t).max_pool2d(side_by_side(size)));
            }
        }
        gradcheck(&[sample([1, 4, 4, 5])], |t| Lazy::from(&t[0]).avg_pool2d(2));
        gradcheck(&[sample([2, 3, 5, 4]), sample([2, 3, 5, 9]), sample([2, 13])], |t| {
            Lazy { maps: t[..2].to_vec(), affine: Some(t[2].clone()), activation: Activation::Relu }.global_avg_pool()
        });
    }

    fn side_by_side(size: usize) -> Pool2d {
        Pool2d { kernel_size: size, stride: size, padding: 0 }
    }

    #[test]
    fn another_reader_of_a_map_adds_its_gradient() {
        gradcheck(&[sample([1, 4, 4, 11]), sample([2, 11])], |t| {
            let lazy = Lazy { maps: vec![t[0].clone()], affine: Some(t[1].clone()), activation: Activation::Relu };
            lazy.avg_pool2d(2).add(&lazy.max_pool2d(side_by_side(2))).add(&Lazy::from(&t[0]).avg_pool2d(2))
        });
    }

    #[test]
    fn maxima_and_their_gradients_are_those_of_plain_ops() {
        let map = Tensor::from_fn([2, 5, 6, 19], |i| ((i * 7 + 1) % 11) as f32 - 5.0).requires_grad();
        // Overlapping windows are written out, others are not; many values are equal, and in many windows none is positive.
        for config in [side_by_side(2), side_by_side(3), Pool2d { kernel_size: 3, stride: 2, padding: 1 }] {
            for activation in [Activation::Identity, Activation::Relu, Activation::Relu6] {
                let affine = Tensor::from_fn([2, 19], |i| if i % 3 == 0 { -0.5 } else { 2.0 }).requires_grad();
                let lazy = Lazy { maps: vec![map.clone()], affine: Some(affine.clone()), activation };
                let (fused, plain) = (lazy.max_pool2d(config), lazy.materialise().max_pool2d(config));
                assert_eq!(fused.data(), plain.data());
                let weights = Tensor::from_fn(fused.shape(), |i| (i % 5) as f32);
                let [fused, plain] = [fused, plain].map(|y| y.mul(&weights).sum().backward());
                for of in [&lazy.maps[0], &affine] {
                    let [fused, plain] = [&fused, &plain].map(|grads| grads.get(of).expect("a leaf").clone());
                    for (fused, plain) in fused.data().iter().zip(plain.data()) {
                        assert!((fused - plain).abs() <= 1e-5 * plain.abs().max(1.0), "{fused} for {plain}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_value_that_is_no_number_is_its_windows_maximum_and_mean() {
        for at in 0..4 {
            let map = Tensor::from_fn([1, 2, 2, 20], |i| if i / 20 == at { f32::NAN } else { i as f32 });
            let lazy = Lazy { maps: vec![map], affine: None, activation: Activation::Relu };
            for pooled in [lazy.max_pool2d(side_by_side(2)), lazy.avg_pool2d(2)] {
                assert!(pooled.data().iter().all(|v| v.is_nan()), "{:?}", pooled.data());
            }
        }
    }

    #[test]
    fn equals_the_plain_ops() {
        let maps = [sample([2, 6, 6, 12]), sample([2, 6, 6, 7])];
        let affine = Tensor::from_fn([2, 19], |i| 0.5 + 0.1 * i as f32);
        let lazy = Lazy { maps: maps.to_vec(), affine: Some(affine), activation: Activation::Relu };
        let plain = lazy.materialise().avg_pool2d(Pool2d { kernel_size: 2, stride: 2, padding: 0 }, true);
        for (fused, plain) in lazy.avg_pool2d(2).data().iter().zip(plain.data()) {
            assert!((fused - plain).abs() <= 1e-6 * plain.abs().max(1.0), "{fused} for {plain}");
        }
    }

    #[test]
    #[should_panic(expected = "avg_pool2d: blocks of 5 x 5 do not fit maps (1, 4, 4, 1)")]
    fn too_large_a_block_is_refused() {
        Lazy::from(&Tensor::zeros([1, 4, 4, 1])).avg_pool2d(5);
    }
}
