//! The ops, one file each: documentation, forward, backward, `f64` reference and tests together.

mod relu;
mod scale;
mod sum;
