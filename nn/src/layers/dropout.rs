use crate::context::Context;
use crate::module::{Layer, Module, Visitor};
use engine::Lazy;

/// In training, zeroes each value with probability `p` and scales the others by `1 / (1 - p)`; in evaluation, nothing.
///
/// # Shapes
/// - `x`: `(N, H, W, C)`; returns the same
///
/// # Source
/// Srivastava et al. 2014; `torch.nn.Dropout`. The mask depends on the run's seed, the step and the layer's place in the pass.
pub struct Dropout {
    /// Probability of a zero, in `0..1`.
    pub p: f32,
}

impl Module for Dropout {
    fn visit(&self, _visitor: &mut Visitor) {}
}

impl Layer for Dropout {
    fn forward(&self, x: &Lazy, ctx: &Context) -> Lazy {
        if !ctx.train || self.p == 0.0 {
            return x.clone();
        }
        x.materialise().dropout(self.p, &mut ctx.rng()).into()
    }
}
