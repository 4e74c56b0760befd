//! Which data set is in this directory?

use crate::cifar::{CIFAR10, CIFAR100};
use crate::{Dataset, Error, cifar10, cifar100, image_folder};
use std::path::Path;

/// Reads the data set in `dir`, whichever it is: CIFAR-10 or CIFAR-100 in their binary distributions (the files in `dir`, or in the
/// subfolder their archive unpacks to), or an image folder with `train` and `test` (or `val`).
///
/// # Errors
/// If none of these is there, or more than one, or what is there cannot be read: see [`cifar10`], [`cifar100`], [`image_folder`].
pub fn open(dir: &Path) -> Result<Dataset, Error> {
    type Read = fn(&Path) -> Result<Dataset, Error>;
    let candidates: [(&str, bool, Read); 3] = [
        ("CIFAR-10", CIFAR10.find(dir).is_some(), cifar10),
        ("CIFAR-100", CIFAR100.find(dir).is_some(), cifar100),
        ("an image folder", ["train", "test", "val"].iter().any(|split| dir.join(split).is_dir()), image_folder),
    ];
    let found: Vec<_> = candidates.iter().filter(|(_, found, _)| *found).collect();
    if let [(_, _, read)] = found[..] {
        return read(dir);
    }
    let missing =
        |problem: &str, remedy: String| Err(Error::Missing { path: dir.into(), problem: problem.into(), remedy });
    if !found.is_empty() {
        let names: Vec<&str> = found.iter().map(|(name, ..)| *name).collect();
        return missing(&format!("holds {}", names.join(" and ")), "name the subfolder of the one you mean".into());
    }
    for format in [&CIFAR10, &CIFAR100] {
        // The archive, or the Python version: the general answer would not help.
        let remedy = format.remedy(dir);
        if !remedy.starts_with(format.title) {
            return missing("no data set that can be read in this directory", remedy);
        }
    }
    let problem = match (dir.is_dir(), dir.exists()) {
        (true, _) => "no data set in this directory",
        (false, true) => "is not a directory",
        (false, false) => "there is no such directory",
    };
    missing(
        problem,
        format!(
            "expected {} or {} (download {} or {} from https://www.cs.toronto.edu/~kriz/cifar.html and unpack it), \
             or images as train/CLASS/*.png and test/CLASS/*.png; `builtin` needs no files",
            CIFAR10.folder, CIFAR100.folder, CIFAR10.archive, CIFAR100.archive
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn message(dir: &Path) -> String {
        open(dir).unwrap_err().to_string().replace(&dir.display().to_string(), "DIR")
    }

    #[test]
    fn nothing_there() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(
            message(dir.path()),
            "DIR: no data set in this directory; expected cifar-10-batches-bin or cifar-100-binary (download \
             cifar-10-binary.tar.gz or cifar-100-binary.tar.gz from https://www.cs.toronto.edu/~kriz/cifar.html and unpack \
             it), or images as train/CLASS/*.png and test/CLASS/*.png; `builtin` needs no files"
        );
        assert!(message(&dir.path().join("no")).starts_with("DIR: there is no such directory; expected"));
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(message(&file).starts_with("DIR: is not a directory; expected"));
    }

    #[test]
    fn each_kind_is_told_by_its_files() {
        let has = |entry: &str, expected: &str| {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join(entry);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, "").unwrap();
            let message = message(dir.path());
            assert!(message.contains(expected), "{entry}: {message}");
        };
        has("test_batch.bin", "missing data_batch_1.bin,");
        has("cifar-10-batches-bin/data_batch_5.bin", "/cifar-10-batches-bin: missing data_batch_1.bin,");
        has("cifar-100-binary/test.bin", "/cifar-100-binary: missing train.bin;");
        has("train/cat/1.png", "DIR: no folder test or val;");
        has("cifar-100-python/train", "this is the Python version of the set");
        has("cifar-100-binary.tar.gz", "unpack the archive that is there first: tar xzf cifar-100-binary.tar.gz");
    }

    #[test]
    fn two_sets_are_not_guessed_between() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("cifar-10-batches-bin")).unwrap();
        fs::create_dir(dir.path().join("cifar-100-binary")).unwrap();
        assert_eq!(message(dir.path()), "DIR: holds CIFAR-10 and CIFAR-100; name the subfolder of the one you mean");
    }
}
