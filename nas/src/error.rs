//! What can be wrong with spaces, architectures and settings.

/// Each message says what is wrong, where, and what to do about it.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum Error {
    /// A search space that cannot be searched.
    #[error("search space: {0}")]
    Space(String),
    /// An architecture that is not of its space.
    #[error("architecture: {0}")]
    Arch(String),
    /// A setting of a search out of its range.
    #[error("search: {0}")]
    Setting(String),
    /// Latencies that are not known, or not reachable.
    #[error("latency: {0}")]
    Latency(String),
    /// A saved search that does not fit.
    #[error("search state: {0}")]
    State(String),
    /// What the network library says.
    #[error(transparent)]
    Network(#[from] nn::Error),
}
