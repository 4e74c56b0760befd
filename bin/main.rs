//! The `pleach` command.
#![forbid(unsafe_code)]
fn main() {}
