//! Architecture steps by the gradients of binary gates.
//!
//! On each edge two candidates `a`, `b` are drawn by `p = softmax(alpha)`, and one of them by `q = softmax(alpha_a, alpha_b)`. A
//! validation batch runs through the chosen ones; the gradient of a gate is `dL/dg_j = <o_j(x), dL/dm>`, and
//! `dL/dalpha_i = sum over j in {a, b} of dL/dg_j * q_j * (delta_ij - q_i)`. After the step both alphas are shifted so that the other
//! candidates keep their probability. The expected latency, with `q` for the two and 0 for the others, adds its gradient.
//!
//! With [`Paths::All`] all candidates take part, with `p` for `q`, and nothing is shifted.
//!
//! Memory is that of one path: the candidate that is not chosen is computed in the backward pass. Unlike the paper's code, an edge on
//! which zero is chosen learns like any other: nothing in the equations excludes it.
//!
//! # Source
//! Cai et al. 2019 (arXiv:1812.00332), sections 3.2 and 3.3.1; mit-han-lab/proxylessnas.

use super::alphas::{stream, through_softmax};
use super::{ArchitectureStep, Paths, Search, correct};
use crate::supernet::{Gate, Route};
use engine::Tensor;
use engine::rng::{Rng, purpose};
use nn::Context;

/// Who takes part on an edge.
struct Turn {
    candidates: Vec<usize>,
    probabilities: Vec<f64>,
    /// Whether the others keep their probability.
    pair: Option<[usize; 2]>,
}

pub(super) fn step(search: &mut Search, images: &Tensor, labels: &[usize]) -> ArchitectureStep {
    let step = search.progress.architecture_steps;
    let (mut turns, mut gates) = (vec![], vec![]);
    for edge in 0..search.alphas.edges() {
        let mut rng = Rng::new(search.config.seed, &[purpose::SEARCH, stream::PAIR, step, edge as u64]);
        let alive = search.alphas.alive(edge);
        let pair = match search.config.paths {
            Paths::Two => search.alphas.sample_pair(edge, &mut rng),
            Paths::All => None,
        };
        let candidates = pair.map_or(alive, |pair| pair.to_vec());
        let probabilities = search.alphas.softmax(edge, &candidates);
        let open = super::alphas::draw(&probabilities, &mut rng);
        gates.push(match candidates[..] {
            [only] => Gate::Path(only),
            _ => Gate::binary(candidates.clone(), open),
        });
        turns.push(Turn { candidates, probabilities, pair });
    }
    let route = Route::new(gates);
    let ctx = Context::train(search.config.seed, step).untracked().frozen();
    let logits = search.supernet.forward(images, &route, &ctx);
    let loss = logits.cross_entropy(labels, search.config.label_smoothing);
    let cross_entropy = f64::from(loss.item());
    let gradients = loss.is_recorded().then(|| loss.backward());

    let ms = search.latency.as_ref().map(|latency| {
        let of_edge = |(edge, turn): (usize, &Turn)| -> f64 {
            let of = latency.candidates(edge);
            turn.candidates.iter().zip(&turn.probabilities).map(|(&i, q)| q * of[i]).sum()
        };
        latency.fixed() + turns.iter().enumerate().map(of_edge).sum::<f64>()
    });
    let (objective, by_cross_entropy, by_latency) = match (&search.config.latency, ms) {
        (Some(goal), Some(ms)) => goal.loss(cross_entropy, ms),
        _ => (cross_entropy, 1.0, 0.0),
    };
    for (edge, (turn, gate)) in turns.iter().zip(route.gates()).enumerate() {
        if turn.candidates.len() < 2 {
            continue;
        }
        let q = &turn.probabilities;
        // No gradient: the loss does not depend on this edge along this route.
        let of_gates = gradients.as_ref().and_then(|g| gate.gradient(g)).unwrap_or(vec![0.0; q.len()]);
        let mut by_gates = through_softmax(&of_gates, q);
        by_gates.iter_mut().for_each(|g| *g *= by_cross_entropy);
        if let (Some(latency), true) = (&search.latency, by_latency != 0.0) {
            let of: Vec<f64> = turn.candidates.iter().map(|&i| latency.candidates(edge)[i]).collect();
            by_gates.iter_mut().zip(through_softmax(&of, q)).for_each(|(g, l)| *g += by_latency * l);
        }
        let mut gradient = vec![0.0; search.alphas.values(edge).len()];
        turn.candidates.iter().zip(by_gates).for_each(|(&i, g)| gradient[i] = g);
        match turn.pair {
            Some(pair) => search.alphas.step_pair(edge, pair, &gradient, search.config.alpha_lr),
            None => search.alphas.step(edge, &gradient, search.config.alpha_lr),
        }
    }
    let accuracy = correct(&logits, labels) as f64 / labels.len() as f64;
    ArchitectureStep { loss: cross_entropy, accuracy, objective, baseline: None, ..ArchitectureStep::default() }
}
