//! Axes: where a value lies, and the round numbers beside them.

use super::{label, ticks};

/// From values to pixels along one axis.
#[derive(Clone, Debug)]
pub struct Scale {
    /// Round numbers, in rising order; the first and last are the axis's ends.
    pub ticks: Vec<f64>,
    start: f64,
    length: f64,
}

impl Scale {
    /// An axis that covers `values`, of `length` pixels from `start` on; negative to run backwards, as heights do. From 0 on if
    /// `from_zero`.
    pub fn new(values: impl Iterator<Item = f64>, from_zero: bool, start: f64, length: f64) -> Scale {
        let zero = from_zero.then_some(0.0);
        let (low, high) = values
            .filter(|v| v.is_finite())
            .chain(zero)
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
        let (low, high) = if low.is_finite() { (low, high) } else { (0.0, 1.0) };
        Scale { ticks: ticks(low, high, 5), start, length }
    }

    /// The pixel of `value`.
    pub fn at(&self, value: f64) -> f64 {
        let (low, high) = (self.low(), self.high());
        self.start + (value - low) / (high - low) * self.length
    }

    /// The axis's smaller end.
    pub fn low(&self) -> f64 {
        self.ticks[0]
    }

    /// The axis's larger end.
    pub fn high(&self) -> f64 {
        self.ticks[self.ticks.len() - 1]
    }

    /// A tick's number with just the decimals that the distance of the ticks needs.
    pub fn label(&self, tick: f64) -> String {
        label(tick, &self.ticks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_cover_their_values_with_round_numbers() {
        let scale = Scale::new([0.83, 2.31].into_iter(), false, 100.0, -50.0);
        assert!(scale.low() <= 0.83 && scale.high() >= 2.31 && scale.ticks.len() <= 8, "{scale:?}");
        assert_eq!((scale.at(scale.low()), scale.at(scale.high())), (100.0, 50.0));
        assert_eq!(Scale::new([3.0, 8.0].into_iter(), true, 0.0, 1.0).low(), 0.0);
        assert_eq!(Scale::new([0.0, 0.4].into_iter(), true, 0.0, 1.0).label(0.1), "0.1");
        for values in [vec![], vec![f64::NAN], vec![2.0], vec![0.0]] {
            let scale = Scale::new(values.into_iter(), false, 0.0, 1.0);
            assert!(scale.ticks.len() >= 2 && scale.at(scale.low()).is_finite(), "{scale:?}");
        }
    }
}
