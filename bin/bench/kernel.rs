//! A convolution's kernel in one direction, alone: nothing is recorded on a tape.

use super::naive;
use engine::Tensor;
use engine::kernels::conv2d::backward::{Backward, Write, backward};
use engine::kernels::conv2d::forward::{Forward, forward};
use engine::kernels::conv2d::load::{Activation, GradTerms, Maps};
use engine::kernels::conv2d::{Algorithm, ConvSize, winograd};
use engine::kernels::simd::Level;
use engine::parallel;
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

/// What a convolution and its gradients read: made-up numbers, uniform in `[-0.5, 0.5)`.
pub struct Operands {
    /// Of the convolution.
    pub size: ConvSize,
    // In tensors, as in a network: where values begin relative to cache lines matters.
    /// `(N, H, W, C_in)`
    pub x: Tensor,
    /// `(K, K, C_in / groups, C_out)`
    pub weight: Tensor,
    /// `(N, H_out, W_out, C_out)`
    pub grad_output: Tensor,
}

impl Operands {
    /// Of `size`.
    pub fn new(size: ConvSize) -> Operands {
        let random = |len: usize, stream: u64| {
            let mut rng = Rng::new(0, &[purpose::TEST, stream]);
            Tensor::build([len], |out| out.iter_mut().for_each(|v| *v = rng.uniform() - 0.5))
        };
        Operands {
            size,
            x: random(size.n * size.h * size.w * size.c_in, 0),
            weight: random(size.weight_len(), 1),
            grad_output: random(size.n * size.h_out * size.w_out * size.c_out, 2),
        }
    }
}

/// A pass that can be run again and again.
pub struct Bench<'a> {
    operands: &'a Operands,
    algorithm: Algorithm,
    pass: Pass,
    level: Level,
    result: Tensor,
}

impl<'a> Bench<'a> {
    /// Nothing has run yet.
    pub fn new(operands: &'a Operands, algorithm: Algorithm, pass: Pass, level: Level) -> Bench<'a> {
        let like = match pass {
            Pass::Forward => &operands.grad_output,
            Pass::GradInput => &operands.x,
            Pass::GradWeight => &operands.weight,
        };
        Bench { operands, algorithm, pass, level, result: Tensor::zeros([like.elements()]) }
    }

    /// Runs the pass once.
    pub fn run(&mut self) {
        let (algorithm, level) = (self.algorithm, self.level);
        let Operands { size, x, weight, grad_output } = self.operands;
        let (size, weight) = (*size, weight.data());
        let maps = [(x.data(), size.c_in)];
        let input = Maps { maps: &maps, affine: None, activation: Activation::Identity };
        if self.pass == Pass::Forward {
            let pass = Forward { size, algorithm, input, weight, bias: None, add: None, measure: false };
            forward(level, &pass, self.result.data_mut());
            return;
        }
        let pass = Backward {
            size,
            algorithm,
            input,
            weight,
            grad_output: GradTerms { grad: grad_output.data(), scale: None, affine_of: None },
            needs_weight: self.pass == Pass::GradWeight,
            needs_bias: false,
        };
        let target = (self.pass == Pass::GradInput).then_some((self.result.data_mut(), Write::Store));
        if let Some(weight) = backward(level, &pass, vec![target]).weight {
            self.result = weight;
        }
    }

    /// How far the last run's result lies from `f64`, at values drawn from all of it, as many as take about `multiply_adds`
    /// to compute: all of them, if they take less.
    pub fn error(&self, multiply_adds: f64) -> Error {
        let result = self.result.data();
        let share = multiply_adds / self.operands.size.macs() as f64;
        let all = share >= 1.0;
        let values = if all { result.len() } else { (share * result.len() as f64).ceil() as usize };
        let difference = |index: usize| {
            let index = if all { index } else { Rng::new(0, &[purpose::TEST, 3, index as u64]).below(result.len()) };
            (f64::from(result[index]) - naive::value(self.operands, self.pass, index)).abs()
        };
        // Chunks, for the differences of a result of many values would be a list as long.
        let chunks = parallel::map(values.div_ceil(CHECKED_TOGETHER), |chunk| {
            let first = chunk * CHECKED_TOGETHER;
            (first..values.min(first + CHECKED_TOGETHER)).map(difference).fold(0.0, larger)
        });
        let largest = result.iter().map(|v| f64::from(v.abs())).fold(0.0, larger);
        Error { relative: chunks.into_iter().fold(0.0, larger) / largest.max(f64::MIN_POSITIVE), values }
    }
}

/// How far a result lies from `f64`.
pub struct Error {
    /// The largest difference, relative to the largest value.
    pub relative: f64,
    /// How many values were compared.
    pub values: usize,
}

/// Values that are compared in one piece of work.
const CHECKED_TOGETHER: usize = 64;

/// The larger one, or the one that is not a number, which `f64::max` would pass over.
fn larger(a: f64, b: f64) -> f64 {
    if b > a || b.is_nan() { b } else { a }
}
