//! The step to take apart: which network, with which weights, on which images.

use super::record::{Leaf, Pass, Recording, Role};
use super::trace::{About, Example, Focus};
use crate::config::{Config, Layers};
use crate::failure::Failure;
use crate::images::{self, Source};
use crate::networks;
use crate::run::halted::{self, Halted};
use crate::run::{self, checkpoint};
use data::{Augmentation, Dataset, Images, Loader, LoaderConfig};
use engine::{Shape, Tensor};
use nn::{Context, Model};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where a step comes from.
#[derive(clap::Args, Debug)]
#[group(skip)]
pub struct Args {
    /// A run: its network, images and best weights
    #[arg(value_name = "RUN")]
    pub run: Option<PathBuf>,
    /// Network (default: that of the run or of the weights, else resnet20)
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// Weights: a checkpoint, a safetensors file with PyTorch's names, or a run (default: fresh ones from --seed)
    #[arg(long, value_name = "FILE|RUN")]
    weights: Option<PathBuf>,
    /// Images: `builtin`, `synthetic`, or a folder (default: those of the run, else builtin)
    #[arg(long, value_name = "DIR|builtin")]
    data: Option<String>,
    /// The images of the batch, by their place among the test images
    #[arg(long, value_name = "I,J,...", value_delimiter = ',', conflicts_with = "batch")]
    images: Vec<usize>,
    /// As many images, from the first
    #[arg(long, value_name = "N", default_value_t = 2)]
    batch: usize,
    /// Batch norm by running statistics and no dropout, instead of a training step
    #[arg(long)]
    eval: bool,
    /// Share of the target spread over all classes
    #[arg(long, value_name = "S", default_value_t = 0.0)]
    pub label_smoothing: f32,
    /// Of fresh weights and of dropout
    #[arg(long, value_name = "S", default_value_t = 0)]
    pub seed: u64,
}

/// More images than this get no finite differences unless asked for: each would run an op on all of them.
const CHECKED_BATCH: usize = 16;

/// A network and a batch for it.
pub struct Prepared {
    /// With its weights.
    pub model: Model,
    /// Not augmented.
    pub batch: data::Batch,
    /// Of the images, `(N, H, W, C)`.
    pub shape: Shape,
    /// Where the images are from.
    pub dataset: Dataset,
    /// How the weights came about.
    pub start: String,
}

impl Prepared {
    /// As `pleach step` and `pleach gradcheck` run it.
    pub fn context(&self, args: &Args) -> Context {
        if args.eval { Context::eval() } else { Context::train(args.seed, 1) }
    }

    /// `2 test images`.
    pub fn count(&self) -> String {
        let count = self.batch.labels.len();
        format!("{count} test {}", if count == 1 { "image" } else { "images" })
    }
}

/// Finds network, weights and images.
pub fn prepare(args: &Args) -> Result<Prepared, Failure> {
    if !(0.0..=1.0).contains(&args.label_smoothing) {
        return Err(Failure::input(format!(
            "--label-smoothing is {}; it must be between 0 and 1",
            args.label_smoothing
        )));
    }
    let config = args.run.as_deref().map(config_of).transpose()?;
    let weights = args.weights.as_deref().or(args.run.as_deref()).map(run::weight_file);
    let read = weights.as_deref().map(|path| Ok::<_, Failure>((checkpoint::read(path)?, path))).transpose()?;
    let named = read.as_ref().and_then(|(checkpoint, _)| Some(checkpoint.metadata.as_ref()?.model.clone()));
    let given = args.model.as_deref().map(networks::anchored).transpose()?;
    let name = given.or_else(|| config.as_ref().map(|config| config.model.clone())).or(named);
    let name = name.unwrap_or_else(|| "resnet20".into());
    networks::outline(&name, 10).map(drop)?;
    let data = args.data.clone().or_else(|| config.as_ref().map(|config| config.data.source.clone()));
    let dataset = Source::parse(data.as_deref().filter(|data| !data.is_empty()).unwrap_or("builtin"))?.load()?;
    let model = networks::build(&name, dataset.classes(), Some(args.seed))?;
    let start = match &read {
        Some((checkpoint, path)) => {
            checkpoint::load_weights(&model, checkpoint, path)?;
            format!("weights of {}", path.file_name().map_or_else(|| "a file".into(), |name| name.to_string_lossy()))
        }
        None => format!("fresh weights, seed {}", args.seed),
    };
    let batch = chosen(args, &dataset)?;
    images::check_size(&model, &dataset, (!args.eval).then_some(batch.labels.len()))?;
    let set = &dataset.test;
    let shape = Shape::from([batch.labels.len(), set.height, set.width, set.channels]);
    Ok(Prepared { model, batch, shape, dataset, start })
}

/// Runs the step that `args` names and takes it apart.
pub fn record(args: &Args) -> Result<(Recording, About), Failure> {
    let prepared = prepare(args)?;
    let Prepared { model, batch, shape, dataset, start } = &prepared;
    let mode = if args.eval { "as in evaluation" } else { "as in training" };
    let count = prepared.count();
    let mut about = About {
        title: format!("{}: one step on {}", networks::label(model.name()), count.replace("test ", "")),
        note: format!("{mode}, on {count} of {}, {start}", dataset.name),
        classes: dataset.class_names.clone(),
        ..About::default()
    };
    let ctx = prepared.context(args);
    let recording = of_model(model, *shape, batch, args.label_smoothing, &ctx, &mut about);
    Ok((recording, about))
}

/// The step that the run in a folder stopped at because a value was not finite, opened where that began.
pub fn halted(run: &Path) -> Result<(Recording, About), Failure> {
    let Halted { about: was, weights, batch, shape } = halted::read(run)?;
    let model = networks::build(&was.model, was.classes.len(), None)?;
    model.load_state(&weights).map_err(|e| Failure::input(format!("{}: {e}", halted::file(run).display())))?;
    let mut about = About {
        title: format!("{}: step {}, which stopped the run", networks::label(&was.model), was.step),
        note: format!("as in training, on {} images of {}, lr {}: {}", shape[0], was.dataset, was.lr, was.cause),
        classes: was.classes.clone(),
        ..About::default()
    };
    let recording = of_model(&model, shape, &batch, was.label_smoothing, &was.context(), &mut about);
    // Nothing can be compared with a difference of NaN.
    about.checks = 0;
    about.focus = recording.first_non_finite().map(|found| {
        let slot = &recording.tensors[found.tensor];
        let text = match (found.pass, slot.maker) {
            (Pass::Forward, None) => {
                format!("`{}` was not finite before the step: the update before was too large.", slot.name)
            }
            (Pass::Forward, _) => format!("The first value that is not finite is made here: in `{}`.", slot.name),
            (Pass::Backward, _) => {
                format!("The first gradient that is not finite is made here: that of `{}`.", slot.name)
            }
        };
        Focus { pass: found.pass, step: found.step, tensor: Some(found.tensor), text }
    });
    if about.focus.is_none() {
        about.note += "; in the plain ops that are shown here, every value is finite";
    }
    Ok((recording, about))
}

/// The configuration that a run was started with.
pub fn config_of(run: &Path) -> Result<Config, Failure> {
    let path = run.join("config.toml");
    if !path.is_file() {
        return Err(Failure::input(format!(
            "{} is not a run: it has no config.toml; name the folder of a run, or a network with --model",
            run.display()
        )));
    }
    let mut layers = Layers::defaults()?;
    layers.lay_file(&path)?;
    layers.config()
}

/// The images that were asked for, as a batch that is not augmented.
fn chosen(args: &Args, dataset: &Dataset) -> Result<data::Batch, Failure> {
    let set = &dataset.test;
    let wanted: Vec<usize> = if args.images.is_empty() { (0..args.batch).collect() } else { args.images.clone() };
    if wanted.is_empty() {
        return Err(Failure::input("--batch is 0; a step needs at least one image"));
    }
    if let Some(beyond) = wanted.iter().find(|&&i| i >= set.len()) {
        return Err(Failure::input(format!(
            "there is no test image {beyond} in {}; there are {}, counted from 0",
            dataset.name,
            set.len()
        )));
    }
    let picked = Images {
        pixels: wanted.iter().flat_map(|&i| set.image(i).iter().copied()).collect(),
        labels: wanted.iter().map(|&i| set.labels[i]).collect(),
        height: set.height,
        width: set.width,
        channels: set.channels,
    };
    let config = LoaderConfig {
        batch: wanted.len(),
        seed: 0,
        epoch: 0,
        start_batch: 0,
        shuffle: false,
        drop_last: false,
        augmentation: Augmentation::NONE,
        ahead: 0,
    };
    let mut loader = Loader::new(&Arc::new(picked), dataset.normalisation, config)?;
    let batch = loader.next().ok_or_else(|| Failure::work("internal error, please report: no batch"))?;
    Ok(data::Batch { indices: wanted, ..batch })
}

/// One step of `model` on images of `shape`, taken apart; `about` is told what is in the batch.
pub fn of_model(
    model: &Model,
    shape: Shape,
    batch: &data::Batch,
    label_smoothing: f32,
    ctx: &Context,
    about: &mut About,
) -> Recording {
    let count = batch.labels.len();
    let images = Tensor::from_slice(shape, &batch.images).requires_grad();
    let mut leaves = vec![Leaf { name: "images".into(), role: Role::Input, tensor: images.clone() }];
    leaves.extend(model.params().into_iter().map(|(name, param)| Leaf {
        name,
        role: Role::Parameter,
        tensor: param.value(),
    }));
    let mut predicted = vec![];
    let recording = Recording::of(&leaves, || {
        let logits = model.forward(&images, ctx);
        predicted = logits.data().chunks_exact(model.classes()).map(largest).collect();
        crate::training::loss_of(&logits, batch, label_smoothing).into()
    });
    let example = |i: usize| Example {
        index: batch.indices[i],
        label: batch.labels[i],
        mixed_label: batch.mixed.as_ref().map(|mixed| mixed.labels[i]),
        predicted: predicted[i],
    };
    about.examples = (0..count).map(example).collect();
    about.model = Some(networks::label(model.name()));
    about.checks = if count <= CHECKED_BATCH { 2 } else { 0 };
    recording
}

/// The class of the largest logit; none if one is not a number.
fn largest(logits: &[f32]) -> Option<usize> {
    if logits.iter().any(|v| v.is_nan()) {
        return None;
    }
    let classes = logits.iter().enumerate();
    classes.max_by(|a, b| a.1.total_cmp(b.1)).map(|(class, _)| class)
}
