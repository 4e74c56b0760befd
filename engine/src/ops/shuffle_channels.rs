use crate::autograd::{Backward, Grads, OpDoc};
use crate::grad::{GradOutput, channel_chunk};
use crate::parallel::chunks_mut;
use crate::reference::Array;
use crate::tensor::Tensor;

impl Tensor {
    /// Deals the channels of each group out over all groups: the `C` channels, viewed as `(groups, C / groups)`, are transposed
    /// and flattened again. `y[..., j*groups + i] = x[..., i*(C/groups) + j]`.
    ///
    /// # Shapes
    /// - `self`: `(..., C)`, `C` divisible by `groups`; returns the same
    ///
    /// # Gradient
    /// The opposite shuffle, which is the one with `C / groups` groups, of `grad_output`. Saves only `groups`.
    ///
    /// # Panics
    /// If `self` is a scalar, or `groups` is 0 or does not divide `C`.
    ///
    /// # Source
    /// ShuffleNet (Zhang et al. 2017); `torch.nn.ChannelShuffle`.
    #[track_caller]
    pub fn shuffle_channels(&self, groups: usize) -> Tensor {
        let shape = self.shape();
        assert!(
            !shape.is_empty() && groups > 0 && shape.channels().is_multiple_of(groups),
            "shuffle_channels: the channels of x {shape} must divide into {groups} groups"
        );
        shuffled(self, groups).record(&[self], ShuffleChannels { groups })
    }
}

fn shuffled(x: &Tensor, groups: usize) -> Tensor {
    let (values, c) = (x.data(), x.shape().channels());
    Tensor::build(x.shape(), |out| {
        let len = channel_chunk(c);
        chunks_mut(out, len, |i, out| {
            let x = &values[i * len..][..out.len()];
            for (y, x) in out.chunks_exact_mut(c).zip(x.chunks_exact(c)) {
                for (i, x) in x.chunks_exact(c / groups).enumerate() {
                    for (j, x) in x.iter().enumerate() {
                        y[j * groups + i] = *x;
                    }
                }
            }
        });
    })
}

struct ShuffleChannels {
    groups: usize,
}

impl Backward for ShuffleChannels {
    fn doc(&self) -> OpDoc {
        OpDoc {
            name: "shuffle_channels",
            formula: "y[...,j * groups + i] = x[...,i * (C / groups) + j]",
            gradient: "grad_x[...,i * (C / groups) + j] = grad_output[...,j * groups + i]",
        }
    }

    fn inputs(&self) -> Vec<String> {
        ["x"].map(String::from).to_vec()
    }

    fn attributes(&self) -> Vec<(&'static str, String)> {
        vec![("groups", self.groups.to_string())]
    }

    fn again(&self, inputs: &[&Tensor]) -> Option<Tensor> {
        Some(inputs[0].shuffle_channels(self.groups))
    }

    fn backward(&self, grad_output: GradOutput, grads: &mut Grads) {
        let grad_output = grad_output.into_tensor();
        // No channels, no opposite: 0 groups would be refused.
        let opposite = (grad_output.shape().channels() / self.groups).max(1);
        grads.add(0, shuffled(&grad_output, opposite));
    }

    fn reference(&self, inputs: &[&Array]) -> Array {
        let c = inputs[0].shape.channels();
        let per_group = c / self.groups;
        Array::from_fn(inputs[0].shape, |at| {
            let (row, channel) = (at / c, at % c);
            let (j, i) = (channel / self.groups, channel % self.groups);
            inputs[0].data[row * c + i * per_group + j]
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::gradcheck::{gradcheck, sample};
    use crate::tensor::Tensor;

    #[test]
    fn agrees_with_f64_reference() {
        for groups in [1, 2, 3, 6] {
            gradcheck(&[sample([2, 1, 3, 6])], |t| t[0].shuffle_channels(groups));
        }
        gradcheck(&[sample([3, 0])], |t| t[0].shuffle_channels(2));
    }

    #[test]
    fn groups_are_dealt_out() {
        let x = Tensor::from_fn([1, 6], |i| i as f32);
        assert_eq!(x.shuffle_channels(2).data(), [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
    }

    #[test]
    #[should_panic(expected = "shuffle_channels: the channels of x (2, 6) must divide into 4 groups")]
    fn groups_must_divide_the_channels() {
        sample([2, 6]).shuffle_channels(4);
    }
}
