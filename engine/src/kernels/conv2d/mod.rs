//! Two-dimensional convolution, three directions, any kernel, stride, padding, dilation and groups.
//!
//! ```text
//! forward:      y[n, oy, ox, o] = sum over ky, kx, i of x[n, oy*s + ky*d - p, ox*s + kx*d - p, i] * w[ky, kx, i, o]
//! grad_input:   g[n, iy, ix, i] = sum over ky, kx, o of dy[n, (iy + p - ky*d)/s, (ix + p - kx*d)/s, o] * w[ky, kx, i, o],
//!               where both divisions leave no remainder
//! grad_weight:  dw[ky, kx, i, o] = sum over n, oy, ox of x[n, oy*s + ky*d - p, ox*s + kx*d - p, i] * dy[n, oy, ox, o]
//! ```
//!
//! What makes it fast:
//! 1. *Implicit im2col.* Each image is copied once into a zero-padded scratch that stays in L2 ([`load`]); a window's row is then
//!    contiguous there, and nothing of im2col is written out.
//! 2. *One register tile* of 6 pixels x two vectors of channels for forward and grad_input (`tile`): 12 accumulators, 2 weights and a
//!    broadcast value fill 15 of the 16 registers of AVX2; few channels are one vector. Which pixels, which window rows and where to store is a [`plan`], so strides,
//!    dilation and the parity classes of a strided grad_input need no kernel of their own.
//! 3. *grad_weight as outer products* of 6 input channels (AVX-512: 12) x two vectors of output channels over all pixels of a few images,
//!    both packed into panels so that every access is to consecutive memory (`grad_weight`).
//! 4. *Neighbours fused*: batch norm's affine and the activation happen in the copy of 1, the gradient's lazy terms too; bias,
//!    residual sum and the output's moments happen while the output is hot, and so do the activation's mask and
//!    the affine's gradient sums in the backward pass.
//!
//! 5. *Memory works while tiles are multiplied*: the next task's images and the lines about to be stored are asked for
//!    ([`ahead`](crate::kernels::ahead)), and each pass begins where the one before ended ([`sweep`](crate::parallel::sweep)).
//!
//! A task is a few whole images, chosen by size alone; sums over tasks are added in their order.

pub mod backward;
pub(super) mod columns;
mod depthwise;
pub mod forward;
mod grad_weight;
pub mod load;
pub(super) mod mask;
pub mod plan;
pub mod pointwise;
#[cfg(test)]
mod tests;
mod tile;
pub mod winograd;

use crate::shape::window_output;

/// How to compute a convolution. All agree up to rounding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Algorithm {
    /// Whichever is faster for these sizes; a choice by shape alone.
    #[default]
    Auto,
    /// Multiply-adds as the formula has them.
    Direct,
    /// [`winograd`]; sizes it cannot compute fall back to direct.
    Winograd,
}

impl Algorithm {
    /// Whether Winograd computes `size`.
    pub fn is_winograd(self, size: &ConvSize) -> bool {
        match self {
            Algorithm::Auto => winograd::wins(size),
            Algorithm::Direct => false,
            Algorithm::Winograd => winograd::possible(size),
        }
    }
}

/// The sizes of one convolution. All of them are consistent; see [`ConvSize::new`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvSize {
    /// Images.
    pub n: usize,
    /// Input height.
    pub h: usize,
    /// Input width.
    pub w: usize,
    /// Input channels, all groups together.
    pub c_in: usize,
    /// Output channels, all groups together.
    pub c_out: usize,
    /// Kernel height.
    pub k_h: usize,
    /// Kernel width.
    pub k_w: usize,
    /// Step of the window, both ways.
    pub stride: usize,
    /// Zeros on each side.
    pub padding: usize,
    /// Distance of neighbouring taps.
    pub dilation: usize,
    /// Independent blocks of channels.
    pub groups: usize,
    /// Output height.
    pub h_out: usize,
    /// Output width.
    pub w_out: usize,
}

impl ConvSize {
    /// Works out the output size of `x (n, h, w, c_in)` and `weight (k_h, k_w, c_in/groups, c_out)`.
    ///
    /// # Errors
    /// A sentence that names the rule which the shapes break.
    pub fn new(
        [n, h, w, c_in]: [usize; 4],
        [k_h, k_w, c_group, c_out]: [usize; 4],
        [stride, padding, dilation, groups]: [usize; 4],
    ) -> Result<ConvSize, String> {
        if groups == 0 || c_in % groups != 0 || c_out % groups != 0 {
            return Err(format!("groups = {groups} must divide {c_in} input and {c_out} output channels"));
        }
        if c_in / groups != c_group {
            return Err(format!(
                "x has {c_in} channels, weight ({k_h}, {k_w}, {c_group}, {c_out}) with groups = {groups} expects {}",
                c_group * groups
            ));
        }
        let window = |extent, k| {
            window_output(extent, k, stride, padding, dilation).ok_or_else(|| {
                format!(
                    "a window of {k} with dilation = {dilation}, stride = {stride} does not fit {extent} + 2 x padding = {padding}"
                )
            })
        };
        let (h_out, w_out) = (window(h, k_h)?, window(w, k_w)?);
        Ok(ConvSize { n, h, w, c_in, c_out, k_h, k_w, stride, padding, dilation, groups, h_out, w_out })
    }

    /// Whether every channel is a group of its own.
    pub fn is_depthwise(&self) -> bool {
        self.groups > 1 && self.groups == self.c_in && self.groups == self.c_out
    }

    /// Elements of the weight.
    pub fn weight_len(&self) -> usize {
        self.k_h * self.k_w * self.c_in / self.groups * self.c_out
    }

    /// Multiply-adds of one pass: forward, grad_input and grad_weight cost the same.
    pub fn macs(&self) -> usize {
        self.n * self.h_out * self.w_out * self.weight_len()
    }
}
