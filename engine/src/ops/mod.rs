//! The ops, one file each: documentation, forward, backward, `f64` reference and tests together.

mod avg_pool2d;
mod global_avg_pool;
mod max_pool2d;
mod pool2d;
mod relu;
mod scale;
mod sum;

pub use pool2d::Pool2d;
