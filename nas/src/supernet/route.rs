use engine::{Gradients, Tensor};

/// What happens on one edge in one forward pass.
#[derive(Clone)]
pub enum Gate {
    /// One candidate alone, `m(x) = o_i(x)`: for steps that train weights.
    Path(usize),
    /// Binary gates, one of them open: `m(x) = sum over j of g_j * o_j(x)`. The shut candidates are computed in the backward pass,
    /// one after the other, for the gradients of their gates alone (see [`engine::ops::gate`]).
    Binary {
        /// Indices of the candidates that have gates; all others are absent.
        candidates: Vec<usize>,
        /// Position of the open one among them.
        open: usize,
        /// A leaf `(K)`: 1 at `open`, else 0.
        gates: Tensor,
    },
    /// All outputs, weighted: `m(x) = sum over j of w_j * o_j(x)`. Holds every output, as DARTS does.
    Mixed {
        /// Indices of the candidates.
        candidates: Vec<usize>,
        /// A leaf `(K)`.
        weights: Tensor,
    },
}

impl Gate {
    /// Binary gates for `candidates`, open at position `open`.
    pub fn binary(candidates: Vec<usize>, open: usize) -> Gate {
        let gates = Tensor::from_fn([candidates.len()], |j| if j == open { 1.0 } else { 0.0 }).requires_grad();
        Gate::Binary { candidates, open, gates }
    }

    /// `candidates` weighted by `weights`.
    pub fn mixed(candidates: Vec<usize>, weights: &[f64]) -> Gate {
        let weights = Tensor::from_fn([candidates.len()], |j| weights[j] as f32).requires_grad();
        Gate::Mixed { candidates, weights }
    }

    /// The gradient of the loss with respect to each gate or weight; `None` for a path, and where the loss does not depend on it.
    pub fn gradient(&self, gradients: &Gradients) -> Option<Vec<f64>> {
        let leaf = match self {
            Gate::Path(_) => return None,
            Gate::Binary { gates, .. } => gates,
            Gate::Mixed { weights, .. } => weights,
        };
        Some(gradients.get(leaf)?.data().iter().map(|&g| f64::from(g)).collect())
    }
}

/// A gate for each edge. The default has none, and is for networks with a single candidate on each edge.
#[derive(Clone, Default)]
pub struct Route(Vec<Gate>);

impl Route {
    /// From a gate for each edge.
    pub fn new(gates: Vec<Gate>) -> Route {
        Route(gates)
    }

    /// One candidate on each edge.
    pub fn path(candidates: &[usize]) -> Route {
        Route(candidates.iter().map(|&candidate| Gate::Path(candidate)).collect())
    }

    /// In the order of the edges.
    pub fn gates(&self) -> &[Gate] {
        &self.0
    }
}
