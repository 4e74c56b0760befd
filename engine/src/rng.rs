//! The seeded generator. Nothing else in the workspace draws random numbers.
//!
//! A generator is named by `(seed, stream)`, where the stream spells out what the numbers are for (say
//! `[AUGMENT, epoch, image]`). Work that draws from a stream of its own can run in any order and on any number of threads, and a
//! resumed run needs no saved generator: it names the same stream again.

use rand_core::{Rng as _, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

/// First words of streams, one per purpose, so that two purposes never share numbers.
pub mod purpose {
    /// Initial weights; then the parameter's index.
    pub const INIT: u64 = 1;
    /// The order of a training epoch; then the epoch.
    pub const SHUFFLE: u64 = 2;
    /// Augmentation; then epoch and position in the epoch.
    pub const AUGMENT: u64 = 3;
    /// Dropout masks; then step and layer.
    pub const DROPOUT: u64 = 4;
    /// Synthetic data.
    pub const SYNTHETIC: u64 = 5;
    /// Mixing pairs of examples; then the step.
    pub const MIXUP: u64 = 6;
    /// A held-out split.
    pub const SPLIT: u64 = 7;
    /// Architecture search; then what for, and of which step and edge.
    pub const SEARCH: u64 = 8;
    /// A balanced subset; then the class.
    pub const SUBSET: u64 = 9;
    /// Tests and benches.
    pub const TEST: u64 = 99;
}

/// xoshiro256++, started from a hash of seed and stream.
///
/// Bounded integers, normals and shuffles are our own: those of general libraries change between versions, and with them
/// every published seed.
#[derive(Clone, Debug)]
pub struct Rng(Xoshiro256PlusPlus);

impl Rng {
    /// The generator of `stream` under `seed`.
    pub fn new(seed: u64, stream: &[u64]) -> Rng {
        let mut state = mix(seed ^ 0x9e37_79b9_7f4a_7c15);
        for &word in stream {
            state = mix(state ^ mix(word.wrapping_add(0xd1b5_4a32_d192_ed03)));
        }
        Rng(Xoshiro256PlusPlus::seed_from_u64(state))
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// Uniform in `[0, 1)`, 24 bits.
    pub fn uniform(&mut self) -> f32 {
        (self.bits() >> 40) as f32 * (1.0 / (1u32 << 24) as f32)
    }

    /// Uniform in `[0, 1)`, 53 bits.
    pub fn uniform_f64(&mut self) -> f64 {
        (self.bits() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// Uniform in `0..n`, without bias (rejection). Returns 0 for `n = 0`.
    pub fn below(&mut self, n: usize) -> usize {
        if n == 0 {
            return 0;
        }
        let n = n as u64;
        let zone = u64::MAX - u64::MAX % n;
        loop {
            let bits = self.bits();
            if bits < zone {
                return (bits % n) as usize;
            }
        }
    }

    /// True with probability `p`.
    pub fn chance(&mut self, p: f64) -> bool {
        self.uniform_f64() < p
    }

    /// Standard normal (Box-Muller, with logarithm and cosine from `libm`: the same bits on every platform).
    pub fn normal(&mut self) -> f32 {
        let radius = libm::sqrt(-2.0 * libm::log(1.0 - self.uniform_f64()));
        (radius * libm::cos(std::f64::consts::TAU * self.uniform_f64())) as f32
    }

    /// Fisher-Yates: every order is equally likely.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }
}

/// The finaliser of SplitMix64.
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_repeatable_and_distinct() {
        let draw = |seed, stream: &[u64]| Rng::new(seed, stream).bits();
        assert_eq!(draw(1, &[2, 3]), draw(1, &[2, 3]));
        assert_ne!(draw(1, &[2, 3]), draw(1, &[3, 2]));
        assert_ne!(draw(1, &[2]), draw(2, &[2]));
        assert_ne!(draw(1, &[]), draw(1, &[0]));
    }

    #[test]
    fn normals_have_mean_0_and_variance_1() {
        let mut rng = Rng::new(0, &[purpose::TEST]);
        let n = 20_000;
        let draws: Vec<f64> = (0..n).map(|_| f64::from(rng.normal())).collect();
        let mean = draws.iter().sum::<f64>() / f64::from(n);
        let var = draws.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / f64::from(n);
        // Four standard errors: 4/sqrt(n) and 4*sqrt(2/n).
        assert!(mean.abs() < 0.03 && (var - 1.0).abs() < 0.04, "mean {mean}, variance {var}");
    }

    #[test]
    fn below_and_shuffle_stay_in_range() {
        let mut rng = Rng::new(7, &[purpose::TEST]);
        assert!((0..1000).all(|_| rng.below(7) < 7));
        assert_eq!(rng.below(0), 0);
        let mut order: Vec<usize> = (0..100).collect();
        rng.shuffle(&mut order);
        assert_ne!(order, (0..100).collect::<Vec<_>>());
        order.sort_unstable();
        assert_eq!(order, (0..100).collect::<Vec<_>>());
    }
}
