//! Architecture search: spaces as data, supernets that hold one path in memory, and the methods that search them.
//!
//! A [`Space`] lists its [`Edge`]s, each with candidate operations ([`Op`]). An [`Arch`] is one choice per edge. From both come a
//! derived network ([`Space::build`]), a [`Supernet`] with the weights of all candidates ([`Space::supernet`]), and the [`Block`]s
//! whose latency makes up that of a network ([`Space::blocks`], [`Space::blocks_of`]).
//!
//! ```
//! use nas::Space;
//! use nn::Builder;
//!
//! let space = Space::named("mbconv")?;
//! assert_eq!((space.edges().len(), space.count().as_str()), (21, "221502229807900608"));
//!
//! // Any choice of operations is a network; the arch string names it.
//! let arch = space.random(0, 0);
//! assert_eq!(space.parse_arch(&arch.to_string())?, arch);
//! let model = space.build(&arch, 10, &mut Builder::outline())?;
//! assert!(model.num_params() > 1_000_000);
//! # Ok::<(), nas::Error>(())
//! ```
#![forbid(unsafe_code)]

mod arch;
mod block;
mod error;
pub mod latency;
mod net_config;
mod network;
mod op;
pub mod search;
pub mod space;
pub mod supernet;

pub use arch::Arch;
pub use block::{Block, BlockKey};
pub use error::Error;
pub use net_config::net_config;
pub use op::Op;
pub use space::{Edge, Space};
pub use supernet::Supernet;
