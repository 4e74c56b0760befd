use crate::context::Context;
use crate::init::{Builder, Init};
use crate::module::{Module, Visitor};
use crate::param::{Param, ParamKind};
use engine::Tensor;

/// Fully connected layer: `y = x weight + bias`.
///
/// # Shapes
/// - `x`: `(N, in)`; returns `(N, out)`
///
/// # Source
/// `torch.nn.Linear`, which keeps `weight` as `(out, in)`; so do our files. It starts as PyTorch's, uniform in `±1/sqrt(in)`;
/// the bias starts at 0, as in the DenseNet and SparseNet code.
pub struct Linear {
    /// `(in, out)`
    pub weight: Param,
    /// `(out)`
    pub bias: Param,
}

impl Linear {
    /// See [`Linear`].
    #[track_caller]
    pub fn forward(&self, x: &Tensor, ctx: &Context) -> Tensor {
        let weight = ctx.value(&self.weight);
        let [inputs, outputs]: [usize; 2] = weight.dims();
        if ctx.count((inputs * outputs) as u64) {
            return Tensor::zeros([x.shape()[0], outputs]);
        }
        x.matmul(&weight).add(&ctx.value(&self.bias))
    }
}

impl Module for Linear {
    fn visit(&self, visitor: &mut Visitor) {
        visitor.param("weight", &self.weight);
        visitor.param("bias", &self.bias);
    }
}

impl Builder {
    /// A linear layer with fresh weights.
    pub fn linear(&mut self, inputs: usize, outputs: usize) -> Linear {
        Linear {
            weight: self.param([inputs, outputs], ParamKind::LinearWeight, Init::FanInUniform),
            bias: self.param([outputs], ParamKind::Bias, Init::Constant(0.0)),
        }
    }
}
