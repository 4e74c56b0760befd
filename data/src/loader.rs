//! Batches in epoch order, prepared by a thread ahead of the step that reads them.

use crate::augment::{Draw, Table, beta};
use crate::{Augmentation, Error, Images, Normalisation};
use engine::rng::{Rng, purpose};
use std::ops::Range;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::{self, JoinHandle};

/// How a [`Loader`] goes through a set of images once.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LoaderConfig {
    /// Images a batch.
    pub batch: usize,
    /// Names the random choices, with `epoch` and the position in the epoch.
    pub seed: u64,
    /// Which epoch: each has an order and augmentations of its own.
    pub epoch: u64,
    /// The first batch wanted: to go on in the middle of an epoch.
    pub start_batch: usize,
    /// A random order, or that of the set.
    pub shuffle: bool,
    /// Leave out a last batch that is not full.
    pub drop_last: bool,
    /// What is done to the images.
    pub augmentation: Augmentation,
    /// Batches prepared before they are asked for; 0 prepares each on demand, without a thread.
    pub ahead: usize,
}

impl Default for LoaderConfig {
    /// Training: batches of 128, shuffled, full ones only, two ahead; no augmentation.
    fn default() -> LoaderConfig {
        LoaderConfig {
            batch: 128,
            seed: 0,
            epoch: 0,
            start_batch: 0,
            shuffle: true,
            drop_last: true,
            augmentation: Augmentation::NONE,
            ahead: 2,
        }
    }
}

/// What a training step reads.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// `(N, H, W, C)`, normalised and augmented.
    pub images: Vec<f32>,
    /// `(N)`, the class of each image.
    pub labels: Vec<usize>,
    /// With mixup: the other half of each image.
    pub mixed: Option<Mixed>,
    /// `(N)`, where each image is in the set.
    pub indices: Vec<usize>,
}

/// The partners of a batch under mixup. The loss is `lambda * loss(batch.labels) + (1 - lambda) * loss(labels)`.
#[derive(Clone, Debug, PartialEq)]
pub struct Mixed {
    /// `(N)`, the class of the image mixed in.
    pub labels: Vec<usize>,
    /// Share of the image itself, 0..=1.
    pub lambda: f32,
}

/// One epoch of batches.
///
/// A thread prepares up to `ahead` of them before they are asked for, and ends when the loader is dropped. The pixels depend on
/// `(seed, epoch, position)` and the batch size alone: neither on `start_batch`, nor on `ahead`, nor on timing.
pub struct Loader {
    source: Source,
    batches: usize,
    next: usize,
}

enum Source {
    /// Made on demand.
    Here(Box<Producer>),
    /// Received from the thread; both are taken when the loader ends.
    Thread(Option<(Receiver<Batch>, JoinHandle<()>)>),
}

impl Loader {
    /// A loader over `images`.
    ///
    /// # Errors
    /// If the batch is 0 or larger than the set, `start_batch` is past the end of the epoch, the images have no three channels, the
    /// augmentation does not fit their size, or no thread can be started.
    ///
    /// # Panics
    /// If there are not as many pixels as the sizes of `images` say.
    pub fn new(images: &Arc<Images>, normalisation: Normalisation, config: LoaderConfig) -> Result<Loader, Error> {
        let n = images.len();
        let fail = |message: String| Err(Error::Config(message));
        assert_eq!(
            images.pixels.len(),
            n * images.image_len(),
            "loader: images have too few or too many pixels for their sizes"
        );
        if images.channels != 3 {
            return fail(format!("the images have {} channels: convert them to 3 (red, green, blue)", images.channels));
        }
        if config.batch == 0 || config.batch > n {
            return fail(format!(
                "a batch of {} cannot be taken from {n} images: choose between 1 and {n}",
                config.batch
            ));
        }
        config.augmentation.check(images.height, images.width)?;
        let batches = if config.drop_last { n / config.batch } else { n.div_ceil(config.batch) };
        if config.start_batch > batches {
            return fail(format!(
                "cannot start at batch {}: an epoch of {n} images has {batches} batches of {}",
                config.start_batch, config.batch
            ));
        }

        let mut order: Vec<usize> = (0..n).collect();
        if config.shuffle {
            Rng::new(config.seed, &[purpose::SHUFFLE, config.epoch]).shuffle(&mut order);
        }
        let producer = Producer { images: images.clone(), table: Table::new(normalisation), config, order };
        let next = config.start_batch;
        let source = match config.ahead {
            0 => Source::Here(Box::new(producer)),
            // The thread holds one more batch in its hands while the channel is full.
            ahead => Source::Thread(Some(producer.spawn(next..batches, ahead - 1)?)),
        };
        Ok(Loader { source, batches, next })
    }

    /// Batches of a whole epoch, whatever `start_batch`.
    pub fn batches(&self) -> usize {
        self.batches
    }
}

impl Iterator for Loader {
    type Item = Batch;

    fn next(&mut self) -> Option<Batch> {
        if self.next == self.batches {
            return None;
        }
        let batch = match &mut self.source {
            Source::Here(producer) => producer.batch(self.next),
            Source::Thread(running) => {
                let (receiver, _) = running.as_ref()?;
                match receiver.recv() {
                    Ok(batch) => batch,
                    Err(_) => {
                        // The thread ended early, and only a panic does that: it is ours now.
                        let (_, thread) = running.take()?;
                        match thread.join() {
                            Err(panic) => resume_unwind(panic),
                            Ok(()) => unreachable!("the loader's thread ended before the epoch"),
                        }
                    }
                }
            }
        };
        self.next += 1;
        Some(batch)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.batches - self.next;
        (left, Some(left))
    }
}

impl ExactSizeIterator for Loader {}

impl Drop for Loader {
    fn drop(&mut self) {
        if let Source::Thread(running) = &mut self.source
            && let Some((receiver, thread)) = running.take()
        {
            // Without a receiver the thread's next send fails and it ends. A panic in it no longer matters.
            drop(receiver);
            let _ = thread.join();
        }
    }
}

/// Makes any batch of the epoch.
struct Producer {
    images: Arc<Images>,
    table: Table,
    config: LoaderConfig,
    order: Vec<usize>,
}

impl Producer {
    fn spawn(self, batches: Range<usize>, capacity: usize) -> Result<(Receiver<Batch>, JoinHandle<()>), Error> {
        let (sender, receiver) = sync_channel(capacity);
        let thread = thread::Builder::new()
            .name("loader".into())
            .spawn(move || {
                for i in batches {
                    if sender.send(self.batch(i)).is_err() {
                        return;
                    }
                }
            })
            .map_err(Error::Thread)?;
        Ok((receiver, thread))
    }

    fn batch(&self, i: usize) -> Batch {
        let LoaderConfig { batch, seed, epoch, augmentation, .. } = self.config;
        let Images { height, width, ref labels, .. } = *self.images;
        let start = i * batch;
        let indices = self.order[start..(start + batch).min(self.order.len())].to_vec();
        let len = self.images.image_len();
        let mut images = vec![0.0; indices.len() * len];
        for (j, (&index, out)) in indices.iter().zip(images.chunks_exact_mut(len)).enumerate() {
            let mut rng = Rng::new(seed, &[purpose::AUGMENT, epoch, (start + j) as u64]);
            let draw = Draw::new(&augmentation, height, width, &mut rng);
            self.table.write(self.images.image(index), width, &draw, out);
        }
        let labels = indices.iter().map(|&index| labels[index]).collect();
        let mut made = Batch { images, labels, mixed: None, indices };
        if augmentation.mixup > 0.0 {
            mix(&mut made, augmentation.mixup, &mut Rng::new(seed, &[purpose::MIXUP, epoch, i as u64]));
        }
        made
    }
}

/// Mixes each image of the batch with another, or itself, by a random permutation.
fn mix(batch: &mut Batch, alpha: f32, rng: &mut Rng) {
    let n = batch.labels.len();
    let lambda = beta(alpha, rng);
    let mut partners: Vec<usize> = (0..n).collect();
    rng.shuffle(&mut partners);
    let len = batch.images.len() / n;
    let mut images = Vec::with_capacity(batch.images.len());
    for (image, &partner) in batch.images.chunks_exact(len).zip(&partners) {
        let other = &batch.images[partner * len..][..len];
        images.extend(image.iter().zip(other).map(|(x, y)| lambda * x + (1.0 - lambda) * y));
    }
    batch.images = images;
    batch.mixed = Some(Mixed { labels: partners.iter().map(|&partner| batch.labels[partner]).collect(), lambda });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::synthetic;
    use std::collections::BTreeSet;

    const FULL: Augmentation = Augmentation { pad_crop: 4, flip: true, cutout: 8, mixup: 0.5 };

    fn images() -> Arc<Images> {
        synthetic(4, 50, 1, 0).train
    }

    fn load(images: &Arc<Images>, config: LoaderConfig) -> Result<Loader, Error> {
        Loader::new(images, Normalisation::CIFAR10, config)
    }

    fn config() -> LoaderConfig {
        LoaderConfig { batch: 8, seed: 4, epoch: 2, augmentation: FULL, ..LoaderConfig::default() }
    }

    #[test]
    fn pixels_depend_on_neither_start_nor_prefetch() {
        let images = images();
        let expected: Vec<Batch> = load(&images, LoaderConfig { ahead: 0, ..config() }).unwrap().collect();
        assert_eq!(expected.len(), 6);
        for start_batch in 0..=6 {
            for ahead in [0, 1, 2, 10] {
                let loader = load(&images, LoaderConfig { ahead, start_batch, ..config() }).unwrap();
                assert_eq!((loader.batches(), loader.len()), (6, 6 - start_batch));
                let batches: Vec<Batch> = loader.collect();
                assert!(batches == expected[start_batch..], "start {start_batch}, {ahead} ahead");
            }
        }
    }

    #[test]
    fn seed_and_epoch_change_order_and_pixels() {
        let images = images();
        let first = |config| load(&images, config).unwrap().next().unwrap();
        let original = first(config());
        for other in [LoaderConfig { epoch: 3, ..config() }, LoaderConfig { seed: 5, ..config() }] {
            assert_ne!(first(other).indices, original.indices);
        }
        // Augmentation differs too, not the order alone.
        let still = LoaderConfig { shuffle: false, ..config() };
        assert_ne!(first(still).images, first(LoaderConfig { epoch: 3, ..still }).images);
    }

    #[test]
    fn an_epoch_holds_every_image_once() {
        let images = images();
        for shuffle in [false, true] {
            let config = LoaderConfig { shuffle, drop_last: false, ..config() };
            let batches: Vec<Batch> = load(&images, config).unwrap().collect();
            assert_eq!(batches.len(), 7);
            assert_eq!(batches[6].labels.len(), 2);
            assert_eq!(batches[6].images.len(), 2 * 32 * 32 * 3);
            let indices: Vec<usize> = batches.iter().flat_map(|batch| batch.indices.clone()).collect();
            assert_eq!(indices.len(), 50);
            assert_eq!(indices.iter().collect::<BTreeSet<_>>().len(), 50);
            assert_eq!(indices.is_sorted(), !shuffle);
            for batch in &batches {
                assert!(batch.indices.iter().zip(&batch.labels).all(|(&i, &label)| images.labels[i] == label));
            }
        }
    }

    #[test]
    fn without_augmentation_pixels_are_those_of_the_set() {
        let images = images();
        let config = LoaderConfig { augmentation: Augmentation::NONE, ..config() };
        let Normalisation { mean, std } = Normalisation::CIFAR10;
        for batch in load(&images, config).unwrap() {
            assert_eq!(batch.mixed, None);
            for (out, &index) in batch.images.chunks(3072).zip(&batch.indices) {
                let expected = images.image(index).iter().enumerate().map(|(i, &v)| {
                    let c = i % 3;
                    (f32::from(v) / 255.0 - mean[c]) / std[c]
                });
                assert!(expected.eq(out.iter().copied()));
            }
        }
    }

    #[test]
    fn mixup_blends_pairs_of_the_same_batch() {
        let images = images();
        let plain = Augmentation { mixup: 0.0, ..FULL };
        let plain = load(&images, LoaderConfig { augmentation: plain, ..config() }).unwrap();
        let mut lambdas = Vec::new();
        for (mixed, plain) in load(&images, config()).unwrap().zip(plain) {
            let Mixed { labels, lambda } = mixed.mixed.unwrap();
            lambdas.push(lambda);
            assert_eq!((&mixed.labels, &mixed.indices), (&plain.labels, &plain.indices));
            for (i, out) in mixed.images.chunks(3072).enumerate() {
                let x = &plain.images[i * 3072..][..3072];
                let partner = plain.images.chunks(3072).zip(&plain.labels).find(|(y, _)| {
                    let blend = x.iter().zip(*y).map(|(x, y)| lambda * x + (1.0 - lambda) * y);
                    blend.eq(out.iter().copied())
                });
                assert_eq!(partner.map(|(_, label)| *label), Some(labels[i]), "image {i}");
            }
        }
        assert!(lambdas.windows(2).all(|pair| pair[0] != pair[1]), "{lambdas:?}");
    }

    #[test]
    fn prefetch_ends_on_drop() {
        let images = images();
        assert_eq!(Arc::strong_count(&images), 1);
        let mut loader = load(&images, LoaderConfig { ahead: 1, batch: 1, ..config() }).unwrap();
        assert!(loader.next().is_some());
        assert_eq!(Arc::strong_count(&images), 2);
        // The thread sits in `send` with 48 batches to go; drop must wake it, and waits for it.
        drop(loader);
        assert_eq!(Arc::strong_count(&images), 1);
    }

    #[test]
    fn a_panic_of_the_thread_reaches_the_caller() {
        // No set that `Loader::new` accepts makes the thread panic, so its order is broken by hand.
        let producer = Producer {
            images: images(),
            table: Table::new(Normalisation::CIFAR10),
            config: config(),
            order: vec![0, 1, 2, 3, 4, 5, 6, 999],
        };
        let source = Source::Thread(Some(producer.spawn(0..1, 0).unwrap()));
        let mut loader = Loader { source, batches: 1, next: 0 };
        let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| loader.next())).unwrap_err();
        assert_eq!(panic.downcast_ref::<String>().unwrap(), "image: there is no image 999 among 50");
    }

    #[test]
    fn impossible_configs_are_refused() {
        let images = images();
        let message = |config| load(&images, config).err().unwrap().to_string();
        assert_eq!(
            message(LoaderConfig { batch: 0, ..config() }),
            "a batch of 0 cannot be taken from 50 images: choose between 1 and 50"
        );
        assert_eq!(
            message(LoaderConfig { batch: 51, ..config() }),
            "a batch of 51 cannot be taken from 50 images: choose between 1 and 50"
        );
        assert_eq!(
            message(LoaderConfig { start_batch: 7, ..config() }),
            "cannot start at batch 7: an epoch of 50 images has 6 batches of 8"
        );
        let augmentation = Augmentation { cutout: 33, ..FULL };
        assert!(message(LoaderConfig { augmentation, ..config() }).starts_with("augmentation: cutout = 33"));
        let grey = Arc::new(Images { channels: 1, width: 96, ..(*images).clone() });
        assert_eq!(
            load(&grey, config()).err().unwrap().to_string(),
            "the images have 1 channels: convert them to 3 (red, green, blue)"
        );
    }
}
