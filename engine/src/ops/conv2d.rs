use crate::autograd::{Backward, Grads, OpDoc};
use crate::grad::GradOutput;
use crate::kernels::conv2d::backward;
use crate::kernels::conv2d::load::GradTerms;
use crate::kernels::conv2d::{Algorithm, ConvSize, forward};
use crate::kernels::simd::Level;
use crate::ops::concat::concat;
use crate::ops::lazy::{
    Activation, Lazy, SumLazy, activate, activate_reference, activation_choices, activation_held, scale_shift,
    with_map_grads,
};
use crate::reference::Array;
use crate::shape::Shape;
use crate::tensor::Tensor;

/// How a convolution's window moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv2d {
    /// Step of the window, both ways.
    pub stride: usize,
    /// Zeros added on each side.
    pub padding: usize,
    /// Distance of neighbouring taps.
    pub dilation: usize,
    /// Independent blocks of channels; as many as channels is depthwise.
    pub groups: usize,
}

impl Default for Conv2d {
    fn default() -> Conv2d {
        Conv2d { stride: 1, padding: 0, dilation: 1, groups: 1 }
    }
}

impl Conv2d {
    /// The sizes of this convolution of `x (N, H, W, C_in)` with `weight (K_h, K_w, C_in / groups, C_out)`.
    ///
    /// # Panics
    /// If the shapes do not meet the rules of [`Tensor::conv2d`].
    #[track_caller]
    pub fn size(&self, x: Shape, weight: Shape) -> ConvSize {
        let Conv2d { stride, padding, dilation, groups } = *self;
        let (&[n, h, w, c_in], &[k_h, k_w, c_group, c_out]) = (&*x, &*weight) else {
            panic!("conv2d: x {x} must be (N, H, W, C_in), weight {weight} (K_h, K_w, C_in / groups, C_out)");
        };
        match ConvSize::new([n, h, w, c_in], [k_h, k_w, c_group, c_out], [stride, padding, dilation, groups]) {
            Ok(size) => size,
            Err(rule) => panic!("conv2d: x {x}, weight {weight}: {rule}"),
        }
    }
}

/// What a fused convolution does besides convolving, and how it convolves.
#[derive(Clone, Copy, Default)]
pub struct Fused<'a> {
    /// `(C_out)`, added to every pixel.
    pub bias: Option<&'a Tensor>,
    /// Of the output's shape; added to it: a residual sum.
    pub add: Option<&'a Tensor>,
    /// Measures the output's moments while it is hot, for [`Tensor::moments`] to find.
    pub measure: bool,
    /// How to convolve, in all three directions.
    pub algorithm: Algorithm,
}

impl Tensor {
    /// Two-dimensional convolution (cross-correlation), as `torch.nn.functional.conv2d` but channels last:
    /// `y[n, oy, ox, o] = bias[o] + sum over ky, kx, i of x[n, oy*s + ky*d - p, ox*s + kx*d - p, i] * weight[ky, kx, i, o]`.
    ///
    /// # Shapes
    /// - `self`: `(N, H, W, C_in)`
    /// - `weight`: `(K_h, K_w, C_in / groups, C_out)`
    /// - `bias`: `(C_out)`
    /// - returns `(N, H_out, W_out, C_out)`, `H_out = (H + 2*padding - dilation*(K_h - 1) - 1) / stride + 1`, rounded down
    ///
    /// # Gradient
    /// `grad_input` is the transposed convolution of `grad_output` with `weight`, `grad_weight` the correlation of `self` with
    /// `grad_output`, `grad_bias` the sum of `grad_output`. Saves `self` and `weight`, shared.
    ///
    /// # Panics
    /// If the shapes do not meet these rules.
    #[track_caller]
    pub fn conv2d(&self, weight: &Tensor, bias: Option<&Tensor>, config: Conv2d) -> Tensor {
        Lazy::from(self).conv2d(weight, config, Fused { bias, ..Fused::default() })
    }
}

impl Lazy {
    /// [`Tensor::conv2d`] of the concatenated, affinely mapped and activated maps, without writing that input out;
    /// plus what [`Fused`] asks for. Equal to `self.materialise().conv2d(..)` followed by the sum, up to rounding.
    ///
    /// # Shapes
    /// - `self`: maps `(N, H, W, C_i)` with `sum C_i = C_in`; the rest as [`Tensor::conv2d`]
    ///
    /// # Gradient
    /// As the composition's. Saves maps, affine and weight, shared.
    ///
    /// # Panics
    /// If the shapes do not meet these rules.
    #[track_caller]
    pub fn conv2d(&self, weight: &Tensor, config: Conv2d, fused: Fused) -> Tensor {
        let size = config.size(self.shape(), weight.shape());
        let shape = [size.n, size.h_out, size.w_out, size.c_out];
        if let Some(bias) = fused.bias {
            assert_eq!(bias.shape()[..], [size.c_out], "conv2d: bias {} must be ({})", bias.shape(), size.c_out);
        }
        if let Some(add) = fused.add {
            assert_eq!(add.shape()[..], shape, "conv2d: add {} must have the output's shape {shape:?}", add.shape());
        }
        let mut moments = None;
        let maps = self.kernel_maps();
        let y = Tensor::build(shape, |out| {
            let pass = forward::Forward {
                size,
                algorithm: fused.algorithm,
                input: self.kernel_input(&maps),
                weight: weight.data(),
                bias: fused.bias.map(Tensor::data),
                add: fused.add.map(Tensor::data),
                measure: fused.measure,
            };
            moments = forward::forward(Level::Native, &pass, out);
        })
        .with_moments(moments);
        let mut inputs: Vec<&Tensor> = self.maps.iter().collect();
        inputs.extend(&self.affine);
        inputs.push(weight);
        inputs.extend(fused.bias);
        inputs.extend(fused.add);
        let op = FusedConv2d {
            input: self.detach(),
            weight: weight.detach(),
            size,
            algorithm: fused.algorithm,
            has_bias: fused.bias.is_some(),
            has_add: fused.add.is_some(),
        };
        y.record(&inputs, op)
    }
}

struct FusedConv2d {
    input: Lazy,
    weight: Tensor,
    size: ConvSize,
    algorithm: Algorithm,
    has_bias: bool,
    has_add: bool,
}

impl FusedConv2d {
    /// Positions of affine, weight, bias and add among the inputs.
    fn positions(&self) -> [usize; 4] {
        let affine = self.input.maps.len();
        let weight = affine + usize::from(self.input.affine.is_some());
        let bias = weight + 1;
        [affine, weight, bias, bias + usize::from(self.has_bias)]
    }

    /// What is convolved: maps and affine among `inputs`, and an activation.
    fn input_reference(&self, inputs: &[&Array], activation: Activation) -> Array {
        let [affine, ..] = self.positions();
        activate_reference(&inputs[..affine], self.input.affine.as_ref().map(|_| inputs[affine]), activation)
    }

    /// The convolution of `x` with the weight among `inputs`, and the sums at its end.
    fn convolve_reference(&self, x: &Array, inputs: &[&Array]) -> Array {
        let [_, weight, bias, add] = self.positions();
        let w = inputs[weight];
        let ConvSize { n, h, w: width, c_in, c_out, k_h, k_w, stride, padding, dilation, groups, h_out, w_out } =
            self.size;
        let (in_group, out_group) = (c_in / groups, c_out / groups);
        let mut y = Array::zeros([n, h_out, w_out, c_out]);
        for image in 0..n {
            for (oy, ox) in (0..h_out).flat_map(|oy| (0..w_out).map(move |ox| (oy, ox))) {
                for o in 0..c_out {
                    let out = ((image * h_out + oy) * w_out + ox) * c_out + o;
                    let mut sum = if self.has_bias { inputs[bias].data[o] } else { 0.0 };
                    if self.has_add {
                        sum += inputs[add].data[out];
                    }
                    for (ky, kx) in (0..k_h).flat_map(|ky| (0..k_w).map(move |kx| (ky, kx))) {
                        let iy = (oy * stride + ky * dilation).wrapping_sub(padding);
                        let ix = (ox * stride + kx * dilation).wrapping_sub(padding);
                        if iy >= h || ix >= width {
                            continue;
                        }
                        for i in 0..in_group {
                            let channel = o / out_group * in_group + i;
                            sum += x.data[((image * h + iy) * width + ix) * c_in + channel]
                                * w.data[((ky * k_w + kx) * in_group + i) * c_out + o];
                        }
                    }
                    y.data[out] = sum;
                }
            }
        }
        y
    }

    /// Whether this only convolves: one map as it is, no sum at the end.
    fn is_plain(&self) -> bool {
        let Lazy { maps, affine, activation } = &self.input;
        maps.len() == 1 && affine.is_none() && *activation == Activation::Identity && !self.has_add
    }
}

impl Backward for FusedConv2d {
    fn doc(&self) -> OpDoc {
        const PLAIN: OpDoc = OpDoc {
            name: "conv2d",
            formula: "y[n,oy,ox,o] = sum_{ky,kx,i} x[n,oy * s + ky * d - p,ox * s + kx * d - p,i] * w[ky,kx,i,o]",
            gradient: "grad_x[n,oy * s + ky * d - p,ox * s + kx * d - p,i] = sum_{ky,kx,o} grad_output[n,oy,ox,o] * w[ky,kx,i,o]; \
                       grad_w[ky,kx,i,o] = sum_{n,oy,ox} x[n,oy * s + ky * d - p,ox * s + kx * d - p,i] * grad_output[n,oy,ox,o]; \
                       grad_bias[o] = sum_{n,oy,ox} grad_output[n,oy,ox,o]",
        };
        if self.is_plain() {
            let with_bias =
                "y[n,oy,ox,o] = bias[o] + sum_{ky,kx,i} x[n,oy * s + ky * d - p,ox * s + kx * d - p,i] * w[ky,kx,i,o]";
            return if self.has_bias { OpDoc { formula: with_bias, ..PLAIN } } else { PLAIN };
        }
        OpDoc {
            name: "conv2d",
            formula: "a = activation(scale[i] * x + shift[i]); y = conv2d(a, w) + bias + add",
            gradient: "grad_a = \"transposed convolution of\" grad_output \"with\" w; \
                       grad_x = scale[i] * grad_a * activation'; grad_w = \"correlation of\" a \"with\" grad_output; \
                       grad_add = grad_output",
        }
    }

    fn inputs(&self) -> Vec<String> {
        let maps = self.input.maps.len();
        let map = |k| if maps == 1 { "x".into() } else { format!("x_{k}") };
        let present =
            [(self.input.affine.is_some(), "affine"), (true, "w"), (self.has_bias, "bias"), (self.has_add, "add")];
        let rest = present.into_iter().filter(|(present, _)| *present).map(|(_, name)| name.to_string());
        (0..maps).map(map).chain(rest).collect()
    }

    fn attributes(&self) -> Vec<(&'static str, String)> {
        let ConvSize { k_h, k_w, stride, padding, dilation, groups, .. } = self.size;
        let mut attributes = vec![("kernel_size", format!("[{k_h}, {k_w}]"))];
        let numbers = [("stride", stride), ("padding", padding), ("dilation", dilation), ("groups", groups)];
        attributes.extend(numbers.map(|(name, value)| (name, value.to_string())));
        attributes
    }

    fn again(&self, inputs: &[&Tensor]) -> Option<Tensor> {
        let [affine, weight, bias, add] = self.positions();
        let mut x = if affine == 1 { inputs[0].clone() } else { concat(&inputs[..affine]) };
        if self.input.affine.is_some() {
            x = scale_shift(&x, inputs[affine]);
        }
        x = activate(x, self.input.activation);
        let ConvSize { stride, padding, dilation, groups, .. } = self.size;
        let config = Conv2d { stride, padding, dilation, groups };
        let bias = self.has_bias.then(|| inputs[bias]);
        let fused = Fused { bias, algorithm: self.algorithm, ..Fused::default() };
        let y = Lazy::from(&x).conv2d(inputs[weight], config, fused);
        Some(if self.has_add { y.add(inputs[add]) } else { y })
    }

    fn choices(&self, inputs: &[&Array]) -> Vec<u32> {
        activation_choices(self.input_reference(inputs, Activation::Identity).data.into_iter(), self.input.activation)
    }

    fn chosen(&self) -> Option<Vec<u32>> {
        self.input.chosen()
    }

    fn held(&self, inputs: &[&Array], choices: &[u32]) -> Array {
        self.convolve_reference(&activation_held(self.input_reference(inputs, Activation::Identity), choices), inputs)
    }

    fn backward(&self, grad_output: GradOutput, grads: &mut Grads) {
        let [affine, weight, bias, add] = self.positions();
        // A residual sum passes the gradient on, so it must be written out.
        let grad_output = if self.has_add && grads.needs(add) {
            let whole = grad_output.into_tensor();
            grads.add(add, whole.clone());
            GradOutput::from(whole)
        } else {
            grad_output
        };
        let terms = grad_output.into_terms();
        let channels = self.size.c_out;
        let needs_affine = self.input.affine.is_some() && grads.needs(affine);
        let (needs_weight, needs_bias) = (grads.needs(weight), self.has_bias && grads.needs(bias));
        let maps = self.input.kernel_maps();
        let pass = backward::Backward {
            size: self.size,
            algorithm: self.algorithm,
            input: self.input.kernel_input(&maps),
            weight: self.weight.data(),
            grad_output: GradTerms {
                grad: terms.grad.data(),
                scale: terms.scale.as_ref().map(Tensor::data),
                affine_of: terms.affine_of.as_ref().map(|(map, ab)| {
                    let (slope, offset) = ab.data().split_at(channels);
                    (map.data(), slope, offset)
                }),
            },
            needs_weight,
            needs_bias,
        };
        let sum = if backward::takes_residual(&pass) { grads.last_from(0) } else { None };
        let sum = sum.as_ref().and_then(|op| op.as_any()?.downcast_ref::<SumLazy>());
        let small = if let Some(sum) = sum {
            let (small, sums) = with_map_grads(&self.input, needs_affine, grads, |maps| {
                sum.with_residual(|residual| backward::backward_residual(Level::Native, &pass, maps, residual))
            });
            grads.masked(0, sums);
            small
        } else {
            with_map_grads(&self.input, needs_affine, grads, |maps| backward::backward(Level::Native, &pass, maps))
        };
        if let Some(grad) = small.weight {
            grads.add(weight, grad);
        }
        if let Some(grad) = small.bias {
            grads.add(bias, Tensor::from_slice([channels], &grad));
        }
        if let (true, Some((scale, shift))) = (needs_affine, small.affine) {
            grads.add(affine, Tensor::from_slice([2, self.size.c_in], &[scale, shift].concat()));
        }
    }

    fn reference(&self, inputs: &[&Array]) -> Array {
        self.convolve_reference(&self.input_reference(inputs, self.input.activation), inputs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gradcheck::{gradcheck, sample};
    use crate::ops::Activation;

    fn config(stride: usize, padding: usize, dilation: usize, groups: usize) -> Conv2d {
        Conv2d { stride, padding, dilation, groups }
    }

    #[test]
    fn agrees_with_f64_reference() {
        let cases = [
            ([2, 5, 6, 3], [3, 3, 3, 4], config(1, 1, 1, 1)),
            ([1, 7, 5, 2], [3, 3, 2, 17], config(2, 1, 1, 1)),
            ([2, 6, 6, 8], [1, 1, 8, 5], config(2, 0, 1, 1)),
            ([1, 9, 8, 4], [3, 2, 4, 3], config(1, 2, 2, 1)),
            ([1, 8, 9, 2], [5, 3, 2, 3], config(3, 2, 1, 1)),
            ([2, 5, 5, 6], [3, 3, 2, 9], config(1, 1, 1, 3)),
            ([2, 5, 4, 12], [3, 3, 1, 12], config(2, 1, 1, 12)),
            ([1, 4, 4, 9], [5, 5, 1, 9], config(1, 2, 1, 9)),
            ([3, 1, 1, 7], [1, 1, 7, 1], config(1, 0, 1, 1)),
            ([1, 6, 7, 3], [2, 2, 3, 4], config(1, 3, 1, 1)),
            ([1, 11, 7, 2], [3, 3, 1, 2], config(3, 0, 2, 2)),
        ];
        for (x, w, config) in cases {
            let [_, _, _, c_out] = w;
            gradcheck(&[sample(x), sample(w), sample([c_out])], |t| t[0].conv2d(&t[1], Some(&t[2]), config));
        }
    }

    #[test]
    fn fused_forms_agree_with_f64_reference() {
        for activation in [Activation::Identity, Activation::Relu, Activation::Relu6] {
            for algorithm in [Algorithm::Direct, Algorithm::Winograd] {
                let inputs = [
                    sample([2, 4, 5, 3]),
                    sample([2, 4, 5, 9]),
                    sample([2, 12]),
                    sample([3, 3, 12, 10]),
                    sample([10]),
                    sample([2, 4, 5, 10]),
                ];
                gradcheck(&inputs, |t| {
                    let lazy = Lazy { maps: t[..2].to_vec(), affine: Some(t[2].clone()), activation };
                    let fused = Fused { bias: Some(&t[4]), add: Some(&t[5]), measure: true, algorithm };
                    lazy.conv2d(&t[3], config(1, 1, 1, 1), fused)
                });
            }
        }
    }

    #[test]
    fn fused_pointwise_forms_agree_with_f64_reference() {
        // Lists and single maps; channels below, at and beyond whole vectors; a task's rows cut short.
        for (maps, c_out, stride) in [
            (vec![3, 9], 10, 1),
            (vec![17, 7], 21, 2),
            (vec![24], 50, 1),
            (vec![50], 24, 1),
            (vec![8, 8], 16, 2),
            (vec![5], 3, 1),
        ] {
            for activation in [Activation::Identity, Activation::Relu, Activation::Relu6] {
                let c_in: usize = maps.iter().sum();
                let extent = if stride == 2 { [2, 3] } else { [4, 5] };
                let mut inputs = vec![
                    sample([2, c_in]),
                    sample([1, 1, c_in, c_out]),
                    sample([c_out]),
                    sample([2, extent[0], extent[1], c_out]),
                ];
                inputs.extend(maps.iter().map(|&c| sample([2, 4, 5, c])));
                gradcheck(&inputs, |t| {
                    let lazy = Lazy { maps: t[4..].to_vec(), affine: Some(t[0].clone()), activation };
                    let fused = Fused { bias: Some(&t[2]), add: Some(&t[3]), measure: true, ..Fused::default() };
                    lazy.conv2d(&t[1], config(stride, 0, 1, 1), fused)
                });
            }
        }
    }

    #[test]
    fn whole_tiles_add_and_accumulate() {
        // Two readers of x, and a residual sum, at sizes that fill whole Winograd tiles and vectors.
        let inputs = [sample([1, 8, 9, 16]), sample([3, 3, 16, 16]).scale(0.2), sample([3, 3, 16, 16]).scale(0.3)];
        gradcheck(&inputs, |t| {
            let first = t[0].conv2d(&t[1], None, config(1, 1, 1, 1));
            Lazy::from(&t[0]).conv2d(&t[2], config(1, 1, 1, 1), Fused { add: Some(&first), ..Fused::default() })
        });
    }

    #[test]
    fn strided_forms_agree_with_f64_reference() {
        // Tiles that are cut on both sides; lists and a single map that two read, so that its gradient is added to.
        for algorithm in [Algorithm::Direct, Algorithm::Winograd] {
            let inputs = [
                sample([1, 5, 6, 16]),
                sample([2, 16]),
                sample([3, 3, 16, 16]).scale(0.2),
                sample([16]),
                sample([1, 3, 3, 16]),
                sample([1, 5, 6, 32]),
                sample([3, 3, 32, 16]).scale(0.2),
            ];
            let strided = config(2, 1, 1, 1);
            gradcheck(&inputs, |t| {
                let affine = Some(t[1].clone());
                let lazy = Lazy { maps: t[..1].to_vec(), affine, activation: Activation::Relu };
                let fused = Fused { bias: Some(&t[3]), add: Some(&t[4]), measure: true, algorithm };
                let first = lazy.conv2d(&t[2], strided, fused);
                let fused = Fused { add: Some(&first), algorithm, ..Fused::default() };
                Lazy::from(&t[0]).conv2d(&t[2], strided, fused)
            });
            gradcheck(&inputs, |t| {
                let lazy = Lazy { maps: vec![t[5].clone()], affine: None, activation: Activation::Relu6 };
                lazy.conv2d(&t[6], strided, Fused { algorithm, ..Fused::default() })
            });
        }
    }

    #[test]
    fn measured_moments_are_the_moments() {
        let cases = [
            ([9, 6, 6, 5], [3, 3, 5, 19], config(1, 1, 1, 1)),
            ([5, 7, 6, 16], [3, 3, 16, 48], config(2, 1, 1, 1)),
            ([9, 16, 16, 24], [1, 1, 24, 50], config(1, 0, 1, 1)),
            ([9, 16, 16, 50], [1, 1, 50, 24], config(1, 0, 1, 1)),
            ([5, 7, 9, 24], [1, 1, 24, 200], config(1, 0, 1, 1)),
            ([5, 7, 9, 16], [1, 1, 16, 5], config(2, 0, 1, 1)),
            ([9, 6, 6, 24], [3, 3, 1, 24], config(1, 1, 1, 24)),
        ];
        for (x, w, config) in cases {
            let (x, w) = (sample(x), sample(w));
            let y = Lazy::from(&x).conv2d(&w, config, Fused { measure: true, ..Fused::default() });
            let fresh = Tensor::from_slice(y.shape(), y.data()).moments();
            for (a, b) in y.moments().data().iter().zip(fresh.data()) {
                assert!((a - b).abs() <= 1e-5 * b.abs().max(1.0), "{:?}: {a} against {b}", w.shape());
            }
        }
    }

    #[test]
    #[should_panic(expected = "conv2d: x (1, 4, 4, 16), weight (3, 3, 8, 32): x has 16 channels")]
    fn mismatched_channels_name_the_rule() {
        Tensor::zeros([1, 4, 4, 16]).conv2d(&Tensor::zeros([3, 3, 8, 32]), None, Conv2d::default());
    }
}
