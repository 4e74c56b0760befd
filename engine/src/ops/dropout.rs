use crate::autograd::{Backward, Grads, OpDoc};
use crate::grad::GradOutput;
use crate::parallel::{CHUNK, chunks_mut};
use crate::reference::Array;
use crate::rng::{Rng, purpose};
use crate::shape::Shape;
use crate::tensor::Tensor;

impl Tensor {
    /// Zeroes each element with probability `p` and scales the others by `1 / (1 - p)`, which keeps the expectation: `y = x *
    /// mask`, each `mask` element 0 or `1 / (1 - p)`.
    ///
    /// Takes one number from `rng`, the seed of this mask; chunks of the mask come from streams of their own, so they don't depend
    /// on the number of threads. For training: evaluation doesn't call it.
    ///
    /// # Shapes
    /// - `self`: any; returns the same
    ///
    /// # Gradient
    /// `grad_input = grad_output * mask`. Saves the seed, from which the mask is drawn again: no extra memory.
    ///
    /// # Panics
    /// If `p` is not in `0..1`.
    ///
    /// # Source
    /// Srivastava et al. 2014; `torch.nn.functional.dropout`.
    #[track_caller]
    pub fn dropout(&self, p: f32, rng: &mut Rng) -> Tensor {
        assert!((0.0..1.0).contains(&p), "dropout: p = {p} is not in 0..1");
        Dropout { seed: rng.bits(), p, shape: self.shape() }.apply(self)
    }
}

fn multiply(mask: &mut Tensor, x: &Tensor) {
    let x = x.data();
    chunks_mut(mask.data_mut(), CHUNK, |i, out| {
        out.iter_mut().zip(&x[i * CHUNK..]).for_each(|(mask, x)| *mask *= x);
    });
}

struct Dropout {
    seed: u64,
    p: f32,
    shape: Shape,
}

impl Dropout {
    fn apply(self, x: &Tensor) -> Tensor {
        let mut y = self.mask();
        multiply(&mut y, x);
        y.record(&[x], self)
    }

    fn mask(&self) -> Tensor {
        // 32 random bits decide an element; compared as integers and without a branch, which would be mispredicted.
        let (dropped, kept) = ((f64::from(self.p) * f64::from(u32::MAX)) as u32, 1.0 / (1.0 - self.p));
        Tensor::build(self.shape, |out| {
            chunks_mut(out, CHUNK, |i, out| {
                let mut rng = Rng::new(self.seed, &[purpose::DROPOUT, i as u64]);
                for pair in out.chunks_mut(2) {
                    let bits = rng.bits();
                    for (mask, bits) in pair.iter_mut().zip([bits as u32, (bits >> 32) as u32]) {
                        *mask = f32::from(u8::from(bits >= dropped)) * kept;
                    }
                }
            });
        })
    }
}

impl Backward for Dropout {
    fn doc(&self) -> OpDoc {
        OpDoc { name: "dropout", formula: "y = x * mask", gradient: "grad_x = grad_output * mask" }
    }

    fn inputs(&self) -> Vec<String> {
        ["x"].map(String::from).to_vec()
    }

    fn attributes(&self) -> Vec<(&'static str, String)> {
        vec![("p", self.p.to_string())]
    }

    fn again(&self, inputs: &[&Tensor]) -> Option<Tensor> {
        Some(Dropout { ..*self }.apply(inputs[0]))
    }

    fn backward(&self, grad_output: GradOutput, grads: &mut Grads) {
        let mut grad = self.mask();
        multiply(&mut grad, &grad_output.into_tensor());
        grads.add(0, grad);
    }

    fn reference(&self, inputs: &[&Array]) -> Array {
        inputs[0].zip(&Array::from_tensor(&self.mask()), |x, mask| x * mask)
    }
}

#[cfg(test)]
mod tests {
    use crate::gradcheck::{gradcheck, sample};
    use crate::rng::{Rng, purpose};
    use crate::tensor::Tensor;

    fn rng() -> Rng {
        Rng::new(3, &[purpose::TEST])
    }

    #[test]
    fn agrees_with_f64_reference() {
        for p in [0.0, 0.3, 0.9] {
            gradcheck(&[sample([3, 5])], |t| t[0].dropout(p, &mut rng()));
        }
        gradcheck(&[sample([0])], |t| t[0].dropout(0.5, &mut rng()));
    }

    #[test]
    fn drops_a_share_of_p_and_scales_the_rest() {
        let n = 40_000; // More than one chunk of work.
        let y = Tensor::full([n], 3.0).dropout(0.25, &mut rng());
        let kept = y.data().iter().filter(|&&v| v != 0.0).count();
        assert!(y.data().iter().all(|&v| v == 0.0 || v == 4.0));
        // Four standard errors: 4 * sqrt(p * (1 - p) / n) = 0.009.
        assert!((kept as f64 / n as f64 - 0.75).abs() < 0.009, "{kept} kept");
    }

    #[test]
    fn calls_differ_and_generators_repeat() {
        let (x, mut a, mut b) = (Tensor::full([50], 1.0), rng(), rng());
        let first = x.dropout(0.5, &mut a);
        assert_eq!(first.data(), x.dropout(0.5, &mut b).data());
        assert_ne!(first.data(), x.dropout(0.5, &mut a).data());
    }

    #[test]
    fn nothing_is_dropped_at_p_0() {
        let x = sample([3, 5]);
        assert_eq!(x.dropout(0.0, &mut rng()).data(), x.data());
    }

    #[test]
    #[should_panic(expected = "dropout: p = 1 is not in 0..1")]
    fn dropping_everything_is_refused() {
        sample([3]).dropout(1.0, &mut rng());
    }
}
