//! Times of repeated work.

use std::time::{Duration, Instant};

/// Times of the repeats of one piece of work, in ms.
pub struct Times(Vec<f64>);

impl Times {
    /// Runs `work` `count` times.
    pub fn of(count: usize, mut work: impl FnMut()) -> Times {
        Times((0..count).map(|_| timed(&mut work)).collect())
    }

    /// Runs `work` until `budget` is spent, at least three times.
    pub fn within(budget: Duration, mut work: impl FnMut()) -> Times {
        let (began, mut times) = (Instant::now(), vec![]);
        while times.len() < 3 || began.elapsed() < budget {
            times.push(timed(&mut work));
        }
        Times(times)
    }

    /// The middle one, in ms.
    pub fn median(&self) -> f64 {
        median(&self.0)
    }

    /// The shortest, in ms.
    pub fn min(&self) -> f64 {
        self.0.iter().copied().reduce(f64::min).unwrap_or(0.0)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }
}

/// The middle value, or the mean of the two in the middle; 0 of none.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let n = sorted.len();
    if n == 0 {
        return 0.0;
    }
    (sorted[(n - 1) / 2] + sorted[n / 2]) / 2.0
}

fn timed(work: &mut impl FnMut()) -> f64 {
    let began = Instant::now();
    work();
    began.elapsed().as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::Times;

    #[test]
    fn medians_of_odd_even_and_none() {
        assert_eq!(Times(vec![3.0, 1.0, 2.0]).median(), 2.0);
        assert_eq!(Times(vec![4.0, 1.0, 2.0, 3.0]).median(), 2.5);
        assert_eq!(Times(vec![]).median(), 0.0);
        assert_eq!(Times(vec![3.0, 1.0]).min(), 1.0);
    }
}
