//! Timing blocks where they work: inside networks.
//!
//! A block that is run alone, again and again, finds its weights and its input in the nearest cache, and is faster than in a network,
//! where everything else has passed through the caches since its last run. So random networks of the space are run, with a look at
//! the clock after every block. A round runs as many networks as the widest choice has candidates, such that each candidate is in
//! one of them; a network is run once to fill the caches with what is its own, then a few times for the record.

use super::measure::{Effort, Stopwatch, Timing, in_rounds};
use super::table::{Setting, Table};
use crate::{Block, BlockKey, Space};
use engine::rng::{Rng, purpose};
use engine::{Lazy, Tensor, no_grad};
use nn::{Builder, Context, Layer};
use std::collections::BTreeMap;

/// Runs of a network in a row that are recorded, after one that is not.
const RECORDED: usize = 3;

/// Names the random stream that puts candidates together.
const COMPANIONS: u64 = 90;

/// All blocks of a space, ready to run.
struct Blocks {
    blocks: Vec<Block>,
    /// As many; none for blocks that do nothing.
    layers: Vec<Option<Box<dyn Layer>>>,
    /// For each block, the number of its key.
    kinds: Vec<usize>,
    keys: Vec<BlockKey>,
    /// Inputs for blocks that the block before them has none for, by shape.
    inputs: BTreeMap<[usize; 3], Tensor>,
}

impl Blocks {
    fn new(space: &Space, classes: usize, batch: usize, seed: u64) -> Blocks {
        let blocks = space.blocks(classes);
        let mut builder = Builder::new(seed);
        let layers = blocks.iter().map(|block| (!block.is_free()).then(|| block.layer(&mut builder))).collect();
        let mut keys: Vec<BlockKey> = blocks.iter().map(|block| block.key.clone()).collect();
        keys.sort();
        keys.dedup();
        let kinds = blocks.iter().map(|block| keys.partition_point(|key| *key < block.key)).collect();
        let mut rng = Rng::new(seed, &[purpose::SYNTHETIC]);
        let mut input = |[h, w, c]: [usize; 3]| Tensor::from_fn([batch, h, w, c], |_| rng.normal());
        let inputs = keys.iter().map(|key| (key.input, input(key.input))).collect();
        Blocks { blocks, layers, kinds, keys, inputs }
    }

    /// Runs the network that takes candidate `choices[edge]` of each edge.
    fn run(&self, choices: &[usize], stopwatch: &mut Stopwatch) {
        let ctx = Context::eval();
        let mut last: Option<([usize; 3], Lazy)> = None;
        for ((block, layer), &kind) in self.blocks.iter().zip(&self.layers).zip(&self.kinds) {
            if block.candidate.is_some_and(|(edge, candidate)| choices[edge] != candidate) {
                continue;
            }
            // What does nothing hands its input on.
            let Some(layer) = layer else { continue };
            let input = match last.take() {
                Some((shape, maps)) if shape == block.key.input => maps,
                _ => Lazy::from(&self.inputs[&block.key.input]),
            };
            stopwatch.start();
            let output = layer.forward(&input, &ctx);
            drop(input);
            stopwatch.lap(kind);
            last = Some((block.key.output, output));
        }
    }
}

/// Measures every block of `space`. `None` if `goes_on(done, all)` ended it early.
pub fn measure_blocks(
    space: &Space,
    classes: usize,
    setting: Setting,
    effort: Effort,
    seed: u64,
    goes_on: impl FnMut(usize, usize) -> bool,
) -> Option<Table> {
    let blocks = Blocks::new(space, classes, setting.batch, seed);
    let widths: Vec<usize> = space.edges().iter().map(|edge| edge.candidates.len()).collect();
    let networks = widths.iter().copied().max().unwrap_or(1).max(1);
    let mut stopwatch = Stopwatch::new(blocks.keys.len(), setting.threads);
    let mut run = 0;
    let done = no_grad(|| {
        in_rounds(
            networks,
            effort,
            seed,
            &mut stopwatch,
            |network, stopwatch| {
                // Other companions in every round: each edge's candidates are turned by a random number.
                let mut rng = Rng::new(seed, &[purpose::SEARCH, COMPANIONS, (run / networks) as u64]);
                let choices: Vec<usize> = widths.iter().map(|&n| (network + rng.below(n)) % n).collect();
                run += 1;
                for run in 0..=RECORDED {
                    stopwatch.run(run > 0, |stopwatch| blocks.run(&choices, stopwatch));
                }
            },
            goes_on,
        )
    });
    let timing = |kind| if stopwatch.samples(kind).is_empty() { Timing::default() } else { stopwatch.timing(kind) };
    let rows = blocks.keys.iter().enumerate().map(|(kind, key)| (key.clone(), timing(kind))).collect();
    done.then(|| Table::new(setting, rows))
}
