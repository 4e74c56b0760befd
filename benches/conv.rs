//! How near to the FMA peak does each direction of a convolution come, and what does Winograd gain over direct?
//!
//! Shapes of the zoo that differ in what limits them: narrow and wide, large and small maps, strided, 1x1, the few output channels
//! of a dense layer, depthwise. 32 images: enough for both cores of a small machine to get whole tasks, and a run of a minute.
//! `pleach bench conv --all` measures every shape of the zoo, with errors.
#![forbid(unsafe_code)]

#[path = "../bin/bench/kernel.rs"]
#[allow(dead_code, reason = "the command line uses more of it")]
mod kernel;
#[path = "../bin/bench/naive.rs"]
#[allow(dead_code, reason = "the command line checks with it")]
mod naive;
mod support;

use criterion::{BenchmarkId, SamplingMode, Throughput};
use engine::kernels::simd::{Level, lanes};
use engine::parallel::awake;
use engine::{Algorithm, ConvSize};
use kernel::{Bench, Operands, Pass, shape_name};

/// `H = W`, `C_in`, `C_out`, kernel, stride, groups.
const SHAPES: [[usize; 6]; 11] = [
    [32, 3, 16, 3, 1, 1],  // the stem
    [32, 16, 16, 3, 1, 1], // ResNet-20's three stages
    [16, 32, 32, 3, 1, 1],
    [8, 64, 64, 3, 1, 1],
    [32, 16, 32, 3, 2, 1], // between two of them
    [32, 64, 64, 3, 1, 1], // WRN-16-4
    [8, 256, 256, 3, 1, 1],
    [32, 160, 12, 3, 1, 1], // DenseNet-40-12
    [16, 32, 192, 1, 1, 1], // MobileNetV2
    [16, 192, 192, 3, 1, 192],
    [32, 144, 144, 3, 2, 144],
];
const IMAGES: usize = 32;

fn main() {
    support::run(|criterion| {
        for [hw, c_in, c_out, k, stride, groups] in SHAPES {
            let weight = [k, k, c_in / groups, c_out];
            let size = ConvSize::new([IMAGES, hw, hw, c_in], weight, [stride, k / 2, 1, groups]).expect("sound sizes");
            let operands = Operands::new(size);
            for pass in Pass::ALL {
                let mut group = criterion.benchmark_group(format!("{} {}", shape_name(&size), pass.name()));
                group.sampling_mode(SamplingMode::Flat).throughput(Throughput::Elements(2 * size.macs() as u64));
                for algorithm in [Algorithm::Direct, Algorithm::Winograd] {
                    if algorithm == Algorithm::Winograd && !algorithm.is_winograd(&size) {
                        continue;
                    }
                    for level in [Level::Native, Level::Avx2] {
                        if level != Level::Native && lanes(level) == lanes(Level::Native) {
                            continue;
                        }
                        let mut bench = Bench::new(&operands, algorithm, pass, level);
                        let id = BenchmarkId::from_parameter(format!("{algorithm:?} {level:?}"));
                        group.bench_function(id, |b| awake(|| b.iter(|| bench.run())));
                    }
                }
            }
        }
    });
}
