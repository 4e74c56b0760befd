//! What do batch norm's passes over a map cost, against a copy of it?
//!
//! A map of ResNet-20's first stage at batch 128: 8 MiB, larger than the caches of most cores, so that memory decides. Fused into
//! a convolution none of these passes happens: this is what the fusion saves. Throughputs count the map's bytes once.
#![forbid(unsafe_code)]

mod support;

use criterion::{SamplingMode, Throughput};
use engine::kernels::moments;
use engine::kernels::simd::Level;
use engine::ops::{fold_batch_norm, sum_lazy};
use engine::rng::purpose;
use engine::{Activation, Lazy, Rng, Tensor, no_grad};

const SHAPE: [usize; 4] = [128, 32, 32, 16];

fn main() {
    support::run(|criterion| {
        let mut rng = Rng::new(0, &[purpose::TEST]);
        let map = Tensor::from_fn(SHAPE, |_| rng.uniform());
        let (gamma, beta) = (Tensor::full([SHAPE[3]], 1.0), Tensor::zeros([SHAPE[3]]));
        let affine = fold_batch_norm(&[&map.moments()], &gamma, &beta, 1e-5);
        let normalised = Lazy { affine: Some(affine), activation: Activation::Relu, ..Lazy::from(&map) };
        let mut copy = vec![0.0; map.elements()];

        let mut group = criterion.benchmark_group("128x32x32x16");
        group.sampling_mode(SamplingMode::Flat).throughput(Throughput::Bytes(4 * map.elements() as u64));
        group.bench_function("copy (yardstick)", |b| b.iter(|| copy.copy_from_slice(map.data())));
        group.bench_function("moments", |b| b.iter(|| moments::moments(Level::Native, map.data(), SHAPE[3])));
        group.bench_function("normalise and rectify", |b| b.iter(|| no_grad(|| normalised.materialise())));
        group.bench_function("normalise, add a residual, rectify", |b| {
            let terms = [normalised.clone(), Lazy::from(&map)];
            b.iter(|| no_grad(|| sum_lazy(&terms, Activation::Relu, false)));
        });
        group.bench_function("plain ops: standardise, affine, relu", |b| {
            b.iter(|| no_grad(|| map.standardise(1e-5).affine(&gamma, &beta).relu()));
        });
    });
}
