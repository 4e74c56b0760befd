//! Files of one JSON object a line, each about a step.

use crate::failure::Failure;
use crate::run::atomic;
use serde::Serialize;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

/// A file that lines are added to.
pub struct Lines {
    path: PathBuf,
    file: File,
}

impl Lines {
    /// Opens the file, cut back to `step`: lines about what comes after are of work that a crash has lost, and will be done again.
    pub fn open(path: PathBuf, step: u64) -> Result<Lines, Failure> {
        let text = text(&path)?;
        // As they were written: made anew from their values, they could have their fields in another order.
        let kept: String = text
            .lines()
            .filter(|line| parsed(line).is_some_and(|(at, _)| at <= step))
            .flat_map(|l| [l, "\n"])
            .collect();
        let open = || {
            atomic::replace(&path, kept.as_bytes())?;
            OpenOptions::new().append(true).open(&path)
        };
        let file = open().map_err(|e| Failure::writing(&path, &e))?;
        Ok(Lines { path, file })
    }

    /// Adds a line in one system call, so that it is there whole or not at all when the process is killed; gives it back.
    pub fn add(&mut self, line: &impl Serialize) -> Result<String, Failure> {
        let text = serde_json::to_string(line).map_err(|e| Failure::work(format!("JSON: {e}")))?;
        self.file.write_all(format!("{text}\n").as_bytes()).map_err(|e| Failure::writing(&self.path, &e))?;
        Ok(text)
    }
}

/// The lines of a file with the steps they are about; none if there is no file. What does not read was cut short by a crash.
pub fn read(path: &Path) -> Result<Vec<(u64, serde_json::Value)>, Failure> {
    Ok(text(path)?.lines().filter_map(parsed).collect())
}

/// What is in the file; nothing if there is none.
fn text(path: &Path) -> Result<String, Failure> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
        Err(e) => Err(Failure::reading(path, &e)),
    }
}

/// The line's step and its object.
fn parsed(line: &str) -> Option<(u64, serde_json::Value)> {
    let value: serde_json::Value = serde_json::from_str(line).ok()?;
    Some((value.get("step")?.as_u64()?, value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn lines_after_the_checkpoint_are_cut_and_the_rest_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.jsonl");
        let mut lines = Lines::open(path.clone(), 0).expect("opened");
        #[derive(serde::Serialize)]
        struct Point {
            x: [f64; 1],
            step: u64,
        }
        for step in 1..=3 {
            lines.add(&Point { x: [0.5], step }).expect("written");
        }
        std::fs::write(&path, std::fs::read_to_string(&path).expect("readable") + "{\"step\":4,\"x").expect("written");
        Lines::open(path.clone(), 2).expect("opened").add(&json!({ "step": 3, "x": [] })).expect("written");
        let text = std::fs::read_to_string(&path).expect("readable");
        assert!(text.starts_with("{\"x\":[0.5],\"step\":1}\n"), "{text}");
        let steps: Vec<u64> = read(&path).expect("readable").iter().map(|(step, _)| *step).collect();
        assert_eq!(steps, [1, 2, 3]);
        assert_eq!(read(&path).expect("readable")[2].1["x"], json!([]));
    }
}
