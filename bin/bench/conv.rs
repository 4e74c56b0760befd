//! `pleach bench conv`

use super::timing::Times;
use super::{naive, peak};
use crate::failure::Failure;
use crate::{output, pool};
use engine::kernels::conv2d::backward::{Backward, Write, backward};
use engine::kernels::conv2d::forward::{Forward, forward};
use engine::kernels::conv2d::load::{Activation, GradTerms, Maps};
use engine::kernels::conv2d::{Algorithm, ConvSize};
use engine::kernels::simd::Level;
use engine::rng::{Rng, purpose};
use std::time::Duration;

/// One convolution, in one direction
///
/// Times the kernel alone, without recording it on a tape.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// N,H,W,C_in,C_out,kernel,stride; the padding is half the kernel
    #[arg(long, value_name = "SIZES", default_value = "64,32,32,16,16,3,1")]
    shape: String,
    /// Direction
    #[arg(long, value_enum, default_value_t = Pass::Forward)]
    pass: Pass,
    /// How to compute it; auto is what networks run
    #[arg(long, value_enum, default_value_t = Choice::Auto)]
    algorithm: Choice,
    /// Worker threads (default: one a core)
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Seconds of measuring
    #[arg(long, value_name = "S", default_value_t = 1.0)]
    seconds: f32,
    /// Print one JSON object on standard output, and nothing else
    #[arg(long)]
    json: bool,
}

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

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Choice {
    Auto,
    Direct,
    Winograd,
}

/// Most elements of a tensor that is worth measuring: 4 GiB.
const LARGEST: usize = 1 << 30;
/// Multiply-adds of the check against `f64`; the check is of as many images as fit.
const CHECKED: f64 = 2e8;

/// `N,H,W,C_in,C_out,kernel,stride`
fn parse(text: &str) -> Result<ConvSize, Failure> {
    let wrong = |why: &str| Failure::input(format!("--shape {text}: {why}"));
    let numbers: Vec<usize> = text
        .split(',')
        .map(|part| part.trim().parse().ok().filter(|&n| n >= 1))
        .collect::<Option<_>>()
        .ok_or_else(|| wrong("expected whole numbers of 1 or more"))?;
    let [n, h, w, c_in, c_out, k, stride] = numbers[..] else {
        return Err(wrong("expected seven numbers, N,H,W,C_in,C_out,kernel,stride"));
    };
    // With padding an output is at most a row and a column larger than its input.
    let tensors = [[n, h + 1, w + 1, c_in.max(c_out)], [k, k, c_in, c_out]];
    let fits =
        |dims: [usize; 4]| dims.iter().try_fold(1usize, |all, &d| all.checked_mul(d)).is_some_and(|n| n <= LARGEST);
    if !tensors.into_iter().all(fits) {
        return Err(wrong("too large to measure; take fewer images or channels"));
    }
    ConvSize::new([n, h, w, c_in], [k, k, c_in, c_out], [stride, k / 2, 1, 1]).map_err(|rule| wrong(&rule))
}

#[derive(serde::Serialize)]
struct Report {
    shape: String,
    pass: &'static str,
    threads: usize,
    gflops: f64,
    ms: f64,
    algorithm: &'static str,
    max_rel_error: f64,
    peak_gflops: f64,
    of_peak: f64,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<(), Failure> {
    let size = parse(&args.shape)?;
    if !(args.seconds.is_finite() && (0.0..=3600.0).contains(&args.seconds)) {
        return Err(Failure::input(format!("--seconds is {}; it must be between 0 and 3600", args.seconds)));
    }
    let algorithm = match args.algorithm {
        Choice::Auto => Algorithm::Auto,
        Choice::Direct => Algorithm::Direct,
        Choice::Winograd => Algorithm::Winograd,
    };
    let is_winograd = algorithm.is_winograd(&size);
    if args.algorithm == Choice::Winograd && !is_winograd {
        return Err(Failure::input(format!(
            "--algorithm winograd: it computes 3x3 kernels of stride 1 only, not --shape {}; take direct",
            args.shape
        )));
    }
    let threads = pool::check(args.threads)?;
    let report = pool::with_threads(threads, || {
        let mut bench = Bench::new(size, algorithm, args.pass);
        bench.run();
        // Before and after, and the better of the two: a machine that changes its clock must not flatter the result.
        let before = peak::fma_peak();
        let times = Times::within(Duration::from_secs_f32(args.seconds), || bench.run());
        let peak_gflops = peak::fma_peak().max(before);
        let gflops = 2.0 * size.macs() as f64 / times.median() / 1e6;
        let images = (CHECKED * size.n as f64 / size.macs() as f64) as usize;
        let checked = ConvSize { n: images.clamp(1, size.n), ..size };
        Ok(Report {
            shape: args.shape.clone(),
            pass: match args.pass {
                Pass::Forward => "forward",
                Pass::GradInput => "grad-input",
                Pass::GradWeight => "grad-weight",
            },
            threads,
            gflops,
            ms: times.median(),
            algorithm: if is_winograd { "winograd-f4x4-3x3" } else { "direct" },
            max_rel_error: Bench::new(checked, algorithm, args.pass).error(),
            peak_gflops,
            of_peak: gflops / peak_gflops,
        })
    })?;
    if args.json {
        return output::print(&report);
    }
    output::line(&format!(
        "{} {}: {:.1} GFLOP/s, {:.0} % of the FMA peak of {:.0}; {:.3} ms on {threads} threads, {}; largest error {:.1e} of \
         the largest value",
        report.shape,
        report.pass,
        report.gflops,
        100.0 * report.of_peak,
        report.peak_gflops,
        report.ms,
        report.algorithm,
        report.max_rel_error
    ))
}

/// A pass that can be run again and again.
struct Bench {
    size: ConvSize,
    algorithm: Algorithm,
    pass: Pass,
    x: Vec<f32>,
    weight: Vec<f32>,
    grad_output: Vec<f32>,
    result: Vec<f32>,
}

impl Bench {
    fn new(size: ConvSize, algorithm: Algorithm, pass: Pass) -> Bench {
        let random = |len: usize, stream: u64| -> Vec<f32> {
            let mut rng = Rng::new(0, &[purpose::TEST, stream]);
            (0..len).map(|_| rng.uniform() - 0.5).collect()
        };
        let x = random(size.n * size.h * size.w * size.c_in, 0);
        let weight = random(size.weight_len(), 1);
        let grad_output = random(size.n * size.h_out * size.w_out * size.c_out, 2);
        let len = match pass {
            Pass::Forward => grad_output.len(),
            Pass::GradInput => x.len(),
            Pass::GradWeight => weight.len(),
        };
        Bench { size, algorithm, pass, x, weight, grad_output, result: vec![0.0; len] }
    }

    fn run(&mut self) {
        let Bench { size, algorithm, .. } = *self;
        let maps = [(&self.x[..], size.c_in)];
        let input = Maps { maps: &maps, affine: None, activation: Activation::Identity };
        if self.pass == Pass::Forward {
            let weight = &self.weight;
            let pass = Forward { size, algorithm, input, weight, bias: None, add: None, measure: false };
            forward(Level::Native, &pass, &mut self.result);
            return;
        }
        let pass = Backward {
            size,
            algorithm,
            input,
            weight: &self.weight,
            grad_output: GradTerms { grad: &self.grad_output, scale: None, affine_of: None },
            needs_weight: self.pass == Pass::GradWeight,
            needs_bias: false,
        };
        let target = (self.pass == Pass::GradInput).then_some((&mut self.result[..], Write::Store));
        if let Some(weight) = backward(Level::Native, &pass, vec![target]).weight {
            self.result.copy_from_slice(weight.data());
        }
    }

    /// Largest difference from `f64`, relative to the largest value.
    fn error(&mut self) -> f64 {
        self.run();
        let expected = naive::conv(&self.size, self.pass, &self.x, &self.weight, &self.grad_output);
        let largest = expected.iter().fold(0.0, |m: f64, v| m.max(v.abs()));
        let differences = self.result.iter().zip(&expected).map(|(a, b)| (f64::from(*a) - b).abs());
        differences.fold(0.0, f64::max) / largest.max(f64::MIN_POSITIVE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impossible_shapes_are_refused() {
        let message = |text: &str| parse(text).expect_err("refused").to_string();
        assert!(message("1,2,3").contains("expected seven numbers"));
        assert!(message("1,0,8,8,8,3,1").contains("1 or more"));
        assert!(message("1,2,2,8,8,99999,1").contains("too large"));
        assert!(message("99999999999,99999999999,8,8,8,3,1").contains("too large"));
        assert!(message("x,8,8,8,8,3,1").contains("whole numbers"));
    }

    #[test]
    fn every_pass_agrees_with_its_sum() {
        for (shape, algorithm) in [("2,7,5,3,4,3,2", Algorithm::Direct), ("1,8,8,8,8,3,1", Algorithm::Winograd)] {
            for pass in [Pass::Forward, Pass::GradInput, Pass::GradWeight] {
                let error = Bench::new(parse(shape).expect("sound"), algorithm, pass).error();
                // Sums of at most 200 products in f32; Winograd's constants cost a few bits more.
                assert!(error < 2e-5, "{shape} {pass:?}: {error}");
            }
        }
    }
}
