use crate::autograd::{Backward, Grads, OpDoc};
use crate::grad::{GradOutput, channel_chunk};
use crate::kernels::elementwise::dispatch;
use crate::parallel::chunks_mut;
use crate::reference::Array;
use crate::shape::Shape;
use crate::tensor::Tensor;
use std::ops::Range;

impl Tensor {
    /// The channels in `range`, copied: `y[..., c] = x[..., range.start + c]`.
    ///
    /// # Shapes
    /// - `self`: `(..., C)`
    /// - returns `(..., range.len())`
    ///
    /// # Gradient
    /// `grad_input` gets `grad_output` in `range`, and 0 elsewhere. Saves only the shape and the range.
    ///
    /// # Panics
    /// If `self` is a scalar, or `range` does not lie in `0..C`.
    #[track_caller]
    pub fn slice_channels(&self, range: Range<usize>) -> Tensor {
        let (shape, c) = (self.shape(), self.shape().channels());
        assert!(
            !shape.is_empty() && range.start <= range.end && range.end <= c,
            "slice_channels: channels {range:?} of x {shape}, which has 0..{}",
            if shape.is_empty() { 0 } else { c }
        );
        let (x, width) = (self.data(), range.len());
        let y = Tensor::build(with_channels(shape, width), |out| {
            let len = channel_chunk(width);
            chunks_mut(out, len, |i, out| {
                let x = &x[i * len / width * c..][..out.len() / width * c];
                for (y, x) in out.chunks_exact_mut(width).zip(x.chunks_exact(c)) {
                    y.copy_from_slice(&x[range.clone()]);
                }
            });
        });
        y.record(&[self], SliceChannels { shape, range })
    }
}

fn with_channels(shape: Shape, channels: usize) -> Shape {
    let mut dims = shape.to_vec();
    *dims.last_mut().expect("not a scalar") = channels;
    dims.as_slice().into()
}

struct SliceChannels {
    shape: Shape,
    range: Range<usize>,
}

impl Backward for SliceChannels {
    fn doc(&self) -> OpDoc {
        OpDoc {
            name: "slice_channels",
            formula: "y[...,c] = x[...,start + c]",
            gradient: "grad_x[...,start + c] = grad_output[...,c] \", elsewhere 0\"",
        }
    }

    fn inputs(&self) -> Vec<String> {
        ["x"].map(String::from).to_vec()
    }

    fn attributes(&self) -> Vec<(&'static str, String)> {
        vec![("start", self.range.start.to_string()), ("end", self.range.end.to_string())]
    }

    fn again(&self, inputs: &[&Tensor]) -> Option<Tensor> {
        Some(inputs[0].slice_channels(self.range.clone()))
    }

    fn backward(&self, grad_output: GradOutput, grads: &mut Grads) {
        let grad_output = grad_output.into_tensor();
        let (c, width) = (self.shape.channels(), self.range.len());
        grads.accumulate(0, |grad_input, fresh| {
            let len = channel_chunk(c);
            chunks_mut(grad_input, len, |i, grad_input| {
                if fresh {
                    grad_input.fill(0.0);
                }
                let g = &grad_output.data()[i * len / c * width..];
                dispatch(|| {
                    for (row, sum) in grad_input.chunks_exact_mut(c).enumerate() {
                        let g = &g[row * width..][..width];
                        sum[self.range.clone()].iter_mut().zip(g).for_each(|(sum, g)| *sum += g);
                    }
                });
            });
        });
    }

    fn reference(&self, inputs: &[&Array]) -> Array {
        let (c, width) = (self.shape.channels(), self.range.len());
        Array::from_fn(with_channels(self.shape, width), |at| {
            inputs[0].data[at / width * c + self.range.start + at % width]
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::gradcheck::{gradcheck, sample};
    use crate::ops::concat;

    #[test]
    fn agrees_with_f64_reference() {
        for range in [0..5, 1..3, 4..5, 2..2] {
            gradcheck(&[sample([2, 3, 1, 5])], |t| t[0].slice_channels(range.clone()));
        }
        // Read twice, so that the second gradient is added to the first.
        gradcheck(&[sample([3, 5])], |t| concat(&[&t[0].slice_channels(0..3), &t[0].slice_channels(1..5)]));
    }

    #[test]
    fn slices_undo_concat() {
        let (a, b) = (sample([5000, 3]), sample([5000, 4]));
        let y = concat(&[&a, &b]);
        assert_eq!(y.slice_channels(0..3).data(), a.data());
        assert_eq!(y.slice_channels(3..7).data(), b.data());
    }

    #[test]
    #[should_panic(expected = "slice_channels: channels 2..6 of x (2, 5), which has 0..5")]
    fn channels_out_of_range_are_refused() {
        sample([2, 5]).slice_channels(2..6);
    }
}
