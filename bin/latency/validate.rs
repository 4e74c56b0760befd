//! Predicted against measured latency of random networks.

use super::figure;
use super::measured::{Progress, Request, interrupted};
use crate::failure::Failure;
use crate::output;
use crate::run::atomic;
use crate::signals::Stop;
use nas::latency::{Agreement, Effort, Table, agreement, correction, measure_networks};
use nas::{Arch, BlockKey};
use nn::{Builder, Model};
use std::path::Path;

/// Networks that the correction is fitted on.
const FITTED: usize = 12;
/// Rounds of whole networks, three runs each.
const ROUNDS: usize = 12;
/// Numbers of the random networks that fit the correction begin here; those that validate begin at 0.
const FIT_FROM: u64 = 1 << 32;

/// What the networks that were measured say of the table.
pub struct Validated {
    /// With the correction.
    pub corrected: Agreement,
    /// Without it.
    pub plain: Agreement,
    /// A name, the prediction and the measurement of each, in ms.
    pub networks: Vec<(String, f64, f64)>,
}

#[derive(serde::Serialize)]
struct Summary<'a> {
    median_error: Option<f64>,
    rank_correlation: Option<f64>,
    median_error_uncorrected: Option<f64>,
    networks: usize,
    scale: Option<f64>,
    offset_ms: Option<f64>,
    space: &'a str,
    batch: usize,
    threads: usize,
    table: &'a Path,
    svg: Option<&'a Path>,
}

/// Measures `count` random networks and, for a `fresh` table, a few more that its correction is fitted on. `None` of 0 networks.
pub fn run(
    request: &Request,
    table: &mut Table,
    count: usize,
    fresh: bool,
    stop: &Stop,
) -> Result<Option<Validated>, Failure> {
    let fitted = if fresh && request.space.log10_count() > 0.0 { FITTED } else { 0 };
    let numbers = (0..count as u64).chain((0..fitted as u64).map(|i| FIT_FROM + i));
    let archs: Vec<Arch> = numbers.map(|i| request.space.random(request.seed, i)).collect();
    if archs.is_empty() {
        return Ok(None);
    }
    let build = |arch: &Arch| request.space.build(arch, request.classes, &mut Builder::new(request.seed));
    let models: Vec<Model> = archs.iter().map(build).collect::<Result<_, _>>()?;
    let progress = Progress::new(&format!("{} whole networks", models.len()));
    let effort = Effort { warm_up: 1, rounds: ROUNDS };
    let (batch, threads, seed) = (request.batch, request.threads, request.seed);
    let timings = measure_networks(&models, (batch, request.space.resolution()), threads, effort, seed, |done, all| {
        progress.at(done, all, stop)
    });
    progress.end();
    let measured: Vec<f64> = timings.ok_or_else(interrupted)?.iter().map(|t| t.ms).collect();
    let sums: Vec<f64> = archs.iter().map(|arch| sum(request, table, arch)).collect::<Result<_, _>>()?;
    if fitted > 0 {
        table.correction = correction(&sums[count..], &measured[count..]);
    }
    if count == 0 {
        return Ok(None);
    }
    let (sums, measured) = (&sums[..count], &measured[..count]);
    let predicted: Vec<f64> = sums.iter().map(|&sum| table.corrected(sum)).collect();
    let networks =
        archs.iter().zip(predicted.iter().zip(measured)).map(|(a, (p, m))| (a.to_string(), *p, *m)).collect();
    Ok(Some(Validated { corrected: agreement(&predicted, measured), plain: agreement(sums, measured), networks }))
}

/// The sum of the blocks of `arch`, in ms.
pub fn sum(request: &Request, table: &Table, arch: &Arch) -> Result<f64, Failure> {
    let blocks: Vec<BlockKey> =
        request.space.blocks_of(arch, request.classes).into_iter().map(|block| block.key).collect();
    table
        .sum_ms(&blocks)
        .ok_or_else(|| Failure::work(format!("the table lacks a block of {arch}; measure again with --force")))
}

/// Draws, and says how it went.
pub fn tell(
    request: &Request,
    table: &Table,
    validated: Option<&Validated>,
    path: &Path,
    svg: &Path,
    json: bool,
) -> Result<(), Failure> {
    if let Some(validated) = validated {
        let drawing = figure::calibration(request, table, validated);
        atomic::replace(svg, drawing.as_bytes()).map_err(|e| Failure::writing(svg, &e))?;
    }
    if json {
        return output::print(&Summary {
            median_error: validated.map(|v| v.corrected.median_error),
            rank_correlation: validated.map(|v| v.corrected.rank_correlation),
            median_error_uncorrected: validated.map(|v| v.plain.median_error),
            networks: validated.map_or(0, |v| v.networks.len()),
            scale: table.correction.map(|c| c.scale),
            offset_ms: table.correction.map(|c| c.offset_ms),
            space: &request.label,
            batch: request.batch,
            threads: request.threads,
            table: path,
            svg: validated.map(|_| svg),
        });
    }
    let width = table.blocks.iter().map(|row| row.block.to_string().len()).max().unwrap_or(0);
    output::line(&format!("{:<width$} {:>9} {:>8}", "block", "ms", "+-"))?;
    for row in &table.blocks {
        let name = row.block.to_string();
        output::line(&format!("{name:<width$} {:>9.4} {:>8.4}", row.timing.ms, row.timing.spread_ms))?;
    }
    output::line(&format!("table: {}", path.display()))?;
    let Some(v) = validated else { return Ok(()) };
    if let Some(c) = table.correction {
        output::line(&format!(
            "a network takes {:.3} x the sum of its blocks {:+.3} ms (fitted on {} other random networks)",
            c.scale, c.offset_ms, c.networks
        ))?;
    }
    output::line(&format!(
        "{} random networks: median error {:.1} % ({:.1} % of bare sums), rank correlation {:.3}; drawing: {}",
        v.networks.len(),
        100.0 * v.corrected.median_error,
        100.0 * v.plain.median_error,
        v.corrected.rank_correlation,
        svg.display()
    ))
}
