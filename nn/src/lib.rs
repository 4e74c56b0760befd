//! Layers, networks and optimisers.
//!
//! Writes no gradients by hand: everything here is made of the engine's ops. Feature maps travel as [`engine::Lazy`], so a batch norm
//! and a ReLU cost nothing until the next convolution applies them while it loads.
//!
//! ```
//! use nn::optim::{Optimizer, OptimizerConfig};
//! use nn::{Context, Model};
//!
//! let model = Model::new("resnet20", 10, 0)?;
//! assert_eq!(model.num_params(), 269_722);
//!
//! // One training step.
//! let images = engine::Tensor::zeros([2, 32, 32, 3]);
//! let mut optimizer = Optimizer::new(OptimizerConfig::sgd(5e-4), model.params(), true);
//! let logits = model.forward(&images, &Context::train(0, 1));
//! let gradients = logits.cross_entropy(&[3, 7], 0.0).backward();
//! optimizer.step(&gradients, 0.1);
//! # Ok::<(), nn::Error>(())
//! ```
#![forbid(unsafe_code)]

pub mod aggregation;
pub mod blocks;
mod context;
mod error;
pub mod gradcheck;
pub mod init;
pub mod layers;
mod model;
pub mod models;
mod module;
pub mod optim;
mod param;
mod state;

pub use context::{Context, Contribution, Costs};
pub use error::Error;
pub use init::Builder;
pub use model::Model;
pub use models::{ModelInfo, zoo};
pub use module::{Entry, Layer, Module, Network, Visitor};
pub use param::{Param, ParamKind, Running};
pub use state::{State, StateDict, load_state, state};
