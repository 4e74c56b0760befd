//! `pleach bench conv`

use super::timing::Times;
use super::{naive, peak};
use crate::failure::Failure;
use crate::{output, pool};
use engine::rng::purpose;
use engine::{Conv2d, Rng, Tensor, no_grad};
use std::hint::black_box;
use std::time::Duration;

/// One convolution, in one direction
#[derive(clap::Args, Debug)]
pub struct Args {
    /// N,H,W,C_in,C_out,kernel,stride; the padding is half the kernel
    #[arg(long, value_name = "SIZES", default_value = "64,32,32,16,16,3,1")]
    shape: String,
    /// Direction
    #[arg(long, value_enum, default_value_t = Pass::Forward)]
    pass: Pass,
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

/// Sizes of a convolution with a square kernel, padded by half of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Images.
    pub n: usize,
    /// Rows.
    pub h: usize,
    /// Columns.
    pub w: usize,
    /// Input channels.
    pub c_in: usize,
    /// Output channels.
    pub c_out: usize,
    /// Side of the kernel.
    pub k: usize,
    /// Step of the window.
    pub stride: usize,
}

/// Most elements of a tensor that is worth measuring: 4 GiB.
const LARGEST: usize = 1 << 30;
/// Multiply-adds of the check against `f64`; the check is of as many images as fit.
const CHECKED: f64 = 2e8;

impl Sizes {
    fn parse(text: &str) -> Result<Sizes, Failure> {
        let wrong = |why: &str| Failure::input(format!("--shape {text}: {why}"));
        let numbers: Vec<usize> = text
            .split(',')
            .map(|part| part.trim().parse().ok().filter(|&n| n >= 1))
            .collect::<Option<_>>()
            .ok_or_else(|| wrong("expected whole numbers of 1 or more"))?;
        let [n, h, w, c_in, c_out, k, stride] = numbers[..] else {
            return Err(wrong("expected seven numbers, N,H,W,C_in,C_out,kernel,stride"));
        };
        let sizes = Sizes { n, h, w, c_in, c_out, k, stride };
        if k > h + 2 * (k / 2) || k > w + 2 * (k / 2) {
            return Err(wrong("the kernel is larger than the padded image"));
        }
        let product = |factors: &[usize]| {
            let found = factors.iter().try_fold(1usize, |all, &n| all.checked_mul(n));
            found
                .filter(|&all| all <= LARGEST)
                .ok_or_else(|| wrong("too large to measure; take fewer images or channels"))
        };
        product(&[n, h, w, c_in])?;
        product(&[n, h, w, c_out])?;
        product(&[k, k, c_in, c_out])?;
        Ok(sizes)
    }

    /// Zeros on each side.
    pub fn padding(&self) -> usize {
        self.k / 2
    }

    /// Rows of the output.
    pub fn h_out(&self) -> usize {
        (self.h + 2 * self.padding() - self.k) / self.stride + 1
    }

    /// Columns of the output.
    pub fn w_out(&self) -> usize {
        (self.w + 2 * self.padding() - self.k) / self.stride + 1
    }

    fn macs(&self) -> f64 {
        [self.n, self.h_out(), self.w_out(), self.c_in, self.c_out, self.k, self.k].iter().map(|&n| n as f64).product()
    }

    fn config(&self) -> Conv2d {
        Conv2d { stride: self.stride, padding: self.padding(), ..Conv2d::default() }
    }
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
    let sizes = Sizes::parse(&args.shape)?;
    if !(args.seconds.is_finite() && (0.0..=3600.0).contains(&args.seconds)) {
        return Err(Failure::input(format!("--seconds is {}; it must be between 0 and 3600", args.seconds)));
    }
    let threads = pool::check(args.threads)?;
    let report = pool::with_threads(threads, || {
        let runner = Runner::new(&sizes, args.pass);
        runner.run();
        // Before and after, and the better of the two: a machine that changes its clock must not flatter the result.
        let before = peak::fma_peak();
        let times = Times::within(Duration::from_secs_f32(args.seconds), || drop(black_box(runner.run())));
        let peak_gflops = peak::fma_peak().max(before);
        let ms = times.median();
        let gflops = 2.0 * sizes.macs() / ms / 1e6;
        let checked = Sizes { n: ((CHECKED * sizes.n as f64 / sizes.macs()) as usize).clamp(1, sizes.n), ..sizes };
        Ok(Report {
            shape: args.shape.clone(),
            pass: match args.pass {
                Pass::Forward => "forward",
                Pass::GradInput => "grad-input",
                Pass::GradWeight => "grad-weight",
            },
            threads,
            gflops,
            ms,
            algorithm: "direct",
            max_rel_error: Runner::new(&checked, args.pass).error(&checked),
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
struct Runner {
    config: Conv2d,
    pass: Pass,
    x: Tensor,
    weight: Tensor,
    grad_output: Tensor,
    /// The recorded forward pass that a backward one walks back, in which only what `pass` asks for is differentiable.
    output: Tensor,
}

impl Runner {
    fn new(s: &Sizes, pass: Pass) -> Runner {
        let random = |shape: [usize; 4], stream: u64| {
            let mut rng = Rng::new(0, &[purpose::TEST, stream]);
            Tensor::from_fn(shape, |_| rng.uniform() - 0.5)
        };
        let leaf = |tensor: Tensor, is_leaf: bool| if is_leaf { tensor.requires_grad() } else { tensor };
        let x = leaf(random([s.n, s.h, s.w, s.c_in], 0), pass == Pass::GradInput);
        let weight = leaf(random([s.k, s.k, s.c_in, s.c_out], 1), pass == Pass::GradWeight);
        let grad_output = random([s.n, s.h_out(), s.w_out(), s.c_out], 2);
        let output = x.conv2d(&weight, None, s.config());
        Runner { config: s.config(), pass, x, weight, grad_output, output }
    }

    fn run(&self) -> Option<Tensor> {
        let leaf = match self.pass {
            Pass::Forward => return Some(no_grad(|| self.x.conv2d(&self.weight, None, self.config))),
            Pass::GradInput => &self.x,
            Pass::GradWeight => &self.weight,
        };
        let mut steps = self.output.backward_steps(self.grad_output.clone()).keep_tape();
        steps.by_ref().for_each(drop);
        steps.into_gradients().get(leaf).cloned()
    }

    /// Largest difference from `f64`, relative to the largest value.
    fn error(&self, sizes: &Sizes) -> f64 {
        let result = self.run();
        let expected = naive::conv(sizes, self.pass, self.x.data(), self.weight.data(), self.grad_output.data());
        let found = result.iter().flat_map(|t| t.data()).map(|&v| f64::from(v));
        let largest = expected.iter().fold(0.0, |m: f64, v| m.max(v.abs()));
        let difference = found.zip(&expected).fold(0.0, |m: f64, (a, b)| m.max((a - b).abs()));
        if largest > 0.0 { difference / largest } else { difference }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impossible_shapes_are_refused() {
        let message = |text: &str| Sizes::parse(text).expect_err("refused").to_string();
        assert!(message("1,2,3").contains("expected seven numbers"));
        assert!(message("1,0,8,8,8,3,1").contains("1 or more"));
        assert!(
            message("1,2,2,8,8,99999,1").contains("larger than the padded image")
                || message("1,2,2,8,8,99999,1").contains("too large")
        );
        assert!(message("99999999999,99999999999,8,8,8,3,1").contains("too large"));
        assert!(message("x,8,8,8,8,3,1").contains("whole numbers"));
    }

    #[test]
    fn every_pass_agrees_with_its_sum() {
        let sizes = Sizes::parse("2,7,5,3,4,3,2").expect("sound");
        for pass in [Pass::Forward, Pass::GradInput, Pass::GradWeight] {
            let error = Runner::new(&sizes, pass).error(&sizes);
            // Sums of at most 200 products in f32.
            assert!(error < 1e-5, "{pass:?}: {error}");
        }
    }
}
