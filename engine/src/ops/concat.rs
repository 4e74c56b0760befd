use crate::autograd::{Backward, Grads, OpDoc};
use crate::grad::{GradOutput, channel_chunk};
use crate::kernels::elementwise::dispatch;
use crate::parallel::chunks_mut;
use crate::reference::Array;
use crate::shape::Shape;
use crate::tensor::Tensor;

/// Joins tensors along the last dimension (the channels of feature maps), in order, into one new tensor.
///
/// This copies every map. A convolution reads a list of maps as their concatenation without the copy.
///
/// # Shapes
/// - `maps`: at least one, `(..., C_i)`, alike in all dimensions but the last
/// - returns `(..., C_0 + C_1 + ...)`
///
/// # Gradient
/// Each map gets its own channels of `grad_output`. Saves only the channel counts.
///
/// # Panics
/// If there are no maps, a map is a scalar, or they differ in a dimension other than the last.
///
/// # Source
/// `torch.cat(maps, dim=-1)`.
#[track_caller]
pub fn concat(maps: &[&Tensor]) -> Tensor {
    let shapes: Vec<Shape> = maps.iter().map(|map| map.shape()).collect();
    let Some(first) = shapes.first() else { panic!("concat: there are no maps to join") };
    let leading = |shape: &Shape| shape[..shape.len().saturating_sub(1)].to_vec();
    assert!(
        shapes.iter().all(|s| !s.is_empty() && leading(s) == leading(first)),
        "concat: maps {shapes:?} must be alike in all dimensions but the last"
    );
    let channels: Vec<usize> = shapes.iter().map(Shape::channels).collect();
    let total: usize = channels.iter().sum();
    let mut dims = first.to_vec();
    dims[first.len() - 1] = total;
    let y = Tensor::build(dims.as_slice(), |out| {
        let len = channel_chunk(total);
        chunks_mut(out, len, |i, out| {
            let (start, rows) = (i * len / total, out.len() / total);
            let mut offset = 0;
            for (map, &c) in maps.iter().zip(&channels) {
                let map = &map.data()[start * c..][..rows * c];
                for row in 0..rows {
                    out[row * total + offset..][..c].copy_from_slice(&map[row * c..][..c]);
                }
                offset += c;
            }
        });
    });
    y.record(maps, Concat { channels })
}

struct Concat {
    channels: Vec<usize>,
}

impl Backward for Concat {
    fn doc(&self) -> OpDoc {
        OpDoc {
            name: "concat",
            formula: "y = concat(x_0, x_1, ...)",
            gradient: "grad_x_k[...,c] = grad_output[...,\"offset of map k\" + c]",
        }
    }

    fn inputs(&self) -> Vec<String> {
        (0..self.channels.len()).map(|i| format!("x_{i}")).collect()
    }

    fn attributes(&self) -> Vec<(&'static str, String)> {
        vec![("channels", format!("{:?}", self.channels))]
    }

    fn again(&self, inputs: &[&Tensor]) -> Option<Tensor> {
        Some(concat(inputs))
    }

    fn backward(&self, grad_output: GradOutput, grads: &mut Grads) {
        let grad_output = grad_output.into_tensor();
        let total: usize = self.channels.iter().sum();
        let mut offset = 0;
        for (i, &c) in self.channels.iter().enumerate() {
            grads.accumulate(i, |grad, fresh| {
                let len = channel_chunk(c);
                chunks_mut(grad, len, |j, grad| {
                    let g = &grad_output.data()[j * len / c * total..][..grad.len() / c * total];
                    dispatch(|| {
                        for (grad, g) in grad.chunks_exact_mut(c).zip(g.chunks_exact(total)) {
                            let g = &g[offset..][..c];
                            if fresh {
                                grad.copy_from_slice(g);
                            } else {
                                grad.iter_mut().zip(g).for_each(|(sum, g)| *sum += g);
                            }
                        }
                    });
                });
            });
            offset += c;
        }
    }

    fn reference(&self, inputs: &[&Array]) -> Array {
        let total: usize = self.channels.iter().sum();
        let mut dims = inputs[0].shape.to_vec();
        *dims.last_mut().expect("maps are not scalars") = total;
        Array::from_fn(dims.as_slice(), |at| {
            let (row, mut channel) = (at / total, at % total);
            let mut map = 0;
            while channel >= self.channels[map] {
                channel -= self.channels[map];
                map += 1;
            }
            inputs[map].data[row * self.channels[map] + channel]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::concat;
    use crate::gradcheck::{gradcheck, sample};
    use crate::tensor::Tensor;

    #[test]
    fn agrees_with_f64_reference() {
        let maps = |channels: &[usize]| channels.iter().map(|&c| sample([2, 3, 1, c])).collect::<Vec<_>>();
        for channels in [&[3, 1, 5][..], &[2], &[0, 4], &[0]] {
            gradcheck(&maps(channels), |t| concat(&t.iter().collect::<Vec<_>>()));
        }
        // Read twice, so that the second gradient is added to the first.
        gradcheck(&[sample([3, 2]), sample([3, 1])], |t| concat(&[&t[0], &t[1], &t[0]]));
    }

    #[test]
    fn joins_rows_longer_than_a_chunk_of_work() {
        let (a, b) = (Tensor::from_fn([9000, 1], |i| i as f32), Tensor::from_fn([9000, 2], |i| -(i as f32)));
        let y = concat(&[&a, &b]);
        assert!((0..9000).all(|i| y.data()[3 * i..][..3] == [i as f32, -(2.0 * i as f32), -(2.0 * i as f32 + 1.0)]));
    }

    #[test]
    #[should_panic(expected = "concat: maps [(2, 3), (3, 3)] must be alike in all dimensions but the last")]
    fn maps_of_different_extent_are_refused() {
        concat(&[&sample([2, 3]), &sample([3, 3])]);
    }

    #[test]
    #[should_panic(expected = "concat: there are no maps")]
    fn nothing_to_join_is_refused() {
        concat(&[]);
    }
}
