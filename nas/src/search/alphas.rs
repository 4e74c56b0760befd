//! The architecture parameters: an alpha for each candidate of each edge, and the policy that they make.

use engine::rng::{Rng, purpose};
use serde::{Deserialize, Serialize};

/// Streams of random numbers; see [`purpose::SEARCH`].
pub(crate) mod stream {
    /// Initial alphas.
    pub const INIT: u64 = 1;
    /// The path of a weight step.
    pub const PATH: u64 = 2;
    /// The pair of candidates of an architecture step, and which of them is open.
    pub const PAIR: u64 = 3;
    /// The networks that REINFORCE samples.
    pub const SAMPLE: u64 = 4;
}

/// Constants of Adam (Kingma and Ba 2015, arXiv:1412.6980) as ProxylessNAS sets them: `beta1 = 0`, so that a gradient of zero is a
/// step of zero and an alpha that was not sampled does not move.
const BETA2: f64 = 0.999;
const EPS: f64 = 1e-8;

/// The parameters of one edge.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct EdgeAlphas {
    alpha: Vec<f64>,
    /// Adam's mean of squared gradients.
    square: Vec<f64>,
    /// False for what was pruned.
    alive: Vec<bool>,
    /// Steps that Adam has made here.
    steps: u64,
}

/// An alpha for each candidate of each edge; `p = softmax(alpha)` over what is not pruned.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alphas(Vec<EdgeAlphas>);

impl Alphas {
    /// Alphas drawn from a normal distribution of standard deviation 0.001, for edges of so many candidates.
    pub fn new(candidates: &[usize], seed: u64) -> Alphas {
        let edge = |(e, &k): (usize, &usize)| {
            let mut rng = Rng::new(seed, &[purpose::SEARCH, stream::INIT, e as u64]);
            let alpha = (0..k).map(|_| 1e-3 * f64::from(rng.normal())).collect();
            EdgeAlphas { alpha, square: vec![0.0; k], alive: vec![true; k], steps: 0 }
        };
        Alphas(candidates.iter().enumerate().map(edge).collect())
    }

    /// Number of edges.
    pub fn edges(&self) -> usize {
        self.0.len()
    }

    /// The alphas of an edge.
    pub fn values(&self, edge: usize) -> &[f64] {
        &self.0[edge].alpha
    }

    /// Overwrites the alphas of an edge.
    ///
    /// # Panics
    /// If there are not as many as candidates.
    #[track_caller]
    pub fn set(&mut self, edge: usize, values: &[f64]) {
        self.0[edge].alpha.copy_from_slice(values);
    }

    /// Indices of the candidates of an edge that are not pruned.
    pub fn alive(&self, edge: usize) -> Vec<usize> {
        (0..self.0[edge].alive.len()).filter(|&i| self.0[edge].alive[i]).collect()
    }

    /// Candidates of each edge, pruned ones included.
    pub fn candidates(&self) -> Vec<usize> {
        self.0.iter().map(|edge| edge.alpha.len()).collect()
    }

    /// Probabilities of the candidates of an edge; 0 for what was pruned.
    pub fn probabilities(&self, edge: usize) -> Vec<f64> {
        let alive = self.alive(edge);
        let p = self.softmax(edge, &alive);
        let mut all = vec![0.0; self.0[edge].alpha.len()];
        alive.iter().zip(p).for_each(|(&i, p)| all[i] = p);
        all
    }

    /// Softmax over some candidates of an edge.
    pub fn softmax(&self, edge: usize, of: &[usize]) -> Vec<f64> {
        let alpha = &self.0[edge].alpha;
        let largest = of.iter().fold(f64::NEG_INFINITY, |m, &i| m.max(alpha[i]));
        let exp: Vec<f64> = of.iter().map(|&i| libm::exp(alpha[i] - largest)).collect();
        let sum: f64 = exp.iter().sum();
        exp.into_iter().map(|e| e / sum).collect()
    }

    /// Mean over the edges of the entropy `-sum p log p`, in nats.
    pub fn entropy(&self) -> f64 {
        let of_edge = |edge| -> f64 {
            let p = self.probabilities(edge);
            -p.iter().filter(|&&p| p > 0.0).map(|&p| p * libm::log(p)).sum::<f64>()
        };
        (0..self.edges()).map(of_edge).sum::<f64>() / self.edges().max(1) as f64
    }

    /// The most probable candidate of each edge; the first of equal ones.
    pub fn argmax(&self) -> Vec<usize> {
        let best = |edge| {
            let p = self.probabilities(edge);
            (0..p.len()).fold(0, |best, i| if p[i] > p[best] { i } else { best })
        };
        (0..self.edges()).map(best).collect()
    }

    /// A candidate of an edge, drawn from its probabilities.
    pub fn sample(&self, edge: usize, rng: &mut Rng) -> usize {
        let alive = self.alive(edge);
        alive[draw(&self.softmax(edge, &alive), rng)]
    }

    /// A candidate of an edge, each equally likely.
    pub fn sample_uniformly(&self, edge: usize, rng: &mut Rng) -> usize {
        let alive = self.alive(edge);
        alive[rng.below(alive.len())]
    }

    /// Two different candidates of an edge, drawn from its probabilities without replacement; `None` if only one is left.
    pub fn sample_pair(&self, edge: usize, rng: &mut Rng) -> Option<[usize; 2]> {
        let mut alive = self.alive(edge);
        if alive.len() < 2 {
            return None;
        }
        let first = alive.remove(draw(&self.softmax(edge, &alive), rng));
        let second = alive[draw(&self.softmax(edge, &alive), rng)];
        Some([first, second])
    }

    /// One step of Adam on an edge: `square = beta2*square + (1 - beta2)*g*g`,
    /// `alpha -= lr * g / (sqrt(square / (1 - beta2^steps)) + eps)`.
    ///
    /// # Panics
    /// If there is not a gradient for each candidate.
    #[track_caller]
    pub fn step(&mut self, edge: usize, gradient: &[f64], lr: f64) {
        let edge = &mut self.0[edge];
        assert_eq!(gradient.len(), edge.alpha.len(), "alphas: a gradient for each candidate");
        edge.steps += 1;
        let correction = 1.0 - libm::pow(BETA2, edge.steps as f64);
        for ((alpha, square), &g) in edge.alpha.iter_mut().zip(&mut edge.square).zip(gradient) {
            *square = BETA2 * *square + (1.0 - BETA2) * (g * g);
            *alpha -= lr * g / (libm::sqrt(*square / correction) + EPS);
        }
    }

    /// [`step`](Alphas::step) for a gradient that is 0 but for two candidates; afterwards both are shifted by
    /// `log(sum exp(new) / sum exp(old))`, so that together they keep their probability, and every other candidate its own.
    #[track_caller]
    pub fn step_pair(&mut self, edge: usize, pair: [usize; 2], gradient: &[f64], lr: f64) {
        let log_sum = |alphas: &Alphas| {
            let [a, b] = pair.map(|i| alphas.0[edge].alpha[i]);
            a.max(b) + libm::log1p(libm::exp(-(a - b).abs()))
        };
        let before = log_sum(self);
        self.step(edge, gradient, lr);
        let offset = log_sum(self) - before;
        pair.iter().for_each(|&i| self.0[edge].alpha[i] -= offset);
    }

    /// Prunes candidates less probable than `threshold`, never the most probable of an edge. Returns (edge, candidate) of each.
    pub fn prune(&mut self, threshold: f64) -> Vec<(usize, usize)> {
        let best = self.argmax();
        let mut pruned = vec![];
        for (edge, best) in best.into_iter().enumerate() {
            let p = self.probabilities(edge);
            for i in self.alive(edge) {
                if p[i] < threshold && i != best {
                    self.0[edge].alive[i] = false;
                    pruned.push((edge, i));
                }
            }
        }
        pruned
    }

    /// Whether every edge is in order: as many values of each kind, finite, and one candidate alive.
    pub(crate) fn is_sound(&self) -> bool {
        self.0.iter().all(|edge| {
            let k = edge.alpha.len();
            let finite = edge.alpha.iter().chain(&edge.square).all(|v| v.is_finite());
            edge.square.len() == k && edge.alive.len() == k && finite && edge.alive.contains(&true)
        })
    }
}

/// `dL/dalpha_i = sum over j of dL/dg_j * p_j * (delta_ij - p_i)`, equation (4) of ProxylessNAS.
pub fn through_softmax(of_gates: &[f64], p: &[f64]) -> Vec<f64> {
    let mean: f64 = of_gates.iter().zip(p).map(|(g, p)| g * p).sum();
    of_gates.iter().zip(p).map(|(g, p)| p * (g - mean)).collect()
}

/// An index with probability `p`.
pub(super) fn draw(p: &[f64], rng: &mut Rng) -> usize {
    let u = rng.uniform_f64();
    let mut sum = 0.0;
    let found = p.iter().position(|p| {
        sum += p;
        u < sum
    });
    // Rounding can leave the sum just below 1.
    found.unwrap_or(p.len() - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rng(stream: u64) -> Rng {
        Rng::new(0, &[purpose::TEST, stream])
    }

    fn of(values: &[f64]) -> Alphas {
        let mut alphas = Alphas::new(&[values.len()], 0);
        alphas.set(0, values);
        alphas
    }

    #[test]
    fn a_step_of_two_leaves_the_other_probabilities_unchanged() {
        let mut alphas = Alphas::new(&[9], 3);
        let mut rng = rng(1);
        for step in 0..200 {
            let before = alphas.probabilities(0);
            let pair = alphas.sample_pair(0, &mut rng).expect("nine candidates");
            let mut gradient = vec![0.0; 9];
            pair.iter().for_each(|&i| gradient[i] = f64::from(rng.normal()));
            alphas.step_pair(0, pair, &gradient, 0.05);
            let after = alphas.probabilities(0);
            for i in 0..9 {
                let change = (after[i] - before[i]).abs();
                assert!(pair.contains(&i) || change < 1e-12, "step {step}: candidate {i} moved by {change}");
            }
        }
        assert!(alphas.entropy() < 2.19, "the sampled ones did move");
    }

    #[test]
    fn the_gradient_through_softmax_is_that_of_the_expectation() {
        let (alphas, losses) = (of(&[0.3, -1.0, 0.8, 0.1]), [1.5, -0.3, 0.7, 2.0]);
        let gradient = through_softmax(&losses, &alphas.probabilities(0));
        let expected =
            |values: &[f64]| -> f64 { of(values).probabilities(0).iter().zip(losses).map(|(p, l)| p * l).sum() };
        for i in 0..4 {
            let at = |offset: f64| {
                let mut values = alphas.values(0).to_vec();
                values[i] += offset;
                expected(&values)
            };
            assert!((gradient[i] - (at(1e-5) - at(-1e-5)) / 2e-5).abs() < 1e-10);
        }
    }

    #[test]
    fn samples_follow_the_probabilities() {
        let alphas = of(&[0.0, 1.0, -1.0]);
        let p = alphas.probabilities(0);
        let (mut counts, mut pairs, n) = ([0.0; 3], [[0.0; 3]; 3], 20_000);
        let mut rng = rng(2);
        for _ in 0..n {
            counts[alphas.sample(0, &mut rng)] += 1.0 / f64::from(n);
            let [a, b] = alphas.sample_pair(0, &mut rng).expect("three candidates");
            pairs[a][b] += 1.0 / f64::from(n);
        }
        for i in 0..3 {
            // Four standard errors, at most 0.015.
            assert!((counts[i] - p[i]).abs() < 0.015);
            for j in 0..3 {
                let expected = if i == j { 0.0 } else { p[i] * p[j] / (1.0 - p[i]) };
                assert!((pairs[i][j] - expected).abs() < 0.015, "{i} then {j}");
            }
        }
    }

    #[test]
    fn adam_is_pytorchs() {
        // torch.optim.Adam([x], lr=0.1, betas=(0, 0.999), eps=1e-8) from x = 1 with gradients 0.5, -2, 0.
        let mut alphas = of(&[1.0, 0.0]);
        let mut seen = vec![];
        for g in [0.5, -2.0, 0.0] {
            alphas.step(0, &[g, 0.0], 0.1);
            seen.push(alphas.values(0)[0]);
        }
        for (x, expected) in seen.iter().zip([0.900_000_002, 1.037_168_599_6, 1.037_168_599_6]) {
            assert!((x - expected).abs() < 1e-9, "{x} against {expected}");
        }
        assert_eq!(alphas.values(0)[1], 0.0);
    }

    #[test]
    fn pruning_keeps_the_best_and_renormalises() {
        let mut alphas = of(&[0.0, -8.0, -9.0]);
        assert_eq!(alphas.prune(0.01), [(0, 1), (0, 2)]);
        assert_eq!(alphas.probabilities(0), [1.0, 0.0, 0.0]);
        assert_eq!(alphas.sample_pair(0, &mut rng(3)), None);
        assert_eq!(alphas.prune(2.0), [], "the last is never pruned");
        assert_eq!((alphas.argmax(), alphas.entropy()), (vec![0], 0.0));
    }
}
