use crate::autograd::{Backward, Grads, OpDoc};
use crate::grad::GradOutput;
use crate::parallel::chunks_mut;
use crate::reference::Array;
use crate::shape::{MAX_RANK, Shape};
use crate::tensor::Tensor;

impl Tensor {
    /// Surrounds `self` with zeros: `padding[d]` says how many before and after it along dimension `d`.
    ///
    /// # Shapes
    /// - `self`: any
    /// - `padding`: a pair for each dimension
    /// - returns the extents of `self`, each plus its `before + after`
    ///
    /// # Gradient
    /// `grad_input` is `grad_output` without the margins. Saves only sizes.
    ///
    /// # Panics
    /// If `padding` has not one pair for each dimension.
    ///
    /// # Source
    /// `torch.nn.functional.pad` with mode `constant` (whose list starts at the last dimension; ours at the first).
    #[track_caller]
    pub fn pad(&self, padding: &[(usize, usize)]) -> Tensor {
        let shape = self.shape();
        assert_eq!(
            padding.len(),
            shape.len(),
            "pad: {} pairs of padding for x {shape}, which needs one for each dimension",
            padding.len()
        );
        let op = Pad::new(shape, padding);
        let (x, inner) = (self.data(), op.outer_len(&op.shape));
        let y = Tensor::build(op.padded(), |out| {
            chunks_mut(out, op.outer_len(&op.padded()), |i, out| match op.source(i) {
                Some(i) => op.embed(1, &x[i * inner..][..inner], out),
                None => out.fill(0.0),
            });
        });
        y.record(&[self], op)
    }
}

struct Pad {
    shape: Shape,
    padding: [(usize, usize); MAX_RANK],
}

impl Pad {
    fn new(shape: Shape, pairs: &[(usize, usize)]) -> Pad {
        let mut padding = [(0, 0); MAX_RANK];
        padding[..pairs.len()].copy_from_slice(pairs);
        Pad { shape, padding }
    }

    fn pairs(&self) -> &[(usize, usize)] {
        &self.padding[..self.shape.len()]
    }

    fn padded(&self) -> Shape {
        let dims: Vec<usize> =
            self.shape.iter().zip(&self.padding).map(|(extent, (before, after))| before + extent + after).collect();
        dims.as_slice().into()
    }

    /// Elements in one step along the outermost dimension, which is how the work is cut.
    fn outer_len(&self, shape: &Shape) -> usize {
        shape.iter().skip(1).product()
    }

    /// The outermost index of the input that ends up at `i`, unless that is margin.
    fn source(&self, i: usize) -> Option<usize> {
        i.checked_sub(self.padding[0].0).filter(|&i| self.shape.is_empty() || i < self.shape[0])
    }

    /// Writes `x`, of the extents from dimension `d` on, and its margins to `out`.
    fn embed(&self, d: usize, x: &[f32], out: &mut [f32]) {
        if self.padding[d.min(MAX_RANK)..].iter().all(|&pair| pair == (0, 0)) {
            return out.copy_from_slice(x);
        }
        let (before, after) = self.padding[d];
        let (len, out_len) = (x.len() / self.shape[d].max(1), out.len() / (before + self.shape[d] + after));
        if out_len == 1 {
            // The innermost dimension, in three moves.
            let (head, rest) = out.split_at_mut(before);
            let (body, tail) = rest.split_at_mut(x.len());
            head.fill(0.0);
            body.copy_from_slice(x);
            return tail.fill(0.0);
        }
        let (head, rest) = out.split_at_mut(before * out_len);
        let (body, tail) = rest.split_at_mut(self.shape[d] * out_len);
        head.fill(0.0);
        for i in 0..self.shape[d] {
            self.embed(d + 1, &x[i * len..][..len], &mut body[i * out_len..][..out_len]);
        }
        tail.fill(0.0);
    }

    /// The opposite of [`embed`](Self::embed).
    fn crop(&self, d: usize, padded: &[f32], out: &mut [f32]) {
        if self.padding[d.min(MAX_RANK)..].iter().all(|&pair| pair == (0, 0)) {
            return out.copy_from_slice(padded);
        }
        let (before, after) = self.padding[d];
        let (len, padded_len) = (out.len() / self.shape[d].max(1), padded.len() / (before + self.shape[d] + after));
        if padded_len == 1 {
            return out.copy_from_slice(&padded[before..before + out.len()]);
        }
        for i in 0..self.shape[d] {
            self.crop(d + 1, &padded[(before + i) * padded_len..][..padded_len], &mut out[i * len..][..len]);
        }
    }
}

impl Backward for Pad {
    fn doc(&self) -> OpDoc {
        OpDoc {
            name: "pad",
            formula: "y = x \"surrounded by zeros\"",
            gradient: "grad_x = grad_output \"without the margins\"",
        }
    }

    fn inputs(&self) -> Vec<String> {
        ["x"].map(String::from).to_vec()
    }

    fn attributes(&self) -> Vec<(&'static str, String)> {
        vec![("padding", format!("{:?}", self.pairs()))]
    }

    fn again(&self, inputs: &[&Tensor]) -> Option<Tensor> {
        Some(inputs[0].pad(self.pairs()))
    }

    fn backward(&self, grad_output: GradOutput, grads: &mut Grads) {
        let grad_output = grad_output.into_tensor();
        let padded = self.outer_len(&grad_output.shape());
        let grad_input = Tensor::build(self.shape, |out| {
            chunks_mut(out, self.outer_len(&self.shape), |i, out| {
                self.crop(1, &grad_output.data()[(self.padding[0].0 + i) * padded..][..padded], out);
            });
        });
        grads.add(0, grad_input);
    }

    fn reference(&self, inputs: &[&Array]) -> Array {
        let padded = self.padded();
        Array::from_fn(padded, |at| {
            // Index by index from the last dimension: where in x is this, if anywhere?
            let (mut rest, mut source, mut stride) = (at, 0, 1);
            for d in (0..padded.len()).rev() {
                let index = rest % padded[d];
                rest /= padded[d];
                match index.checked_sub(self.padding[d].0) {
                    Some(i) if i < self.shape[d] => source += i * stride,
                    _ => return 0.0,
                }
                stride *= self.shape[d];
            }
            inputs[0].data[source]
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::gradcheck::{gradcheck, sample};
    use crate::tensor::Tensor;

    #[test]
    fn agrees_with_f64_reference() {
        gradcheck(&[sample([2, 3, 5, 1])], |t| t[0].pad(&[(0, 0), (1, 2), (3, 0), (0, 0)]));
        gradcheck(&[sample([2, 3, 1, 5])], |t| t[0].pad(&[(1, 0), (0, 0), (0, 1), (2, 3)]));
        gradcheck(&[sample([3, 2, 2])], |t| t[0].pad(&[(0, 0), (0, 0), (0, 0)]));
        gradcheck(&[sample([4])], |t| t[0].pad(&[(2, 1)]));
        gradcheck(&[sample([])], |t| t[0].pad(&[]));
        gradcheck(&[sample([2, 0, 3])], |t| t[0].pad(&[(1, 0), (1, 1), (0, 2)]));
        gradcheck(&[sample([1, 2, 1, 1, 2, 3])], |t| t[0].pad(&[(0, 1), (1, 0), (0, 0), (0, 0), (0, 0), (1, 1)]));
    }

    #[test]
    fn margins_are_zero() {
        let x = Tensor::full([1, 2], 7.0);
        assert_eq!(x.pad(&[(1, 0), (0, 1)]).data(), [0.0, 0.0, 0.0, 7.0, 7.0, 0.0]);
    }

    #[test]
    #[should_panic(expected = "pad: 1 pairs of padding for x (2, 3), which needs one for each dimension")]
    fn every_dimension_has_a_pair() {
        sample([2, 3]).pad(&[(1, 1)]);
    }
}
