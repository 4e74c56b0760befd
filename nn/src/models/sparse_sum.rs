//! SparseNet's sum variant with parameter-free crossings, which makes it a thinned ResNet.

use crate::aggregation::{Gather, How, Map, Widths, Wiring};
use crate::blocks::{ResidualFunction, Shortcut, ShortcutKind, Stage};
use crate::context::Context;
use crate::error::Error;
use crate::init::Builder;
use crate::layers::{BatchNorm2d, Conv2d, Linear, relu};
use crate::module::{Module, Network, Visitor};
use engine::{Lazy, Tensor};

/// The pre-activation ResNet of depth `6n + 2` with its sums thinned out: layer `i` reads the sum of the outputs that a rule names
/// instead of all. Between stages the sum is subsampled and padded with zero channels, as by shortcut option A, and the first layer
/// of a stage reads the sum before that, with stride 2. With the rule `all` this is exactly that ResNet, parameter names included.
///
/// # Source
/// Zhu et al. 2018 (arXiv:1801.05895), whose code for sums was not published; the crossing is our choice, since it keeps the
/// parameters equal to ResNet's.
pub struct SparseSum {
    conv1: Conv2d,
    stages: [Stage; 3],
    crossings: [Shortcut; 2],
    bn: BatchNorm2d,
    linear: Linear,
}

const WIDTHS: [usize; 3] = [16, 32, 64];

impl SparseSum {
    /// A network with `layers` layers per stage, two convolutions each.
    ///
    /// # Errors
    /// If the rule wires no such stage.
    pub fn new(b: &mut Builder, gather: &Gather, layers: usize, classes: usize) -> Result<SparseSum, Error> {
        let wiring = Wiring::new(gather, layers)?;
        let conv1 = b.conv(3, WIDTHS[0], 3, 1);
        let mut stage = |i: usize| {
            let width = WIDTHS[i];
            let widths = Widths { input: width, added: width, appended: 0 };
            Stage::new(wiring.clone(), How::Sum, widths, |layer, c_in| {
                Box::new(match (i, layer) {
                    (1.., 1) => ResidualFunction::new(b, WIDTHS[i - 1], width, 2),
                    _ => ResidualFunction::new(b, c_in, width, 1),
                })
            })
        };
        let stages = [stage(0)?, stage(1)?, stage(2)?];
        let crossings = [0, 1].map(|i| Shortcut::new(b, ShortcutKind::A, (WIDTHS[i], WIDTHS[i + 1]), 2, false));
        Ok(SparseSum { conv1, stages, crossings, bn: b.batch_norm(64), linear: b.linear(64, classes) })
    }
}

impl Network for SparseSum {
    fn forward(&self, images: &Tensor, ctx: &Context) -> Tensor {
        let mut x = self.stages[0].forward(vec![self.conv1.forward(images, ctx).into()], ctx);
        for (crossing, stage) in self.crossings.iter().zip(&self.stages[1..]) {
            // The sum of a stage is one map.
            let sum = Lazy::from(&x[0].value);
            let thinned = Map::from(crossing.forward(&sum, &sum, ctx).materialise());
            x = stage.forward_from(&x, vec![thinned], ctx);
        }
        let x = relu(self.bn.forward_maps(&x, ctx));
        self.linear.forward(&x.materialise().global_avg_pool(), ctx)
    }
}

impl Module for SparseSum {
    fn visit(&self, visitor: &mut Visitor) {
        visitor.module("conv1", &self.conv1);
        for (i, stage) in self.stages.iter().enumerate() {
            visitor.module(&format!("layer{}", i + 1), stage);
        }
        visitor.module("bn", &self.bn);
        visitor.module("linear", &self.linear);
    }
}
