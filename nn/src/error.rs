//! What can be wrong with names, files and settings.

/// Each message says what is wrong, where, and what to do about it.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum Error {
    /// No model of that name.
    #[error("no model is called `{name}`; did you mean `{nearest}`? (`pleach models` lists them all)")]
    UnknownModel {
        /// As asked for.
        name: String,
        /// The listed name with the fewest differing characters.
        nearest: String,
    },
    /// The family is known, the size does not exist.
    #[error("`{name}`: {reason}")]
    ImpossibleModel {
        /// As asked for.
        name: String,
        /// What sizes there are.
        reason: String,
    },
    /// A wiring that cannot be built.
    #[error("{0}")]
    Wiring(String),
    /// Tensors that are not those of the network or optimiser. Nothing was changed.
    #[error("{0}")]
    State(String),
    /// A setting out of its range.
    #[error("{setting} is {value}, but {rule}")]
    Setting {
        /// Its name.
        setting: &'static str,
        /// Its value.
        value: String,
        /// The range, and why.
        rule: &'static str,
    },
}
