//! Latency as the machine really is: block by block, measured, kept in a table, and checked against whole networks.
//!
//! [`measure_blocks`] times every block of a [`Space`](crate::Space) inside random networks of the space; the [`Table`] that it gives is
//! saved together with the [`Machine`] it is of, and opened on no other. The predicted latency of a network is the sum of its blocks
//! ([`Table::predict_ms`]). How good that is, [`measure_networks`] on random networks and [`agreement`] tell; what the sum leaves out
//! (the call around the blocks, joints between them) a [`correction`] fitted on other networks puts back.
//!
//! Times are of one forward pass in evaluation mode, in ms, of a whole batch.

mod calibrate;
mod error;
mod in_place;
mod machine;
mod measure;
mod quiet;
mod stats;
mod table;
mod whole;

pub use calibrate::{Agreement, agreement, correction};
pub use error::Error;
pub use in_place::measure_blocks;
pub use machine::Machine;
pub use measure::{Effort, Timing};
pub use stats::{median, quantile};
pub use table::{Correction, Row, Setting, Table};
pub use whole::measure_networks;
