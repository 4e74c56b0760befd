use super::{Gate, Route};
use crate::Op;
use crate::network::Kept;
use engine::Lazy;
use nn::{Context, Layer, Module, Visitor};
use std::sync::Arc;

/// Candidate operations of one edge, in one place of the network.
pub(crate) struct Choice {
    edge: usize,
    /// By index of the candidate; `None` for what was dropped or never built.
    candidates: Vec<Option<(String, Arc<dyn Layer>)>>,
    /// The one candidate of a derived network.
    only: Option<usize>,
}

impl Choice {
    /// The choice on `edge`, whose candidates are `ops`; `build` makes those that are kept.
    pub fn new(edge: usize, ops: &[Op], kept: &Kept, mut build: impl FnMut(&Op) -> Box<dyn Layer>) -> Choice {
        let only = match kept {
            Kept::Only(chosen) => Some(chosen[edge]),
            Kept::All => None,
        };
        let candidates = ops.iter().enumerate().map(|(i, op)| {
            let kept = only.is_none_or(|only| only == i);
            kept.then(|| (op.to_string(), Arc::from(build(op))))
        });
        Choice { edge, candidates: candidates.collect(), only }
    }

    pub fn edge(&self) -> usize {
        self.edge
    }

    pub fn drop_candidate(&mut self, candidate: usize) {
        self.candidates[candidate] = None;
    }

    #[track_caller]
    pub fn forward(&self, x: &[Lazy], route: &Route, ctx: &Context) -> Lazy {
        if let Some(only) = self.only {
            return self.candidate(only).forward(&x[0], ctx);
        }
        match &route.gates()[self.edge] {
            Gate::Path(i) => self.candidate(*i).forward(&x[0], ctx),
        }
    }

    #[track_caller]
    fn candidate(&self, i: usize) -> &dyn Layer {
        match &self.candidates[i] {
            Some((_, candidate)) => &**candidate,
            None => panic!("choice: candidate {i} of edge {} was dropped", self.edge),
        }
    }
}

impl Module for Choice {
    fn visit(&self, visitor: &mut Visitor) {
        for (name, candidate) in self.candidates.iter().flatten() {
            match self.only {
                Some(_) => candidate.visit(visitor),
                None => visitor.module(name, &**candidate),
            }
        }
    }
}
