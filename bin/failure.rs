//! How a command ends when it does not end well.

use std::fmt::Display;
use std::path::Path;

/// A command's failure. Its message is one sentence for people: what, where, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Bad usage or bad input: exit code 2.
    #[error("{0}")]
    Input(String),
    /// The work itself failed: exit code 1.
    #[error("{0}")]
    Work(String),
    /// Stopped by a signal, after saving: exit code 130. The message says how to go on.
    #[error("{0}")]
    Interrupted(String),
}

impl Failure {
    /// Of bad usage or input.
    pub fn input(message: impl Display) -> Failure {
        Failure::Input(message.to_string())
    }

    /// Of the work.
    pub fn work(message: impl Display) -> Failure {
        Failure::Work(message.to_string())
    }

    /// A file that could not be read.
    pub fn reading(path: &Path, error: &std::io::Error) -> Failure {
        let hint = match error.kind() {
            std::io::ErrorKind::NotFound => "; check the path",
            std::io::ErrorKind::PermissionDenied => "; check its permissions",
            _ => "",
        };
        Failure::Input(format!("cannot read {}: {error}{hint}", path.display()))
    }

    /// A file that could not be written.
    pub fn writing(path: &Path, error: &std::io::Error) -> Failure {
        let hint = match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded | std::io::ErrorKind::FileTooLarge => {
                "; make room on the disk"
            }
            std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => {
                "; choose a folder that can be written to with --out"
            }
            _ => "",
        };
        Failure::Work(format!("cannot write {}: {error}{hint}", path.display()))
    }

    /// The process's exit code.
    pub fn exit_code(&self) -> u8 {
        match self {
            Failure::Work(_) => 1,
            Failure::Input(_) => 2,
            Failure::Interrupted(_) => 130,
        }
    }
}

impl From<data::Error> for Failure {
    fn from(error: data::Error) -> Failure {
        Failure::input(error)
    }
}

impl From<nn::Error> for Failure {
    fn from(error: nn::Error) -> Failure {
        Failure::input(error)
    }
}

impl From<nas::Error> for Failure {
    fn from(error: nas::Error) -> Failure {
        Failure::input(error)
    }
}

impl From<nas::latency::Error> for Failure {
    fn from(error: nas::latency::Error) -> Failure {
        Failure::input(error)
    }
}
