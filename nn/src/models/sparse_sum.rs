//! SparseNet's sum variant with parameter-free crossings, which makes it a thinned ResNet.

use super::{Aggregation, Wired};
use crate::aggregation::{Gather, How, Map};
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
    of: Aggregation,
}

impl SparseSum {
    /// The network that `of` describes, whose crossing must be [`Padding`](super::Crossing::Padding).
    ///
    /// # Errors
    /// If its links or widths do not go together.
    pub fn new(b: &mut Builder, of: &Aggregation, classes: usize) -> Result<SparseSum, Error> {
        let wiring = of.wiring()?;
        of.sized(&wiring)?;
        let [w1, w2, w3] = of.added;
        let conv1 = b.conv(3, w1, 3, 1);
        let mut stage = |i: usize| -> Result<Stage, Error> {
            let width = of.added[i];
            let stage = Stage::new(wiring.clone(), How::Sum, of.widths(i, width), |layer, c_in| {
                Box::new(match (i, layer) {
                    (1.., 1) => ResidualFunction::new(b, of.added[i - 1], width, 2),
                    _ => ResidualFunction::new(b, c_in, width, 1),
                })
            })?;
            Ok(if of.gather == Gather::Learned { stage.with_gates(b) } else { stage })
        };
        let stages = [stage(0)?, stage(1)?, stage(2)?];
        let crossings = [(w1, w2), (w2, w3)].map(|channels| Shortcut::new(b, ShortcutKind::A, channels, 2, false));
        Ok(SparseSum { conv1, stages, crossings, bn: b.batch_norm(w3), linear: b.linear(w3, classes), of: of.clone() })
    }

    /// The stages, whose wiring the forward pass follows.
    pub fn stages(&self) -> &[Stage] {
        &self.stages
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
        self.linear.forward(&x.global_avg_pool(), ctx)
    }

    fn wired(&self) -> Option<Wired<'_>> {
        Some(Wired { of: &self.of, stages: &self.stages, exits: vec![None, None, Some(self.linear.weight.clone())] })
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
