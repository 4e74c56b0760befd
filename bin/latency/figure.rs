//! Drawings of latencies.

use super::measured::Request;
use super::validate::Validated;
use super::versus::{Network, Pair};
use crate::plot::{Chart, Mark, Series};
use nas::latency::Table;

fn setting(request: &Request) -> String {
    let plural = |n: usize, what: &str| if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") };
    format!("batch {}, {}", request.batch, plural(request.threads, "thread"))
}

/// Predicted against measured.
pub fn calibration(request: &Request, table: &Table, validated: &Validated) -> String {
    let v = validated.corrected;
    let how = match table.correction {
        Some(c) => format!(", {:.3} x sum {:+.3} ms", c.scale, c.offset_ms),
        None => ", bare sums".into(),
    };
    let points = validated.networks.iter().map(|(name, predicted, measured)| {
        (*measured, *predicted, format!("{name}: {predicted:.3} ms predicted, {measured:.3} measured"))
    });
    Chart {
        title: format!("Latency of {} networks of {}", validated.networks.len(), request.label),
        subtitle: format!(
            "{}{how}: median error {:.1} %, rank correlation {:.3}",
            setting(request),
            100.0 * v.median_error,
            v.rank_correlation
        ),
        x: "measured (ms)".into(),
        y: "predicted (ms)".into(),
        diagonal: true,
        series: vec![Series { name: "random networks".into(), mark: Mark::Dots, colour: 0, points: points.collect() }],
        ..Chart::default()
    }
    .draw()
}

/// Multiply-adds against latency, with the pairs that one does not tell of the other.
pub fn versus(request: &Request, networks: &[Network], pairs: &[Pair]) -> String {
    let point = |n: &Network| {
        (n.macs as f64 / 1e6, n.ms, format!("{}: {:.1} MMAC, {:.3} ms", n.name, n.macs as f64 / 1e6, n.ms))
    };
    let of = |named: bool| networks.iter().filter(|n| n.named == named).map(point).collect();
    // Without the mark of what it holds, for which there is no room.
    let space = request.label.split(' ').next().unwrap_or(&request.label);
    let both = pairs.iter().flat_map(|pair| [point(&pair.fast), point(&pair.slow)]).collect();
    let best = pairs.first().map_or_else(String::new, |pair| {
        format!(
            " ({:.0} % against {:.0} % of latency)",
            100.0 * pair.macs_difference(),
            100.0 * pair.latency_difference()
        )
    });
    Chart {
        title: "Multiply-adds do not tell latency".into(),
        subtitle: format!("{}; pairs of nearly equal multiply-adds{best}", setting(request)),
        x: "multiply-adds (millions)".into(),
        y: "latency (ms)".into(),
        from_zero: true,
        series: vec![
            Series { name: space.into(), mark: Mark::Dots, colour: 0, points: of(false) },
            Series { name: "named networks".into(), mark: Mark::Dots, colour: 2, points: of(true) },
            Series { name: "pairs".into(), mark: Mark::Pairs, colour: 1, points: both },
        ],
        ..Chart::default()
    }
    .draw()
}
