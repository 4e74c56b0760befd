//! What a comparison is made of, and the folder that it lives in.

use crate::config::Layers;
use crate::failure::Failure;
use crate::networks;
use crate::run::{self, atomic};
use serde::{Deserialize, Serialize};
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

/// One of the networks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// As tables and folders call it; no two have the same.
    pub label: String,
    /// What builds it, in any folder.
    pub name: String,
}

/// Networks and seeds under one recipe.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Plan {
    /// Of pleach.
    pub version: String,
    /// What was typed, from the start on.
    pub commands: Vec<String>,
    /// In the order asked for.
    pub models: Vec<Network>,
    /// Of the runs of each.
    pub seeds: Vec<u64>,
}

const PLAN: &str = "comparison.json";
const RECIPE: &str = "recipe.toml";

impl Plan {
    /// Adds networks and seeds that are not there yet. Whether there were any.
    pub fn add(&mut self, models: &[String], seeds: &[u64]) -> Result<bool, Failure> {
        let before = (self.models.len(), self.seeds.len());
        for text in models {
            let name = networks::anchored(text.trim())?;
            networks::outline(&name, 10).map(drop)?;
            if self.models.iter().any(|model| model.name == name) {
                continue;
            }
            // Two files of one name.
            let plain = networks::label(&name);
            let taken = |label: &String| self.models.iter().any(|model| model.label == *label);
            let numbered = (2..).map(|n| format!("{plain}-{n}"));
            let label = std::iter::once(plain.clone()).chain(numbered).find(|label| !taken(label)).unwrap_or(plain);
            self.models.push(Network { label, name });
        }
        for &seed in seeds {
            if i64::try_from(seed).is_err() {
                return Err(Failure::input(format!("--seeds: {seed} is above 9223372036854775807, the largest seed")));
            }
            if !self.seeds.contains(&seed) {
                self.seeds.push(seed);
            }
        }
        Ok(before != (self.models.len(), self.seeds.len()))
    }

    /// Every run: each network with the first seed, then with the next, so that a comparison that is stopped early is a
    /// comparison all the same.
    pub fn members(&self) -> Vec<Member> {
        let with = |seed| move |model: &Network| Member { model: model.clone(), seed };
        self.seeds.iter().flat_map(|&seed| self.models.iter().map(with(seed))).collect()
    }
}

/// One run of a comparison.
#[derive(Clone, Debug)]
pub struct Member {
    /// Its network.
    pub model: Network,
    /// Of everything random.
    pub seed: u64,
}

impl Member {
    /// The name of its folder.
    pub fn folder(&self) -> String {
        format!("{}-seed{}", run::folder_name(&self.model.label), self.seed)
    }

    /// Its configuration: the recipe with its network and seed.
    pub fn layers(&self, recipe: &Layers) -> Result<Layers, Failure> {
        let mut layers = recipe.clone();
        layers.lay("model", toml::Value::String(self.model.name.clone()), "compare --models")?;
        let seed = i64::try_from(self.seed).map_err(|_| Failure::input(format!("seed {} is too large", self.seed)))?;
        layers.lay("seed", toml::Value::Integer(seed), "compare --seeds")?;
        Ok(layers)
    }
}

/// The folder of a comparison, locked against other processes while this lives.
pub struct Place {
    path: PathBuf,
    _lock: File,
}

impl Place {
    /// A new folder: `out` if given, else `runs/compare-NNN` with the next free number.
    pub fn create(out: Option<&Path>) -> Result<Place, Failure> {
        Place::lock(&run::new_folder(out, "compare")?)
    }

    /// The folder of a comparison, with its plan and recipe.
    pub fn open(path: &Path) -> Result<(Place, Plan, Layers), Failure> {
        let file = path.join(PLAN);
        if !file.is_file() {
            return Err(Failure::input(format!(
                "{} is not a comparison: it has no {PLAN}; name the folder of one",
                path.display()
            )));
        }
        let place = Place::lock(path)?;
        let text = fs::read(&file).map_err(|e| Failure::reading(&file, &e))?;
        let plan: Plan = serde_json::from_slice(&text)
            .map_err(|e| Failure::input(format!("{}: {e}; it was damaged, so take another copy", file.display())))?;
        let mut recipe = Layers::defaults()?;
        recipe.lay_file(&path.join(RECIPE))?;
        Ok((place, plan, recipe))
    }

    fn lock(path: &Path) -> Result<Place, Failure> {
        let place = path.join(".lock");
        let file = File::create(&place).map_err(|e| Failure::writing(&place, &e))?;
        match file.try_lock() {
            Ok(()) => Ok(Place { path: path.to_path_buf(), _lock: file }),
            Err(TryLockError::WouldBlock) => Err(Failure::input(format!(
                "{} is in use by another pleach process; wait for it to end or choose another folder",
                path.display()
            ))),
            Err(TryLockError::Error(e)) => Err(Failure::writing(&place, &e)),
        }
    }

    /// Writes plan and recipe.
    pub fn save(&self, plan: &Plan, recipe: &Layers) -> Result<(), Failure> {
        // The plan last: with it the folder is a comparison.
        self.write(RECIPE, &recipe.to_toml())?;
        let text = serde_json::to_string_pretty(plan).map_err(|e| Failure::work(format!("{PLAN}: {e}")))?;
        self.write(PLAN, &format!("{text}\n"))
    }

    /// Puts a text in the place of a file of the folder.
    pub fn write(&self, name: &str, text: &str) -> Result<(), Failure> {
        let path = self.path.join(name);
        atomic::replace(&path, text.as_bytes()).map_err(|e| Failure::writing(&path, &e))
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// The comparison under `runs/` that was begun or added to last.
pub fn newest() -> Result<PathBuf, Failure> {
    let begun = |path: &PathBuf| path.join(PLAN).metadata().and_then(|m| m.modified()).ok();
    let all = run::entries(Path::new(run::ROOT)).into_iter().filter(|path| path.join(PLAN).is_file());
    all.max_by_key(begun).ok_or_else(|| {
        Failure::input(format!("there is no comparison under {0}/; name it, as in --resume {0}/compare-001", run::ROOT))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Plan {
        Plan { version: String::new(), commands: vec![], models: vec![], seeds: vec![] }
    }

    #[test]
    fn repeats_are_one_and_every_seed_has_every_network() {
        let mut plan = plan();
        let models = ["resnet8", "resnet14", "resnet8"].map(String::from);
        assert!(plan.add(&models, &[1, 0, 1]).expect("known"));
        assert!(!plan.add(&models, &[0]).expect("known"));
        let folders: Vec<String> = plan.members().iter().map(Member::folder).collect();
        assert_eq!(folders, ["resnet8-seed1", "resnet14-seed1", "resnet8-seed0", "resnet14-seed0"]);
        assert!(plan.add(&["resnet9".into()], &[]).expect_err("none").to_string().contains("6n + 2"));
        assert!(plan.add(&[], &[u64::MAX]).is_err());
    }

    #[test]
    fn files_of_one_name_are_told_apart() {
        let root = tempfile::tempdir().expect("a folder");
        let mut plan = plan();
        for (folder, layers) in [("a", 2), ("b", 3)] {
            let folder = root.path().join(folder);
            std::fs::create_dir(&folder).expect("created");
            let file = folder.join("mine.toml");
            std::fs::write(&file, format!("layers = {layers}\ngather = 'all'\ngrowth = 2")).expect("written");
            plan.add(&[file.to_str().expect("Unicode").into()], &[0]).expect("sound");
        }
        let labels: Vec<&str> = plan.models.iter().map(|model| model.label.as_str()).collect();
        assert_eq!(labels, ["mine", "mine-2"]);
    }
}
