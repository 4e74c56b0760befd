//! `pleach topology`

mod draw;
mod svg;

use crate::failure::Failure;
use crate::output;
use crate::run::atomic;
use nn::aggregation::{Gather, Wiring, log_factorial};
use nn::models::{Aggregation, PerStage, WiringFile};
use nn::{Builder, Model};
use std::path::{Path, PathBuf};

/// Count and draw the links of a way to aggregate
///
/// A stage has an input (0), layers 1 to N and an exit (N + 1) that gathers as they do. Links and paths are those of one stage;
/// parameters and multiply-adds those of the CIFAR network with three such stages. With offsets 1, C, C*C, ... layer i reads as many
/// outputs as i has digits in base C, so that links are a little more than the logarithm to base C of (N + 1)!, which is told too.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Layers in each stage; several, as in 8,16,32, to see them grow
    #[arg(long, value_name = "N", value_delimiter = ',')]
    layers: Vec<usize>,
    /// What a layer reads: all, base:C (offsets 1, C, C*C, ...), previous, a rule's name, or edges:FILE (a wiring file)
    #[arg(long, value_name = "RULE", default_value = "base:2")]
    gather: String,
    /// How it is put together: concat, sum, mixed or dual
    #[arg(long, value_name = "HOW")]
    how: Option<String>,
    /// Channels that a layer appends (default: 12), or three numbers, one for each stage
    #[arg(long, value_name = "K", value_delimiter = ',')]
    growth: Vec<usize>,
    /// Channels that a layer adds (default: 16,32,64 for sums, else as many as it appends)
    #[arg(long, value_name = "K", value_delimiter = ',')]
    added: Vec<usize>,
    /// Channels of the first convolution (default: twice the growth)
    #[arg(long, value_name = "C")]
    stem: Option<usize>,
    /// Layers with a 1x1 convolution in front, and transitions that halve the channels
    #[arg(long)]
    bottleneck: bool,
    /// Show a shortest path of the gradient between two indices
    #[arg(long, value_name = "FROM,TO", value_delimiter = ',')]
    path: Vec<usize>,
    /// Number of classes, which the parameters depend on
    #[arg(long, value_name = "N", default_value_t = 10)]
    classes: usize,
    /// Write the drawing to this SVG file
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Print one JSON object for each number of layers, and nothing else
    #[arg(long)]
    json: bool,
}

#[derive(serde::Serialize)]
struct Report {
    gather: String,
    how: String,
    layers: usize,
    links: usize,
    /// Of offsets that are powers of c: the logarithm to base c of (layers + 1)!; links lie above it, by layers + 1 at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    log_factorial: Option<f64>,
    longest_shortest_path: usize,
    /// Of the network; absent if it is too large to be built.
    params: Option<usize>,
    macs: Option<u64>,
    #[serde(flatten)]
    path: Option<PathReport>,
}

/// What `--path` adds.
#[derive(serde::Serialize)]
struct PathReport {
    steps: Option<usize>,
    path: Option<Vec<usize>>,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<(), Failure> {
    let file = described(args)?;
    // What is wrong in a file is told with its name.
    let told = |wrong: nn::Error| match args.gather.strip_prefix("edges:") {
        Some(path) => Failure::input(format!("{path}: {wrong}")),
        None => wrong.into(),
    };
    let depths: Vec<usize> =
        if args.layers.is_empty() { file.layers.into_iter().collect() } else { args.layers.clone() };
    if depths.is_empty() {
        return Err(Failure::input("how many layers has a stage? Add --layers N"));
    }
    let ends = match args.path[..] {
        [] => None,
        [a, b] => Some((a.max(b), a.min(b))),
        _ => return Err(Failure::input("--path takes two indices, as in --path 23,0")),
    };
    if args.svg.is_some() && depths.len() > 1 {
        return Err(Failure::input("--svg draws one wiring; give --layers one number"));
    }
    for layers in depths {
        let of = WiringFile { layers: Some(layers), ..file.clone() }.aggregation().map_err(told)?;
        let wiring = of.wiring().map_err(told)?;
        of.check().map_err(told)?;
        let path = ends.map(|ends| path(&wiring, ends)).transpose()?;
        let report = report(&of, &wiring, path, args.classes)?;
        if let Some(out) = &args.svg {
            if layers > svg::MOST_LAYERS {
                return Err(Failure::input(format!("--svg draws at most {} layers, not {layers}", svg::MOST_LAYERS)));
            }
            let highlighted = report.path.as_ref().and_then(|p| p.path.as_deref()).unwrap_or(&[]);
            let text = svg::draw(&wiring, &format!("{}, {}", report.gather, report.how), highlighted);
            atomic::replace(out, text.as_bytes()).map_err(|e| Failure::writing(out, &e))?;
        }
        if args.json {
            output::print(&report)?;
        } else {
            print(&report, &wiring)?;
        }
    }
    Ok(())
}

/// The wiring file that the flags name, or the flags as one; flags come first.
fn described(args: &Args) -> Result<WiringFile, Failure> {
    let mut file = match args.gather.strip_prefix("edges:") {
        Some("") => return Err(Failure::input("--gather edges: names no file; write edges:FILE, with a wiring file")),
        Some(path) => WiringFile::read(Path::new(path))?,
        None => WiringFile { gather: Some(args.gather.clone()), ..WiringFile::default() },
    };
    file.how = args.how.clone().or(file.how);
    let sums = file.how.as_deref() == Some("sum");
    file.growth = per_stage("--growth", &args.growth)?.or(file.growth);
    if file.growth.is_none() && !sums {
        file.growth = Some(PerStage::Same(12));
    }
    file.added = per_stage("--added", &args.added)?.or(file.added);
    file.stem = args.stem.or(file.stem);
    if args.bottleneck {
        file.bottleneck = Some(true);
    }
    Ok(file)
}

fn per_stage(flag: &str, numbers: &[usize]) -> Result<Option<PerStage>, Failure> {
    match *numbers {
        [] => Ok(None),
        [n] => Ok(Some(PerStage::Same(n))),
        [a, b, c] => Ok(Some(PerStage::Each([a, b, c]))),
        _ => Err(Failure::input(format!("{flag} takes one number, or three, one for each stage"))),
    }
}

fn path(wiring: &Wiring, (from, to): (usize, usize)) -> Result<PathReport, Failure> {
    if from > wiring.exit() {
        return Err(Failure::input(format!(
            "--path: there is no {from}; indices run from 0, the stage's input, to {}, its exit",
            wiring.exit()
        )));
    }
    Ok(PathReport { steps: wiring.distance(from, to), path: wiring.path(from, to) })
}

fn report(of: &Aggregation, wiring: &Wiring, path: Option<PathReport>, classes: usize) -> Result<Report, Failure> {
    if classes < 2 {
        return Err(Failure::input("--classes: a network tells at least 2 classes apart"));
    }
    let model = of.build(&mut Builder::outline(), classes).ok().map(|network| Model::of("topology", classes, network));
    Ok(Report {
        gather: of.gather.to_string(),
        how: of.how.to_string(),
        layers: wiring.layers(),
        links: wiring.links(),
        log_factorial: match of.gather {
            Gather::Base(base) => Some(log_factorial(wiring.exit(), base)),
            _ => None,
        },
        longest_shortest_path: wiring.longest_shortest_path(),
        params: model.as_ref().map(Model::num_params),
        macs: model.as_ref().map(Model::macs),
        path,
    })
}

fn print(report: &Report, wiring: &Wiring) -> Result<(), Failure> {
    let Report { gather, how, layers, links, longest_shortest_path, .. } = report;
    let estimate = match report.log_factorial {
        Some(log) => {
            let base = gather.trim_start_matches("base:");
            format!(" (log_{base} {}! = {log:.1})", wiring.exit())
        }
        None => String::new(),
    };
    output::line(&format!(
        "{gather}, {how}, {layers} layers: {links} links{estimate}, the longest shortest path has {longest_shortest_path} steps"
    ))?;
    output::line(&match (report.params, report.macs) {
        (Some(params), Some(macs)) => {
            format!("three stages: {params} parameters, {:.1} million multiply-adds an image", macs as f64 / 1e6)
        }
        _ => "three stages: too many parameters to build".into(),
    })?;
    if let Some(path) = &report.path {
        output::line(&match &path.path {
            Some(path) => {
                let names: Vec<String> = path.iter().map(usize::to_string).collect();
                format!("the gradient takes {} steps: {}", path.len() - 1, names.join(" -> "))
            }
            None => "no gradient flows between these two".into(),
        })?;
    }
    let highlighted = report.path.as_ref().and_then(|p| p.path.as_deref()).unwrap_or(&[]);
    for line in draw::arcs(wiring, highlighted).into_iter().chain(draw::exploded(wiring, highlighted)) {
        output::line(&line)?;
    }
    Ok(())
}
