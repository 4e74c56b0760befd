/// What is wrong with a latency table.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The file is not one.
    #[error("{path}: not a latency table ({reason}); make one with `pleach latency --space SPACE --table {path}`")]
    Unreadable {
        /// Of the file.
        path: String,
        /// In a few words.
        reason: String,
    },
    /// It is of another machine, space or setting.
    #[error(
        "{path}: measured for something else: {differences}; measure here with `{command} --force`, or name another file"
    )]
    Elsewhere {
        /// Of the file.
        path: String,
        /// What differs.
        differences: String,
        /// That makes the right table.
        command: String,
    },
}
