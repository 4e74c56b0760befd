//! From sums of blocks to whole networks, and how well that works.

use super::stats::{median, median_relative_error, rank_correlation};
use super::table::Correction;

/// How predictions compare with measurements.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Agreement {
    /// Median of `|predicted - measured| / measured`.
    pub median_error: f64,
    /// Spearman's, -1..=1.
    pub rank_correlation: f64,
}

/// Of predictions and measurements of the same networks, in one order.
pub fn agreement(predicted: &[f64], measured: &[f64]) -> Agreement {
    Agreement {
        median_error: median_relative_error(predicted, measured),
        rank_correlation: rank_correlation(predicted, measured),
    }
}

/// The line through points `(sum, measured)` of several networks: Theil and Sen's, the median of the slopes between all pairs, which a
/// disturbed measurement hardly moves. Slopes are kept within 0.5..=2: a line that leaves that says that the table is wrong, and a
/// correction would hide it. `None` of fewer than two different sums.
pub fn correction(sums: &[f64], measured: &[f64]) -> Option<Correction> {
    let points: Vec<(f64, f64)> = sums.iter().copied().zip(measured.iter().copied()).collect();
    let mut slopes = vec![];
    for (i, a) in points.iter().enumerate() {
        slopes.extend(points[i + 1..].iter().filter(|b| b.0 != a.0).map(|b| (b.1 - a.1) / (b.0 - a.0)));
    }
    if slopes.is_empty() {
        return None;
    }
    let scale = median(&slopes).clamp(0.5, 2.0);
    let offsets: Vec<f64> = points.iter().map(|(sum, measured)| measured - scale * sum).collect();
    Some(Correction { scale, offset_ms: median(&offsets), networks: points.len() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_found_in_spite_of_a_disturbed_point() {
        let sums = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0];
        let mut measured = sums.map(|s| 1.1 * s + 0.3);
        measured[3] = 40.0;
        let found = correction(&sums, &measured).expect("a line");
        assert!((found.scale - 1.1).abs() < 1e-9 && (found.offset_ms - 0.3).abs() < 1e-9, "{found:?}");
        assert_eq!(found.networks, 7);
        assert_eq!(correction(&[2.0, 2.0], &[1.0, 3.0]), None);
    }

    #[test]
    fn agreement_of_a_constant_factor() {
        let found = agreement(&[1.1, 2.2, 3.3], &[1.0, 2.0, 3.0]);
        assert!((found.median_error - 0.1).abs() < 1e-12 && found.rank_correlation == 1.0);
    }
}
