//! Sums over all rows of a map, channel by channel: the statistics of batch norm and the gradients of its parameters.
//!
//! ```text
//! for each row r, channel c:  sums[0][c] += f(a[r][c], b[r][c], k[c]).0;  sums[1][c] += f(...).1
//! ```
//!
//! 1. Rows are cut into chunks by size alone, and the chunks' sums added in order: the same bits on any number of threads.
//! 2. Everything is added in `f64`. The pass reads memory and adds little, so the width costs nothing that shows, and the mean of a
//!    million values is as good as that of ten.

use super::elementwise::dispatch;
use crate::grad::channel_chunk;
use crate::parallel;

/// The two sums over the rows of `a` and `b`, `(rows, C)`, for each channel: of the two values of `f(a, b, k)`, where `k` is
/// `per_channel[c]` and its length is `C`.
///
/// # Panics
/// If `a` and `b` differ in length.
pub fn channel_sums(
    a: &[f32],
    b: &[f32],
    per_channel: &[f32],
    f: impl Fn(f64, f64, f64) -> (f64, f64) + Send + Sync,
) -> [Vec<f64>; 2] {
    assert_eq!(a.len(), b.len(), "channel_sums: a and b differ in length");
    let channels = per_channel.len();
    let len = channel_chunk(channels);
    let partial = parallel::map(a.len().div_ceil(len), |i| {
        let part = i * len..((i + 1) * len).min(a.len());
        let (a, b) = (&a[part.clone()], &b[part]);
        let mut sums = [vec![0.0f64; channels], vec![0.0f64; channels]];
        let [first, second] = &mut sums;
        dispatch(|| {
            for (a, b) in a.chunks_exact(channels).zip(b.chunks_exact(channels)) {
                let sums = first.iter_mut().zip(second.iter_mut());
                for ((((first, second), &a), &b), &k) in sums.zip(a).zip(b).zip(per_channel) {
                    let (u, v) = f(f64::from(a), f64::from(b), f64::from(k));
                    *first += u;
                    *second += v;
                }
            }
        });
        sums
    });
    [0, 1].map(|which| added(channels, partial.iter().map(|sums| &sums[which][..])))
}

/// The sums of `parts`, of `channels` values each, added in their order. Part by part and not channel by channel, where each would take a
/// cache line for one value.
fn added<'a>(channels: usize, parts: impl Iterator<Item = &'a [f64]>) -> Vec<f64> {
    let mut total = vec![0.0; channels];
    for part in parts {
        total.iter_mut().zip(part).for_each(|(total, part)| *total += part);
    }
    total
}

/// What chunks of a pass have summed for each of `channels` channels, added in the order of the chunks and rounded.
pub fn total<'a>(channels: usize, parts: impl Iterator<Item = &'a [f64]>) -> Vec<f32> {
    added(channels, parts).into_iter().map(|sum| sum as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_the_plain_loop() {
        // Small integers: every sum is exact, so the order of adding cannot show. The last sizes span several chunks.
        for (rows, channels) in [(0, 3), (1, 1), (3, 5), (7, 16), (5000, 7), (40_000, 1), (2, 20_000)] {
            let a: Vec<f32> = (0..rows * channels).map(|i| (i % 13) as f32 - 6.0).collect();
            let b: Vec<f32> = (0..rows * channels).map(|i| (i % 7) as f32).collect();
            let k: Vec<f32> = (0..channels).map(|c| (c % 5) as f32).collect();
            let sums = channel_sums(&a, &b, &k, |a, b, k| (a - k, a * b));
            for c in 0..channels {
                let column = (0..rows).map(|r| (f64::from(a[r * channels + c]), f64::from(b[r * channels + c])));
                assert_eq!(sums[0][c], column.clone().map(|(a, _)| a - f64::from(k[c])).sum::<f64>());
                assert_eq!(sums[1][c], column.map(|(a, b)| a * b).sum::<f64>());
            }
        }
    }

    #[test]
    fn the_bits_do_not_depend_on_the_number_of_threads() {
        let a: Vec<f32> = (0..100_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 8) as f32 * 1e-7).collect();
        let sums = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
            pool.install(|| channel_sums(&a, &a, &[0.5; 10], |a, b, k| (a - k, a * b)))
        };
        assert_eq!(sums(1), sums(3));
    }
}
