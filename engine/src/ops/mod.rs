//! The ops, one file each: documentation, forward, backward, `f64` reference and tests together.

mod add;
mod affine;
mod avg_pool2d;
mod batch_norm;
mod broadcast;
mod concat;
mod conv2d;
mod cross_entropy;
mod div;
mod dropout;
mod gate;
mod global_avg_pool;
mod lazy;
mod log_softmax;
mod matmul;
mod max_pool2d;
mod mul;
mod pad;
mod pool2d;
mod relu;
mod reshape;
mod scale;
mod shuffle_channels;
mod slice_channels;
mod standardise;
mod subsample2d;
mod sum;
mod sum_axis;
mod transpose;
mod unary;

pub use batch_norm::fold_batch_norm;
pub use concat::concat;
pub use conv2d::{Conv2d, Fused};
pub use gate::{Later, gate};
pub use lazy::{Activation, Lazy, sum_lazy};
pub use pool2d::Pool2d;
