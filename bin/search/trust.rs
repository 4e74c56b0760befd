//! Whether the search was worth it: random networks of the same space, trained by the same recipe as the found one, several seeds each,
//! and the latency of all of them measured.

use super::config::Config;
use super::lines;
use super::outcome::put;
use crate::config::Layers;
use crate::failure::Failure;
use crate::run::RunDir;
use crate::run::record::{self, Record};
use crate::signals::Stop;
use crate::training::{Alone, Ending, Pictures, Session};
use crate::{config, images, networks, output};
use nas::Arch;
use nas::latency::{Effort, Timing, measure_networks};
use nas::search::ExpectedLatency;
use nn::Model;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Numbers of the random networks begin here: those that the latency table was checked by are others.
const FROM: u64 = 1 << 40;
/// Random networks that are looked through for some of the found one's latency.
const LOOKED_AT: u64 = 20_000;
/// How far their predicted latency may be from the found one's; the next if there are too few.
const WINDOWS: [f64; 4] = [0.05, 0.1, 0.2, 0.4];

/// A network that is trained.
#[derive(Clone, Debug, Serialize)]
pub struct Contestant {
    /// `found`, `random-1`, ...
    pub name: String,
    /// The architecture.
    pub arch: String,
    /// Its file.
    pub file: PathBuf,
    /// Trained parameters.
    pub params: usize,
    /// Multiply-adds of an image.
    pub macs: u64,
    /// By the table.
    pub predicted_ms: Option<f64>,
    /// Measured whole; `None` until it is.
    pub latency: Option<Timing>,
    /// On the test set, in 0..=1, of each training.
    pub accuracies: Vec<f64>,
}

impl Contestant {
    /// Mean over the seeds.
    pub fn mean(&self) -> f64 {
        self.accuracies.iter().sum::<f64>() / self.accuracies.len().max(1) as f64
    }
}

/// The report, as `trust.json` holds it.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// What is wrong with the search; empty if nothing is.
    pub alarms: Vec<String>,
    /// One sentence.
    pub verdict: String,
    /// Whether the found network is more accurate than the random ones on average, and at most 2 % slower.
    pub better_than_random: Option<bool>,
    /// How the random networks were chosen.
    pub random_are: String,
    /// Epochs, batch and largest learning rate of every training.
    pub recipe: Recipe,
    /// Images and threads of the measured latency.
    pub latency_of: (usize, usize),
    /// The found one first.
    pub networks: Vec<Contestant>,
}

impl Report {
    /// How long each training is, in words.
    pub fn budget(&self) -> String {
        let epochs = format!("{} epoch{}", self.recipe.epochs, if self.recipe.epochs == 1 { "" } else { "s" });
        match self.recipe.subset {
            0 => epochs,
            n => format!("{epochs} of {n} images"),
        }
    }
}

/// Of every training.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Recipe {
    epochs: usize,
    /// Training images; 0 for all.
    subset: usize,
    batch: usize,
    lr: f32,
    weight_decay: f32,
}

/// What the contest is about.
pub struct Contest<'a> {
    /// Of the search.
    pub config: &'a Config,
    /// What is trained and tested on.
    pub pictures: &'a Pictures,
    /// The search's folder.
    pub folder: &'a Path,
    /// By the table.
    pub latency: Option<&'a ExpectedLatency>,
    /// A signal ends it; what is trained stays.
    pub stop: &'a Stop,
    /// Whether standard output is for programs.
    pub json: bool,
}

#[derive(Serialize)]
struct TrainedLine<'a> {
    trust: &'a str,
    seed: u64,
    test_acc: f64,
    arch: &'a str,
    predicted_ms: Option<f64>,
}

impl Contest<'_> {
    /// Trains the found and the random networks. `None` if a signal came.
    pub fn train(&self, found: &Arch) -> Result<Option<(Vec<Contestant>, String)>, Failure> {
        let folder = self.folder.join("trust");
        std::fs::create_dir_all(&folder).map_err(|e| Failure::writing(&folder, &e))?;
        let (archs, random_are) = self.choose(found);
        let mut contestants = vec![];
        for (i, arch) in archs.iter().enumerate() {
            let name = if i == 0 { "found".into() } else { format!("random-{i}") };
            let file = folder.join(format!("{name}.json"));
            put(&file, &(arch.to_json() + "\n"))?;
            let model = networks::outline(&file.display().to_string(), self.pictures.dataset.classes())?;
            contestants.push(Contestant {
                name,
                arch: arch.to_string(),
                file,
                params: model.num_params(),
                macs: model.macs(),
                predicted_ms: self.latency.map(|latency| latency.of(&arch.indices())),
                latency: None,
                accuracies: vec![],
            });
        }
        let trust = &self.config.trust;
        let all = contestants.len() * trust.seeds;
        // All of the first seed, then all of the second: stopped early, it has still compared everything.
        for seed in 0..trust.seeds as u64 {
            for (i, contestant) in contestants.iter_mut().enumerate() {
                let number = seed as usize * archs.len() + i + 1;
                output::tell(&format!("trust {number}/{all}: {}, seed {seed}: {}", contestant.name, contestant.arch));
                let Some(accuracy) = self.train_one(contestant, seed)? else { return Ok(None) };
                contestant.accuracies.push(accuracy);
                if self.json {
                    output::print(&TrainedLine {
                        trust: &contestant.name,
                        seed,
                        test_acc: accuracy,
                        arch: &contestant.arch,
                        predicted_ms: contestant.predicted_ms,
                    })?;
                }
            }
        }
        Ok(Some((contestants, random_are)))
    }

    fn train_one(&self, contestant: &Contestant, seed: u64) -> Result<Option<f64>, Failure> {
        let trust = &self.config.trust;
        let mut config = config::Config {
            model: networks::anchored(&contestant.file.display().to_string())?,
            seed: self.config.seed + seed,
            threads: self.config.threads,
            ..config::Config::default()
        };
        config.data.source = images::anchored(&self.config.data.source)?;
        config.data.subset = trust.subset;
        (config.training.epochs, config.training.batch) = (trust.epochs, trust.batch);
        config.training.eval_every = trust.epochs;
        (config.optimizer.lr, config.optimizer.weight_decay) = (trust.lr, trust.weight_decay);
        config.check()?;
        // A training by another recipe, or of another network of this name, is another one.
        let mark = config.model.rsplit_once('#').map_or("", |(_, mark)| mark);
        let recipe = config::Config { model: mark.into(), ..config.clone() }.hash();
        let name = format!("{}-seed{}-{}", contestant.name, config.seed, &recipe[..8]);
        let folder = self.folder.join("trust").join(name);
        if Record::read(&folder).is_some_and(|record| record.state == record::State::Finished) {
            return last_accuracy(&folder);
        }
        let (stop, screen) = (self.stop.clone(), Box::new(Alone::new(false)));
        let layers = Layers::of(&config)?;
        let session = Session::on(config, self.pictures.clone())?;
        let run = if folder.join("config.toml").exists() {
            session.resume(RunDir::open(&folder)?, stop, screen)?
        } else {
            session.start(&layers, Some(&folder), "", stop, screen)?
        };
        if run.ending == Ending::Finished { last_accuracy(&folder) } else { Ok(None) }
    }

    /// The found network and the random ones, and a sentence on how those were chosen.
    fn choose(&self, found: &Arch) -> (Vec<Arch>, String) {
        let space = found.space();
        let count = self.config.trust.networks;
        let draw = |number| space.random(self.config.seed, FROM + number);
        let mut archs = vec![found.clone()];
        let aimed = self.latency.filter(|_| self.config.latency.target_ms > 0.0);
        let windows = if aimed.is_some() { &WINDOWS[..] } else { &[] };
        for window in windows {
            let latency = |arch: &Arch| aimed.map_or(0.0, |latency| latency.of(&arch.indices()));
            let of_found = latency(found);
            archs.truncate(1);
            for arch in (0..LOOKED_AT).map(draw) {
                if archs.len() <= count && (latency(&arch) / of_found - 1.0).abs() <= *window && !archs.contains(&arch)
                {
                    archs.push(arch);
                }
            }
            if archs.len() > count {
                let told = format!(
                    "uniformly random, of the found network's predicted latency within {:.0} %",
                    100.0 * window
                );
                return (archs, told);
            }
        }
        archs.truncate(1);
        for arch in (0..LOOKED_AT).map(draw) {
            if archs.len() <= count && !archs.contains(&arch) {
                archs.push(arch);
            }
        }
        let told = if aimed.is_some() {
            "uniformly random, of any latency: too few are about as fast as the found network"
        } else {
            "uniformly random"
        };
        (archs, told.into())
    }
}

/// Of the last epoch in a run's metrics, in 0..=1.
fn last_accuracy(folder: &Path) -> Result<Option<f64>, Failure> {
    let lines = lines::read(&folder.join("metrics.jsonl"))?;
    let found = lines.iter().rev().find_map(|(_, line)| line.get("test_acc")?.as_f64());
    found.map(Some).ok_or_else(|| {
        Failure::input(format!(
            "{} is a finished run without a test accuracy; remove it to train it again",
            folder.display()
        ))
    })
}

/// Measures the latency of every contestant, in rounds; on the caller's pool. False if a signal came.
pub fn measure(config: &Config, contestants: &mut [Contestant], classes: usize, stop: &Stop) -> Result<bool, Failure> {
    let mut models: Vec<Model> = vec![];
    let mut resolution = 32;
    for contestant in contestants.iter() {
        let name = contestant.file.display().to_string();
        models.push(networks::build(&name, classes, Some(config.seed))?);
        resolution = crate::spaces::arch(&contestant.file)?.space().resolution();
    }
    let effort = Effort { warm_up: 1, rounds: 15 };
    let (batch, threads) = (config.latency.batch, config.latency.threads);
    let timings =
        measure_networks(&models, (batch, resolution), threads, effort, config.seed, |_, _| !stop.requested());
    let Some(timings) = timings else { return Ok(false) };
    contestants.iter_mut().zip(timings).for_each(|(contestant, timing)| contestant.latency = Some(timing));
    Ok(true)
}

/// The report on what was trained.
pub fn report(config: &Config, networks: Vec<Contestant>, random_are: String, alarms: Vec<String>) -> Report {
    let (verdict, better) = verdict(&networks);
    let t = &config.trust;
    Report {
        alarms,
        verdict,
        better_than_random: better,
        random_are,
        recipe: Recipe { epochs: t.epochs, subset: t.subset, batch: t.batch, lr: t.lr, weight_decay: t.weight_decay },
        latency_of: (config.latency.batch, config.latency.threads),
        networks,
    }
}

/// A found network may be this much slower than the random ones and still count as equally fast: timings are not better than that.
const SLOWER: f64 = 1.02;

fn verdict(networks: &[Contestant]) -> (String, Option<bool>) {
    let Some((found, random)) = networks.split_first().filter(|(_, random)| !random.is_empty()) else {
        return ("there is nothing to compare with".into(), None);
    };
    let count = random.len() as f64;
    let mean = random.iter().map(Contestant::mean).sum::<f64>() / count;
    let best = random.iter().map(Contestant::mean).fold(f64::NEG_INFINITY, f64::max);
    let margin = 100.0 * (found.mean() - mean);
    let ms = |c: &Contestant| c.latency.map(|t| t.ms);
    let random_ms = random.iter().map(ms).sum::<Option<f64>>().map(|sum| sum / count);
    let (latency, fast) = match (ms(found), random_ms) {
        (Some(ms), Some(random)) => (format!(" at {ms:.3} ms against {random:.3}"), ms <= SLOWER * random),
        _ => (String::new(), true),
    };
    let better = margin > 0.0 && fast;
    let claim = match (margin > 0.0, fast) {
        (true, true) => "beats the mean of the random ones",
        (true, false) => "is more accurate than the random ones on average, but slower",
        (false, _) => "does not beat the mean of the random ones",
    };
    let verdict = format!(
        "the found network {claim}: {:.2} % against {:.2} % ({margin:+.2} points; the best random one has {:.2} %){latency}",
        100.0 * found.mean(),
        100.0 * mean,
        100.0 * best
    );
    (verdict, Some(better))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contestant(name: &str, ms: f64, accuracies: &[f64]) -> Contestant {
        Contestant {
            name: name.into(),
            arch: String::new(),
            file: PathBuf::new(),
            params: 1,
            macs: 1,
            predicted_ms: None,
            latency: Some(Timing { ms, ..Timing::default() }),
            accuracies: accuracies.to_vec(),
        }
    }

    #[test]
    fn the_verdict_weighs_accuracy_and_latency() {
        let random = [contestant("random-1", 2.0, &[0.5, 0.6]), contestant("random-2", 4.0, &[0.7, 0.6])];
        let of = |ms, accuracy| verdict(&[&[contestant("found", ms, &[accuracy])], &random[..]].concat());
        let (text, better) = of(3.0, 0.65);
        assert_eq!(better, Some(true));
        assert!(text.contains("65.00 % against 60.00 % (+5.00 points; the best random one has 65.00 %)"), "{text}");
        assert_eq!(of(3.2, 0.65).1, Some(false), "more than 2 % slower");
        assert!(of(3.0, 0.6).0.contains("does not beat"));
        assert_eq!(verdict(&[contestant("found", 1.0, &[0.5])]).1, None);
    }
}
