//! `pleach bench conv`

use super::kernel::{Bench, Operands, Pass, algorithm_name, shape_name};
use super::peak;
use super::timing::Times;
use crate::config::ConvAlgorithm;
use crate::failure::Failure;
use crate::training;
use crate::{output, pool};
use engine::kernels::simd::Level;
use engine::parallel::awake;
use engine::{Algorithm, ConvSize};
use std::time::{Duration, Instant};

/// Convolutions: one shape in one direction, or all shapes of a model
///
/// Times the kernels alone, without recording them on a tape; as in a training step, threads are kept awake between two runs. What a
/// layer reads as a list of maps is one map here. Errors are those of values drawn from the result.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// N,H,W,C_in,C_out,kernel,stride and, if there are several, groups; the padding is half the kernel
    #[arg(long, value_name = "SIZES", default_value = "64,32,32,16,16,3,1")]
    shape: String,
    /// Every shape of this model instead
    #[arg(long, value_name = "NAME", conflicts_with = "shape")]
    model: Option<String>,
    /// Every shape of every listed model instead
    #[arg(long, conflicts_with_all = ["shape", "model"])]
    all: bool,
    /// Images, with --model and --all
    #[arg(long, value_name = "N", default_value_t = 64, conflicts_with = "shape")]
    batch: usize,
    /// Direction (default: forward of one shape, all three of a model's)
    #[arg(long, value_enum)]
    pass: Option<Pass>,
    /// How to compute it; auto is what networks run
    #[arg(long, visible_alias = "conv-algorithm", value_enum, default_value_t = ConvAlgorithm::Auto)]
    algorithm: ConvAlgorithm,
    /// Which instructions to use; native is what networks run, and avx2 is the same where there is no AVX-512
    #[arg(long, value_enum, default_value_t = Instructions::Native)]
    instructions: Instructions,
    /// Worker threads (default: one a core)
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Seconds of measuring (default: 1 for one shape, 0.1 for each of a model's)
    #[arg(long, value_name = "S")]
    seconds: Option<f32>,
    /// Print one JSON object a line on standard output, and nothing else
    #[arg(long)]
    json: bool,
}

/// Instruction sets to compare. Results are the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Instructions {
    /// The best of this machine
    Native,
    /// Vectors of 256 bits
    Avx2,
    /// Plain Rust
    Portable,
}

impl From<Instructions> for Level {
    fn from(instructions: Instructions) -> Level {
        match instructions {
            Instructions::Native => Level::Native,
            Instructions::Avx2 => Level::Avx2,
            Instructions::Portable => Level::Portable,
        }
    }
}

/// Most elements of a tensor that is worth measuring: 4 GiB.
const LARGEST: usize = 1 << 30;

/// `N,H,W,C_in,C_out,kernel,stride[,groups]`
fn parse(text: &str) -> Result<ConvSize, Failure> {
    let wrong = |why: &str| Failure::input(format!("--shape {text}: {why}"));
    let numbers: Vec<usize> = text
        .split(',')
        .map(|part| part.trim().parse().ok().filter(|&n| n >= 1))
        .collect::<Option<_>>()
        .ok_or_else(|| wrong("expected whole numbers of 1 or more"))?;
    let ([n, h, w, c_in, c_out, k, stride], groups) = match numbers[..] {
        [n, h, w, c_in, c_out, k, stride] => ([n, h, w, c_in, c_out, k, stride], 1),
        [n, h, w, c_in, c_out, k, stride, groups] => ([n, h, w, c_in, c_out, k, stride], groups),
        _ => return Err(wrong("expected seven numbers, N,H,W,C_in,C_out,kernel,stride, or an eighth, groups")),
    };
    // With padding an output is at most a row and a column larger than its input.
    let tensors = [[n, h.saturating_add(1), w.saturating_add(1), c_in.max(c_out)], [k, k, c_in, c_out]];
    if !tensors.into_iter().all(is_measurable) {
        return Err(wrong("too large to measure; take fewer images or channels"));
    }
    ConvSize::new([n, h, w, c_in], [k, k, c_in / groups, c_out], [stride, k / 2, 1, groups])
        .map_err(|rule| wrong(&rule))
}

fn is_measurable(dims: [usize; 4]) -> bool {
    dims.iter().try_fold(1usize, |all, &d| all.checked_mul(d)).is_some_and(|n| n <= LARGEST)
}

/// A shape to be measured.
struct Case {
    size: ConvSize,
    /// The model that it was found in, and how many of its convolutions have it.
    found_in: Option<(String, usize)>,
}

impl Args {
    fn cases(&self) -> Result<Vec<Case>, Failure> {
        let models: Vec<String> = match &self.model {
            Some(name) => vec![name.clone()],
            None if self.all => nn::zoo().into_iter().map(|info| info.name).collect(),
            None => return Ok(vec![Case { size: parse(&self.shape)?, found_in: None }]),
        };
        if self.batch == 0 {
            return Err(Failure::input("--batch is 0; it must be 1 or more"));
        }
        let mut cases: Vec<Case> = vec![];
        for name in models {
            let first = cases.len();
            for size in crate::networks::outline(&name, 10)?.convolutions() {
                let size = ConvSize { n: self.batch, ..size };
                if !is_measurable([size.n, size.h, size.w, size.c_in.max(size.c_out)]) {
                    return Err(Failure::input(format!("--batch {} is too large to measure {name}", self.batch)));
                }
                // A shape is measured once, for the first model that has it.
                match cases.iter().position(|case| case.size == size) {
                    None => cases.push(Case { size, found_in: Some((name.clone(), 1)) }),
                    Some(at) if at < first => {}
                    Some(at) => cases[at].found_in.iter_mut().for_each(|(_, layers)| *layers += 1),
                }
            }
        }
        Ok(cases)
    }
}

#[derive(serde::Serialize)]
struct Report {
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    layers: Option<usize>,
    shape: String,
    pass: &'static str,
    threads: usize,
    gflops: f64,
    ms: f64,
    algorithm: &'static str,
    max_rel_error: f64,
    values_checked: usize,
    peak_gflops: f64,
    of_peak: f64,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<(), Failure> {
    let cases = args.cases()?;
    let single = cases.iter().all(|case| case.found_in.is_none());
    let seconds = args.seconds.unwrap_or(if single { 1.0 } else { 0.1 });
    if !(seconds.is_finite() && (0.0..=3600.0).contains(&seconds)) {
        return Err(Failure::input(format!("--seconds is {seconds}; it must be between 0 and 3600")));
    }
    let algorithm = Algorithm::from(args.algorithm);
    if args.algorithm == ConvAlgorithm::Winograd && single && !algorithm.is_winograd(&cases[0].size) {
        return Err(Failure::input(format!(
            "--algorithm winograd: it computes 3x3 kernels of stride 1, or of stride 2 between multiples of 16 channels, not --shape {}; take direct",
            args.shape
        )));
    }
    let passes = match args.pass {
        Some(pass) => vec![pass],
        None if single => vec![Pass::Forward],
        None => Pass::ALL.to_vec(),
    };
    let threads = pool::check(args.threads)?;
    // Multiply-adds of the check against `f64`.
    let checked = if single { 2e8 } else { 2e7 };
    let progress = if single { None } else { training::bar("{bar:24} {percent:>3} %  {eta:>4} left  {wide_msg}", 0) };
    pool::with_threads(threads, || {
        // Many short measurements share one of the peak.
        let mut peak = Peak::new(if single { Duration::ZERO } else { Duration::from_secs(1) });
        let work: Vec<u64> = cases.iter().map(|case| expected_ms(&case.size, seconds, passes.len())).collect();
        if let Some(bar) = &progress {
            bar.set_length(work.iter().sum());
        }
        for (Case { size, found_in }, work) in cases.into_iter().zip(work) {
            let (model, layers) = found_in.unzip();
            if let Some(bar) = &progress {
                bar.set_message(format!("{} {}", model.as_deref().unwrap_or_default(), shape_name(&size)));
            }
            let operands = Operands::new(size);
            for &pass in &passes {
                let mut bench = Bench::new(&operands, algorithm, pass, args.instructions.into());
                // As in a training step.
                let times = awake(|| {
                    bench.run();
                    Times::within(Duration::from_secs_f32(seconds), || bench.run())
                });
                let peak_gflops = peak.now();
                let gflops = 2.0 * size.macs() as f64 / times.median() / 1e6;
                let error = bench.error(checked);
                let report = Report {
                    model: model.clone(),
                    layers,
                    shape: shape_name(&size),
                    pass: pass.name(),
                    threads,
                    gflops,
                    ms: times.median(),
                    algorithm: algorithm_name(algorithm, &size),
                    max_rel_error: error.relative,
                    values_checked: error.values,
                    peak_gflops,
                    of_peak: gflops / peak_gflops,
                };
                match &progress {
                    Some(bar) => bar.suspend(|| print(args.json, &report))?,
                    None => print(args.json, &report)?,
                }
            }
            if let Some(bar) = &progress {
                bar.inc(work);
            }
        }
        if let Some(bar) = &progress {
            bar.finish_and_clear();
        }
        Ok(())
    })
}

/// About how long `passes` passes take, in ms: the runs, the check and making up numbers. Only what is left of a bar depends on it.
fn expected_ms(size: &ConvSize, seconds: f32, passes: usize) -> u64 {
    // At least four runs, at some 200 GFLOP/s.
    let runs = (f64::from(seconds) * 1e3).max(4.0 * size.macs() as f64 / 1e8);
    let values = size.n * (size.h * size.w * size.c_in + size.h_out * size.w_out * size.c_out);
    (passes as f64 * (runs + 50.0) + values as f64 / 3e5) as u64
}

/// The FMA peak around a measurement.
struct Peak {
    gflops: f64,
    measured: Instant,
    /// How old it may be.
    age: Duration,
}

impl Peak {
    fn new(age: Duration) -> Peak {
        Peak { gflops: peak::fma_peak(), measured: Instant::now(), age }
    }

    /// Before and after, and the better of the two: a machine that changes its clock must not flatter the result.
    fn now(&mut self) -> f64 {
        if self.measured.elapsed() < self.age {
            return self.gflops;
        }
        let before = self.gflops;
        *self = Peak::new(self.age);
        self.gflops.max(before)
    }
}

fn print(json: bool, report: &Report) -> Result<(), Failure> {
    if json {
        return output::print(report);
    }
    let Report {
        shape, pass, threads, gflops, ms, algorithm, max_rel_error, values_checked, peak_gflops, of_peak, ..
    } = report;
    let percent = 100.0 * of_peak;
    match (&report.model, report.layers) {
        (Some(model), Some(layers)) => output::line(&format!(
            "{model:<26} {layers:>4}x {shape:<26} {pass:<11} {gflops:>6.1} GFLOP/s {percent:>4.0} % of {peak_gflops:.0}  \
             {algorithm:<26} error {max_rel_error:.1e}"
        )),
        _ => output::line(&format!(
            "{shape} {pass}: {gflops:.1} GFLOP/s, {percent:.0} % of the FMA peak of {peak_gflops:.0}; {ms:.3} ms on {threads} \
             threads, {algorithm}; largest error {max_rel_error:.1e} of the largest value, in {values_checked} values"
        )),
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
        assert!(message("1,18446744073709551615,8,8,8,3,1").contains("too large"));
        assert!(message("x,8,8,8,8,3,1").contains("whole numbers"));
        assert!(message("1,8,8,8,8,3,1,3").contains("groups = 3"));
    }

    #[test]
    fn every_pass_agrees_with_its_sum() {
        for (shape, algorithm) in [
            ("2,7,5,3,4,3,2", Algorithm::Direct),
            ("2,7,5,12,12,3,2,12", Algorithm::Direct),
            ("2,7,5,4,6,3,1,2", Algorithm::Direct),
            ("1,8,8,8,8,3,1", Algorithm::Winograd),
        ] {
            for pass in Pass::ALL {
                let size = parse(shape).expect("sound");
                assert_eq!(shape_name(&size), shape);
                let operands = Operands::new(size);
                let mut bench = Bench::new(&operands, algorithm, pass, Level::Native);
                assert!(bench.error(f64::INFINITY).relative > 0.1, "{shape} {pass:?}: nothing computed and no error");
                bench.run();
                let (all, some) = (bench.error(f64::INFINITY), bench.error(size.macs() as f64 / 3.0));
                // Sums of at most 200 products in f32; Winograd's constants cost a few bits more.
                assert!(all.relative < 2e-5, "{shape} {pass:?}: {}", all.relative);
                assert!(some.relative <= all.relative && some.values == all.values.div_ceil(3), "{shape} {pass:?}");
            }
        }
    }

    #[test]
    fn a_models_shapes_are_all_there_and_each_once() {
        let args = Args {
            shape: String::new(),
            model: Some("resnet20".into()),
            all: false,
            batch: 4,
            pass: None,
            algorithm: ConvAlgorithm::Auto,
            threads: None,
            instructions: Instructions::Native,
            seconds: None,
            json: false,
        };
        let cases = args.cases().expect("a model");
        let found: Vec<(String, usize)> = cases
            .into_iter()
            .map(|case| (shape_name(&case.size), case.found_in.map_or(0, |(_, layers)| layers)))
            .collect();
        let expected = [
            ("4,32,32,3,16,3,1", 1),
            ("4,32,32,16,16,3,1", 6),
            ("4,32,32,16,32,3,2", 1),
            ("4,16,16,32,32,3,1", 5),
            ("4,16,16,32,64,3,2", 1),
            ("4,8,8,64,64,3,1", 5),
        ];
        assert_eq!(found, expected.map(|(shape, layers)| (shape.to_string(), layers)));
    }
}
