//! Data sets of small colour images, and the batches a training step reads.
//!
//! - [`builtin`]: 6,000 real CIFAR-10 images inside the binary; [`open`]: CIFAR-10, CIFAR-100 or a folder of images on disk;
//!   [`synthetic`]: made up, for tests. Each gives a [`Dataset`].
//! - [`Loader`]: shuffled, normalised, augmented batches, prepared by a thread ahead of the step that reads them.
//!
//! Pixels stay bytes in memory, `(N, H, W, C)`; they become `f32` in the loader. Every random choice is named by
//! `(seed, epoch, position)`, so a resumed run sees the same pixels without any saved state.
//!
//! ```
//! use data::{Augmentation, Loader, LoaderConfig};
//!
//! let set = data::builtin();
//! assert_eq!((set.train.len(), set.test.len(), set.classes()), (5_000, 1_000, 10));
//!
//! let config = LoaderConfig { batch: 128, seed: 7, augmentation: Augmentation::STANDARD, ..LoaderConfig::default() };
//! let loader = Loader::new(&set.train, set.normalisation, config)?;
//! assert_eq!(loader.batches(), 39); // the short 40th is dropped
//! for batch in loader.take(2) {
//!     assert_eq!(batch.images.len(), 128 * 32 * 32 * 3); // (N, H, W, C)
//!     assert_eq!(batch.labels.len(), 128);
//! }
//! # Ok::<(), data::Error>(())
//! ```
#![forbid(unsafe_code)]

mod augment;
mod builtin;
mod cifar;
mod dataset;
mod error;
mod folder;
mod loader;
mod open;
mod synthetic;

pub use augment::Augmentation;
pub use builtin::builtin;
pub use cifar::{cifar10, cifar100};
pub use dataset::{Dataset, Images, Normalisation};
pub use error::Error;
pub use folder::image_folder;
pub use loader::{Batch, Loader, LoaderConfig, Mixed};
pub use open::open;
pub use synthetic::synthetic;
