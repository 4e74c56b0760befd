//! Numbers and gradients: tensors, the tape, ops and their kernels. Knows nothing of layers.
#![forbid(unsafe_code)]

pub mod autograd;
pub mod formula;
pub mod forward_check;
pub mod grad;
pub mod gradcheck;
pub mod kernels;
pub mod memory;
pub mod ops;
pub mod parallel;
pub mod reference;
pub mod replay;
pub mod rng;
pub mod shape;
pub mod tensor;

pub use autograd::{Backward, Gradients, Grads, OpDoc, no_grad};
pub use grad::GradOutput;
pub use kernels::conv2d::{Algorithm, ConvSize};
pub use ops::{Activation, Conv2d, Fused, Lazy};
pub use reference::Array;
pub use rng::Rng;
pub use shape::Shape;
pub use tensor::Tensor;
