use super::log_softmax::row_log_softmax;
use crate::autograd::{Backward, Grads, OpDoc};
use crate::grad::GradOutput;
use crate::reference::Array;
use crate::shape::Shape;
use crate::tensor::Tensor;

impl Tensor {
    /// Cross-entropy of logits against class labels, in mean nats per example:
    /// `-mean over n of sum over k of target[n, k] * log_softmax(logits)[n, k]`, where
    /// `target[n, k] = (1 - label_smoothing) * (k == labels[n]) + label_smoothing / K`.
    ///
    /// The loss of each row and their sum (in row order) are computed in `f64`.
    ///
    /// # Shapes
    /// - `self`: logits, `(N, K)`, `N` at least 1
    /// - `labels`: `N`, each below `K`
    /// - returns a scalar
    ///
    /// # Gradient
    /// `grad_logits = grad_output * (softmax(logits) - target) / N`. Saves the softmax, `(N, K)`, and the labels.
    ///
    /// # Panics
    /// If `self` does not have two dimensions or has no rows, there are not `N` labels, a label is not below `K`, or
    /// `label_smoothing` is not in `0..=1`.
    ///
    /// # Source
    /// `torch.nn.functional.cross_entropy` with `reduction='mean'`; smoothing as Szegedy et al. 2015.
    #[track_caller]
    pub fn cross_entropy(&self, labels: &[usize], label_smoothing: f32) -> Tensor {
        let &[rows, classes] = &*self.shape() else {
            panic!("cross_entropy: logits have shape {}, expected (N, K)", self.shape())
        };
        assert!(rows > 0, "cross_entropy: logits {} have no rows, and so no mean", self.shape());
        assert_eq!(labels.len(), rows, "cross_entropy: {} labels for logits {}", labels.len(), self.shape());
        for (row, &label) in labels.iter().enumerate() {
            assert!(
                label < classes,
                "cross_entropy: label {label} of row {row} is not below {classes}, the number of classes"
            );
        }
        assert!(
            (0.0..=1.0).contains(&label_smoothing),
            "cross_entropy: label_smoothing {label_smoothing} is not in 0..=1"
        );
        let op = |softmax| CrossEntropy { softmax, labels: labels.to_vec(), label_smoothing };
        let logits = self.data();
        let mut total = 0.0f64;
        // Not threaded: a batch of 128 over 100 classes is 12,800 exponentials, about what waking the threads costs.
        let softmax = Tensor::build(self.shape(), |out| {
            for ((p, x), &label) in out.chunks_exact_mut(classes).zip(logits.chunks_exact(classes)).zip(labels) {
                let log_p = row_log_softmax(x);
                p.iter_mut().zip(x).for_each(|(p, &x)| *p = log_p(x).exp() as f32);
                total += row_loss(|k| log_p(x[k]), label, classes, label_smoothing);
            }
        });
        Tensor::scalar((total / rows as f64) as f32).record(&[self], op(softmax))
    }

    /// Cross-entropy of examples that mixup blended from two: `lambda * cross_entropy(labels_a) + (1 - lambda) *
    /// cross_entropy(labels_b)`, in mean nats per example. Composed of these ops: gradient and what is saved are theirs.
    ///
    /// # Shapes
    /// - `self`: logits, `(N, K)`, `N` at least 1
    /// - `labels_a`, `labels_b`: `N`, each below `K`
    /// - returns a scalar
    ///
    /// # Panics
    /// As [`cross_entropy`](Tensor::cross_entropy), or if `lambda` is not in `0..=1`.
    ///
    /// # Source
    /// Zhang et al. 2017, "mixup: Beyond Empirical Risk Minimization".
    #[track_caller]
    pub fn cross_entropy_mixed(
        &self,
        labels_a: &[usize],
        labels_b: &[usize],
        lambda: f32,
        label_smoothing: f32,
    ) -> Tensor {
        assert!((0.0..=1.0).contains(&lambda), "cross_entropy_mixed: lambda {lambda} is not in 0..=1");
        let a = self.cross_entropy(labels_a, label_smoothing).scale(lambda);
        let b = self.cross_entropy(labels_b, label_smoothing).scale(1.0 - lambda);
        a.add(&b)
    }
}

/// Loss of one row in nats, given the logarithm of its softmax.
fn row_loss(log_p: impl Fn(usize) -> f64, label: usize, classes: usize, label_smoothing: f32) -> f64 {
    let smoothing = f64::from(label_smoothing);
    // Skipped when off: 0 times the logarithm of an impossible class would be NaN.
    let uniform = if smoothing > 0.0 { (0..classes).map(&log_p).sum::<f64>() / classes as f64 } else { 0.0 };
    let own = if smoothing < 1.0 { log_p(label) } else { 0.0 };
    -((1.0 - smoothing) * own + smoothing * uniform)
}

struct CrossEntropy {
    softmax: Tensor,
    labels: Vec<usize>,
    label_smoothing: f32,
}

impl Backward for CrossEntropy {
    fn doc(&self) -> OpDoc {
        OpDoc {
            name: "cross_entropy",
            formula: "y = -(1 / N) * sum_{n,k} target[n,k] * log_softmax(logits)[n,k]",
            gradient: "grad_logits[n,k] = grad_output * (softmax(logits)[n,k] - target[n,k]) / N",
        }
    }

    fn inputs(&self) -> Vec<String> {
        ["logits"].map(String::from).to_vec()
    }

    fn attributes(&self) -> Vec<(&'static str, String)> {
        vec![("labels", format!("{:?}", self.labels)), ("label_smoothing", self.label_smoothing.to_string())]
    }

    fn again(&self, inputs: &[&Tensor]) -> Option<Tensor> {
        Some(inputs[0].cross_entropy(&self.labels, self.label_smoothing))
    }

    fn backward(&self, grad_output: GradOutput, grads: &mut Grads) {
        let (shape, p) = (self.softmax.shape(), self.softmax.data());
        let classes = shape.channels();
        let factor = grad_output.into_tensor().item() / self.labels.len() as f32;
        let uniform = self.label_smoothing / classes as f32;
        let grad = Tensor::build(shape, |out| {
            for ((g, p), &label) in out.chunks_exact_mut(classes).zip(p.chunks_exact(classes)).zip(&self.labels) {
                for (k, (g, p)) in g.iter_mut().zip(p).enumerate() {
                    let target = uniform + if k == label { 1.0 - self.label_smoothing } else { 0.0 };
                    *g = (p - target) * factor;
                }
            }
        });
        grads.add(0, grad);
    }

    fn reference(&self, inputs: &[&Array]) -> Array {
        let [rows, classes] = inputs[0].dims();
        let losses = self.labels.iter().zip(inputs[0].data.chunks_exact(classes)).map(|(&label, x)| {
            let log_sum = x.iter().map(|v| v.exp()).sum::<f64>().ln();
            row_loss(|k| x[k] - log_sum, label, classes, self.label_smoothing)
        });
        Array { shape: Shape::new(&[]), data: vec![losses.sum::<f64>() / rows as f64] }
    }
}

#[cfg(test)]
mod tests {
    use crate::gradcheck::{gradcheck, sample};
    use crate::tensor::Tensor;

    #[test]
    fn agrees_with_f64_reference() {
        for label_smoothing in [0.0, 0.1, 1.0] {
            gradcheck(&[sample([3, 5])], |t| t[0].cross_entropy(&[4, 0, 2], label_smoothing));
            gradcheck(&[sample([1, 1])], |t| t[0].cross_entropy(&[0], label_smoothing));
        }
    }

    #[test]
    fn mixed_agrees_with_f64_reference() {
        gradcheck(&[sample([3, 5])], |t| t[0].cross_entropy_mixed(&[4, 0, 2], &[1, 0, 3], 0.3, 0.1));
    }

    #[test]
    fn is_the_composition_it_stands_for() {
        let (logits, labels) = (sample([4, 7]), [6, 0, 3, 3]);
        let log_p = logits.log_softmax();
        let expected: f32 = labels.iter().enumerate().map(|(n, &k)| -log_p.data()[n * 7 + k] / 4.0).sum();
        // Two roundings of numbers near 2.
        approx::assert_abs_diff_eq!(logits.cross_entropy(&labels, 0.0).item(), expected, epsilon = 1e-6);
    }

    #[test]
    fn uniform_logits_cost_the_logarithm_of_the_classes_however_large() {
        assert_eq!(Tensor::full([2, 10], 1e30).cross_entropy(&[3, 9], 0.1).item(), 10f32.ln());
    }

    #[test]
    fn an_impossible_class_costs_nothing_unless_it_is_the_label() {
        let logits = Tensor::from_slice([1, 2], &[f32::NEG_INFINITY, 0.0]);
        assert_eq!(logits.cross_entropy(&[1], 0.0).item(), 0.0);
        assert_eq!(logits.cross_entropy(&[0], 0.0).item(), f32::INFINITY);
    }

    #[test]
    #[should_panic(expected = "cross_entropy: label 10 of row 1 is not below 10, the number of classes")]
    fn labels_out_of_range_are_named() {
        sample([2, 10]).cross_entropy(&[0, 10], 0.0);
    }

    #[test]
    #[should_panic(expected = "cross_entropy: 3 labels for logits (2, 10)")]
    fn there_is_a_label_for_each_row() {
        sample([2, 10]).cross_entropy(&[0, 1, 2], 0.0);
    }

    #[test]
    #[should_panic(expected = "cross_entropy: logits have shape (10), expected (N, K)")]
    fn logits_are_a_matrix() {
        sample([10]).cross_entropy(&[0], 0.0);
    }

    #[test]
    #[should_panic(expected = "cross_entropy: logits (0, 10) have no rows")]
    fn an_empty_batch_has_no_mean() {
        sample([0, 10]).cross_entropy(&[], 0.0);
    }

    #[test]
    #[should_panic(expected = "cross_entropy: label_smoothing NaN is not in 0..=1")]
    fn smoothing_is_a_fraction() {
        sample([1, 10]).cross_entropy(&[0], f32::NAN);
    }

    #[test]
    #[should_panic(expected = "cross_entropy_mixed: lambda 1.5 is not in 0..=1")]
    fn lambda_is_a_fraction() {
        sample([1, 10]).cross_entropy_mixed(&[0], &[1], 1.5, 0.0);
    }
}
