//! The networks of the spaces: each is written once, with [`Choice`]s where operations are chosen, and serves as supernet and as
//! derived network.

pub(crate) mod aggregation;
pub(crate) mod mbconv;
pub(crate) mod nb201;
mod parts;
pub(crate) mod tree_cell;

pub(crate) use mbconv::MbConvNet;

use crate::supernet::{Choice, Route};
use engine::Tensor;
use nn::{Context, Module, Network, Visitor};

/// A network with choices in it.
pub(crate) trait Skeleton: Module {
    /// Logits `(N, classes)` of `images` `(N, H, W, 3)` along `route`.
    fn forward(&self, images: &Tensor, route: &Route, ctx: &Context) -> Tensor;

    /// Every choice. Several may belong to one edge.
    fn choices_mut(&mut self) -> Vec<&mut Choice>;
}

/// Which candidates a network is built with.
pub(crate) enum Kept<'a> {
    /// One on each edge, by index: a derived network, in whose parameter names operations don't occur.
    Only(&'a [usize]),
    /// All: a supernet.
    All,
}

/// A skeleton with one candidate on each edge.
pub(crate) struct Derived(pub Box<dyn Skeleton>);

impl Network for Derived {
    fn forward(&self, images: &Tensor, ctx: &Context) -> Tensor {
        self.0.forward(images, &Route::default(), ctx)
    }
}

impl Module for Derived {
    fn visit(&self, visitor: &mut Visitor) {
        self.0.visit(visitor);
    }
}
