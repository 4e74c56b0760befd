//! Latency as a function of the architecture parameters.

use super::Alphas;
use crate::{BlockKey, Error, Space};

/// What a network is expected to take, from what its blocks do.
pub trait Latency {
    /// The share of a block, in ms; `None` if it is not known.
    fn of(&self, block: &BlockKey) -> Option<f64>;

    /// What a network takes beside its blocks, in ms.
    fn overhead(&self) -> f64 {
        0.0
    }
}

/// Latency of a whole space: `T = fixed + sum over edges of F(chosen)`, in ms.
#[derive(Clone, Debug, PartialEq)]
pub struct ExpectedLatency {
    fixed: f64,
    /// By edge and candidate, summed over the places that an edge has.
    candidates: Vec<Vec<f64>>,
}

impl ExpectedLatency {
    /// Of all networks of `space` by what `latency` says about their blocks; zero and skip take no time.
    ///
    /// # Errors
    /// If a block is not known, or its latency is no number.
    pub fn new(space: &Space, classes: usize, latency: &dyn Latency) -> Result<ExpectedLatency, Error> {
        let mut candidates: Vec<Vec<f64>> = space.edges().iter().map(|edge| vec![0.0; edge.candidates.len()]).collect();
        let mut fixed = latency.overhead();
        for block in space.blocks(classes) {
            let ms = if block.is_free() { Some(0.0) } else { latency.of(&block.key) };
            let ms = ms.filter(|ms| ms.is_finite()).ok_or_else(|| {
                Error::Latency(format!(
                    "the latency of `{}` is not known; measure the blocks of this very space first",
                    block.key
                ))
            })?;
            match block.candidate {
                None => fixed += ms,
                Some((edge, candidate)) => candidates[edge][candidate] += ms,
            }
        }
        Ok(ExpectedLatency { fixed, candidates })
    }

    /// Of what every network has, in ms.
    pub fn fixed(&self) -> f64 {
        self.fixed
    }

    /// Of the candidates of an edge, in ms.
    pub fn candidates(&self, edge: usize) -> &[f64] {
        &self.candidates[edge]
    }

    /// Of the network with these choices, in ms.
    pub fn of(&self, choices: &[usize]) -> f64 {
        self.fixed + self.candidates.iter().zip(choices).map(|(of, &i)| of[i]).sum::<f64>()
    }

    /// `E[T] = fixed + sum over edges of sum over j of p_j * F_j`, in ms.
    pub fn expected(&self, alphas: &Alphas) -> f64 {
        let of_edge = |(edge, of): (usize, &Vec<f64>)| -> f64 {
            alphas.probabilities(edge).iter().zip(of).map(|(p, ms)| p * ms).sum()
        };
        self.fixed + self.candidates.iter().enumerate().map(of_edge).sum::<f64>()
    }

    /// The fastest network: its latency in ms, and its choices.
    pub fn least(&self) -> (f64, Vec<usize>) {
        let fastest = |of: &Vec<f64>| (0..of.len()).fold(0, |best, i| if of[i] < of[best] { i } else { best });
        let choices: Vec<usize> = self.candidates.iter().map(fastest).collect();
        (self.of(&choices), choices)
    }
}
