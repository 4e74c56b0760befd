//! How long does a whole training step take: forward, backward and update?
//!
//! ResNet-20 at batch 128, the recipe's size and the one that other frameworks are compared at (`pleach bench peers`); the
//! throughput is images a second. Its bound: 6 operations a multiply-accumulate at the printed peak, less where Winograd saves some.
#![forbid(unsafe_code)]

mod support;

use criterion::{SamplingMode, Throughput};
use engine::parallel::awake;
use engine::rng::purpose;
use engine::{Rng, Tensor};
use nn::optim::{Optimizer, OptimizerConfig};
use nn::{Context, Model};
use std::time::Duration;

const BATCH: usize = 128;

fn main() {
    support::run(|criterion| {
        let model = Model::new("resnet20", 10, 0).expect("a model of the zoo");
        let mut rng = Rng::new(0, &[purpose::TEST]);
        let images = Tensor::from_fn([BATCH, 32, 32, 3], |_| rng.normal());
        let labels: Vec<usize> = (0..BATCH).map(|_| rng.below(10)).collect();
        let mut optimizer = Optimizer::new(OptimizerConfig::sgd(5e-4), model.params(), true);
        let mut group = criterion.benchmark_group("resnet20, batch 128");
        group.sampling_mode(SamplingMode::Flat).measurement_time(Duration::from_secs(5));
        group.throughput(Throughput::Elements(BATCH as u64));
        let mut step = 0;
        group.bench_function("step", |b| {
            b.iter(|| {
                step += 1;
                awake(|| {
                    let loss = model.forward(&images, &Context::train(0, step)).cross_entropy(&labels, 0.0);
                    optimizer.step(&loss.backward(), 0.01);
                    loss.item()
                })
            });
        });
        group.bench_function("forward alone", |b| {
            b.iter(|| engine::no_grad(|| model.forward(&images, &Context::eval())));
        });
    });
}
