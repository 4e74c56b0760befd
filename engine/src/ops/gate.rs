use crate::autograd::{Backward, Grads, OpDoc, no_grad};
use crate::grad::GradOutput;
use crate::parallel;
use crate::reference::Array;
use crate::tensor::Tensor;
use std::sync::Arc;

/// Computes what a shut gate keeps out, whenever it is asked to: always the same values.
pub type Later = Arc<dyn Fn() -> Tensor + Send + Sync>;

/// The outputs behind binary gates: `y = sum over j of gates[j] * o_j`, where one gate is 1 and all others are 0.
///
/// So `y` is the open gate's output, and shares its memory. The others serve the gradient of their gates alone; they are computed
/// in the backward pass, one after the other, and dropped at once. However many there are, no more than one is ever held.
///
/// # Shapes
/// - `output`: any, of the gate at position `open`; returns the same
/// - `gates`: `(K)`, whose values are taken to be 1 at `open` and 0 elsewhere
/// - `shut`: positions of other gates, with what computes their `o_j`, of `output`'s shape; a gate that is not listed gets
///   gradient 0
///
/// # Gradient
/// `grad_output` for the open gate's output, nothing for what is behind the others; `grad_gates[j] = sum(o_j * grad_output)`, added
/// in `f64`. Saves `output`, shared, and what `shut` holds.
///
/// # Panics
/// If a position is outside `gates`, or, in the backward pass, if an output has another shape.
///
/// # Source
/// Cai et al. 2019 (arXiv:1812.00332), section 3.1; the backward pass is the mode `full_v2` of their code.
#[track_caller]
pub fn gate(output: &Tensor, open: usize, gates: &Tensor, shut: Vec<(usize, Later)>) -> Tensor {
    let [k] = gates.dims();
    assert!(
        open < k && shut.iter().all(|(j, _)| *j < k && *j != open),
        "gate: positions must be among {k} gates, and only one is open"
    );
    let y = output.detach();
    y.record(&[output, gates], Gate { output: output.detach(), open, gates: k, shut })
}

struct Gate {
    output: Tensor,
    open: usize,
    gates: usize,
    shut: Vec<(usize, Later)>,
}

impl Backward for Gate {
    fn doc(&self) -> OpDoc {
        OpDoc {
            name: "gate",
            formula: "y = sum_j gates[j] * o_j, gates one-hot",
            gradient: "grad_o_open = grad_output; grad_gates[j] = sum(o_j * grad_output)",
        }
    }

    fn inputs(&self) -> Vec<String> {
        ["o_open", "gates"].map(String::from).to_vec()
    }

    fn attributes(&self) -> Vec<(&'static str, String)> {
        vec![("open", self.open.to_string()), ("gates", self.gates.to_string())]
    }

    fn again(&self, inputs: &[&Tensor]) -> Option<Tensor> {
        Some(gate(inputs[0], self.open, inputs[1], self.shut.clone()))
    }

    fn backward(&self, grad_output: GradOutput, grads: &mut Grads) {
        let grad = grad_output.into_tensor();
        if grads.needs(1) {
            let mut of_gates = vec![0.0; self.gates];
            of_gates[self.open] = dot(&self.output, &grad);
            for (j, later) in &self.shut {
                of_gates[*j] = dot(&no_grad(|| later()), &grad);
            }
            grads.add(1, Tensor::from_slice([self.gates], &of_gates));
        }
        grads.add(0, grad);
    }

    fn reference(&self, inputs: &[&Array]) -> Array {
        let (output, gates) = (inputs[0], inputs[1]);
        let mut sum = output.map(|v| gates.data[self.open] * v);
        for (j, later) in &self.shut {
            let other = Array::from_tensor(&no_grad(|| later()));
            sum = sum.zip(&other, |y, v| y + gates.data[*j] * v);
        }
        sum
    }
}

fn dot(a: &Tensor, b: &Tensor) -> f32 {
    assert_eq!(a.shape(), b.shape(), "gate: outputs of shapes {} and {} behind one edge", a.shape(), b.shape());
    let (a, b) = (a.data(), b.data());
    let products = |range: std::ops::Range<usize>| {
        a[range.clone()].iter().zip(&b[range]).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    };
    parallel::sum(a.len(), products) as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gradcheck::{gradcheck, sample};
    use crate::memory;

    /// Gates of which the one at `open` is 1.
    fn one_hot(k: usize, open: usize) -> Tensor {
        Tensor::from_fn([k], |j| if j == open { 1.0 } else { 0.0 })
    }

    #[test]
    fn agrees_with_f64_reference() {
        for open in 0..3 {
            gradcheck(&[sample([2, 3, 3, 4]), one_hot(3, open)], |t| {
                let shut = (0..3).filter(|j| *j != open);
                let later =
                    |j: usize| -> (usize, Later) { (j, Arc::new(move || sample([2, 3, 3, 4]).scale(j as f32))) };
                gate(&t[0].scale(2.0), open, &t[1], shut.map(later).collect())
            });
        }
    }

    #[test]
    fn a_gate_that_is_not_listed_gets_no_gradient() {
        let (output, gates) = (sample([2, 2]), one_hot(3, 1).requires_grad());
        let y = gate(&output, 1, &gates, vec![(0, Arc::new(|| Tensor::full([2, 2], 1.0)))]);
        let gradients = y.sum().backward();
        let sum = output.data().iter().map(|&v| f64::from(v)).sum::<f64>() as f32;
        assert_eq!(gradients.get(&gates).expect("on the tape").data(), [4.0, sum, 0.0]);
    }

    #[test]
    fn what_is_shut_out_is_held_one_at_a_time() {
        let peak = |k: usize| {
            let gates = one_hot(k, 0).requires_grad();
            let output = sample([1, 64, 64, 8]);
            memory::reset_peak();
            let before = memory::stats().live;
            let shut = (1..k).map(|j| -> (usize, Later) { (j, Arc::new(|| Tensor::full([1, 64, 64, 8], 0.5))) });
            gate(&output, 0, &gates, shut.collect()).sum().backward();
            memory::stats().peak - before
        };
        peak(9); // what one pass leaves on the free lists, the next takes up
        let (two, nine) = (peak(2), peak(9));
        assert!(nine.abs_diff(two) <= 4 * 16, "{two} against {nine}: no more than the gates themselves");
    }

    #[test]
    #[should_panic(expected = "gate: positions must be among 2 gates, and only one is open")]
    fn a_gate_cannot_be_open_and_shut() {
        gate(&sample([2]), 1, &one_hot(2, 1), vec![(1, Arc::new(|| sample([2])))]);
    }
}
