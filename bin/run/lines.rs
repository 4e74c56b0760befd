//! Text files that lines are added to while work goes on.

use super::atomic;
use crate::failure::Failure;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

/// A file, open for adding lines.
pub struct Lines {
    path: PathBuf,
    file: File,
}

impl Lines {
    /// Puts `start` in the place of the file and opens it.
    pub fn restart(path: PathBuf, start: &str) -> Result<Lines, Failure> {
        let open = || {
            atomic::replace(&path, start.as_bytes())?;
            OpenOptions::new().append(true).open(&path)
        };
        let file = open().map_err(|e| Failure::writing(&path, &e))?;
        Ok(Lines { path, file })
    }

    /// One system call a line, so that a line is there whole or not at all when the process is killed.
    pub fn add(&mut self, line: &str) -> Result<(), Failure> {
        self.file.write_all(format!("{line}\n").as_bytes()).map_err(|e| Failure::writing(&self.path, &e))
    }
}

/// What is in a file; nothing if there is none.
pub fn text(path: &Path) -> Result<String, Failure> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
        Err(e) => Err(Failure::reading(path, &e)),
    }
}
