//! The command line as its users meet it: files, exit codes and messages, on a network and images small enough for seconds.
#![forbid(unsafe_code)]

mod bad_input;
mod compare;
mod crashes;
mod gradcheck;
mod resuming;
mod running;
mod search;
mod step;
mod step_terminal;
mod surface;
mod topology;
mod utilisation;

use assert_cmd::Command;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// The program under test.
const PLEACH: &str = env!("CARGO_BIN_EXE_pleach");

/// Arguments of a run of two epochs of six steps that uses everything random.
const SMALL: [&str; 20] = [
    "train",
    "--model",
    "resnet8",
    "--data",
    "synthetic:96,32",
    "--batch",
    "16",
    "--epochs",
    "2",
    "--lr",
    "0.05",
    "--mixup",
    "0.3",
    "--cutout",
    "8",
    "--label-smoothing",
    "0.1",
    "--seed",
    "7",
    "--json",
];

/// A folder of its own to work in.
struct Place(TempDir);

impl Place {
    fn new() -> Place {
        Place(tempfile::tempdir().expect("a temporary folder"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(PLEACH);
        command.current_dir(self.0.path()).args(args);
        command
    }

    /// Runs to success; gives what it printed.
    fn done(&self, args: &[&str]) -> String {
        let output = self.command(args).assert().success().get_output().clone();
        String::from_utf8(output.stdout).expect("text")
    }

    /// Runs to failure with this code; gives the message, which must be one line.
    #[track_caller]
    fn refused(&self, code: i32, args: &[&str]) -> String {
        let output = self.command(args).assert().code(code).get_output().clone();
        let message = String::from_utf8(output.stderr).expect("text");
        assert!(message.starts_with("pleach: ") && message.trim_end().lines().count() == 1, "{message}");
        message
    }

    /// Runs [`SMALL`] into `out` with more arguments.
    fn small(&self, out: &str, more: &[&str]) -> String {
        self.done(&[&SMALL[..], &["--out", out], more].concat())
    }

    /// The names in a folder, sorted.
    fn names(&self, folder: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.path(folder)).expect("a folder");
        let mut names: Vec<String> =
            entries.map(|e| e.expect("readable").file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }
}

/// The objects of `--json`.
fn objects(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("one JSON object a line")).collect()
}

/// The object's keys, sorted.
fn keys(object: &Value) -> Vec<&str> {
    let mut keys: Vec<&str> = object.as_object().expect("an object").keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

/// Every tensor of a checkpoint as bytes.
fn tensors(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let bytes = std::fs::read(path).expect("a checkpoint");
    let file = safetensors::SafeTensors::deserialize(&bytes).expect("safetensors");
    file.tensors().into_iter().map(|(name, view)| (name, view.data().to_vec())).collect()
}

/// Asserts that two runs ended with the same bits.
#[track_caller]
fn same_bits(place: &Place, a: &str, b: &str) {
    for name in ["last", "best"] {
        let file = |run: &str| tensors(&place.path(run).join("ckpt").join(format!("{name}.safetensors")));
        let (a, b) = (file(a), file(b));
        let differing: Vec<&String> = a.keys().chain(b.keys()).filter(|key| a.get(*key) != b.get(*key)).collect();
        assert!(!a.is_empty() && differing.is_empty(), "{name}: {differing:?} differ");
    }
}

/// Losses and test results of a run, without what depends on time.
fn history(place: &Place, run: &str) -> Vec<String> {
    let text = std::fs::read_to_string(place.path(run).join("metrics.jsonl")).expect("metrics");
    let timeless = |mut line: Value| {
        for key in ["seconds", "images_per_s", "peak_bytes"] {
            line.as_object_mut().expect("an object").remove(key);
        }
        line.to_string()
    };
    objects(&text).into_iter().map(timeless).collect()
}
