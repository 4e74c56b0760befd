//! How near to the FMA peak does matrix multiplication come?
//!
//! The linear layers of the zoo (few columns, so the packing shows), a transposed pair as their gradients need, and a square that
//! fits no cache of a core, as the usual measure.
#![forbid(unsafe_code)]

mod support;

use criterion::{SamplingMode, Throughput};
use engine::kernels::gemm::{Gemm, gemm};
use engine::rng::{Rng, purpose};

/// What it is, `M`, `N`, `K`, and which operands are transposed.
const SIZES: [(&str, [usize; 3], [bool; 2]); 4] = [
    ("resnet20's linear layer", [128, 10, 64], [false, false]),
    ("mobilenetv2's linear layer", [64, 10, 1280], [false, false]),
    ("its grad_weight", [1280, 10, 64], [true, false]),
    ("square", [1024, 1024, 1024], [false, false]),
];

fn main() {
    support::run(|criterion| {
        for (what, [m, n, k], [transpose_a, transpose_b]) in SIZES {
            let random = |len: usize, stream: u64| -> Vec<f32> {
                let mut rng = Rng::new(0, &[purpose::TEST, stream]);
                (0..len).map(|_| rng.uniform() - 0.5).collect()
            };
            let (a, b, mut c) = (random(m * k, 0), random(k * n, 1), vec![0.0; m * n]);
            let size = Gemm { m, n, k, transpose_a, transpose_b, accumulate: false };
            let mut group = criterion.benchmark_group("gemm");
            group.sampling_mode(SamplingMode::Flat).throughput(Throughput::Elements(2 * (m * n * k) as u64));
            group.bench_function(format!("{what}, {m}x{n}x{k}"), |bencher| bencher.iter(|| gemm(size, &a, &b, &mut c)));
        }
    });
}
