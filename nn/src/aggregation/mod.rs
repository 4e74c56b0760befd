//! Aggregation as data: *what* a layer gathers × *how* it puts that together.
//!
//! A stage has an input (index 0), layers `1..=n`, and an exit (index `n + 1`) that gathers by the same rule. [`Gather`] names the earlier
//! outputs that each reads; [`How`] says whether they are summed, concatenated, or some of each. ResNet is (all, sum), DenseNet
//! (all, concatenation), SparseNet (offsets 1, c, c², ..., either), MixNet and dual path networks (all, both at once).
//!
//! ```
//! use nn::aggregation::{Gather, Wiring};
//!
//! let sparse = Gather::Base(2);
//! assert_eq!(sparse.sources(12), [11, 10, 8, 4]);
//!
//! let (sparse, dense) = (Wiring::new(&sparse, 32)?, Wiring::new(&Gather::All, 32)?);
//! assert_eq!((sparse.links(), dense.links()), (141, 561));
//! assert_eq!(sparse.distance(23, 0), Some(4)); // 23 is 10111 in binary
//! # Ok::<(), nn::Error>(())
//! ```

pub mod fibonacci;
mod gather;
mod how;
mod map;
mod places;
pub mod selection;
mod wiring;

pub use gather::{Edges, Gather, RULES, Rule};
pub use how::{How, Output, Widths};
pub use map::Map;
pub use places::{Source, places};
pub use wiring::{Wiring, digit_sum, log_factorial};
