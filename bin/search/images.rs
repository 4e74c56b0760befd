//! The two disjoint parts of the training images: one that weights learn from, one that the architecture learns from.

use super::config::Config;
use crate::failure::Failure;
use crate::images::Source;
use data::{Augmentation, Batch, Dataset, Images, Loader, LoaderConfig};
use engine::Tensor;
use std::sync::Arc;

/// Batches that a thread prepares before they are asked for.
const AHEAD: usize = 3;

/// The images of a search.
pub struct Split {
    /// As it was read, test images included. Those the search never sees.
    pub whole: Dataset,
    /// `train`: what the weights learn from; `test`: what the architecture learns from.
    pub parts: Dataset,
}

impl Split {
    /// Reads the images and parts them.
    pub fn load(config: &Config) -> Result<Split, Failure> {
        let whole = Source::parse(&config.data.source)?.load()?;
        let held = match config.data.hold_out {
            0 => (whole.train.len() / 10).max(1),
            n => n,
        };
        let parts = whole.hold_out(held, config.seed)?;
        let batch = config.search.batch;
        for (images, what) in [(&parts.train, "train weights on"), (&parts.test, "train the architecture on")] {
            if images.len() < batch {
                return Err(Failure::input(format!(
                    "a batch of {batch} is more than the {} images there are to {what}; take a smaller --batch, or another \
                     --hold-out",
                    images.len()
                )));
            }
        }
        Ok(Split { whole, parts })
    }
}

/// An endless stream of batches: pass after pass over a set of images, each in an order of its own.
pub struct Stream {
    images: Arc<Images>,
    normalisation: data::Normalisation,
    config: LoaderConfig,
    /// Of a pass.
    batches: usize,
    loader: Option<Loader>,
    next: u64,
}

impl Stream {
    /// Of the images that weights learn from: augmented.
    pub fn training(split: &Split, config: &Config) -> Result<Stream, Failure> {
        Stream::new(split, &split.parts.train, config, Augmentation::STANDARD)
    }

    /// Of the images that the architecture learns from: as they are.
    pub fn validation(split: &Split, config: &Config) -> Result<Stream, Failure> {
        Stream::new(split, &split.parts.test, config, Augmentation::NONE)
    }

    fn new(
        split: &Split,
        images: &Arc<Images>,
        config: &Config,
        augmentation: Augmentation,
    ) -> Result<Stream, Failure> {
        let augmentation = if images.height.min(images.width) < 16 { Augmentation::NONE } else { augmentation };
        let loader = LoaderConfig {
            batch: config.search.batch,
            seed: config.seed,
            augmentation,
            ahead: AHEAD,
            ..LoaderConfig::default()
        };
        let batches = images.len() / loader.batch;
        let normalisation = split.parts.normalisation;
        Ok(Stream { images: images.clone(), normalisation, config: loader, batches, loader: None, next: 0 })
    }

    /// Batches of a pass.
    pub fn batches(&self) -> usize {
        self.batches
    }

    /// Batch number `number` of the stream, counted from 0; quick if it is the one after the last.
    pub fn batch(&mut self, number: u64) -> Result<(Tensor, Vec<usize>), Failure> {
        let (pass, start) = (number / self.batches as u64, (number % self.batches as u64) as usize);
        if self.next != number || start == 0 {
            self.loader = None;
        }
        if self.loader.is_none() {
            let config = LoaderConfig { epoch: pass, start_batch: start, ..self.config };
            self.loader = Some(Loader::new(&self.images, self.normalisation, config)?);
        }
        self.next = number + 1;
        let Some(batch) = self.loader.as_mut().and_then(Iterator::next) else {
            return Err(Failure::work("internal error, please report: the loader ended before its epoch"));
        };
        Ok(self.tensor(batch))
    }

    fn tensor(&self, batch: Batch) -> (Tensor, Vec<usize>) {
        let shape = [batch.labels.len(), self.images.height, self.images.width, self.images.channels];
        (Tensor::from_slice(shape, &batch.images), batch.labels)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_the_same_wherever_it_is_entered() {
        let mut config = Config::default();
        config.data.source = "synthetic:40,8".into();
        config.data.hold_out = 10;
        config.search.batch = 4;
        let split = Split::load(&config).expect("loaded");
        assert_eq!((split.parts.train.len(), split.parts.test.len(), split.whole.train.len()), (30, 10, 40));
        let mut stream = Stream::training(&split, &config).expect("a stream");
        let all: Vec<Vec<f32>> = (0..16).map(|i| stream.batch(i).expect("a batch").0.data().to_vec()).collect();
        for start in [0, 3, 6, 7, 13] {
            let mut stream = Stream::training(&split, &config).expect("a stream");
            for i in start..16 {
                assert_eq!(stream.batch(i).expect("a batch").0.data(), all[i as usize]);
            }
        }
        assert_ne!(all[0], all[7], "each pass has its own order");
    }
}
