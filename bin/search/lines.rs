//! Files of one JSON object a line, each about a step.

use crate::failure::Failure;
use crate::run::lines::{self, text};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// A file that lines are added to.
pub struct Lines(lines::Lines);

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
        Ok(Lines(lines::Lines::restart(path, &kept)?))
    }

    /// Adds a line; gives it back.
    pub fn add(&mut self, line: &impl Serialize) -> Result<String, Failure> {
        let text = serde_json::to_string(line).map_err(|e| Failure::work(format!("JSON: {e}")))?;
        self.0.add(&text)?;
        Ok(text)
    }
}

/// The lines of a file with the steps they are about; none if there is no file. What does not read was cut short by a crash.
pub fn read(path: &Path) -> Result<Vec<(u64, serde_json::Value)>, Failure> {
    Ok(text(path)?.lines().filter_map(parsed).collect())
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
