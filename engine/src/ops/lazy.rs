use crate::autograd::{Backward, Grads, OpDoc};
use crate::grad::GradOutput;
use crate::kernels::conv2d::backward::{MapGrad, Write};
use crate::kernels::conv2d::load::Maps;
use crate::kernels::lazy_sum::{self, Residual, Term};
use crate::kernels::simd::Level;
use crate::reference::Array;
use crate::shape::Shape;
use crate::tensor::Tensor;
use std::any::Any;

pub use crate::kernels::conv2d::load::Activation;

/// Feature maps that are not written out: read as their concatenation, each value `v` of channel `c` as
/// `activation(scale[c]*v + shift[c])`.
///
/// A dense block's input is a list of maps, and a batch norm with its activation costs the next convolution nothing when it is
/// applied while that convolution loads its input. So neither a concatenated nor a normalised copy is ever stored.
#[derive(Clone)]
pub struct Lazy {
    /// `(N, H, W, C_i)` each.
    pub maps: Vec<Tensor>,
    /// `(2, C)`, `C = sum C_i`: scales, then shifts.
    pub affine: Option<Tensor>,
    /// Applied last.
    pub activation: Activation,
}

impl From<&Tensor> for Lazy {
    fn from(map: &Tensor) -> Lazy {
        Lazy { maps: vec![map.clone()], affine: None, activation: Activation::Identity }
    }
}

impl From<Tensor> for Lazy {
    fn from(map: Tensor) -> Lazy {
        Lazy { maps: vec![map], affine: None, activation: Activation::Identity }
    }
}

impl Lazy {
    /// `(N, H, W, C)` of the concatenation.
    ///
    /// # Panics
    /// If there are no maps, they are not four-dimensional, or differ in more than channels; or if the affine is not `(2, C)`.
    #[track_caller]
    pub fn shape(&self) -> Shape {
        let first = self.maps.first().expect("lazy: no maps").shape();
        assert_eq!(first.len(), 4, "lazy: a map of shape {first}, expected (N, H, W, C)");
        for map in &self.maps {
            assert!(
                map.shape().len() == 4 && map.shape()[..3] == first[..3],
                "lazy: maps {first} and {} differ in more than channels",
                map.shape()
            );
        }
        let channels = self.maps.iter().map(|m| m.shape().channels()).sum();
        if let Some(affine) = &self.affine {
            assert_eq!(affine.shape()[..], [2, channels], "lazy: affine {} must be (2, {channels})", affine.shape());
        }
        Shape::from([first[0], first[1], first[2], channels])
    }

    /// Writes the maps out: concatenation, affine and activation applied.
    ///
    /// # Gradient
    /// As the composition's.
    #[track_caller]
    pub fn materialise(&self) -> Tensor {
        self.shape();
        if let ([map], None, Activation::Identity) = (&self.maps[..], &self.affine, self.activation) {
            return map.clone();
        }
        let map = match &self.maps[..] {
            [map] => map.clone(),
            maps => crate::ops::concat(&maps.iter().collect::<Vec<_>>()),
        };
        let term = Lazy { maps: vec![map], affine: self.affine.clone(), activation: Activation::Identity };
        sum_lazy(&[term], self.activation, false)
    }

    /// The same values off the tape.
    pub fn detach(&self) -> Lazy {
        Lazy {
            maps: self.maps.iter().map(Tensor::detach).collect(),
            affine: self.affine.as_ref().map(Tensor::detach),
            activation: self.activation,
        }
    }

    pub(crate) fn kernel_maps(&self) -> Vec<(&[f32], usize)> {
        self.maps.iter().map(|m| (m.data(), m.shape().channels())).collect()
    }

    pub(crate) fn kernel_input<'a>(&'a self, maps: &'a [(&'a [f32], usize)]) -> Maps<'a> {
        Maps { maps, affine: self.affine.as_ref().map(split_affine), activation: self.activation }
    }
}

/// Calls `backward` with where the gradient of each of `input`'s maps goes. An affine whose map is not differentiable still needs the map's
/// gradient on the way: into a buffer of its own.
pub(crate) fn with_map_grads<T>(
    input: &Lazy,
    needs_affine: bool,
    grads: &mut Grads,
    backward: impl FnOnce(Vec<MapGrad>) -> T,
) -> T {
    let maps = input.maps.iter().enumerate();
    let mut unwanted: Vec<Option<Tensor>> =
        maps.map(|(i, map)| (needs_affine && !grads.needs(i)).then(|| Tensor::zeros(map.shape()))).collect();
    let mut result = None;
    grads.accumulate_all(input.maps.len(), |buffers| {
        let targets = buffers.into_iter().zip(&mut unwanted).map(|(buffer, unwanted)| match buffer {
            Some((out, true)) => Some((out, Write::Store)),
            Some((out, false)) => Some((out, Write::Add)),
            None => unwanted.as_mut().map(|t| (t.data_mut(), Write::Store)),
        });
        result = Some(backward(targets.collect()));
    });
    result.expect("accumulate_all calls its argument")
}

/// Scales and shifts of a `(2, C)` affine.
pub(crate) fn split_affine(affine: &Tensor) -> (&[f32], &[f32]) {
    affine.data().split_at(affine.elements() / 2)
}

/// `f64` twin of what a reader of a [`Lazy`] sees.
pub(crate) fn activate_reference(maps: &[&Array], affine: Option<&Array>, activation: Activation) -> Array {
    let [n, h, w, _] = maps[0].dims();
    let channels: usize = maps.iter().map(|m| m.shape.channels()).sum();
    let mut data = Vec::with_capacity(n * h * w * channels);
    for pixel in 0..n * h * w {
        for map in maps {
            let c = map.shape.channels();
            data.extend_from_slice(&map.data[pixel * c..(pixel + 1) * c]);
        }
    }
    let value = |i: usize, v: f64| {
        let c = i % channels;
        let v = affine.map_or(v, |a| a.data[c] * v + a.data[channels + c]);
        match activation {
            Activation::Identity => v,
            Activation::Relu => v.max(0.0),
            Activation::Relu6 => v.clamp(0.0, 6.0),
        }
    };
    Array::from_fn([n, h, w, channels], |i| value(i, data[i]))
}

/// Sum of feature maps, each with its affine, then an activation, in one pass:
/// `y = activation(sum over k of scale_k[c]*x_k + shift_k[c])`. The sum at the end of a residual block.
///
/// With `measure`, the output's moments are measured while it is hot, for [`Tensor::moments`] to find.
///
/// # Shapes
/// - `terms`: at least one, all of one shape `(N, H, W, C)`; a term of several maps, or with an activation of its own, is
///   written out first
/// - returns `(N, H, W, C)`
///
/// # Gradient
/// With `g = grad_output * activation'(y)`: `grad_x_k = scale_k * g` (left for the reader to apply),
/// `grad_scale_k = sum g*x_k`, `grad_shift_k = sum g`. Saves `y` and the maps that have an affine, shared.
///
/// # Panics
/// If there are no terms or their shapes differ.
#[track_caller]
pub fn sum_lazy(terms: &[Lazy], activation: Activation, measure: bool) -> Tensor {
    let shape = terms.first().expect("sum_lazy: no terms").shape();
    for term in terms {
        assert_eq!(term.shape(), shape, "sum_lazy: terms {shape} and {} differ in shape", term.shape());
    }
    let plain = |term: &Lazy| term.maps.len() == 1 && term.activation == Activation::Identity;
    let terms: Vec<Lazy> =
        terms.iter().map(|t| if plain(t) { t.clone() } else { Lazy::from(t.materialise()) }).collect();
    let mut moments = None;
    let y = Tensor::build(shape, |out| {
        let terms: Vec<Term> = terms.iter().map(kernel_term).collect();
        moments = lazy_sum::forward(Level::Native, &terms, shape.channels(), activation, measure, out);
    })
    .with_moments(moments);
    let inputs: Vec<&Tensor> = terms.iter().flat_map(|t| t.maps.iter().chain(&t.affine)).collect();
    let saved = terms.iter().map(|t| t.affine.is_some().then(|| t.detach())).collect();
    let op = SumLazy { terms: saved, y: (activation != Activation::Identity).then(|| y.detach()), shape, activation };
    y.record(&inputs, op)
}

fn kernel_term(term: &Lazy) -> Term<'_> {
    Term { map: term.maps[0].data(), affine: term.affine.as_ref().map(split_affine) }
}

pub(crate) struct SumLazy {
    /// Of each term, map and affine, if it has an affine.
    terms: Vec<Option<Lazy>>,
    /// The output, if its activation's derivative needs it.
    y: Option<Tensor>,
    shape: Shape,
    activation: Activation,
}

impl SumLazy {
    /// Whether this is a scale and a shift of one map and nothing more: a plain op.
    fn is_plain(&self) -> bool {
        matches!(&self.terms[..], [Some(_)]) && self.activation == Activation::Identity
    }

    /// Calls `f` with the sum as its gradient sees it: its terms that have an affine.
    pub(crate) fn with_residual<T>(&self, f: impl FnOnce(&Residual) -> T) -> T {
        let terms: Vec<Term> = self.terms.iter().flatten().map(kernel_term).collect();
        let y = self.y.as_ref().map_or(&[][..], Tensor::data);
        f(&Residual { terms: &terms, channels: self.shape.channels(), activation: self.activation, y })
    }

    fn sum_reference(&self, inputs: &[&Array]) -> Array {
        let mut inputs = inputs.iter();
        let mut sum = Array::zeros(self.shape);
        for term in &self.terms {
            let map = inputs.next().expect("a map for each term");
            let affine = term.as_ref().map(|_| *inputs.next().expect("its affine"));
            let value = activate_reference(&[map], affine, Activation::Identity);
            sum = sum.zip(&value, |a, b| a + b);
        }
        sum
    }
}

/// `scale[c] * x + shift[c]` as an op of its own.
pub(crate) fn scale_shift(x: &Tensor, affine: &Tensor) -> Tensor {
    let term = Lazy { maps: vec![x.clone()], affine: Some(affine.clone()), activation: Activation::Identity };
    sum_lazy(&[term], Activation::Identity, false)
}

/// The activation as an op of its own.
pub(crate) fn activate(x: Tensor, activation: Activation) -> Tensor {
    match activation {
        Activation::Identity => x,
        Activation::Relu => x.relu(),
        Activation::Relu6 => x.relu6(),
    }
}

/// The [`choices`](Backward::choices) of an activation, given its input (or its output: it is above 0 where that is, and at 6 where that
/// is).
pub(crate) fn activation_choices(values: impl Iterator<Item = f64>, activation: Activation) -> Vec<u32> {
    match activation {
        Activation::Identity => vec![],
        Activation::Relu => values.map(|v| u32::from(v > 0.0)).collect(),
        Activation::Relu6 => values.map(|v| u32::from(v > 0.0) + u32::from(v >= 6.0)).collect(),
    }
}

/// The activation with its choices given.
pub(crate) fn activation_held(x: Array, choices: &[u32]) -> Array {
    if choices.is_empty() {
        return x;
    }
    Array::from_fn(x.shape, |i| match choices[i] {
        0 => 0.0,
        1 => x.data[i],
        _ => 6.0,
    })
}

impl Lazy {
    /// The choices of the activation as the kernels make them while they load: `scale * x + shift` in `f32`, rounded once.
    pub(crate) fn chosen(&self) -> Option<Vec<u32>> {
        if self.activation == Activation::Identity {
            return None;
        }
        let channels = self.shape().channels();
        let affine = self.affine.as_ref().map(split_affine);
        let maps = self.kernel_maps();
        let pixels = self.shape().rows();
        let values = (0..pixels)
            .flat_map(|pixel| maps.iter().flat_map(move |(map, c)| &map[pixel * c..(pixel + 1) * c]))
            .enumerate()
            .map(|(i, &v)| affine.map_or(v, |(scale, shift)| scale[i % channels].mul_add(v, shift[i % channels])));
        Some(activation_choices(values.map(f64::from), self.activation))
    }
}

impl Backward for SumLazy {
    fn doc(&self) -> OpDoc {
        if self.is_plain() {
            return OpDoc {
                name: "scale_shift",
                formula: "y = scale[c] * x + shift[c]",
                gradient: "grad_x = scale[c] * grad_output; grad_scale[c] = sum_{n,h,w} grad_output * x; \
                           grad_shift[c] = sum_{n,h,w} grad_output",
            };
        }
        OpDoc {
            name: "sum_lazy",
            formula: "y = activation(sum_{k} (scale_k[c] * x_k + shift_k[c]))",
            gradient: "g = grad_output * activation'(y); grad_x_k = scale_k[c] * g; grad_scale_k[c] = sum_{n,h,w} g * x_k; \
                       grad_shift_k[c] = sum_{n,h,w} g",
        }
    }

    fn inputs(&self) -> Vec<String> {
        if self.is_plain() {
            return ["x", "affine"].map(String::from).to_vec();
        }
        let term = |(k, term): (usize, &Option<Lazy>)| {
            let affine = term.as_ref().map(|_| format!("affine_{k}"));
            [format!("x_{k}")].into_iter().chain(affine)
        };
        self.terms.iter().enumerate().flat_map(term).collect()
    }

    fn attributes(&self) -> Vec<(&'static str, String)> {
        if self.is_plain() { vec![] } else { vec![("activation", format!("{:?}", self.activation).to_lowercase())] }
    }

    fn again(&self, inputs: &[&Tensor]) -> Option<Tensor> {
        let mut inputs = inputs.iter();
        let mut sum: Option<Tensor> = None;
        for term in &self.terms {
            let map = *inputs.next()?;
            let value = match term {
                Some(_) => scale_shift(map, inputs.next()?),
                None => map.clone(),
            };
            sum = Some(sum.map_or_else(|| value.clone(), |sum| sum.add(&value)));
        }
        sum.map(|sum| activate(sum, self.activation))
    }

    fn choices(&self, inputs: &[&Array]) -> Vec<u32> {
        activation_choices(self.sum_reference(inputs).data.into_iter(), self.activation)
    }

    fn chosen(&self) -> Option<Vec<u32>> {
        let y = self.y.as_ref()?.data();
        Some(activation_choices(y.iter().map(|&y| f64::from(y)), self.activation))
    }

    fn held(&self, inputs: &[&Array], choices: &[u32]) -> Array {
        activation_held(self.sum_reference(inputs), choices)
    }

    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }

    fn backward(&self, mut grad_output: GradOutput, grads: &mut Grads) {
        // A convolution that read the sum may have done this, image by image.
        let masked = grad_output.take_masked();
        let mut grad = grad_output.into_tensor();
        let channels = self.shape.channels();
        let sums = masked.unwrap_or_else(|| {
            self.with_residual(|residual| lazy_sum::backward(Level::Native, residual, grad.data_mut()))
        });
        let mut sums = sums.into_iter().flatten();
        let mut input = 0;
        for term in &self.terms {
            match term {
                None => grads.add(input, grad.clone()),
                Some(term) => {
                    let sums = sums.next().expect("one for each affine term");
                    let (scale, _) = split_affine(term.affine.as_ref().expect("saved for its affine"));
                    grads.add_scaled(input, grad.clone(), Tensor::from_slice([channels], scale));
                    input += 1;
                    grads.add(input, Tensor::from_slice([2, channels], &[sums.scale, sums.shift].concat()));
                }
            }
            input += 1;
        }
    }

    fn reference(&self, inputs: &[&Array]) -> Array {
        activate_reference(&[&self.sum_reference(inputs)], None, self.activation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gradcheck::{gradcheck, sample};
    use crate::ops::Conv2d;

    #[test]
    fn agrees_with_f64_reference() {
        for activation in [Activation::Identity, Activation::Relu, Activation::Relu6] {
            let inputs = [sample([2, 3, 1, 11]), sample([2, 11]), sample([2, 3, 1, 11]).scale(0.5)];
            gradcheck(&inputs, |t| {
                let normalised = Lazy { affine: Some(t[1].clone()), ..Lazy::from(&t[0]) };
                sum_lazy(&[normalised, Lazy::from(&t[2])], activation, false)
            });
        }
    }

    /// The next convolution masks the gradient of a sum, if it is the last to add to it and nobody looks on.
    #[test]
    fn a_sum_gets_the_same_gradients_whether_or_not_its_reader_masks_them() {
        let shape = [5, 8, 8, 16];
        let leaf = |seed: f32, shape: &[usize]| sample(shape).scale(seed).requires_grad();
        let (branch, shortcut) = (leaf(1.0, &shape), leaf(-0.7, &shape));
        let (affine, other) = (leaf(0.8, &[2, 16]), leaf(1.1, &[2, 16]));
        let weights = [leaf(0.9, &[3, 3, 16, 16]), leaf(-1.2, &[3, 3, 16, 16])];
        let normalised = |map: &Tensor, affine: &Tensor| Lazy { affine: Some(affine.clone()), ..Lazy::from(map) };
        let conv = |x: &Tensor, i: usize, stride| {
            x.conv2d(&weights[i], None, Conv2d { stride, padding: 1, ..Conv2d::default() })
        };
        let sum =
            |activation| sum_lazy(&[normalised(&branch, &affine), normalised(&shortcut, &other)], activation, false);
        let square = |x: Tensor| x.mul(&x);
        let readers: [(&str, &dyn Fn(Activation) -> Tensor); 5] = [
            ("one", &|a| square(conv(&sum(a), 0, 1)).sum()),
            ("one of stride 2", &|a| square(conv(&sum(a), 0, 2)).sum()),
            ("a block", &|a| {
                let x = sum(a);
                square(conv(&conv(&x, 0, 1), 1, 1).add(&x)).sum()
            }),
            ("a block whose shortcut comes first", &|a| {
                let x = sum(a);
                square(x.clone()).sum().add(&square(conv(&x, 0, 1)).sum())
            }),
            ("two", &|a| {
                let x = sum(a);
                conv(&x, 0, 1).mul(&conv(&x, 1, 1)).sum()
            }),
        ];
        for (name, loss) in readers {
            for activation in [Activation::Identity, Activation::Relu, Activation::Relu6] {
                let gradients = loss(activation).backward();
                let shown = loss(activation);
                let mut steps = shown.backward_steps(Tensor::full(shown.shape(), 1.0)).keep_tape();
                steps.by_ref().for_each(drop);
                let shown = steps.into_gradients();
                for (leaf, exact) in
                    [(&branch, true), (&shortcut, true), (&weights[0], true), (&affine, false), (&other, false)]
                {
                    let (a, b) = (gradients.get(leaf).expect("a leaf").data(), shown.get(leaf).expect("a leaf").data());
                    let largest = b.iter().fold(0.0f32, |m, v| m.max(v.abs()));
                    // Sums over rows go by images here and by chunks there.
                    let close = |(a, b): (&f32, &f32)| (a - b).abs() <= if exact { 0.0 } else { 1e-5 * largest };
                    assert!(largest > 0.0 && a.iter().zip(b).all(close), "{name}, {activation:?}");
                }
            }
        }
    }

    #[test]
    fn a_sum_and_the_convolution_that_reads_it_agree_with_f64() {
        gradcheck(
            &[sample([2, 4, 5, 8]), sample([2, 8]), sample([2, 4, 5, 8]).scale(0.5), sample([3, 3, 8, 8])],
            |t| {
                let normalised = Lazy { affine: Some(t[1].clone()), ..Lazy::from(&t[0]) };
                let sum = sum_lazy(&[normalised, Lazy::from(&t[2])], Activation::Relu, false);
                sum.conv2d(&t[3], None, Conv2d { padding: 1, ..Conv2d::default() }).add(&sum)
            },
        );
    }

    #[test]
    fn a_map_used_twice_gathers_both_gradients() {
        gradcheck(&[sample([1, 2, 2, 3]), sample([2, 3])], |t| {
            let normalised = Lazy { affine: Some(t[1].clone()), activation: Activation::Relu, ..Lazy::from(&t[0]) };
            sum_lazy(&[normalised, Lazy::from(&t[0])], Activation::Identity, true)
        });
    }

    #[test]
    fn materialising_a_list_concatenates() {
        gradcheck(&[sample([1, 2, 2, 3]), sample([1, 2, 2, 5]), sample([2, 8])], |t| {
            Lazy { maps: t[..2].to_vec(), affine: Some(t[2].clone()), activation: Activation::Relu }.materialise()
        });
    }

    #[test]
    #[should_panic(expected = "sum_lazy: terms (1, 2, 2, 3) and (1, 2, 2, 4) differ in shape")]
    fn terms_of_different_shapes_are_named() {
        let term = |c| Lazy::from(Tensor::zeros([1, 2, 2, c]));
        sum_lazy(&[term(3), term(4)], Activation::Relu, false);
    }
}
