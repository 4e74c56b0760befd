//! Architecture steps by REINFORCE.
//!
//! With weights frozen, `M` networks are drawn from the policy and run on one validation batch, without a tape. Reward
//! `R = accuracy`, or `accuracy * (target / T)^w` under a latency target. Baseline `b`: first the mean reward, then
//! `b += 0.99 * (mean(R) - b)`, before the advantage is formed. The gradient of an edge's alphas is
//! `1/M * sum over m of (R_m - b) * (p_k - delta_ik)`, where `i` is what network `m` chose.
//!
//! # Source
//! Cai et al. 2019 (arXiv:1812.00332), section 3.3.2; mit-han-lab/proxylessnas; the reward is that of Tan et al. 2019
//! (arXiv:1807.11626).

use super::alphas::stream;
use super::{Alphas, ArchitectureStep, Search, correct};
use crate::supernet::Route;
use engine::rng::{Rng, purpose};
use engine::{Tensor, no_grad};
use nn::Context;

/// Weight of the new mean in the baseline.
const BASELINE_RATE: f64 = 0.99;

pub(super) fn step(search: &mut Search, images: &Tensor, labels: &[usize]) -> ArchitectureStep {
    let (step, samples) = (search.progress.architecture_steps, search.config.samples);
    let (mut rewards, mut networks) = (vec![], vec![]);
    let (mut loss, mut accuracy) = (0.0, 0.0);
    for sample in 0..samples {
        let choices = sample_network(&search.alphas, search.config.seed, step, sample as u64);
        let ctx = Context::train(search.config.seed, step).untracked();
        let (of_network, right) = no_grad(|| {
            let logits = search.supernet.forward(images, &Route::path(&choices), &ctx);
            let loss = logits.cross_entropy(labels, search.config.label_smoothing);
            (f64::from(loss.item()), correct(&logits, labels) as f64 / labels.len() as f64)
        });
        loss += of_network / samples as f64;
        accuracy += right / samples as f64;
        rewards.push(match (&search.config.latency, &search.latency) {
            (Some(goal), Some(latency)) => goal.reward(right, latency.of(&choices)),
            _ => right,
        });
        networks.push(choices);
    }
    let mean = rewards.iter().sum::<f64>() / samples as f64;
    let baseline = search.progress.baseline.map_or(mean, |b| b + BASELINE_RATE * (mean - b));
    search.progress.baseline = Some(baseline);
    let advantages: Vec<f64> = rewards.iter().map(|r| r - baseline).collect();
    for (edge, gradient) in policy_gradient(&search.alphas, &networks, &advantages).into_iter().enumerate() {
        if search.alphas.alive(edge).len() > 1 {
            search.alphas.step(edge, &gradient, search.config.alpha_lr);
        }
    }
    ArchitectureStep { loss, accuracy, objective: -mean, baseline: Some(baseline), ..ArchitectureStep::default() }
}

/// A candidate for each edge, drawn from the policy.
pub(crate) fn sample_network(alphas: &Alphas, seed: u64, step: u64, sample: u64) -> Vec<usize> {
    let draw = |edge| {
        let stream = [purpose::SEARCH, stream::SAMPLE, step, edge as u64, sample];
        alphas.sample(edge, &mut Rng::new(seed, &stream))
    };
    (0..alphas.edges()).map(draw).collect()
}

/// The mean of `advantage * grad(-log probability)` over the sampled networks, by edge and candidate: what an optimiser that
/// minimises is given.
pub(crate) fn policy_gradient(alphas: &Alphas, networks: &[Vec<usize>], advantages: &[f64]) -> Vec<Vec<f64>> {
    let of_edge = |edge| {
        let p = alphas.probabilities(edge);
        let mut gradient = vec![0.0; p.len()];
        for (network, advantage) in networks.iter().zip(advantages) {
            for (k, (g, p)) in gradient.iter_mut().zip(&p).enumerate() {
                let chosen = if network[edge] == k { 1.0 } else { 0.0 };
                *g += advantage * (p - chosen) / networks.len() as f64;
            }
        }
        gradient
    };
    (0..alphas.edges()).map(of_edge).collect()
}
