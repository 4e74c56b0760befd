//! CIFAR-10 and CIFAR-100 in their binary distributions.
//!
//! A file is a row of records; a record is one label byte (CIFAR-100: the coarse, then the fine label) and 3,072 pixel bytes, three
//! planes (red, green, blue) of 32 rows. Sizes are checked before anything is read.

use crate::{Dataset, Error, Images, Normalisation};
use rayon::prelude::*;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const SIZE: usize = 32;
const PLANE: usize = SIZE * SIZE;
const IMAGE_LEN: usize = 3 * PLANE;
/// Records read at a time: 3 MB, so that a 150 MB file is never in memory twice.
const BLOCK: usize = 1_000;

/// Class names of CIFAR-10, as in its `batches.meta.txt`.
pub(crate) const CIFAR10_NAMES: [&str; 10] =
    ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];

/// Fine class names of CIFAR-100, as in its `fine_label_names.txt`.
const CIFAR100_NAMES: &str = "apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly \
    camel can castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin \
    elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man \
    maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain \
    plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake \
    spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle \
    wardrobe whale willow_tree wolf woman worm";

/// One of the two distributions.
pub(crate) struct Format {
    pub(crate) title: &'static str,
    /// The folder its archive unpacks to.
    pub(crate) folder: &'static str,
    pub(crate) archive: &'static str,
    /// The folder of the Python distribution, which people fetch by mistake.
    python_folder: &'static str,
    train: &'static [&'static str],
    test: &'static str,
    train_records: usize,
    test_records: usize,
    /// What each label byte is and how many values it has; the last one is the class.
    labels: &'static [(&'static str, usize)],
}

pub(crate) const CIFAR10: Format = Format {
    title: "CIFAR-10",
    folder: "cifar-10-batches-bin",
    archive: "cifar-10-binary.tar.gz",
    python_folder: "cifar-10-batches-py",
    train: &["data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin"],
    test: "test_batch.bin",
    train_records: 10_000,
    test_records: 10_000,
    labels: &[("label", 10)],
};

pub(crate) const CIFAR100: Format = Format {
    title: "CIFAR-100",
    folder: "cifar-100-binary",
    archive: "cifar-100-binary.tar.gz",
    python_folder: "cifar-100-python",
    train: &["train.bin"],
    test: "test.bin",
    train_records: 50_000,
    test_records: 10_000,
    labels: &[("coarse label", 20), ("fine label", 100)],
};

/// CIFAR-10 from the six files of its binary distribution, in `dir` or in `dir/cifar-10-batches-bin`: 50,000 training and 10,000 test
/// images, 32x32x3.
///
/// # Errors
/// If a file is missing (the message names them and says how to get them), has the wrong size, or holds a label that is no class.
///
/// # Source
/// <https://www.cs.toronto.edu/~kriz/cifar.html>
pub fn cifar10(dir: &Path) -> Result<Dataset, Error> {
    let (train, test) = CIFAR10.read(dir)?;
    Ok(Dataset {
        name: "cifar10".into(),
        class_names: CIFAR10_NAMES.map(String::from).to_vec(),
        train: Arc::new(train),
        test: Arc::new(test),
        normalisation: Normalisation::CIFAR10,
    })
}

/// CIFAR-100 (the 100 fine classes) from the two files of its binary distribution, in `dir` or in `dir/cifar-100-binary`: 50,000
/// training and 10,000 test images, 32x32x3.
///
/// # Errors
/// As [`cifar10`].
///
/// # Source
/// <https://www.cs.toronto.edu/~kriz/cifar.html>
pub fn cifar100(dir: &Path) -> Result<Dataset, Error> {
    let (train, test) = CIFAR100.read(dir)?;
    Ok(Dataset {
        name: "cifar100".into(),
        class_names: CIFAR100_NAMES.split_whitespace().map(String::from).collect(),
        train: Arc::new(train),
        test: Arc::new(test),
        normalisation: Normalisation::CIFAR100,
    })
}

impl Format {
    fn files(&self) -> impl Iterator<Item = &'static str> {
        self.train.iter().copied().chain([self.test])
    }

    fn record_len(&self) -> usize {
        self.labels.len() + IMAGE_LEN
    }

    /// The folder that holds the files, when `dir` or its subfolder has any of them or at least the right name.
    pub(crate) fn find(&self, dir: &Path) -> Option<PathBuf> {
        let has_any = |dir: &Path| self.files().any(|name| dir.join(name).exists());
        let inner = dir.join(self.folder);
        if has_any(dir) || dir.is_dir() && dir.ends_with(self.folder) {
            Some(dir.to_path_buf())
        } else if inner.is_dir() {
            Some(inner)
        } else {
            None
        }
    }

    /// What to do when the files are not in `dir`.
    pub(crate) fn remedy(&self, dir: &Path) -> String {
        let Format { title, folder, archive, .. } = self;
        if dir.join(archive).is_file() {
            return format!("unpack the archive that is there first: tar xzf {archive}");
        }
        let files = self.files().collect::<Vec<_>>().join(", ");
        let python = dir.ends_with(self.python_folder)
            || dir.join(self.python_folder).exists()
            || ["data_batch_1", "train"].iter().any(|name| dir.join(name).is_file());
        let python = if python { "this is the Python version of the set, the binary version is needed: " } else { "" };
        format!(
            "{python}{title} is the folder {folder} with {files}; download \
             https://www.cs.toronto.edu/~kriz/{archive} and unpack it (tar xzf)"
        )
    }

    fn read(&self, dir: &Path) -> Result<(Images, Images), Error> {
        let missing = |path: &Path, problem: String| Error::Missing {
            path: path.to_path_buf(),
            problem,
            remedy: self.remedy(dir),
        };
        if !dir.is_dir() {
            let problem = if dir.exists() { "is not a directory" } else { "there is no such directory" };
            return Err(missing(dir, problem.into()));
        }
        let folder = self.find(dir).ok_or_else(|| missing(dir, format!("no {} in this directory", self.title)))?;
        let absent: Vec<&str> = self.files().filter(|name| !folder.join(name).is_file()).collect();
        if !absent.is_empty() {
            return Err(missing(&folder, format!("missing {}", absent.join(", "))));
        }
        let train: Vec<PathBuf> = self.train.iter().map(|name| folder.join(name)).collect();
        let test = folder.join(self.test);
        for path in &train {
            self.check_size(path, self.train_records)?;
        }
        self.check_size(&test, self.test_records)?;
        Ok((self.read_files(&train, self.train_records)?, self.read_files(&[test], self.test_records)?))
    }

    fn check_size(&self, path: &Path, records: usize) -> Result<(), Error> {
        let found = fs::metadata(path).map_err(|source| Error::Read { path: path.to_path_buf(), source })?.len();
        let expected = (records * self.record_len()) as u64;
        let (offset, problem) = if found < expected {
            (found, format!("truncated in record {} of {records}", found / self.record_len() as u64))
        } else if found > expected {
            (expected, format!("{} bytes after the last of {records} records", found - expected))
        } else {
            return Ok(());
        };
        Err(Error::FileSize { path: path.to_path_buf(), offset, problem, expected })
    }

    fn read_files(&self, paths: &[PathBuf], records: usize) -> Result<Images, Error> {
        let total = paths.len() * records;
        let mut images = Images {
            pixels: vec![0; total * IMAGE_LEN],
            labels: Vec::with_capacity(total),
            height: SIZE,
            width: SIZE,
            channels: 3,
        };
        for (path, pixels) in paths.iter().zip(images.pixels.chunks_mut(records * IMAGE_LEN)) {
            self.read_file(path, pixels, &mut images.labels)?;
        }
        Ok(images)
    }

    /// Fills `pixels`, `(N, H, W, C)`, and appends N labels.
    fn read_file(&self, path: &Path, pixels: &mut [u8], labels: &mut Vec<usize>) -> Result<(), Error> {
        let unreadable = |source| Error::Read { path: path.to_path_buf(), source };
        let mut file = File::open(path).map_err(unreadable)?;
        let record_len = self.record_len();
        let mut buffer = vec![0; BLOCK * record_len];
        for (block, pixels) in pixels.chunks_mut(BLOCK * IMAGE_LEN).enumerate() {
            let buffer = &mut buffer[..pixels.len() / IMAGE_LEN * record_len];
            file.read_exact(buffer).map_err(unreadable)?;
            for (i, record) in buffer.chunks_exact(record_len).enumerate() {
                for (at, (&found, &(what, classes))) in record.iter().zip(self.labels).enumerate() {
                    if usize::from(found) >= classes {
                        let record = (block * BLOCK + i) as u64;
                        let offset = record * record_len as u64 + at as u64;
                        return Err(Error::Label { path: path.to_path_buf(), offset, what, found, record, classes });
                    }
                }
                labels.push(usize::from(record[self.labels.len() - 1]));
            }
            pixels.par_chunks_mut(IMAGE_LEN).zip(buffer.par_chunks(record_len)).for_each(|(out, record)| {
                interleave(&record[self.labels.len()..], out);
            });
        }
        Ok(())
    }
}

/// Three planes to pixels: `(C, H, W)` to `(H, W, C)`.
fn interleave(planes: &[u8], out: &mut [u8]) {
    let (red, rest) = planes.split_at(PLANE);
    let (green, blue) = rest.split_at(PLANE);
    for (((pixel, &r), &g), &b) in out.chunks_exact_mut(3).zip(red).zip(green).zip(blue) {
        pixel.copy_from_slice(&[r, g, b]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Seek, SeekFrom, Write};
    use tempfile::TempDir;

    /// A folder of files of the right size, all zero and sparse: they cost no disk.
    fn zeros(format: &Format) -> TempDir {
        let dir = tempfile::tempdir().unwrap();
        for name in format.files() {
            let records = if name == format.test { format.test_records } else { format.train_records };
            resize(&dir.path().join(name), records * format.record_len());
        }
        dir
    }

    fn resize(path: &Path, len: usize) {
        let file = File::options().write(true).create(true).truncate(false).open(path).unwrap();
        file.set_len(len as u64).unwrap();
    }

    fn put(path: &Path, offset: usize, bytes: &[u8]) {
        let mut file = File::options().write(true).open(path).unwrap();
        file.seek(SeekFrom::Start(offset as u64)).unwrap();
        file.write_all(bytes).unwrap();
    }

    #[test]
    fn reads_labels_planes_and_order() {
        let dir = zeros(&CIFAR10);
        // Record 9,999 of the second file, and 1,234 of the test file: past the first block read.
        let planes: Vec<u8> = (0..IMAGE_LEN).map(|i| (i / PLANE * 80 + i % PLANE % 79) as u8).collect();
        put(&dir.path().join("data_batch_2.bin"), 9_999 * 3073, &[[7].as_slice(), &planes].concat());
        put(&dir.path().join("test_batch.bin"), 1_234 * 3073, &[9]);
        let set = cifar10(dir.path()).unwrap();
        assert_eq!((set.train.len(), set.test.len(), set.classes()), (50_000, 10_000, 10));
        assert_eq!((set.train.labels[19_998], set.train.labels[19_999], set.train.labels[20_000]), (0, 7, 0));
        assert_eq!((set.test.labels[1_234], set.test.labels.iter().sum::<usize>()), (9, 9));
        for (at, pixel) in set.train.image(19_999).chunks(3).enumerate() {
            let v = (at % 79) as u8;
            assert_eq!(pixel, [v, 80 + v, 160 + v], "pixel {at}");
        }
    }

    #[test]
    fn cifar100_takes_the_fine_label() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("two.bin");
        resize(&path, 2 * 3074);
        put(&path, 3074, &[19, 99, 5]);
        let images = CIFAR100.read_files(&[path], 2).unwrap();
        assert_eq!(images.labels, [0, 99]);
        assert_eq!(images.image(1)[..4], [5, 0, 0, 0]);
        let names: Vec<&str> = CIFAR100_NAMES.split_whitespace().collect();
        assert_eq!((names.len(), names[0], names[99]), (100, "apple", "worm"));
        assert!(names.is_sorted());
    }

    #[test]
    fn a_folder_around_the_folder_will_do() {
        let dir = tempfile::tempdir().unwrap();
        let inner = dir.path().join("cifar-10-batches-bin");
        fs::create_dir(&inner).unwrap();
        assert_eq!(CIFAR10.find(dir.path()), Some(inner.clone()));
        assert_eq!(CIFAR10.find(&inner), Some(inner));
        assert_eq!(CIFAR100.find(dir.path()), None);
    }

    /// The message of the error that reading `dir` ends in, with the directory itself cut out.
    fn message(dir: &Path, read: fn(&Path) -> Result<Dataset, Error>) -> String {
        read(dir).unwrap_err().to_string().replace(&dir.display().to_string(), "DIR")
    }

    #[test]
    fn truncated_file() {
        let dir = zeros(&CIFAR10);
        resize(&dir.path().join("data_batch_3.bin"), 3073 * 4_000 + 10);
        assert_eq!(
            message(dir.path(), cifar10),
            "DIR/data_batch_3.bin:12292010: truncated in record 4000 of 10000; \
             the file should have 30730000 bytes: download and unpack it again"
        );
    }

    #[test]
    fn oversized_file() {
        let dir = zeros(&CIFAR100);
        resize(&dir.path().join("test.bin"), 30_740_003);
        assert_eq!(
            message(dir.path(), cifar100),
            "DIR/test.bin:30740000: 3 bytes after the last of 10000 records; \
             the file should have 30740000 bytes: download and unpack it again"
        );
    }

    #[test]
    fn label_out_of_range() {
        let dir = zeros(&CIFAR10);
        put(&dir.path().join("data_batch_1.bin"), 3073 * 1_500, &[10]);
        assert_eq!(
            message(dir.path(), cifar10),
            "DIR/data_batch_1.bin:4609500: label 10 of record 1500 is out of range, it must be below 10; \
             the file is damaged: download and unpack it again"
        );
        let dir = zeros(&CIFAR100);
        put(&dir.path().join("train.bin"), 3074 + 1, &[200]);
        assert!(message(dir.path(), cifar100).starts_with("DIR/train.bin:3075: fine label 200 of record 1 is out"));
        put(&dir.path().join("train.bin"), 3074, &[20]);
        assert!(message(dir.path(), cifar100).starts_with("DIR/train.bin:3074: coarse label 20 of record 1 is out"));
    }

    #[test]
    fn missing_files_are_named() {
        let dir = zeros(&CIFAR10);
        fs::remove_file(dir.path().join("data_batch_2.bin")).unwrap();
        fs::remove_file(dir.path().join("test_batch.bin")).unwrap();
        let message = message(dir.path(), cifar10);
        assert!(
            message.starts_with("DIR: missing data_batch_2.bin, test_batch.bin; CIFAR-10 is the folder"),
            "{message}"
        );
        assert!(message.ends_with(
            "with data_batch_1.bin, data_batch_2.bin, data_batch_3.bin, data_batch_4.bin, data_batch_5.bin, test_batch.bin; \
             download https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz and unpack it (tar xzf)"
        ));
    }

    #[test]
    fn missing_directory() {
        let dir = tempfile::tempdir().unwrap();
        assert!(message(&dir.path().join("no"), cifar10).starts_with("DIR: there is no such directory; CIFAR-10 is"));
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(message(&file, cifar100).starts_with("DIR: is not a directory; CIFAR-100 is"));
        assert!(message(dir.path(), cifar10).starts_with("DIR: no CIFAR-10 in this directory; CIFAR-10 is"));
    }

    #[test]
    fn the_packed_archive_and_the_python_version_are_recognised() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("cifar-10-batches-py")).unwrap();
        assert!(
            message(dir.path(), cifar10).contains("; this is the Python version of the set, the binary version is")
        );
        fs::write(dir.path().join("cifar-10-binary.tar.gz"), "").unwrap();
        assert_eq!(
            message(dir.path(), cifar10),
            "DIR: no CIFAR-10 in this directory; unpack the archive that is there first: tar xzf cifar-10-binary.tar.gz"
        );
    }
}
