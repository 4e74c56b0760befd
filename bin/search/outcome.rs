//! What a search has found, as files: the architecture, its drawing, how the probabilities went.

use super::draw;
use super::figure;
use super::lines;
use crate::failure::Failure;
use crate::run::atomic;
use nas::search::Search;
use nas::{Arch, net_config};
use std::path::{Path, PathBuf};

/// The found network.
pub struct Found {
    /// The most probable one; under a latency target, the most probable within it.
    pub arch: Arch,
    /// The most probable one is slower than the target.
    pub fallen_back: Option<Arch>,
    /// Its file.
    pub file: PathBuf,
    /// Predicted, if there is a table.
    pub predicted_ms: Option<f64>,
}

/// Writes `arch.json`, `net_config.json` (MBConv spaces), `arch.svg` and `probabilities.svg` into `folder`.
pub fn write(search: &Search, folder: &Path) -> Result<Found, Failure> {
    let (best, arch) = (search.best(), search.best_within_target());
    let classes = search.supernet().classes();
    let file = folder.join("arch.json");
    put(&file, &(arch.to_json() + "\n"))?;
    if let Some(config) = net_config(&arch, classes) {
        let text = serde_json::to_string_pretty(&config).map_err(|e| Failure::work(format!("net_config.json: {e}")))?;
        put(&folder.join("net_config.json"), &(text + "\n"))?;
    }
    let method = search.config().method.title();
    let space = arch.space().name();
    let title = format!("Found in the {space} space by {method}");
    put(&folder.join("arch.svg"), &draw::svg(&title, &arch, classes, search.latency()))?;
    put(&folder.join("probabilities.svg"), &probabilities(search, folder)?)?;
    let predicted_ms = search.latency().map(|latency| latency.of(&arch.indices()));
    let fallen_back = (best != arch).then_some(best);
    Ok(Found { arch, fallen_back, file, predicted_ms })
}

/// The drawing of how the probabilities went, from the lines in the run's folder.
fn probabilities(search: &Search, folder: &Path) -> Result<String, Failure> {
    let edges: Vec<figure::Edge> = search
        .supernet()
        .edges()
        .iter()
        .map(|edge| figure::Edge {
            name: edge.name.clone(),
            candidates: edge.candidates.iter().map(ToString::to_string).collect(),
        })
        .collect();
    let lines = lines::read(&folder.join("probabilities.jsonl"))?;
    let of_line = |value: &serde_json::Value| serde_json::from_value(value.get("probabilities")?.clone()).ok();
    let history: Vec<(u64, Vec<Vec<f32>>)> =
        lines.iter().filter_map(|(step, value)| Some((*step, of_line(value)?))).collect();
    Ok(figure::draw(&format!("Probabilities in {}", search.config().method.title()), &edges, &history))
}

/// Puts `text` in the place of a file.
pub fn put(path: &Path, text: &str) -> Result<(), Failure> {
    atomic::replace(path, text.as_bytes()).map_err(|e| Failure::writing(path, &e))
}
