//! The images that a `--data` names.

use crate::failure::Failure;
use data::Dataset;
use nn::{Context, Model};
use std::path::{Path, PathBuf};

/// Where images come from.
#[derive(Debug, PartialEq, Eq)]
pub enum Source {
    /// The embedded ones.
    Builtin,
    /// Made up: so many to train on, so many to test on.
    Synthetic(usize, usize),
    /// A folder.
    Folder(PathBuf),
}

/// Classes of the made-up images, and the seed they are made from.
const SYNTHETIC: (usize, u64) = (10, 0);

impl Source {
    /// Parses `builtin`, `synthetic`, `synthetic:TRAIN,TEST` or a path.
    pub fn parse(text: &str) -> Result<Source, Failure> {
        if text == "builtin" {
            return Ok(Source::Builtin);
        }
        if text == "synthetic" {
            return Ok(Source::Synthetic(512, 256));
        }
        let Some(sizes) = text.strip_prefix("synthetic:") else { return Ok(Source::Folder(PathBuf::from(text))) };
        let number = |text: &str| text.trim().parse::<usize>().ok().filter(|n| (1..=100_000).contains(n));
        sizes
            .split_once(',')
            .and_then(|(train, test)| Some(Source::Synthetic(number(train)?, number(test)?)))
            .ok_or_else(|| {
                Failure::input(format!("data {text}: expected synthetic:TRAIN,TEST, as in synthetic:512,256"))
            })
    }

    /// Reads the images.
    pub fn load(&self) -> Result<Dataset, Failure> {
        match self {
            Source::Builtin => Ok(data::builtin()),
            Source::Synthetic(train, test) => Ok(data::synthetic(SYNTHETIC.0, *train, *test, SYNTHETIC.1)),
            Source::Folder(path) => Ok(data::open(path)?),
        }
    }
}

/// `text` with a path in it made absolute, so that it means the same in any folder.
pub fn anchored(text: &str) -> Result<String, Failure> {
    match Source::parse(text)? {
        Source::Folder(path) => anchored_path(&path),
        _ => Ok(text.to_string()),
    }
}

/// The path made absolute.
pub fn anchored_path(path: &Path) -> Result<String, Failure> {
    let absolute = std::path::absolute(path)
        .map_err(|e| Failure::input(format!("{}: cannot be made an absolute path: {e}", path.display())))?;
    absolute.into_os_string().into_string().map_err(|path| {
        Failure::input(format!(
            "{}: the path is not valid Unicode, which a config.toml must be; rename it",
            path.display()
        ))
    })
}

/// Checks that `model` can read images of the size of `dataset`, and be trained on `smallest_batch` of them at once. Every network
/// can at 32x32; what else it can, an empty one of its kind tells by trying.
pub fn check_size(model: &Model, dataset: &Dataset, smallest_batch: Option<usize>) -> Result<(), Failure> {
    let (height, width) = (dataset.train.height, dataset.train.width);
    if (height, width) == (32, 32) {
        return Ok(());
    }
    let trial = crate::networks::outline(model.name(), model.classes())?;
    // What two images can, more can.
    let (count, ctx) = smallest_batch.map_or((1, Context::eval()), |n| (n.min(2), Context::train(0, 1)));
    let images = engine::Tensor::zeros([count, height, width, dataset.train.channels]);
    crate::panics::caught(|| engine::no_grad(|| trial.forward(&images, &ctx))).map(drop).map_err(|what| {
        Failure::input(format!(
            "{} cannot read images of {height}x{width} pixels, {count} at a time ({what}); use 32x32 images, other batches or \
             another model",
            model.name()
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_parse() {
        assert_eq!(Source::parse("synthetic:64,32").expect("sound"), Source::Synthetic(64, 32));
        assert_eq!(Source::parse("some/where").expect("sound"), Source::Folder("some/where".into()));
        for bad in ["synthetic:", "synthetic:0,1", "synthetic:1", "synthetic:1,2,3", "synthetic:99999999999999999999,1"]
        {
            assert!(Source::parse(bad).is_err(), "{bad}");
        }
    }
}
