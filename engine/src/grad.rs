//! The gradient of one output while it is gathered: a sum whose cheapest terms are left for whoever reads it.
//!
//! Batch norm's correction is an affine function of the map, `slope[c]*map + offset[c]`, and a residual sum hands its
//! branch the same gradient times a per-channel factor. Writing either out would cost a pass over memory each; the
//! convolution that reads the gradient next can apply both while it loads. Ops that don't care call
//! [`GradOutput::into_tensor`].

use crate::kernels::elementwise::{self, dispatch};
use crate::kernels::lazy_sum::TermSums;
use crate::parallel::{CHUNK, chunks_mut};
use crate::shape::Shape;
use crate::tensor::Tensor;

/// `scale[c] * grad + slope[c] * map + offset[c]`, each factor optional.
pub struct GradOutput {
    shape: Shape,
    grad: Option<Tensor>,
    scale: Option<Tensor>,
    affine_of: Option<(Tensor, Tensor)>,
    /// If the explicit part has been through the residual sum that made the output: that sum's own, term by term.
    masked: Option<Vec<Option<TermSums>>>,
}

/// The terms of a [`GradOutput`], for an op that applies them on load.
pub struct Terms {
    /// The explicit part, of the output's shape.
    pub grad: Tensor,
    /// Multiplies `grad`, per channel: `(C)`.
    pub scale: Option<Tensor>,
    /// A map of the output's shape, and `(2, C)`: slopes and offsets of its affine function to add.
    pub affine_of: Option<(Tensor, Tensor)>,
}

impl From<Tensor> for GradOutput {
    fn from(grad: Tensor) -> GradOutput {
        GradOutput { shape: grad.shape(), grad: Some(grad), scale: None, affine_of: None, masked: None }
    }
}

impl GradOutput {
    pub(crate) fn empty(shape: Shape) -> GradOutput {
        GradOutput { shape, grad: None, scale: None, affine_of: None, masked: None }
    }

    /// Shape of the output.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// Whether a part of it is an affine function of a map.
    pub(crate) fn has_affine(&self) -> bool {
        self.affine_of.is_some()
    }

    /// Says that what has come is all, and has been through the residual sum that made the output.
    pub(crate) fn set_masked(&mut self, sums: Vec<Option<TermSums>>) {
        self.masked = Some(sums);
    }

    /// What [`set_masked`](GradOutput::set_masked) was told, if it was.
    pub(crate) fn take_masked(&mut self) -> Option<Vec<Option<TermSums>>> {
        self.masked.take()
    }

    /// The gradient written out.
    pub fn into_tensor(mut self) -> Tensor {
        self.apply_scale();
        let mut grad = self.grad.take().unwrap_or_else(|| Tensor::zeros(self.shape));
        if let Some((map, coefficients)) = self.affine_of {
            let channels = self.shape.channels();
            let (slope, offset) = coefficients.data().split_at(channels);
            let len = channel_chunk(channels);
            chunks_mut(grad.data_mut(), len, |i, out| {
                let map = &map.data()[i * len..][..out.len()];
                dispatch(
                    #[inline(always)]
                    || {
                        for (out, map) in out.chunks_exact_mut(channels).zip(map.chunks_exact(channels)) {
                            let values = out.iter_mut().zip(map).zip(slope).zip(offset);
                            values.for_each(|(((o, m), a), b)| *o += a.mul_add(*m, *b));
                        }
                    },
                );
            });
        }
        grad
    }

    /// The terms, unevaluated. `grad` is zeros if nothing but an affine term has come.
    pub fn into_terms(self) -> Terms {
        let grad = self.grad.unwrap_or_else(|| Tensor::zeros(self.shape));
        Terms { grad, scale: self.scale, affine_of: self.affine_of }
    }

    fn apply_scale(&mut self) {
        let (Some(scale), Some(grad)) = (self.scale.take(), self.grad.as_mut()) else { return };
        let (scale, channels) = (scale.data(), self.shape.channels());
        chunks_mut(grad.data_mut(), channel_chunk(channels), |_, out| {
            dispatch(
                #[inline(always)]
                || {
                    for out in out.chunks_exact_mut(channels) {
                        out.iter_mut().zip(scale).for_each(|(g, s)| *g *= s);
                    }
                },
            );
        });
    }

    #[track_caller]
    pub(crate) fn add(&mut self, grad: Tensor) {
        assert_eq!(
            grad.shape(),
            self.shape,
            "backward: a gradient of shape {} for an output of shape {}",
            grad.shape(),
            self.shape
        );
        self.apply_scale();
        self.grad = Some(match self.grad.take() {
            None => grad,
            Some(sum) => {
                // Add into whichever buffer nobody else reads.
                let (mut into, from) = if sum.is_unique() || !grad.is_unique() { (sum, grad) } else { (grad, sum) };
                let from = from.data();
                chunks_mut(into.data_mut(), CHUNK, |i, out| {
                    elementwise::add_assign(out, &from[i * CHUNK..][..out.len()]);
                });
                into
            }
        });
    }

    #[track_caller]
    pub(crate) fn add_scaled(&mut self, grad: Tensor, scale: Tensor) {
        if self.grad.is_none() {
            assert_eq!(grad.shape(), self.shape, "backward: a gradient of another shape");
            self.grad = Some(grad);
            self.scale = Some(scale);
        } else {
            let mut scaled = GradOutput { grad: Some(grad), scale: Some(scale), ..GradOutput::empty(self.shape) };
            scaled.apply_scale();
            self.add(scaled.grad.expect("just put there"));
        }
    }

    #[track_caller]
    pub(crate) fn add_affine_of(&mut self, map: Tensor, coefficients: Tensor) {
        assert_eq!(map.shape(), self.shape, "backward: an affine term of another shape");
        if let Some((_, sum)) = &mut self.affine_of {
            // All affine terms of one output are of the same map: that output.
            elementwise::add_assign(sum.data_mut(), coefficients.data());
        } else {
            self.affine_of = Some((map, coefficients));
        }
    }

    /// Takes the explicit part, with its factor applied; the affine term stays.
    pub(crate) fn take(&mut self) -> Option<Tensor> {
        self.apply_scale();
        self.grad.take()
    }
}

/// About [`CHUNK`] elements, in whole rows of channels.
pub(crate) fn channel_chunk(channels: usize) -> usize {
    (CHUNK / channels.max(1)).max(1) * channels.max(1)
}
