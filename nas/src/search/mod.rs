//! Searching: weights and architecture parameters learn in turn.
//!
//! A [`Search`] knows nothing of files and data sets. Its owner asks whose [`Turn`] it is and hands it a batch of the training or of the
//! validation split; between any two steps it can be saved ([`Search::state`]) and taken up again to the same bits
//! ([`Search::resume`]).
//!
//! ```
//! use engine::gradcheck::sample;
//! use nas::search::{Method, Search, SearchConfig, Turn};
//! use nas::space::{MbConv, Space};
//!
//! let space = Space::Mbconv(MbConv { resolution: 8, ..MbConv::of(4, 4, 8, &[(4, 2, 2)]) });
//! let config = SearchConfig { warmup_epochs: 1, ..SearchConfig::new(Method::ProxylessGradient, 0, 2, 6) };
//! let mut search = Search::new(&space, 2, config, None)?;
//! let (images, labels) = (sample([4, 8, 8, 3]), [0, 1, 1, 0]);
//! loop {
//!     match search.turn() {
//!         Turn::Weights => drop(search.weight_step(&images, &labels)),
//!         Turn::Architecture => drop(search.architecture_step(&images, &labels)),
//!         Turn::End => break,
//!     }
//! }
//! assert_eq!(search.progress().architecture_steps, 2);
//! println!("{} (entropy {:.3})", search.best(), search.alphas().entropy());
//! # Ok::<(), nas::Error>(())
//! ```

mod alphas;
mod config;
mod expected_latency;
mod memory;
mod proxyless_gradient;
mod proxyless_reinforce;
mod state;
mod within;

pub use alphas::{Alphas, through_softmax};
pub use config::{LatencyGoal, LatencyTerm, Method, Paths, SearchConfig};
pub use expected_latency::{ExpectedLatency, Latency};
pub use memory::{Held, StepMemory, step_memory};
pub use state::{Progress, SearchState};

use crate::supernet::{Route, Supernet};
use crate::{Arch, Error, Space};
use alphas::stream;
use engine::parallel::awake;
use engine::rng::{Rng, purpose};
use engine::{Tensor, no_grad};
use nn::optim::Optimizer;
use nn::{Builder, Context};

/// A search under way.
pub struct Search {
    config: SearchConfig,
    supernet: Supernet,
    optimizer: Optimizer,
    alphas: Alphas,
    latency: Option<ExpectedLatency>,
    progress: Progress,
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// A [`weight_step`](Search::weight_step) on a training batch.
    Weights,
    /// An [`architecture_step`](Search::architecture_step) on a validation batch.
    Architecture,
    /// Nothing: [`best`](Search::best) is what was found.
    End,
}

/// What a weight step saw.
#[derive(Clone, Debug, PartialEq)]
pub struct WeightStep {
    /// Cross entropy, in nats.
    pub loss: f64,
    /// Images whose largest logit was right.
    pub correct: usize,
    /// Learning rate of the weights.
    pub lr: f32,
    /// The path, by index of the candidate.
    pub path: Vec<usize>,
    /// Most bytes that the step held beside what was there before it: activations, and gradients of the path's weights.
    pub activation_peak_bytes: usize,
}

/// What an architecture step saw.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ArchitectureStep {
    /// Cross entropy, in nats; of REINFORCE, the mean over its networks.
    pub loss: f64,
    /// In 0..=1; of REINFORCE, the mean over its networks.
    pub accuracy: f64,
    /// What was minimised: the loss with its latency term, or minus the mean reward.
    pub objective: f64,
    /// REINFORCE's.
    pub baseline: Option<f64>,
    /// Candidates that were dropped for good: (edge, candidate).
    pub pruned: Vec<(usize, usize)>,
    /// As of [`WeightStep`].
    pub activation_peak_bytes: usize,
}

impl Search {
    /// A search that has not begun, with weights and alphas drawn from its seed.
    ///
    /// # Errors
    /// If a setting is out of its range, the space cannot be searched, a latency is aimed at without a model of it or that no network
    /// of the space reaches.
    pub fn new(
        space: &Space,
        classes: usize,
        config: SearchConfig,
        latency: Option<&dyn Latency>,
    ) -> Result<Search, Error> {
        space.check()?;
        config.check()?;
        let latency = latency.map(|latency| ExpectedLatency::new(space, classes, latency)).transpose()?;
        match (&config.latency, &latency) {
            (Some(_), None) => {
                return Err(Error::Latency(
                    "a target needs the latencies of the space's blocks; measure them first".into(),
                ));
            }
            (Some(goal), Some(latency)) => {
                let (least, choices) = latency.least();
                if goal.target_ms < least {
                    let choices = space.edges().iter().zip(choices).map(|(e, i)| e.candidates[i].clone()).collect();
                    return Err(Error::Latency(format!(
                        "the target of {} ms cannot be reached: the fastest network of the space takes {least:.3} ms ({})",
                        goal.target_ms,
                        Arch::new(space, choices)?
                    )));
                }
            }
            (None, _) => {}
        }
        let supernet = space.supernet(classes, &mut Builder::new(config.seed));
        let candidates: Vec<usize> = supernet.edges().iter().map(|edge| edge.candidates.len()).collect();
        let alphas = Alphas::new(&candidates, config.seed);
        let optimizer = Optimizer::new(config.optimizer.clone(), supernet.params(), true);
        Ok(Search { config, supernet, optimizer, alphas, latency, progress: Progress::default() })
    }

    /// Whose turn it is.
    pub fn turn(&self) -> Turn {
        let Progress { weight_steps, architecture_steps, .. } = self.progress;
        if architecture_steps < self.config.architecture_steps_after(weight_steps) {
            return Turn::Architecture;
        }
        if weight_steps < self.config.total_steps() { Turn::Weights } else { Turn::End }
    }

    /// Trains the weights of one random path: uniformly random in the warm-up, then by the probabilities. All other weights, and what
    /// the optimiser remembers of them, stay as they are.
    ///
    /// # Shapes
    /// - `images`: `(N, H, W, 3)`, of the training split; `labels`: `N`
    pub fn weight_step(&mut self, images: &Tensor, labels: &[usize]) -> WeightStep {
        awake(|| self.weight_step_awake(images, labels))
    }

    fn weight_step_awake(&mut self, images: &Tensor, labels: &[usize]) -> WeightStep {
        let before = engine::memory::stats().live;
        engine::memory::reset_peak();
        let path = self.sample_path();
        let step = self.progress.weight_steps;
        let ctx = Context::train(self.config.seed, step).untracked();
        let logits = self.supernet.forward(images, &Route::path(&path), &ctx);
        let loss = logits.cross_entropy(labels, self.config.label_smoothing);
        let gradients = loss.backward();
        let lr = self.config.lr_at(step);
        self.optimizer.step(&gradients, lr);
        self.progress.weight_steps += 1;
        WeightStep {
            loss: f64::from(loss.item()),
            correct: correct(&logits, labels),
            lr,
            path,
            activation_peak_bytes: engine::memory::stats().peak - before,
        }
    }

    /// Trains the architecture parameters, by the method of the configuration; then prunes.
    ///
    /// # Shapes
    /// - `images`: `(N, H, W, 3)`, of the validation split; `labels`: `N`
    pub fn architecture_step(&mut self, images: &Tensor, labels: &[usize]) -> ArchitectureStep {
        let before = engine::memory::stats().live;
        engine::memory::reset_peak();
        let mut step = awake(|| match self.config.method {
            Method::ProxylessGradient => proxyless_gradient::step(self, images, labels),
            Method::ProxylessReinforce => proxyless_reinforce::step(self, images, labels),
        });
        step.activation_peak_bytes = engine::memory::stats().peak - before;
        step.pruned = self.alphas.prune(self.config.prune_below);
        step.pruned.iter().for_each(|&(edge, candidate)| self.supernet.drop_candidate(edge, candidate));
        if !step.pruned.is_empty() {
            self.forget_dropped();
        }
        self.progress.architecture_steps += 1;
        step
    }

    /// Loss and number of right answers of the best network so far, with the statistics of this very batch: running ones would mix
    /// the paths.
    ///
    /// # Shapes
    /// - `images`: `(N, H, W, 3)`; `labels`: `N`
    pub fn evaluate(&self, images: &Tensor, labels: &[usize]) -> (f64, usize) {
        self.evaluate_path(&self.alphas.argmax(), images, labels)
    }

    /// The same for any network, given by the index of the candidate on each edge.
    pub fn evaluate_path(&self, path: &[usize], images: &Tensor, labels: &[usize]) -> (f64, usize) {
        let ctx = Context::train(self.config.seed, self.progress.weight_steps).untracked();
        no_grad(|| {
            let logits = self.supernet.forward(images, &Route::path(path), &ctx);
            (f64::from(logits.cross_entropy(labels, 0.0).item()), correct(&logits, labels))
        })
    }

    fn sample_path(&self) -> Vec<usize> {
        let step = self.progress.weight_steps;
        let draw = |edge| {
            let mut rng = Rng::new(self.config.seed, &[purpose::SEARCH, stream::PATH, step, edge as u64]);
            if step < self.config.warmup_steps() {
                self.alphas.sample_uniformly(edge, &mut rng)
            } else {
                self.alphas.sample(edge, &mut rng)
            }
        };
        (0..self.alphas.edges()).map(draw).collect()
    }

    /// Frees what the optimiser remembers of weights that the supernet has dropped.
    fn forget_dropped(&mut self) {
        let kept = self.supernet.params();
        self.optimizer.retain(|param| kept.iter().any(|(_, kept)| kept.same(param)));
    }

    /// The most probable network.
    pub fn best(&self) -> Arch {
        let edges = self.supernet.edges();
        let choices = edges.iter().zip(self.alphas.argmax()).map(|(edge, i)| edge.candidates[i].clone());
        Arch::new(self.supernet.space(), choices.collect()).expect("candidates of the edges")
    }

    /// The most probable network among those that the latency model gives at most the target's time; [`best`](Search::best) if there is
    /// no target.
    pub fn best_within_target(&self) -> Arch {
        let within = self
            .config
            .latency
            .as_ref()
            .zip(self.latency.as_ref())
            .and_then(|(goal, latency)| within::most_probable_within(&self.alphas, latency, goal.target_ms));
        let Some(choices) = within else { return self.best() };
        let edges = self.supernet.edges();
        let choices = edges.iter().zip(choices).map(|(edge, i)| edge.candidates[i].clone());
        Arch::new(self.supernet.space(), choices.collect()).expect("candidates of the edges")
    }

    /// Expected latency of the policy, in ms, if there is a model of it.
    pub fn expected_latency_ms(&self) -> Option<f64> {
        Some(self.latency.as_ref()?.expected(&self.alphas))
    }

    /// The latency model of the space.
    pub fn latency(&self) -> Option<&ExpectedLatency> {
        self.latency.as_ref()
    }

    /// The settings.
    pub fn config(&self) -> &SearchConfig {
        &self.config
    }

    /// The architecture parameters.
    pub fn alphas(&self) -> &Alphas {
        &self.alphas
    }

    /// The shared weights.
    pub fn supernet(&self) -> &Supernet {
        &self.supernet
    }

    /// What is remembered of each weight.
    pub fn optimizer(&self) -> &Optimizer {
        &self.optimizer
    }

    /// How far it has come.
    pub fn progress(&self) -> Progress {
        self.progress
    }

    /// Bytes of all weights, those of every candidate included.
    pub fn weight_bytes(&self) -> usize {
        self.supernet.params().iter().map(|(_, p)| p.shape().elements() * size_of::<f32>()).sum()
    }
}

/// Rows whose largest logit is at their label.
pub(crate) fn correct(logits: &Tensor, labels: &[usize]) -> usize {
    let [_, classes] = logits.dims();
    let is_right = |(row, &label): (&[f32], &usize)| {
        let best = (0..classes).fold(0, |best, i| if row[i] > row[best] { i } else { best });
        best == label
    };
    logits.data().chunks_exact(classes).zip(labels).filter(|&pair| is_right(pair)).count()
}

#[cfg(test)]
mod tests;
