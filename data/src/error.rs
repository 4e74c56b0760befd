//! What can be wrong with data: each message says what, where, and what to do.

use std::io;
use std::path::PathBuf;

/// A data set that cannot be read, or batches that cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A directory or file is not there.
    #[error("{path}: {problem}; {remedy}")]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
        /// What is missing.
        problem: String,
        /// What was expected and how to get it.
        remedy: String,
    },

    /// The operating system refused.
    #[error("{path}: cannot be read ({source}); check its permissions and the disk")]
    Read {
        /// The file or directory.
        path: PathBuf,
        /// The system's own words.
        source: io::Error,
    },

    /// A binary batch file ends too early or too late.
    #[error("{path}:{offset}: {problem}; the file should have {expected} bytes: download and unpack it again")]
    FileSize {
        /// The file.
        path: PathBuf,
        /// Byte offset of the first missing or superfluous byte.
        offset: u64,
        /// How it is wrong.
        problem: String,
        /// The right size, in bytes.
        expected: u64,
    },

    /// A label byte that names no class.
    #[error(
        "{path}:{offset}: {what} {found} of record {record} is out of range, it must be below {classes}; \
         the file is damaged: download and unpack it again"
    )]
    Label {
        /// The file.
        path: PathBuf,
        /// Byte offset of the label.
        offset: u64,
        /// Which label: CIFAR-100 has two a record.
        what: &'static str,
        /// The byte found.
        found: u8,
        /// Index of the record in the file.
        record: u64,
        /// Number of classes.
        classes: usize,
    },

    /// A file of an image folder that is no readable image.
    #[error("{path}: {problem}; the folder may hold only whole PNG and JPEG files: replace or remove it")]
    Image {
        /// The file.
        path: PathBuf,
        /// What the decoder said.
        problem: String,
    },

    /// Images of different sizes in one image folder.
    #[error(
        "{path}: is {}x{} pixels (width x height), but {first} is {}x{}; resize the images to one size",
        found.0, found.1, expected.0, expected.1
    )]
    ImageSize {
        /// The image that differs.
        path: PathBuf,
        /// Its width and height.
        found: (u32, u32),
        /// The first training image, which sets the size.
        first: PathBuf,
        /// That image's width and height.
        expected: (u32, u32),
    },

    /// Sizes, splits or augmentations that do not fit the set.
    #[error("{0}")]
    Config(String),

    /// The thread that prepares batches could not be started.
    #[error("cannot start the thread that prepares batches ({0}); set `ahead` to 0 to do without it")]
    Thread(io::Error),
}
