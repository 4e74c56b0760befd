//! A network with the weights of all candidates, of which a forward pass runs those that its [`Route`] names.

mod choice;
mod route;

pub(crate) use choice::{Candidate, Choice};
pub use route::{Gate, Route};

use crate::network::Skeleton;
use crate::{Arch, Edge, Error, Space};
use engine::Tensor;
use nn::{Context, Module, Param, State, StateDict, Visitor};

/// The shared weights of a space.
///
/// Only what a [`Route`] names is computed and on the tape: the operations that it leaves out have no gradient, and so the
/// optimiser does not touch them.
pub struct Supernet {
    space: Space,
    classes: usize,
    edges: Vec<Edge>,
    pub(crate) network: Box<dyn Skeleton>,
}

impl Supernet {
    pub(crate) fn new(space: Space, classes: usize, edges: Vec<Edge>, network: Box<dyn Skeleton>) -> Supernet {
        Supernet { space, classes, edges, network }
    }

    /// The space.
    pub fn space(&self) -> &Space {
        &self.space
    }

    /// Number of logits.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// The edges of the space.
    pub fn edges(&self) -> &[Edge] {
        &self.edges
    }

    /// Along one route.
    ///
    /// # Shapes
    /// - `images`: `(N, H, W, 3)`, normalised; returns logits `(N, classes)`
    ///
    /// # Panics
    /// If the route has not one gate for each edge, or leads over a candidate that was dropped.
    #[track_caller]
    pub fn forward(&self, images: &Tensor, route: &Route, ctx: &Context) -> Tensor {
        assert_eq!(route.gates().len(), self.edges.len(), "supernet: a gate for each edge");
        self.network.forward(images, route, ctx)
    }

    /// The route of one architecture.
    ///
    /// # Errors
    /// If it is of another space.
    pub fn route(&self, arch: &Arch) -> Result<Route, Error> {
        let arch = Arch::new(&self.space, arch.choices().to_vec())?;
        Ok(Route::path(&arch.indices()))
    }

    /// Frees the weights of one candidate. Nothing may lead over it any more.
    pub fn drop_candidate(&mut self, edge: usize, candidate: usize) {
        for choice in self.network.choices_mut() {
            if choice.edge() == edge {
                choice.drop_candidate(candidate);
            }
        }
    }

    /// Every parameter of every candidate that is left; a candidate's carry operation and edge in their name:
    /// `layers.3.mb5x5e6@2.conv1.weight`.
    pub fn params(&self) -> Vec<(String, Param)> {
        Visitor::params(self)
    }

    /// The weights of one path, as the derived network names them.
    ///
    /// # Errors
    /// If `arch` is of another space.
    pub fn inherited(&self, arch: &Arch) -> Result<StateDict, Error> {
        let arch = Arch::new(&self.space, arch.choices().to_vec())?;
        let on_path = |(name, shape, values): State| {
            let parts: Vec<&str> = name.split('.').collect();
            let candidate = parts.iter().position(|part| part.contains('@'));
            let name = match candidate.and_then(|at| parts[at].split_once('@').map(|(op, edge)| (at, op, edge))) {
                None => name,
                Some((at, op, edge)) => {
                    let edge: usize = edge.parse().ok()?;
                    if arch.choices()[edge].to_string() != op {
                        return None;
                    }
                    [&parts[..at], &parts[at + 1..]].concat().join(".")
                }
            };
            Some((name, (shape, values)))
        };
        Ok(self.state().into_iter().filter_map(on_path).collect())
    }

    /// Every parameter and running statistic, as files hold them.
    pub fn state(&self) -> Vec<State> {
        nn::state(self)
    }

    /// Takes up what [`state`](Supernet::state) gave.
    ///
    /// # Errors
    /// If a tensor is missing, unknown or of another shape. Then nothing is changed.
    pub fn load_state(&self, state: &StateDict) -> Result<(), Error> {
        Ok(nn::load_state(&format!("the supernet of `{}`", self.space.name()), self, state)?)
    }
}

impl Module for Supernet {
    fn visit(&self, visitor: &mut Visitor) {
        self.network.visit(visitor);
    }
}
