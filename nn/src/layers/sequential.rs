use crate::context::Context;
use crate::module::{Layer, Module, Visitor};
use engine::Lazy;

/// Layers one after the other, named `0`, `1`, ... as in `torch.nn.Sequential`.
#[derive(Default)]
pub struct Sequential {
    layers: Vec<Box<dyn Layer>>,
}

impl Sequential {
    /// Appends a layer.
    pub fn push(&mut self, layer: impl Layer + 'static) {
        self.layers.push(Box::new(layer));
    }

    /// Number of layers.
    pub fn len(&self) -> usize {
        self.layers.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.layers.is_empty()
    }
}

impl<L: Layer + 'static> FromIterator<L> for Sequential {
    fn from_iter<I: IntoIterator<Item = L>>(layers: I) -> Sequential {
        let mut sequential = Sequential::default();
        layers.into_iter().for_each(|layer| sequential.push(layer));
        sequential
    }
}

impl Module for Sequential {
    fn visit(&self, visitor: &mut Visitor) {
        for (i, layer) in self.layers.iter().enumerate() {
            visitor.module(&i.to_string(), &**layer);
        }
    }
}

impl Layer for Sequential {
    fn forward(&self, x: &Lazy, ctx: &Context) -> Lazy {
        self.layers.iter().fold(x.clone(), |x, layer| layer.forward(&x, ctx))
    }
}
