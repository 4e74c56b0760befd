//! The values of a forward pass against the `f64` references, op by op.
//!
//! A gradient is checked on the piece that the `f32` run chose (see [`crate::replay`]), so those choices must have been right: the output of
//! every op, as it was in the step, is compared with the reference of the same inputs, making its choices itself and with those of the
//! step. Errors don't add up from op to op, as every op is given the inputs that it had.

use crate::autograd::{Input, Node, observe, tape};
use crate::reference::Array;
use crate::shape::Shape;
use crate::tensor::Tensor;
use rayon::prelude::*;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

/// A forward pass whose values were kept.
pub struct Watched {
    /// What it computed.
    pub output: Tensor,
    /// Of every op that it put on the tape, by node.
    values: HashMap<u64, Tensor>,
}

/// One op's values, compared.
pub struct OpError {
    /// The op's node.
    pub node: Arc<Node>,
    /// The op's name.
    pub op: &'static str,
    /// Its place among the ops of the tape, counted from 1 in the order of the forward pass.
    pub place: usize,
    /// Of its output.
    pub shape: Shape,
    /// Largest `|value - reference|`, over the largest `|reference|`. Infinite if one of both alone is not a number.
    pub error: f64,
}

impl Watched {
    /// Runs `forward`, keeping the value of every op.
    pub fn run(forward: impl FnOnce() -> Tensor) -> Watched {
        let values: Rc<RefCell<HashMap<u64, Tensor>>> = Rc::default();
        let sink = values.clone();
        let keep = move |output: &Tensor, _| {
            if let Some(node) = output.node() {
                sink.borrow_mut().insert(node.id(), output.detach());
            }
        };
        let output = observe(keep, forward);
        Watched { output, values: values.take() }
    }

    /// The value that an op made.
    pub fn value(&self, node: &Node) -> Option<&Tensor> {
        self.values.get(&node.id())
    }

    /// Compares every op on the tape, in the order of the forward pass, given the leaves. An op whose inputs were not seen is left out.
    pub fn errors(&self, leaves: &[Tensor]) -> Vec<OpError> {
        let leaves = leaves.iter().filter_map(|leaf| Some((leaf.node()?.id(), leaf)));
        let known: HashMap<u64, &Tensor> = self.values.iter().map(|(id, value)| (*id, value)).chain(leaves).collect();
        let ops: Vec<Arc<Node>> = tape(&self.output).into_iter().filter(|node| !node.is_leaf()).collect();
        ops.par_iter().enumerate().filter_map(|(i, node)| compare(node, i + 1, &known)).collect()
    }
}

fn compare(node: &Arc<Node>, place: usize, known: &HashMap<u64, &Tensor>) -> Option<OpError> {
    let op = node.op()?;
    let value = known.get(&node.id())?;
    let input = |input: &Input| match input {
        Input::Node(node) => known.get(&node.id()).map(|tensor| Array::from_tensor(tensor)),
        Input::Constant(tensor) => Some(Array::from_tensor(tensor)),
    };
    let inputs: Vec<Array> = node.inputs().iter().map(input).collect::<Option<_>>()?;
    let inputs: Vec<&Array> = inputs.iter().collect();
    let reference = op.reference(&inputs);
    let mut error = furthest(value.data().iter().map(|v| f64::from(*v)), &reference);
    if let Some(chosen) = op.chosen() {
        error = error.max(furthest(op.held(&inputs, &chosen).data.into_iter(), &reference));
    }
    Some(OpError { node: node.clone(), op: op.doc().name, place, shape: node.shape(), error })
}

/// Largest difference, in units of the largest magnitude of `reference`.
fn furthest(values: impl Iterator<Item = f64>, reference: &Array) -> f64 {
    let mut most = 0.0f64;
    let mut reach = f64::MIN_POSITIVE;
    for (value, &expected) in values.zip(&reference.data) {
        // Beyond the range of f32, infinity is right.
        let alike = value == f64::from(expected as f32) || (value.is_nan() && expected.is_nan());
        let gap = if alike { 0.0 } else { (value - expected).abs() };
        most = if gap.is_nan() { f64::INFINITY } else { most.max(gap) };
        reach = if expected.is_finite() { reach.max(expected.abs()) } else { reach };
    }
    most / reach
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::autograd::{Backward, Grads, OpDoc};
    use crate::grad::GradOutput;
    use crate::gradcheck::sample;

    /// A ReLU that lets through what is above `from`.
    struct Late {
        y: Tensor,
        chosen: Vec<u32>,
    }

    fn late(x: &Tensor, from: f32, shown: f32) -> Tensor {
        let cut = |at: f32| Tensor::from_fn(x.shape(), |i| if x.data()[i] > at { x.data()[i] } else { 0.0 });
        let chosen = x.data().iter().map(|&v| u32::from(v > from)).collect();
        let y = cut(shown);
        y.clone().record(&[x], Late { y, chosen })
    }

    impl Backward for Late {
        fn doc(&self) -> OpDoc {
            OpDoc { name: "late", formula: "y = max(x, 0)", gradient: "grad_x = grad_output * (y > 0)" }
        }

        fn backward(&self, grad_output: GradOutput, grads: &mut Grads) {
            let grad = grad_output.into_tensor();
            let passes = |i: usize| if self.y.data()[i] > 0.0 { grad.data()[i] } else { 0.0 };
            grads.add(0, Tensor::from_fn(grad.shape(), passes));
        }

        fn reference(&self, inputs: &[&Array]) -> Array {
            inputs[0].map(|v| v.max(0.0))
        }

        fn chosen(&self) -> Option<Vec<u32>> {
            Some(self.chosen.clone())
        }

        fn held(&self, inputs: &[&Array], choices: &[u32]) -> Array {
            Array::from_fn(inputs[0].shape, |i| if choices[i] > 0 { inputs[0].data[i] } else { 0.0 })
        }
    }

    #[test]
    fn a_wrong_value_and_a_wrong_choice_are_found_where_they_were_made() {
        let x = sample([4, 5]).requires_grad();
        let errors = |from: f32, shown: f32| {
            let watched = Watched::run(|| late(&x.scale(1.5), from, shown).scale(2.0).sum());
            let errors = watched.errors(std::slice::from_ref(&x));
            assert_eq!(
                errors.iter().map(|e| (e.place, e.op)).collect::<Vec<_>>(),
                [(1, "scale"), (2, "late"), (3, "scale"), (4, "sum")]
            );
            errors.iter().map(|e| e.error).collect::<Vec<_>>()
        };
        assert!(errors(0.0, 0.0).iter().all(|e| *e < 1e-6));
        // Right values whose gradient would be cut off, and wrong values.
        for (from, shown) in [(1.0, 0.0), (0.0, 1.0), (1.0, 1.0)] {
            let errors = errors(from, shown);
            assert!(errors[1] > 1e-2, "{errors:?}");
            assert!([0, 2, 3].iter().all(|i| errors[*i] < 1e-6), "{errors:?}");
        }
    }

    #[test]
    fn infinity_is_right_beyond_the_range_of_f32_and_nan_is_not() {
        let x = Tensor::from_slice([2], &[1.0, 2.0]).requires_grad();
        let errors = |y: fn(&Tensor) -> Tensor| {
            let watched = Watched::run(|| y(&x));
            watched.errors(std::slice::from_ref(&x)).iter().map(|e| e.error).collect::<Vec<_>>()
        };
        assert!(errors(|x| x.scale(3e38).sum()).iter().all(|error| *error < 1e-6), "as f32 rounds");
        let nan = |x: &Tensor| {
            let y = Tensor::from_slice([2], &[1.0, f32::NAN]);
            y.clone().record(&[x], Late { y, chosen: vec![1, 1] })
        };
        assert_eq!(errors(nan), [f64::INFINITY]);
    }
}
