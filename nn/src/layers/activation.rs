use crate::context::Context;
use crate::module::{Layer, Module, Visitor};
use engine::{Activation, Lazy};

/// `y = max(x, 0)`, left for the reader of `y` to apply.
///
/// # Shapes
/// - `x`: any maps; returns the same
pub fn relu(x: Lazy) -> Lazy {
    match x.activation {
        Activation::Identity | Activation::Relu => Lazy { activation: Activation::Relu, ..x },
        Activation::Relu6 => x, // already at least 0
    }
}

/// `y = min(max(x, 0), 6)`, left for the reader of `y` to apply.
///
/// # Shapes
/// - `x`: any maps; returns the same
pub fn relu6(x: Lazy) -> Lazy {
    // What is already at least 0 is only cut at 6.
    Lazy { activation: Activation::Relu6, ..x }
}

/// [`relu`] as a layer.
pub struct Relu;

impl Module for Relu {
    fn visit(&self, _visitor: &mut Visitor) {}
}

impl Layer for Relu {
    fn forward(&self, x: &Lazy, _ctx: &Context) -> Lazy {
        relu(x.clone())
    }
}
