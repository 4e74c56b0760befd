//! Recipes with a name. Each says where it is from, and writes out every number the recipe is known by, so that
//! changing a default changes no published recipe.

use super::Layers;
use crate::failure::Failure;
use crate::nearest;

/// A named recipe.
pub struct Preset {
    /// As in `--preset NAME`.
    pub name: &'static str,
    /// What it is, and where it is from.
    pub about: &'static str,
    /// TOML texts, laid over the defaults in this order.
    pub layers: &'static [&'static str],
}

/// What a `pleach train` with neither preset, file nor data runs.
pub const DEFAULT: &str = "builtin";

/// Five thousand embedded images.
const BUILTIN: &str = "
    model = 'resnet20'
    data.source = 'builtin'
    training.epochs = 30
    training.batch = 128
    training.drop_last = true
    optimizer.lr = 0.2
    optimizer.momentum = 0.9
    optimizer.nesterov = true
    optimizer.weight_decay = 0.0005
    schedule.kind = 'one-cycle'
    schedule.rise = 0.2
    augmentation.pad_crop = 4
    augmentation.flip = true
";

/// What the recipes for the full set have in common: the images come from `--data`, with the standard augmentation.
const FULL: &str = "
    model = 'resnet20'
    data.source = ''
    training.batch = 128
    training.label_smoothing = 0.0
    optimizer.kind = 'sgd'
    optimizer.momentum = 0.9
    optimizer.decoupled = false
    optimizer.decay_norm_and_bias = true
    augmentation.pad_crop = 4
    augmentation.flip = true
    augmentation.cutout = 0
    augmentation.mixup = 0.0
";

/// Rising linearly from 0 over a fifth of the run, then falling linearly to 0.
const PEER: &str = "
    training.epochs = 16
    training.drop_last = true
    optimizer.lr = 0.2
    optimizer.nesterov = true
    optimizer.weight_decay = 0.0005
    schedule.kind = 'one-cycle'
    schedule.rise = 0.2
    schedule.start_fraction = 0.0
    schedule.end_fraction = 0.0
    schedule.cosine = false
";

const SHORT: &str = "
    training.epochs = 30
    training.drop_last = true
    optimizer.lr = 0.1
    optimizer.nesterov = true
    optimizer.weight_decay = 0.0005
    schedule.kind = 'one-cycle'
    schedule.rise = 0.2
    schedule.start_fraction = 0.2
    schedule.end_fraction = 0.0
    schedule.cosine = false
";

/// He et al. 2015 as re-implemented by akamaster/pytorch_resnet_cifar10: 200 epochs, a tenth at 100 and 150.
const RESNET: &str = "
    training.epochs = 200
    training.drop_last = false
    optimizer.lr = 0.1
    optimizer.nesterov = false
    optimizer.weight_decay = 0.0001
    schedule.kind = 'step'
    schedule.milestones = [0.5, 0.75]
    schedule.gamma = 0.1
";

/// KaimingHe/resnet-1k-layers: batch 64, Nesterov, 200 epochs, a tenth at epochs 81 and 122.
const PREACT_RESNET: &str = "
    training.epochs = 200
    training.batch = 64
    training.drop_last = false
    optimizer.lr = 0.1
    optimizer.nesterov = true
    optimizer.weight_decay = 0.0001
    schedule.kind = 'step'
    schedule.milestones = [0.405, 0.61]
    schedule.gamma = 0.1
    schedule.warmup_steps = 400
";

/// kuangliu/pytorch-cifar: 200 epochs, a half cosine from 0.1 to 0.
const PYTORCH_CIFAR: &str = "
    training.epochs = 200
    training.drop_last = false
    optimizer.lr = 0.1
    optimizer.nesterov = false
    optimizer.weight_decay = 0.0005
    schedule.kind = 'cosine'
    schedule.final_fraction = 0.0
";

/// Every preset.
pub const PRESETS: &[Preset] = &[
    Preset {
        name: DEFAULT,
        about: "ResNet-20 on the embedded images, a few minutes on two cores; what a bare `pleach train` runs",
        layers: &[BUILTIN],
    },
    Preset {
        name: "short-cifar10",
        about: "30 epochs, one cycle up to 0.1, for comparing networks at an equal budget; within 1 to 1.5 points of \
                the long recipe on ResNet-20 to 56",
        layers: &[FULL, SHORT],
    },
    Preset {
        name: "peer-cifar10-16",
        about: "16 epochs, one cycle up to 0.2: the recipe that the comparison with PyTorch runs on both sides",
        layers: &[FULL, PEER],
    },
    Preset {
        name: "resnet20-cifar10",
        about: "He et al. 2015, 200 epochs as in akamaster/pytorch_resnet_cifar10: 8.27 % error there, 8.75 published",
        layers: &[FULL, RESNET],
    },
    Preset {
        name: "resnet32-cifar10",
        about: "the same recipe: 7.37 % error there, 7.51 published",
        layers: &[FULL, RESNET, "model = 'resnet32'"],
    },
    Preset {
        name: "resnet44-cifar10",
        about: "the same recipe: 6.90 % error there, 7.17 published",
        layers: &[FULL, RESNET, "model = 'resnet44'"],
    },
    Preset {
        name: "resnet56-cifar10",
        about: "the same recipe: 6.61 % error there, 6.97 published",
        layers: &[FULL, RESNET, "model = 'resnet56'"],
    },
    Preset {
        name: "resnet110-cifar10",
        about: "the same recipe with the rate rising over the first 400 steps: 6.32 % error there, 6.43 published",
        layers: &[FULL, RESNET, "model = 'resnet110'\nschedule.warmup_steps = 400"],
    },
    Preset {
        name: "preact-resnet110-cifar10",
        about: "He et al. 2016 as in KaimingHe/resnet-1k-layers, batch 64: 6.37 % error published",
        layers: &[FULL, PREACT_RESNET, "model = 'preact-resnet110'"],
    },
    Preset {
        name: "vgg16-bn-cifar10",
        about: "VGG-16 with batch norm as in kuangliu/pytorch-cifar: 7.36 % error there",
        layers: &[FULL, PYTORCH_CIFAR, "model = 'vgg16-bn'"],
    },
];

/// Finds a preset by its name.
pub fn find(name: &str) -> Result<&'static Preset, Failure> {
    PRESETS.iter().find(|preset| preset.name == name).ok_or_else(|| {
        let hint = nearest::hint(name, PRESETS.iter().map(|preset| preset.name));
        Failure::input(format!("there is no preset '{name}'{hint} (`pleach presets` lists them)"))
    })
}

impl Preset {
    /// Lays this recipe over what is there.
    pub fn lay_over(&self, layers: &mut Layers) -> Result<(), Failure> {
        let origin = format!("preset {}", self.name);
        self.layers.iter().try_for_each(|text| layers.lay_text(text, &origin))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_resolves_to_a_sound_configuration() {
        for preset in PRESETS {
            let mut layers = Layers::defaults().expect("the defaults serialise");
            preset.lay_over(&mut layers).expect(preset.name);
            let mut config = layers.config().expect(preset.name);
            if config.data.source.is_empty() {
                config.data.source = "builtin".into();
            }
            config.check().expect(preset.name);
            assert!(nn::Model::outline(&config.model, 10).is_ok(), "{}: {}", preset.name, config.model);
        }
    }

    #[test]
    fn an_unknown_preset_suggests_the_nearest() {
        let message = find("resnet20-cifar").err().expect("refused").to_string();
        assert!(message.contains("did you mean 'resnet20-cifar10'?"), "{message}");
    }
}
