//! A search as it is saved.

use super::{Alphas, Search, SearchConfig};
use crate::{Error, Space};
use nn::StateDict;
use serde::{Deserialize, Serialize};

/// How far a search has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Weight steps made.
    pub weight_steps: u64,
    /// Architecture steps made.
    pub architecture_steps: u64,
    /// REINFORCE's baseline, once there is one.
    pub baseline: Option<f64>,
}

/// All of a search but the tensors: weights and what the optimiser remembers of them. Random draws need no state, for each names its
/// stream by seed and step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SearchState {
    /// What is searched.
    pub space: Space,
    /// Its settings.
    pub config: SearchConfig,
    /// Architecture parameters, with Adam's memory and what was pruned.
    pub alphas: Alphas,
    /// How far it has come.
    pub progress: Progress,
}

impl Search {
    /// All but the tensors, which are [`Supernet::state`](crate::Supernet::state) and
    /// [`Optimizer::state`](nn::optim::Optimizer::state).
    pub fn state(&self) -> SearchState {
        SearchState {
            space: self.supernet.space().clone(),
            config: self.config.clone(),
            alphas: self.alphas.clone(),
            progress: self.progress,
        }
    }

    /// Takes up a saved search where it was left, to the same bits. `self` must be fresh: of the same space and settings, without a
    /// step made.
    ///
    /// # Errors
    /// If the state is of another space or other settings, or a tensor is missing or misshapen.
    pub fn resume(&mut self, state: SearchState, weights: &StateDict, optimizer: &StateDict) -> Result<(), Error> {
        let other = |what: &str| {
            Err(Error::State(format!(
                "it was saved from a search with another {what}; go on with the one it began with"
            )))
        };
        if state.space != *self.supernet.space() {
            return other("space");
        }
        if state.config != self.config {
            return other("configuration");
        }
        if !state.alphas.is_sound() || state.alphas.candidates() != self.alphas.candidates() {
            return Err(Error::State(
                "its architecture parameters are not those of the space; is the file damaged?".into(),
            ));
        }
        for edge in 0..state.alphas.edges() {
            let alive = state.alphas.alive(edge);
            let pruned = (0..state.alphas.values(edge).len()).filter(|i| !alive.contains(i));
            pruned.for_each(|candidate| self.supernet.drop_candidate(edge, candidate));
        }
        self.forget_dropped();
        self.supernet.load_state(weights)?;
        self.optimizer.load_state(optimizer)?;
        (self.alphas, self.progress) = (state.alphas, state.progress);
        Ok(())
    }
}
