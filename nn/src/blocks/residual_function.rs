use super::stage::Unit;
use crate::aggregation::{Map, Output};
use crate::context::Context;
use crate::init::Builder;
use crate::layers::{BatchNorm2d, Conv2d, relu};
use crate::module::{Module, Visitor};
use crate::param::Param;

/// `y = conv2(relu(bn2(conv1(relu(bn1(x))))))`, both 3x3: a pre-activation residual unit without its identity, which is left to
/// whoever sums.
///
/// # Source
/// He et al. 2016 (arXiv:1603.05027).
pub struct ResidualFunction {
    bn1: BatchNorm2d,
    conv1: Conv2d,
    bn2: BatchNorm2d,
    conv2: Conv2d,
}

impl ResidualFunction {
    /// A function from `c_in` to `c_out` channels; `stride` is that of the first convolution.
    pub fn new(b: &mut Builder, c_in: usize, c_out: usize, stride: usize) -> ResidualFunction {
        ResidualFunction {
            bn1: b.batch_norm(c_in),
            conv1: b.conv(c_in, c_out, 3, stride),
            bn2: b.batch_norm(c_out),
            conv2: b.conv(c_out, c_out, 3, 1),
        }
    }
}

impl Unit for ResidualFunction {
    fn forward(&self, x: &[Map], ctx: &Context) -> Output {
        let y = self.conv1.forward(relu(self.bn1.forward_maps(x, ctx)), ctx);
        // Batch norms read the sum that it goes into, which is measured instead.
        let y = self.conv2.forward_unmeasured(relu(self.bn2.forward(y, ctx)), ctx);
        Output::Layer { added: Some(y.into()), appended: None }
    }

    fn reading(&self) -> Vec<Param> {
        vec![self.conv1.weight.clone()]
    }
}

impl Module for ResidualFunction {
    fn visit(&self, visitor: &mut Visitor) {
        visitor.module("bn1", &self.bn1);
        visitor.module("conv1", &self.conv1);
        visitor.module("bn2", &self.bn2);
        visitor.module("conv2", &self.conv2);
    }
}
