//! A tensor in a few numbers.

/// Summary of values; see `docs/trace-format.md`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stats {
    /// Of the finite values; NaN if there are none, as the next four.
    pub min: f64,
    /// Largest.
    pub max: f64,
    /// Mean.
    pub mean: f64,
    /// Biased standard deviation.
    pub std: f64,
    /// Euclidean norm.
    pub norm: f64,
    /// Values that are 0.
    pub zeros: usize,
    /// Values that are NaN.
    pub nan: usize,
    /// Values that are infinite.
    pub inf: usize,
}

impl Stats {
    /// Of `values`.
    pub fn of(values: &[f32]) -> Stats {
        let mut stats =
            Stats { min: f64::NAN, max: f64::NAN, mean: f64::NAN, std: f64::NAN, norm: f64::NAN, ..Stats::default() };
        let (mut count, mut sum, mut squares) = (0usize, 0.0, 0.0);
        for &value in values {
            stats.nan += usize::from(value.is_nan());
            stats.inf += usize::from(value.is_infinite());
            stats.zeros += usize::from(value == 0.0);
            if value.is_finite() {
                let value = f64::from(value);
                // `min` and `max` of a NaN are the other.
                stats.min = stats.min.min(value);
                stats.max = stats.max.max(value);
                count += 1;
                sum += value;
                squares += value * value;
            }
        }
        if count > 0 {
            stats.mean = sum / count as f64;
            stats.norm = squares.sqrt();
            let about_mean = |value: &f32| (f64::from(*value) - stats.mean).powi(2);
            let spread: f64 = values.iter().filter(|v| v.is_finite()).map(about_mean).sum();
            stats.std = (spread / count as f64).sqrt();
        }
        stats
    }

    /// Whether every value was finite.
    pub fn is_finite(&self) -> bool {
        self.nan == 0 && self.inf == 0
    }
}

/// Euclidean norm, infinities and NaN included.
pub fn norm(values: &[f32]) -> f64 {
    values.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt()
}

/// Counts of the finite values in `bins` equal bins from `min` to `max`; empty if those are equal or there are none.
pub fn histogram(values: &[f32], stats: &Stats, bins: usize) -> Vec<usize> {
    let width = (stats.max - stats.min) / bins as f64;
    if !(width > 0.0 && width.is_finite()) {
        return vec![];
    }
    let mut counts = vec![0; bins];
    for value in values.iter().filter(|v| v.is_finite()) {
        let bin = ((f64::from(*value) - stats.min) / width) as usize;
        counts[bin.min(bins - 1)] += 1;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finite_values_are_summed_up_and_others_counted() {
        let values = [1.0, -1.0, 0.0, f32::NAN, f32::INFINITY, 2.0];
        let stats = Stats::of(&values);
        assert_eq!((stats.min, stats.max, stats.mean), (-1.0, 2.0, 0.5));
        assert_eq!((stats.zeros, stats.nan, stats.inf), (1, 1, 1));
        assert!((stats.norm - 6f64.sqrt()).abs() < 1e-12 && (stats.std - 1.25f64.sqrt()).abs() < 1e-12);
        assert!(!stats.is_finite());
        assert_eq!(histogram(&values, &stats, 3), [1, 1, 2]);
    }

    #[test]
    fn nothing_finite_has_no_extremes() {
        let stats = Stats::of(&[f32::NAN]);
        assert!(stats.min.is_nan() && stats.mean.is_nan());
        assert!(histogram(&[f32::NAN], &stats, 4).is_empty());
        assert!(histogram(&[2.0, 2.0], &Stats::of(&[2.0, 2.0]), 4).is_empty());
    }
}
