//! Replacing a file so that a crash at any moment leaves either the old one or the new one, whole.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Where the bytes wait until they are whole: beside `path`, under a fixed name, so that one a killed process left
/// behind is overwritten by the next save.
fn waiting_place(path: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".tmp");
    path.with_file_name(name)
}

/// Puts `bytes` in the place of `path`: written beside it, synced, renamed over it, and the folder synced. On an
/// error the old file is as it was and what was written is removed.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace_with(path, |file| file.write_all(bytes))
}

fn replace_with(path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    let waiting = waiting_place(path);
    let written = (|| {
        let mut file = File::create(&waiting)?;
        write(&mut file)?;
        file.sync_all()?;
        drop(file);
        fs::rename(&waiting, path)
    })();
    if let Err(error) = written {
        // The first error is the one worth telling.
        let _ = fs::remove_file(&waiting);
        return Err(error);
    }
    sync_folder(path)
}

/// Makes the renaming itself durable. Only Unix can open a folder for that.
fn sync_folder(path: &Path) -> io::Result<()> {
    if cfg!(unix) {
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).expect("readable");
        entries.map(|e| e.expect("readable").file_name().to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn a_write_that_fails_half_way_leaves_the_old_file_and_nothing_else() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("last");
        replace(&path, b"old").expect("written");
        let failed = replace_with(&path, |file| {
            file.write_all(b"ne")?;
            Err(io::Error::from(io::ErrorKind::StorageFull))
        });
        assert_eq!(failed.expect_err("refused").kind(), io::ErrorKind::StorageFull);
        assert_eq!(fs::read(&path).expect("readable"), b"old");
        assert_eq!(names(folder.path()), ["last"]);
    }

    #[test]
    fn what_a_killed_process_left_is_overwritten() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("last");
        fs::write(waiting_place(&path), b"half a checkpoint, longer than the new one").expect("written");
        replace(&path, b"new").expect("written");
        assert_eq!(fs::read(&path).expect("readable"), b"new");
        assert_eq!(names(folder.path()), ["last"]);
    }
}
