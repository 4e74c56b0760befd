//! Layers: plain structs of parameters whose `forward` reads like the equation.

mod activation;
mod batch_norm2d;
mod conv2d;
mod dropout;
mod linear;
mod pool;
mod sequential;

pub use activation::{Relu, relu, relu6};
pub use batch_norm2d::{BatchNorm2d, BatchNorm2dConfig};
pub use conv2d::{Conv2d, Conv2dConfig};
pub use dropout::Dropout;
pub use linear::Linear;
pub use pool::{AvgPool2d, GlobalAvgPool, MaxPool2d};
pub use sequential::Sequential;
