//! The folder that a training run lives in.

pub mod atomic;
pub mod checkpoint;
pub mod curves;
pub mod halted;
pub mod lines;
pub mod metrics;
pub mod record;
pub mod weights;

use crate::failure::Failure;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

/// Where runs are made and looked for when no folder is named.
pub const ROOT: &str = "runs";

/// A run's folder, locked against other processes while this lives.
pub struct RunDir {
    path: PathBuf,
    _lock: File,
}

impl RunDir {
    /// A new folder: `out` if given, else `runs/<name>-NNN` with the next free number.
    pub fn create(out: Option<&Path>, name: &str) -> Result<RunDir, Failure> {
        let path = new_folder(out, name)?;
        let run = RunDir::lock(&path)?;
        let checkpoints = path.join("ckpt");
        fs::create_dir_all(&checkpoints).map_err(|e| Failure::writing(&checkpoints, &e))?;
        Ok(run)
    }

    /// An existing run.
    pub fn open(path: &Path) -> Result<RunDir, Failure> {
        if !path.join("config.toml").is_file() {
            return Err(Failure::input(format!(
                "{} is not a run: it has no config.toml; name the folder of a run",
                path.display()
            )));
        }
        RunDir::lock(path)
    }

    fn lock(path: &Path) -> Result<RunDir, Failure> {
        let place = path.join(".lock");
        let file = File::create(&place).map_err(|e| Failure::writing(&place, &e))?;
        match file.try_lock() {
            Ok(()) => Ok(RunDir { path: path.to_path_buf(), _lock: file }),
            Err(TryLockError::WouldBlock) => Err(Failure::input(format!(
                "{} is in use by another pleach process; wait for it to end or choose another run",
                path.display()
            ))),
            Err(TryLockError::Error(e)) => Err(Failure::writing(&place, &e)),
        }
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The newest checkpoint.
    pub fn last(&self) -> PathBuf {
        last_of(&self.path)
    }

    /// The checkpoint with the best test accuracy.
    pub fn best(&self) -> PathBuf {
        best_of(&self.path)
    }
}

fn last_of(run: &Path) -> PathBuf {
    run.join("ckpt").join("last.safetensors")
}

fn best_of(run: &Path) -> PathBuf {
    run.join("ckpt").join("best.safetensors")
}

/// The weight file that `path` names: itself, or the best checkpoint (else the last) of the run it is.
pub fn weight_file(path: &Path) -> PathBuf {
    if !path.is_dir() {
        return path.to_path_buf();
    }
    let best = best_of(path);
    if best.is_file() { best } else { last_of(path) }
}

/// A new, empty folder: `out` if given, else `runs/<name>-NNN` with the next free number.
pub fn new_folder(out: Option<&Path>, name: &str) -> Result<PathBuf, Failure> {
    let Some(out) = out else { return create_numbered(Path::new(ROOT), name) };
    refuse_taken(out)?;
    fs::create_dir_all(out).map_err(|e| Failure::writing(out, &e))?;
    Ok(out.to_path_buf())
}

fn refuse_taken(out: &Path) -> Result<(), Failure> {
    if out.join("config.toml").exists() {
        return Err(Failure::input(format!(
            "{0} already holds a run; go on with it by --resume {0}, or choose another --out",
            out.display()
        )));
    }
    match fs::read_dir(out) {
        Ok(mut entries) => {
            // A lock that a killed process left is no reason to refuse.
            if entries.any(|entry| entry.is_ok_and(|entry| entry.file_name() != ".lock" && entry.file_name() != "ckpt"))
            {
                return Err(Failure::input(format!("{} is not empty; choose another --out", out.display())));
            }
            Ok(())
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(Failure::input(format!("cannot use {} for a run: {e}; choose another --out", out.display()))),
    }
}

fn create_numbered(root: &Path, name: &str) -> Result<PathBuf, Failure> {
    fs::create_dir_all(root).map_err(|e| Failure::writing(root, &e))?;
    let prefix = format!("{name}-");
    let numbers = entries(root)
        .into_iter()
        .filter_map(|entry| entry.file_name()?.to_str()?.strip_prefix(&prefix)?.parse::<u32>().ok());
    let mut number = numbers.max().map_or(1, |n| n.saturating_add(1));
    loop {
        let path = root.join(format!("{name}-{number:03}"));
        match fs::create_dir(&path) {
            Ok(()) => return Ok(path),
            // Another process was quicker.
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => number = number.saturating_add(1),
            Err(e) => return Err(Failure::writing(&path, &e)),
        }
    }
}

/// What lies in a folder; nothing if it cannot be read.
pub fn entries(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path())).collect()
}

/// The run under `runs/` that was worked on last and is not finished.
pub fn newest_unfinished() -> Result<PathBuf, Failure> {
    let when = |run: &Path| run.join("metrics.jsonl").metadata().and_then(|m| m.modified()).ok();
    let unfinished = entries(Path::new(ROOT))
        .into_iter()
        .filter(|run| record::Record::read(run).is_some_and(|record| record.state != record::State::Finished));
    unfinished.max_by_key(|run| when(run)).ok_or_else(|| {
        Failure::input(format!(
            "there is no unfinished run under {ROOT}/; name the run, as in --resume {ROOT}/NAME-001"
        ))
    })
}

/// `text` as the name of a folder.
pub fn folder_name(text: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '-' };
    text.chars().map(plain).take(100).collect()
}

/// Whether `name` can be part of a folder's name without leading anywhere else.
pub fn check_name(name: &str) -> Result<(), Failure> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if !name.is_empty() && name.len() <= 100 && name.chars().all(plain) && !name.starts_with(['.', '-']) {
        return Ok(());
    }
    Err(Failure::input(format!(
        "run name {name:?}: use at most 100 letters, digits, '-', '_' and '.', and start with a letter or digit"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_count_up_and_nothing_is_reused() {
        let root = tempfile::tempdir().expect("a folder");
        let root = root.path().join("runs");
        let first = create_numbered(&root, "a").expect("created");
        let second = create_numbered(&root, "a").expect("created");
        assert!(first.ends_with("a-001") && second.ends_with("a-002"));
        fs::remove_dir(&first).expect("removed");
        assert!(create_numbered(&root, "a").expect("created").ends_with("a-003"));
        assert!(create_numbered(&root, "b").expect("created").ends_with("b-001"));
    }

    #[test]
    fn two_owners_of_one_folder_are_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let run = RunDir::create(Some(folder.path()), "a").expect("created");
        let message = RunDir::lock(folder.path()).err().expect("refused").to_string();
        assert!(message.contains("in use by another pleach process"), "{message}");
        drop(run);
        assert!(RunDir::lock(folder.path()).is_ok());
    }

    #[test]
    fn names_lead_nowhere_else() {
        for bad in ["", ".", "..", "../x", "a/b", "-x", "a\n", "\u{1b}[31m"] {
            assert!(check_name(bad).is_err(), "{bad:?}");
        }
        assert!(check_name("resnet20-builtin_2.b").is_ok());
    }
}
