use super::{Gate, Route};
use crate::Op;
use crate::network::Kept;
use engine::ops::{Later, gate, sum_lazy};
use engine::{Activation, Lazy, Tensor};
use nn::{Context, Layer, Module, Visitor};
use std::sync::Arc;

/// A candidate operation: from what its edge can read to the edge's output.
pub(crate) trait Candidate: Module {
    fn forward(&self, x: &[Lazy], ctx: &Context) -> Lazy;
}

/// A candidate with one input.
struct Single(Box<dyn Layer>);

impl Candidate for Single {
    fn forward(&self, x: &[Lazy], ctx: &Context) -> Lazy {
        self.0.forward(&x[0], ctx)
    }
}

impl Module for Single {
    fn visit(&self, visitor: &mut Visitor) {
        self.0.visit(visitor);
    }
}

/// Candidate operations of one edge, in one place of the network.
pub(crate) struct Choice {
    edge: usize,
    /// By index of the candidate; `None` for what was dropped or never built.
    candidates: Vec<Option<(String, Arc<dyn Candidate>)>>,
    /// Index of zero.
    zero: Option<usize>,
    /// The one candidate of a derived network.
    only: Option<usize>,
}

impl Choice {
    /// The choice on `edge`, whose candidates are `ops`, all with one input; `build` makes those that are kept.
    pub fn new(edge: usize, ops: &[Op], kept: &Kept, mut build: impl FnMut(&Op) -> Box<dyn Layer>) -> Choice {
        Choice::of(edge, ops, kept, |op| Arc::new(Single(build(op))))
    }

    /// The same for candidates that read several maps.
    pub fn of(edge: usize, ops: &[Op], kept: &Kept, mut build: impl FnMut(&Op) -> Arc<dyn Candidate>) -> Choice {
        let only = match kept {
            Kept::Only(chosen) => Some(chosen[edge]),
            Kept::All => None,
        };
        let candidates = ops.iter().enumerate().map(|(i, op)| {
            let kept = only.is_none_or(|only| only == i);
            kept.then(|| (op.to_string(), build(op)))
        });
        let zero = ops.iter().position(|op| *op == Op::Zero);
        Choice { edge, candidates: candidates.collect(), zero, only }
    }

    pub fn edge(&self) -> usize {
        self.edge
    }

    pub fn drop_candidate(&mut self, candidate: usize) {
        self.candidates[candidate] = None;
    }

    /// Whether the route is cut here: zero, with no gate that would want a gradient.
    pub fn is_cut(&self, route: &Route) -> bool {
        let chosen = match (self.only, route.gates().get(self.edge)) {
            (Some(only), _) => only,
            (None, Some(Gate::Path(i))) => *i,
            _ => return false,
        };
        self.zero == Some(chosen)
    }

    #[track_caller]
    pub fn forward(&self, x: &[Lazy], route: &Route, ctx: &Context) -> Lazy {
        if let Some(only) = self.only {
            return self.candidate(only).forward(x, ctx);
        }
        match &route.gates()[self.edge] {
            Gate::Path(i) => self.candidate(*i).forward(x, ctx),
            Gate::Binary { candidates, open, gates } => self.binary(x, candidates, *open, gates, ctx).into(),
            Gate::Mixed { candidates, weights } => self.mixed(x, candidates, weights, ctx).into(),
        }
    }

    fn binary(&self, x: &[Lazy], candidates: &[usize], open: usize, gates: &Tensor, ctx: &Context) -> Tensor {
        let output = self.candidate(candidates[open]).forward(x, ctx).materialise();
        // Shared with what the open candidate saved: holding it costs nothing.
        let seen: Arc<[Lazy]> = x.iter().map(Lazy::detach).collect();
        let shut = candidates.iter().enumerate().filter(|(j, _)| *j != open).map(|(j, &i)| {
            let (candidate, seen, ctx) = (self.candidate(i).clone(), seen.clone(), ctx.again());
            let later: Later = Arc::new(move || candidate.forward(&seen, &ctx.again()).materialise());
            (j, later)
        });
        gate(&output, open, gates, shut.collect())
    }

    fn mixed(&self, x: &[Lazy], candidates: &[usize], weights: &Tensor, ctx: &Context) -> Tensor {
        let term = |(j, &i): (usize, &usize)| {
            let output = self.candidate(i).forward(x, ctx).materialise();
            let channels = output.shape().channels();
            // `(2, C)`: scales of 1, shifts of 0; times the weight.
            let unit = Tensor::from_fn([2, channels], |i| if i < channels { 1.0 } else { 0.0 });
            let affine = Some(unit.mul(&weights.slice_channels(j..j + 1)));
            Lazy { maps: vec![output], affine, activation: Activation::Identity }
        };
        let terms: Vec<Lazy> = candidates.iter().enumerate().map(term).collect();
        sum_lazy(&terms, Activation::Identity, ctx.train)
    }

    #[track_caller]
    fn candidate(&self, i: usize) -> &Arc<dyn Candidate> {
        match &self.candidates[i] {
            Some((_, candidate)) => candidate,
            None => panic!("choice: candidate {i} of edge {} was dropped", self.edge),
        }
    }
}

impl Module for Choice {
    fn visit(&self, visitor: &mut Visitor) {
        for (name, candidate) in self.candidates.iter().flatten() {
            match self.only {
                Some(_) => candidate.visit(visitor),
                // Tells `Supernet::inherited` what belongs to which path.
                None => visitor.module(&format!("{name}@{}", self.edge), &**candidate),
            }
        }
    }
}
