//! Networks of nearly equal multiply-adds and very different latency.

use super::figure;
use super::measured::{Progress, Request, interrupted};
use super::validate::sum;
use crate::failure::Failure;
use crate::run::atomic;
use crate::signals::Stop;
use crate::{networks, output};
use engine::rng::{Rng, purpose};
use engine::{Tensor, no_grad};
use nas::latency::{Effort, Table, measure_networks};
use nas::{Arch, Block, BlockKey};
use nn::{Builder, Context, Model};
use std::collections::HashMap;
use std::path::Path;

/// Architectures that are looked through, by their predictions.
const LOOKED_AT: u64 = 2000;
/// Networks of the space that are measured.
const MEASURED: usize = 16;
/// Multiply-adds differ by at most this share.
const TOLERANCE: f64 = 0.1;
/// Pairs that are told.
const TOLD: usize = 8;
/// Larger named networks are left out: they would take most of the time.
const MOST_MACS: u64 = 400_000_000;
/// Names the random stream of preferences.
const PREFERENCES: u64 = 91;

/// A network with what it costs.
#[derive(Clone, Debug)]
pub struct Network {
    /// Its name, or its architecture.
    pub name: String,
    /// Whether it has a name; else it is of the space.
    pub named: bool,
    /// Of one image.
    pub macs: u64,
    /// Of a batch.
    pub ms: f64,
}

/// Two networks with nearly equal multiply-adds.
#[derive(Clone, Debug)]
pub struct Pair {
    /// The one of the smaller latency.
    pub fast: Network,
    /// The other.
    pub slow: Network,
}

impl Pair {
    /// `|a - b| / min(a, b)` of the multiply-adds.
    pub fn macs_difference(&self) -> f64 {
        let (a, b) = (self.fast.macs as f64, self.slow.macs as f64);
        (a - b).abs() / a.min(b)
    }

    /// `(slow - fast) / fast` of the latencies.
    pub fn latency_difference(&self) -> f64 {
        (self.slow.ms - self.fast.ms) / self.fast.ms
    }
}

#[derive(serde::Serialize)]
struct PairLine<'a> {
    fast: &'a str,
    slow: &'a str,
    fast_macs: u64,
    slow_macs: u64,
    fast_ms: f64,
    slow_ms: f64,
    macs_difference: f64,
    latency_difference: f64,
}

#[derive(serde::Serialize)]
struct Summary<'a> {
    networks: usize,
    pairs: usize,
    svg: &'a Path,
}

/// Finds candidates by prediction, measures them, and tells the pairs.
pub fn run(request: &Request, table: &Table, svg: &Path, json: bool, stop: &Stop) -> Result<(), Failure> {
    if request.space.resolution() != 32 {
        return Err(Failure::input(format!(
            "{} is for images of {} rows; the named networks that it is compared with are for 32",
            request.label,
            request.space.resolution()
        )));
    }
    let archs = extremes(request, table)?;
    let build = |arch: &Arch| request.space.build(arch, request.classes, &mut Builder::new(request.seed));
    let mut models: Vec<Model> = archs.iter().map(build).collect::<Result<_, _>>()?;
    for info in nn::zoo() {
        if networks::outline(&info.name, request.classes)?.macs() <= MOST_MACS {
            models.push(networks::build(&info.name, request.classes, Some(request.seed))?);
        }
    }
    let progress = Progress::new(&format!("{} whole networks", models.len()));
    let effort = Effort { warm_up: 1, rounds: 5 };
    let (batch, threads, seed) = (request.batch, request.threads, request.seed);
    let timings =
        measure_networks(&models, (batch, 32), threads, effort, seed, |done, all| progress.at(done, all, stop));
    progress.end();
    let timings = timings.ok_or_else(interrupted)?;
    let measured: Vec<Network> = models
        .iter()
        .zip(timings)
        .enumerate()
        .map(|(i, (model, timing))| {
            let name = archs.get(i).map_or_else(|| model.name().to_string(), Arch::to_string);
            Network { name, named: i >= archs.len(), macs: model.macs(), ms: timing.ms }
        })
        .collect();
    let pairs = pairs(&measured);
    let drawing = figure::versus(request, &measured, &pairs);
    atomic::replace(svg, drawing.as_bytes()).map_err(|e| Failure::writing(svg, &e))?;
    for pair in &pairs {
        let Pair { fast, slow } = pair;
        let (macs_difference, latency_difference) = (pair.macs_difference(), pair.latency_difference());
        if json {
            output::print(&PairLine {
                fast: &fast.name,
                slow: &slow.name,
                fast_macs: fast.macs,
                slow_macs: slow.macs,
                fast_ms: fast.ms,
                slow_ms: slow.ms,
                macs_difference,
                latency_difference,
            })?;
            continue;
        }
        output::line(&format!(
            "{:>5.1} % of multiply-adds, {:>6.1} % of latency:",
            100.0 * macs_difference,
            100.0 * latency_difference
        ))?;
        for network in [fast, slow] {
            output::line(&format!(
                "  {:>8.2} MMAC {:>9.3} ms  {}",
                network.macs as f64 / 1e6,
                network.ms,
                network.name
            ))?;
        }
    }
    if json {
        return output::print(&Summary { networks: measured.len(), pairs: pairs.len(), svg });
    }
    output::line(&format!("{} networks measured; drawing: {}", measured.len(), svg.display()))
}

/// Architectures that lie at the edges of the cloud: of similar multiply-adds, the fastest and the slowest by prediction.
fn extremes(request: &Request, table: &Table) -> Result<Vec<Arch>, Failure> {
    let macs_of: HashMap<BlockKey, u64> =
        request.space.blocks(request.classes).iter().map(|block| (block.key.clone(), macs(block))).collect();
    let mut found = vec![];
    for number in 0..LOOKED_AT {
        let arch = biased(request, number)?;
        let blocks = request.space.blocks_of(&arch, request.classes);
        let macs: u64 = blocks.iter().map(|block| macs_of[&block.key]).sum();
        found.push((macs, table.corrected(sum(request, table, &arch)?), arch));
    }
    found.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
    let mut archs: Vec<Arch> = vec![];
    for group in found.chunks(found.len().div_ceil(MEASURED / 2)) {
        let by_ms = |a: &&(u64, f64, Arch), b: &&(u64, f64, Arch)| a.1.total_cmp(&b.1);
        let ends = [group.iter().min_by(by_ms), group.iter().max_by(by_ms)];
        for (_, _, arch) in ends.into_iter().flatten() {
            if !archs.contains(arch) {
                archs.push(arch.clone());
            }
        }
    }
    Ok(archs)
}

/// Multiply-adds of a block for one image.
fn macs(block: &Block) -> u64 {
    let ctx = Context::counting();
    let [h, w, c] = block.key.input;
    let layer = block.layer(&mut Builder::outline());
    no_grad(|| layer.forward(&Tensor::zeros([1, h, w, c]).into(), &ctx));
    ctx.costs().macs
}

/// A random architecture that prefers some operations to others: wholly uniform ones are all alike.
fn biased(request: &Request, number: u64) -> Result<Arch, Failure> {
    let mut rng = Rng::new(request.seed, &[purpose::SEARCH, PREFERENCES, number]);
    let edges = request.space.edges();
    let most = edges.iter().map(|edge| edge.candidates.len()).max().unwrap_or(1);
    let (favourite, devotion) = (rng.below(most), rng.uniform_f64());
    let choices = edges.into_iter().map(|edge| {
        let n = edge.candidates.len();
        let choice = if rng.chance(devotion) { favourite.min(n - 1) } else { rng.below(n) };
        edge.candidates[choice].clone()
    });
    Ok(Arch::new(request.space, choices.collect())?)
}

/// The pairs of the most different latency, each network in one of them at most twice.
fn pairs(networks: &[Network]) -> Vec<Pair> {
    let mut all = vec![];
    for (i, a) in networks.iter().enumerate() {
        for (j, b) in networks.iter().enumerate().skip(i + 1) {
            let (fast, slow, ends) = if a.ms <= b.ms { (a, b, (i, j)) } else { (b, a, (j, i)) };
            let pair = Pair { fast: fast.clone(), slow: slow.clone() };
            if fast.macs > 0 && slow.macs > 0 && pair.macs_difference() <= TOLERANCE {
                all.push((pair, ends));
            }
        }
    }
    all.sort_by(|(a, _), (b, _)| b.latency_difference().total_cmp(&a.latency_difference()));
    let mut uses = vec![0; networks.len()];
    let mut told = vec![];
    for (pair, (i, j)) in all {
        if told.len() < TOLD && uses[i] < 2 && uses[j] < 2 {
            (uses[i], uses[j]) = (uses[i] + 1, uses[j] + 1);
            told.push(pair);
        }
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_of_equal_work_and_the_most_different_come_first() {
        let network = |name: &str, macs, ms| Network { name: name.into(), named: false, macs, ms };
        let networks = [
            network("a", 100, 1.0),
            network("b", 105, 1.6),
            network("c", 300, 9.0),
            network("d", 310, 3.0),
            network("e", 1000, 90.0),
        ];
        let found = pairs(&networks);
        let names: Vec<(&str, &str)> = found.iter().map(|p| (p.fast.name.as_str(), p.slow.name.as_str())).collect();
        assert_eq!(names, [("d", "c"), ("a", "b")]);
        assert!((found[1].macs_difference() - 0.05).abs() < 1e-12);
        assert!((found[1].latency_difference() - 0.6).abs() < 1e-12);
    }
}
