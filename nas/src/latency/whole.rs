//! Timing whole networks.

use super::measure::{Effort, Stopwatch, Timing, in_rounds};
use engine::rng::{Rng, purpose};
use engine::{Tensor, no_grad};
use nn::{Context, Model};

/// Runs of a network in a row that are recorded, after one that is not.
const RECORDED: usize = 3;

/// The time of a forward pass of `batch` images of `resolution` rows and columns in evaluation mode, for each of `models`. The networks take turns; at each, a
/// network is run once to fill the caches, then a few times for the record. `None` if `goes_on(done, all)` ended it early.
pub fn measure_networks(
    models: &[Model],
    (batch, resolution): (usize, usize),
    threads: usize,
    effort: Effort,
    seed: u64,
    goes_on: impl FnMut(usize, usize) -> bool,
) -> Option<Vec<Timing>> {
    let mut rng = Rng::new(seed, &[purpose::SYNTHETIC]);
    let images = Tensor::from_fn([batch, resolution, resolution, 3], |_| rng.normal());
    let mut stopwatch = Stopwatch::new(models.len(), threads);
    let forward = |model: &Model| drop(std::hint::black_box(model.forward(&images, &Context::eval())));
    let done = no_grad(|| {
        in_rounds(
            models.len(),
            effort,
            seed,
            &mut stopwatch,
            |i, stopwatch| {
                for run in 0..=RECORDED {
                    stopwatch.run(run > 0, |stopwatch| {
                        stopwatch.start();
                        forward(&models[i]);
                        stopwatch.lap(i);
                    });
                }
            },
            goes_on,
        )
    });
    done.then(|| (0..models.len()).map(|i| stopwatch.timing(i)).collect())
}
