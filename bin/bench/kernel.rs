//! A convolution's kernel in one direction, alone: nothing is recorded on a tape.

use super::naive;
use engine::Tensor;
use engine::kernels::conv2d::backward::{Backward, Write, backward};
use engine::kernels::conv2d::forward::{Forward, forward};
use engine::kernels::conv2d::load::{Activation, GradTerms, Maps};
use engine::kernels::conv2d::{Algorithm, ConvSize, winograd};
use engine::kernels::simd::Level;
use engine::rng::{Rng, purpose};

/// A direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Pass {
    /// The output.
    Forward,
    /// The gradient of the input.
    GradInput,
    /// The gradient of the weight.
    GradWeight,
}

impl Pass {
    /// All three.
    pub const ALL: [Pass; 3] = [Pass::Forward, Pass::GradInput, Pass::GradWeight];

    /// As reports have it.
    pub fn name(self) -> &'static str {
        match self {
            Pass::Forward => "forward",
            Pass::GradInput => "grad-input",
            Pass::GradWeight => "grad-weight",
        }
    }
}

/// What computes `size` when `algorithm` is asked for.
pub fn algorithm_name(algorithm: Algorithm, size: &ConvSize) -> &'static str {
    match () {
        () if algorithm.is_winograd(size) => winograd::name(size),
        () if size.is_depthwise() => "depthwise",
        () => "direct",
    }
}

/// `N,H,W,C_in,C_out,kernel,stride`, and the groups if there are several.
pub fn shape_name(size: &ConvSize) -> String {
    let ConvSize { n, h, w, c_in, c_out, k_h, stride, groups, .. } = size;
    let groups = if *groups == 1 { String::new() } else { format!(",{groups}") };
    format!("{n},{h},{w},{c_in},{c_out},{k_h},{stride}{groups}")
}

/// A pass on made-up numbers that can be run again and again.
pub struct Bench {
    size: ConvSize,
    algorithm: Algorithm,
    pass: Pass,
    level: Level,
    // In tensors, as in a network: where values begin relative to cache lines matters.
    x: Tensor,
    weight: Tensor,
    grad_output: Tensor,
    result: Tensor,
}

impl Bench {
    /// Makes up the operands.
    pub fn new(size: ConvSize, algorithm: Algorithm, pass: Pass, level: Level) -> Bench {
        let random = |len: usize, stream: u64| {
            let mut rng = Rng::new(0, &[purpose::TEST, stream]);
            Tensor::build([len], |out| out.iter_mut().for_each(|v| *v = rng.uniform() - 0.5))
        };
        let x = random(size.n * size.h * size.w * size.c_in, 0);
        let weight = random(size.weight_len(), 1);
        let grad_output = random(size.n * size.h_out * size.w_out * size.c_out, 2);
        let len = match pass {
            Pass::Forward => grad_output.elements(),
            Pass::GradInput => x.elements(),
            Pass::GradWeight => weight.elements(),
        };
        Bench { size, algorithm, pass, level, x, weight, grad_output, result: Tensor::zeros([len]) }
    }

    /// Runs the pass once.
    pub fn run(&mut self) {
        let Bench { size, algorithm, level, .. } = *self;
        let maps = [(self.x.data(), size.c_in)];
        let input = Maps { maps: &maps, affine: None, activation: Activation::Identity };
        if self.pass == Pass::Forward {
            let weight = self.weight.data();
            let pass = Forward { size, algorithm, input, weight, bias: None, add: None, measure: false };
            forward(level, &pass, self.result.data_mut());
            return;
        }
        let pass = Backward {
            size,
            algorithm,
            input,
            weight: self.weight.data(),
            grad_output: GradTerms { grad: self.grad_output.data(), scale: None, affine_of: None },
            needs_weight: self.pass == Pass::GradWeight,
            needs_bias: false,
        };
        let target = (self.pass == Pass::GradInput).then_some((self.result.data_mut(), Write::Store));
        if let Some(weight) = backward(level, &pass, vec![target]).weight {
            self.result = weight;
        }
    }

    /// Runs it, and gives the largest difference from `f64` relative to the largest value.
    pub fn error(&mut self) -> f64 {
        self.run();
        let expected = naive::conv(&self.size, self.pass, self.x.data(), self.weight.data(), self.grad_output.data());
        let largest = expected.iter().fold(0.0, |m: f64, v| m.max(v.abs()));
        let differences = self.result.data().iter().zip(&expected).map(|(a, b)| (f64::from(*a) - b).abs());
        differences.fold(0.0, f64::max) / largest.max(f64::MIN_POSITIVE)
    }
}
