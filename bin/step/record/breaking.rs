//! Gradients that are wrong on purpose: the mistakes people make, and the finite difference that finds each.

use super::check::{Check, largest, position_of_largest};
use super::{Op, Recording};
use engine::Tensor;

/// A wrong contribution.
pub struct Broken {
    /// What is wrong with it.
    pub text: &'static str,
    /// Position of the input whose gradient it claims to be.
    pub input: usize,
    /// The wrong gradient.
    pub value: Tensor,
    /// The finite difference of the entry that is most wrong; it fails.
    pub check: Check,
}

/// What is wrong, with which input's gradient, and that gradient.
type Mistake = (&'static str, usize, Tensor);

impl Recording {
    /// A wrong gradient of `op`. `None` if no mistake is known for it, or the mistake makes no difference here.
    pub fn break_it(&self, op: usize) -> Option<Broken> {
        let it = &self.ops[op];
        let incoming = self.tensors[it.output].grad.clone()?;
        let (text, input, value) = self.mistake(op, it, &incoming)?;
        let right = &self.contribution(op, input)?.value;
        let gaps = value.data().iter().zip(right.data()).map(|(wrong, right)| wrong - right);
        let entry = position_of_largest(gaps);
        let claim = f64::from(*value.data().get(entry)?);
        let check = self.check_claim(op, input, entry, claim, largest(right.data()));
        (check.passed() == Some(false)).then_some(Broken { text, input, value, check })
    }

    fn mistake(&self, op: usize, it: &Op, incoming: &Tensor) -> Option<Mistake> {
        let value = |i: usize| &self.tensors[it.inputs[i]].value;
        let right = |i: usize| self.contribution(op, i).map(|part| part.value.clone());
        Some(match it.doc.name {
            "relu" | "relu6" => {
                ("The mask is left out: the gradient also passes where ReLU cut its input off.", 0, incoming.clone())
            }
            "scale_shift" | "affine" => ("The factor of each channel is left out.", 0, incoming.clone()),
            "scale" => ("The factor is left out.", 0, incoming.clone()),
            "sigmoid" | "tanh" | "exp" | "log" | "sqrt" => (
                "The derivative of the function itself is left out: the chain rule lacks a factor.",
                0,
                incoming.clone(),
            ),
            "mul" if value(0).shape() == value(1).shape() => (
                "The wrong factor: grad_output is multiplied by a itself and not by b.",
                0,
                incoming.mul(value(0)).detach(),
            ),
            "matmul" => ("The last term of the sum over n is left out.", 0, without_last_column(incoming, value(1))),
            "conv2d" if value(1).shape()[0] > 1 && right(0).is_some() => (
                "The kernel is not turned round: grad_output is convolved with w as it stands.",
                0,
                self.unturned(it, incoming)?,
            ),
            "conv2d" => ("Only the first image of the batch is counted.", 1, self.first_image_only(it, incoming)?),
            "cross_entropy" => {
                let n = value(0).shape()[0] as f32;
                let softmax = value(0).detach().log_softmax().exp();
                (
                    "The target is left out: softmax(logits) alone, without - target.",
                    0,
                    softmax.scale(incoming.item() / n),
                )
            }
            "moments" => {
                let mut mean_only = incoming.clone();
                let channels = mean_only.elements() / 2;
                mean_only.data_mut()[channels..].fill(0.0);
                ("The variance is treated as a constant: its term is left out.", 0, self.rerun(it, 0, &[], &mean_only)?)
            }
            "standardise" => {
                let shifted = standard_deviation_only(value(0), incoming, it);
                ("Mean and variance are treated as constants: both means are left out.", 0, shifted)
            }
            "global_avg_pool" => {
                let [_, h, w, _] = value(0).dims();
                ("The division by the number of pixels is left out.", 0, right(0)?.scale((h * w) as f32))
            }
            "concat" if it.inputs.len() > 1 && value(0).shape() == value(1).shape() => {
                ("The offset is forgotten: the second map gets the channels of the first.", 1, right(0)?)
            }
            _ => return None,
        })
    }

    /// The gradient of input `wanted` when the op runs again with other inputs (by position) and incoming gradient.
    fn rerun(&self, it: &Op, wanted: usize, others: &[(usize, Tensor)], incoming: &Tensor) -> Option<Tensor> {
        let recorded = it.inputs.iter().map(|&i| self.tensors[i].value.detach());
        let mut inputs: Vec<Tensor> = recorded.collect();
        for (position, other) in others {
            inputs[*position] = other.clone();
        }
        inputs[wanted] = inputs[wanted].requires_grad();
        let output = it.op.again(&inputs.iter().collect::<Vec<_>>())?;
        output.node()?.contributions(incoming).swap_remove(wanted)
    }

    fn unturned(&self, it: &Op, incoming: &Tensor) -> Option<Tensor> {
        let weight = &self.tensors[it.inputs[1]].value;
        let [k_h, k_w, c_in, c_out] = weight.dims();
        let panel = c_in * c_out;
        let turned =
            Tensor::from_fn(weight.shape(), |i| weight.data()[(k_h * k_w - 1 - i / panel) * panel + i % panel]);
        self.rerun(it, 0, &[(1, turned)], incoming)
    }

    fn first_image_only(&self, it: &Op, incoming: &Tensor) -> Option<Tensor> {
        let mut first = incoming.clone();
        let image = first.elements() / first.shape()[0].max(1);
        first.data_mut()[image..].fill(0.0);
        self.rerun(it, 1, &[], &first)
    }
}

fn without_last_column(incoming: &Tensor, b: &Tensor) -> Tensor {
    let columns = incoming.shape().channels();
    let kept = Tensor::from_fn(incoming.shape(), |i| if i % columns + 1 == columns { 0.0 } else { incoming.data()[i] });
    kept.matmul(&b.detach().transpose())
}

fn standard_deviation_only(x: &Tensor, incoming: &Tensor, it: &Op) -> Tensor {
    let channels = x.shape().channels();
    let moments = x.detach().moments();
    let eps = it
        .op
        .attributes()
        .iter()
        .find(|(name, _)| *name == "eps")
        .and_then(|(_, eps)| eps.parse().ok())
        .unwrap_or(0.0f32);
    Tensor::from_fn(x.shape(), |i| incoming.data()[i] / (moments.data()[channels + i % channels] + eps).sqrt())
}
