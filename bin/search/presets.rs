//! Settings with a name.

use crate::failure::Failure;
use crate::nearest;

/// Named settings.
pub struct Preset {
    /// As in `--preset NAME`.
    pub name: &'static str,
    /// What it is for.
    pub about: &'static str,
    /// Laid over the defaults.
    pub text: &'static str,
}

/// The reduced settings are ours; what was reduced against the paper, docs/search.md says.
pub const PRESETS: &[Preset] = &[
    Preset {
        name: "reduced-cifar10",
        about: "mbconv-small on the full CIFAR-10 (`--data DIR`): 1 + 4 epochs of 45,000 images, 5,000 held out",
        text: "
            space = 'mbconv-small'
            data.source = ''
            data.hold_out = 5000
            search.warmup_epochs = 1
            search.epochs = 4
            search.delay_epochs = 0
            search.batch = 128
            search.warmup_lr = 0.1
            search.lr = 0.1
            search.every = 1
            search.alpha_lr = 0.01
            latency.weight = 0.2
            trust.networks = 3
            trust.seeds = 2
            trust.epochs = 5
            trust.subset = 20000
            trust.batch = 64
            trust.lr = 0.1
        ",
    },
    Preset {
        name: "quick",
        about: "mbconv-small on the embedded images, to see all of it within minutes; it decides little",
        text: "
            space = 'mbconv-small'
            data.source = 'builtin'
            data.hold_out = 500
            search.warmup_epochs = 1
            search.epochs = 4
            search.delay_epochs = 0
            search.batch = 64
            search.warmup_lr = 0.05
            search.lr = 0.05
            search.every = 1
            search.alpha_lr = 0.02
            latency.weight = 0.3
            trust.networks = 3
            trust.seeds = 1
            trust.epochs = 4
        ",
    },
    Preset {
        name: "proxyless-paper",
        about: "ProxylessNAS's settings for ImageNet where those for CIFAR were not published: 40 + 120 epochs; days on two cores",
        text: "
            space = 'mbconv'
            data.source = ''
            data.hold_out = 5000
            search.warmup_epochs = 40
            search.epochs = 120
            search.delay_epochs = 1
            search.batch = 256
            search.warmup_lr = 0.05
            search.lr = 0.025
            search.weight_decay = 0.00004
            search.label_smoothing = 0.1
            trust.epochs = 60
            trust.batch = 128
        ",
    },
];

/// Finds a preset by its name.
pub fn find(name: &str) -> Result<&'static Preset, Failure> {
    PRESETS.iter().find(|preset| preset.name == name).ok_or_else(|| {
        let hint = nearest::hint(name, PRESETS.iter().map(|preset| preset.name));
        let names: Vec<&str> = PRESETS.iter().map(|preset| preset.name).collect();
        Failure::input(format!("there is no search preset '{name}'{hint} (there are {})", names.join(", ")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Layers;
    use crate::search::config::Config;

    #[test]
    fn every_preset_is_sound() {
        for preset in PRESETS {
            let mut layers = Layers::of(&Config::default()).expect("the defaults serialise");
            layers.lay_text(preset.text, preset.name).expect(preset.name);
            let mut config: Config = layers.read().expect(preset.name);
            if config.data.source.is_empty() {
                config.data.source = "builtin".into();
            }
            config.check().expect(preset.name);
            config.for_nas(10).and_then(|c| Ok(c.check()?)).expect(preset.name);
            assert!(!preset.about.is_empty());
        }
        assert!(find("quik").err().expect("refused").to_string().contains("did you mean 'quick'?"));
    }
}
