//! The step that a run stopped at because a value was not finite: the weights before it, its batch, and what it ran with. Enough to take
//! it again to the same bits, as `pleach step RUN --nan` does.

use super::atomic;
use super::checkpoint::{seal, unsealed};
use super::weights::{self, Tensors};
use crate::config::{Config, ConvAlgorithm};
use crate::failure::Failure;
use data::{Batch, Dataset, Images, Mixed};
use engine::Shape;
use nn::{Context, Model};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// Its name in the run's folder.
const FILE: &str = "non-finite.safetensors";
/// The metadata entry that makes a weight file such a step.
const KEY: &str = "pleach-step";
/// Of what stands there.
const FORMAT: u32 = 1;
/// Name of the batch's images among the tensors; no parameter has a colon.
const IMAGES: &str = "batch:images";

/// What the step ran with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct About {
    /// Over every tensor and every other field. Stays the first field: the text is hashed without it.
    sha256: String,
    format: u32,
    /// Name of the network.
    pub model: String,
    /// Names of the classes.
    pub classes: Vec<String>,
    /// Name of the data set.
    pub dataset: String,
    /// Counted from 1.
    pub step: u64,
    /// Learning rate of the step, which was not taken.
    pub lr: f32,
    /// Of what the forward pass drew.
    pub seed: u64,
    /// How convolutions were computed.
    pub conv_algorithm: ConvAlgorithm,
    /// Share of the target spread over all classes.
    pub label_smoothing: f32,
    /// What was not finite, and where that began.
    pub cause: String,
    labels: Vec<usize>,
    mixed: Option<(Vec<usize>, f32)>,
    indices: Vec<usize>,
}

/// A step to be taken again.
pub struct Halted {
    /// What it ran with.
    pub about: About,
    /// Parameters and running statistics, as a weight file has them.
    pub weights: Tensors,
    /// What it was to learn from.
    pub batch: Batch,
    /// `(N, H, W, C)`.
    pub shape: Shape,
}

impl About {
    /// Of the step `step` on `batch`, at learning rate `lr`.
    pub fn new(
        config: &Config,
        dataset: &Dataset,
        model: &Model,
        (step, lr): (u64, f32),
        batch: &Batch,
        cause: &str,
    ) -> About {
        About {
            sha256: String::new(),
            format: FORMAT,
            model: model.name().into(),
            classes: dataset.class_names.clone(),
            dataset: dataset.name.clone(),
            step,
            lr,
            seed: config.seed,
            conv_algorithm: config.conv_algorithm,
            label_smoothing: config.training.label_smoothing,
            cause: cause.into(),
            labels: batch.labels.clone(),
            mixed: batch.mixed.as_ref().map(|mixed| (mixed.labels.clone(), mixed.lambda)),
            indices: batch.indices.clone(),
        }
    }

    /// What the forward pass is run in.
    pub fn context(&self) -> Context {
        Context::train(self.seed, self.step).with_algorithm(self.conv_algorithm.into())
    }
}

/// The file of a run.
pub fn file(run: &Path) -> PathBuf {
    run.join(FILE)
}

/// Writes the step into the folder of a run. `images` is the set that the batch is from.
pub fn write(run: &Path, about: &About, model: &Model, images: &Images, batch: &Batch) -> Result<PathBuf, Failure> {
    let mut tensors = model.state();
    let shape = Shape::from([batch.labels.len(), images.height, images.width, images.channels]);
    tensors.push((IMAGES.into(), shape, batch.images.clone()));
    let text = serde_json::to_string(about).map_err(|e| Failure::work(format!("JSON: {e}")))?;
    let bytes = weights::encode(&tensors, HashMap::from([(KEY.to_string(), seal(&tensors, &text))]))?;
    let path = file(run);
    atomic::replace(&path, &bytes).map_err(|e| Failure::writing(&path, &e))?;
    Ok(path)
}

/// Reads the step that the run in a folder stopped at.
pub fn read(run: &Path) -> Result<Halted, Failure> {
    let path = file(run);
    if !path.is_file() {
        return Err(Failure::input(format!(
            "{} did not stop at a value that is not finite: it has no {FILE}; leave --nan out to step through its network",
            run.display()
        )));
    }
    let file = weights::read(&path)?;
    decode(file).map_err(|what| Failure::input(format!("{}: {what}", path.display())))
}

fn decode(file: weights::WeightFile) -> Result<Halted, String> {
    let weights::WeightFile { mut tensors, metadata } = file;
    let text = metadata.get(KEY).ok_or("holds no step; name the folder of a run that stopped by itself")?;
    if !unsealed(&tensors, text) {
        return Err("is damaged: its checksum does not match what it holds; take another copy".into());
    }
    let about: About =
        serde_json::from_str(text).map_err(|e| format!("does not read ({e}); it is from another version of pleach"))?;
    if about.format != FORMAT {
        return Err(format!("has format {}, this pleach reads {FORMAT}; use the version that wrote it", about.format));
    }
    let (shape, images) = tensors.remove(IMAGES).ok_or("holds no images; take another copy")?;
    let batch = Batch {
        images,
        labels: about.labels.clone(),
        mixed: about.mixed.clone().map(|(labels, lambda)| Mixed { labels, lambda }),
        indices: about.indices.clone(),
    };
    let count = shape.first().copied().unwrap_or(0);
    let classes = about.classes.len();
    let fits = |labels: &[usize]| labels.len() == count && labels.iter().all(|&label| label < classes);
    let mixed = batch.mixed.as_ref().is_none_or(|mixed| fits(&mixed.labels));
    if shape.len() != 4 || !fits(&batch.labels) || !mixed || batch.indices.len() != count || count == 0 {
        return Err("its labels do not fit its images; take another copy".into());
    }
    Ok(Halted { about, weights: tensors, batch, shape })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(folder: &Path) -> About {
        let model = Model::new("resnet8", 10, 0).expect("in the zoo");
        let dataset = data::synthetic(10, 4, 4, 0);
        let images = (0..2 * 32 * 32 * 3).map(|i| i as f32).collect();
        let mixed = Some(Mixed { labels: vec![0, 9], lambda: 0.25 });
        let batch = Batch { images, labels: vec![3, 1], mixed, indices: vec![17, 4] };
        let config = Config { seed: 3, ..Config::default() };
        let about = About::new(&config, &dataset, &model, (7, 1e9), &batch, "because");
        write(folder, &about, &model, &dataset.train, &batch).expect("written");
        about
    }

    #[test]
    fn a_step_reads_back_whole() {
        let folder = tempfile::tempdir().expect("a folder");
        let about = written(folder.path());
        let read = read(folder.path()).expect("sound");
        assert_eq!(About { sha256: String::new(), ..read.about }, about);
        assert_eq!((read.batch.labels, read.batch.indices), (vec![3, 1], vec![17, 4]));
        assert_eq!(read.batch.mixed.expect("mixed").labels, [0, 9]);
        assert_eq!((read.shape, read.batch.images[5]), (Shape::from([2, 32, 32, 3]), 5.0));
        let model = Model::outline("resnet8", 10).expect("in the zoo");
        model.load_state(&read.weights).expect("all of its weights and nothing else");
    }

    #[test]
    fn damage_and_absence_are_told_apart() {
        let folder = tempfile::tempdir().expect("a folder");
        let message = |folder: &Path| read(folder).err().expect("refused").to_string();
        assert!(message(folder.path()).contains("did not stop at a value that is not finite"));
        written(folder.path());
        let path = file(folder.path());
        let whole = std::fs::read(&path).expect("written");
        for at in [whole.len() - 1, whole.len() / 2] {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            std::fs::write(&path, bytes).expect("written");
            assert!(message(folder.path()).contains("damaged"), "{at}");
        }
        std::fs::write(&path, &whole[..whole.len() - 9]).expect("written");
        assert!(message(folder.path()).contains("cut short"));
    }
}
