//! The ops, one file each: documentation, forward, backward, `f64` reference and tests together.

mod affine;
mod avg_pool2d;
mod concat;
mod cross_entropy;
mod dropout;
mod global_avg_pool;
mod log_softmax;
mod max_pool2d;
mod pad;
mod pool2d;
mod relu;
mod scale;
mod shuffle_channels;
mod slice_channels;
mod standardise;
mod subsample2d;
mod sum;

pub use concat::concat;
pub use pool2d::Pool2d;
