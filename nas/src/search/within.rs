//! The most probable network that is fast enough.

use super::{Alphas, ExpectedLatency};

/// Latencies are rounded up to this many steps of what the target leaves for the choices.
const STEPS: usize = 4000;

/// The choices of the largest `product of p` among the networks that take at most `target_ms`: the knapsack problem, by dynamic
/// programming over the edges. `None` if no network is as fast, counted in latencies that are rounded up by at most a 4000th of the
/// target for each edge.
pub(super) fn most_probable_within(alphas: &Alphas, latency: &ExpectedLatency, target_ms: f64) -> Option<Vec<usize>> {
    let room = target_ms - latency.fixed();
    if room < 0.0 {
        return None;
    }
    let steps_of = |ms: f64| if ms <= 0.0 { 0 } else { (ms / room * STEPS as f64).ceil() as usize };
    // best[t]: the largest sum of log p over the edges so far that takes at most t steps.
    let mut best = vec![0.0; STEPS + 1];
    let mut chosen: Vec<Vec<usize>> = vec![];
    for edge in 0..alphas.edges() {
        let p = alphas.probabilities(edge);
        let of = latency.candidates(edge);
        let (mut next, mut choice) = (vec![f64::NEG_INFINITY; STEPS + 1], vec![usize::MAX; STEPS + 1]);
        for candidate in alphas.alive(edge) {
            let (cost, gain) = (steps_of(of[candidate]), libm::log(p[candidate]));
            for t in cost..=STEPS {
                if best[t - cost] + gain > next[t] {
                    (next[t], choice[t]) = (best[t - cost] + gain, candidate);
                }
            }
        }
        best = next;
        chosen.push(choice);
    }
    let mut choices = vec![0; alphas.edges()];
    let mut left = STEPS;
    for edge in (0..alphas.edges()).rev() {
        choices[edge] = chosen[edge][left];
        if choices[edge] == usize::MAX {
            return None;
        }
        left -= steps_of(latency.candidates(edge)[choices[edge]]);
    }
    Some(choices)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::BlockKey;
    use crate::Space;
    use crate::search::Latency;
    use crate::space::MbConv;

    /// Kernel times expansion, in ms.
    struct Made;

    impl Latency for Made {
        fn of(&self, block: &BlockKey) -> Option<f64> {
            Some((block.kernel * block.expansion) as f64)
        }
    }

    #[test]
    fn finds_what_looking_at_every_network_finds() {
        let space = Space::Mbconv(MbConv { resolution: 8, ..MbConv::of(4, 4, 8, &[(4, 3, 2)]) });
        let latency = ExpectedLatency::new(&space, 10, &Made).expect("known");
        let sizes: Vec<usize> = space.edges().iter().map(|edge| edge.candidates.len()).collect();
        let mut alphas = Alphas::new(&sizes, 0);
        for (edge, &k) in sizes.iter().enumerate() {
            let values: Vec<f64> = (0..k).map(|i| ((7 * i + 3 * edge) % 5) as f64 * 0.7).collect();
            alphas.set(edge, &values);
        }
        let score = |choices: &[usize]| -> f64 {
            choices.iter().enumerate().map(|(e, &i)| alphas.probabilities(e)[i].ln()).sum()
        };
        let mut all = vec![vec![]];
        for &k in &sizes {
            all = all.into_iter().flat_map(|c: Vec<usize>| (0..k).map(move |i| [&c[..], &[i]].concat())).collect();
        }
        let (least, _) = latency.least();
        for extra in [0.1, 5.3, 11.2, 20.4, 30.7, 500.0] {
            let target = least + extra;
            let within = all.iter().filter(|c| latency.of(c) <= target);
            let expected = within.map(|c| score(c)).fold(f64::NEG_INFINITY, f64::max);
            let found = most_probable_within(&alphas, &latency, target).expect("reachable");
            assert!(latency.of(&found) <= target);
            assert!((score(&found) - expected).abs() < 1e-9, "{target}: {found:?}");
        }
        assert_eq!(most_probable_within(&alphas, &latency, least - 1.0), None);
        assert_eq!(most_probable_within(&alphas, &latency, 0.0), None);
    }
}
