/// What happens on one edge in one forward pass.
#[derive(Clone)]
pub enum Gate {
    /// The candidate of this index alone: `m(x) = o_i(x)`.
    Path(usize),
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
