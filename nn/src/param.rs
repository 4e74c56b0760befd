//! What a network learns ([`Param`]) and what it only measures ([`Running`]).

use engine::{Shape, Tensor};
use std::sync::{Arc, Mutex, MutexGuard};

/// What a parameter is for. Decides its layout in files and whether it decays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParamKind {
    /// `(K_h, K_w, C_in / groups, C_out)` here, `(C_out, C_in / groups, K_h, K_w)` in PyTorch and in files.
    ConvWeight,
    /// `(in, out)` here, `(out, in)` in PyTorch and in files.
    LinearWeight,
    /// Of a convolution or a linear layer.
    Bias,
    /// gamma
    BatchNormWeight,
    /// beta
    BatchNormBias,
    /// What a layer of a [learned selection](crate::aggregation::selection) learns about its sources, `(1, S)`.
    Gate,
}

impl ParamKind {
    /// Whether this is the weight of a convolution or a linear layer: those decay in every recipe; biases and batch norm in some.
    pub fn is_weight(self) -> bool {
        matches!(self, ParamKind::ConvWeight | ParamKind::LinearWeight)
    }
}

/// A learned tensor: a handle that layer, optimiser and checkpoint share.
#[derive(Clone)]
pub struct Param(Arc<Inner>);

struct Inner {
    value: Mutex<Tensor>,
    shape: Shape,
    kind: ParamKind,
}

impl Param {
    /// A parameter that starts at `value`.
    pub fn new(value: Tensor, kind: ParamKind) -> Param {
        Param(Arc::new(Inner { shape: value.shape(), value: Mutex::new(value.requires_grad()), kind }))
    }

    /// The value as it is now: always the same leaf of the tape, so that [`engine::Gradients::get`] finds its gradient.
    pub fn value(&self) -> Tensor {
        self.lock().clone()
    }

    /// The shape, which never changes.
    pub fn shape(&self) -> Shape {
        self.0.shape
    }

    /// What it is for.
    pub fn kind(&self) -> ParamKind {
        self.0.kind
    }

    /// Changes the values. In place, unless someone still holds the old [`value`](Param::value): then they keep it unchanged.
    pub fn update<T>(&self, change: impl FnOnce(&mut [f32]) -> T) -> T {
        change(self.lock().data_mut())
    }

    /// Overwrites the values.
    ///
    /// # Panics
    /// If there are not as many as the shape has elements.
    #[track_caller]
    pub fn set(&self, values: &[f32]) {
        assert_eq!(values.len(), self.shape().elements(), "param: {} values for shape {}", values.len(), self.shape());
        self.update(|own| own.copy_from_slice(values));
    }

    /// Whether both handles are of one parameter.
    pub fn same(&self, other: &Param) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Tensor> {
        // A panic while holding the lock leaves some floats unwritten, never a broken tensor.
        self.0.value.lock().unwrap_or_else(|e| e.into_inner())
    }
}

/// Running mean and variance of a batch norm: measured in training, read in evaluation, never differentiated.
#[derive(Clone)]
pub struct Running(Arc<Mutex<Tensor>>);

impl Running {
    /// Mean 0 and variance 1 for each of `channels`.
    pub fn new(channels: usize) -> Running {
        let start = Tensor::from_fn([2, channels], |i| if i < channels { 0.0 } else { 1.0 });
        Running(Arc::new(Mutex::new(start)))
    }

    /// `(2, C)`: means, then variances.
    pub fn get(&self) -> Tensor {
        self.lock().clone()
    }

    /// Number of channels.
    pub fn channels(&self) -> usize {
        self.lock().shape().channels()
    }

    /// Overwrites both.
    ///
    /// # Panics
    /// If either is not `(C)`.
    #[track_caller]
    pub fn set(&self, mean: &[f32], variance: &[f32]) {
        let mut own = self.lock();
        let channels = own.shape().channels();
        assert!(
            mean.len() == channels && variance.len() == channels,
            "running: {} means and {} variances for {channels} channels",
            mean.len(),
            variance.len()
        );
        let (own_mean, own_variance) = own.data_mut().split_at_mut(channels);
        own_mean.copy_from_slice(mean);
        own_variance.copy_from_slice(variance);
    }

    /// `running = (1 - momentum)*running + momentum*batch` for the moments `(2, C_i)` of consecutive groups of channels, each
    /// over `rows` values. The variance enters as the unbiased estimate, `rows/(rows - 1)` times the batch's, as in PyTorch.
    ///
    /// # Panics
    /// If the groups do not add up to `C`, or `rows < 2`.
    #[track_caller]
    pub fn track(&self, moments: &[&Tensor], rows: usize, momentum: f32) {
        assert!(rows > 1, "batch_norm2d: one value per channel has no variance; train on more images or larger maps");
        let unbiased = rows as f32 / (rows - 1) as f32;
        let mut own = self.lock();
        let channels = own.shape().channels();
        let total: usize = moments.iter().map(|m| m.shape().channels()).sum();
        assert_eq!(total, channels, "batch_norm2d: maps of {total} channels in all, the layer expects {channels}");
        let (mean, variance) = own.data_mut().split_at_mut(channels);
        let mut at = 0;
        for batch in moments {
            let n = batch.shape().channels();
            let (batch_mean, batch_variance) = batch.data().split_at(n);
            for (own, new) in mean[at..at + n].iter_mut().zip(batch_mean) {
                *own = (1.0 - momentum) * *own + momentum * new;
            }
            for (own, new) in variance[at..at + n].iter_mut().zip(batch_variance) {
                *own = (1.0 - momentum) * *own + momentum * (new * unbiased);
            }
            at += n;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Tensor> {
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_leaf_stays_the_same_while_values_change() {
        let p = Param::new(Tensor::from_slice([2], &[1.0, 2.0]), ParamKind::Bias);
        let before = p.value();
        let gradients = before.sum().backward();
        p.update(|v| v[0] = 5.0);
        assert_eq!(p.value().data(), [5.0, 2.0]);
        assert_eq!(before.data(), [1.0, 2.0], "who holds the old value keeps it");
        assert!(gradients.get(&p.value()).is_some(), "the gradient is found by the new value");
    }

    #[test]
    fn updates_are_in_place_once_nobody_reads_the_value() {
        let p = Param::new(Tensor::zeros([4]), ParamKind::Bias);
        let address = p.value().data().as_ptr();
        p.update(|v| v.fill(1.0));
        assert_eq!(p.value().data().as_ptr(), address);
    }

    #[test]
    fn running_statistics_follow_pytorch() {
        // torch.nn.BatchNorm1d(1) after one batch [0, 2]: mean 0.1, variance 0.9 + 0.1*2.
        let running = Running::new(1);
        running.track(&[&Tensor::from_slice([2, 1], &[1.0, 1.0])], 2, 0.1);
        assert!((running.get().data()[0] - 0.1).abs() < 1e-7);
        assert!((running.get().data()[1] - 1.1).abs() < 1e-6);
    }
}
