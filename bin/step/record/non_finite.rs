//! Where the first value that is not finite came from.

use super::Recording;
use super::stats::Stats;

/// One of the two passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pass {
    /// From the images to the loss.
    Forward,
    /// From the loss back.
    Backward,
}

/// The first step with a value that is not finite.
pub struct NonFinite {
    /// The pass it turned up in.
    pub pass: Pass,
    /// The step of that pass.
    pub step: usize,
    /// The tensor whose value (or gradient) it is.
    pub tensor: usize,
}

impl Recording {
    /// The first op that reads a spoilt leaf or whose output is not finite; or else the first whose contribution to a gradient is not.
    pub fn first_non_finite(&self) -> Option<NonFinite> {
        let bad = |values: &[f32]| !Stats::of(values).is_finite();
        let spoilt = |tensor: &usize| bad(self.tensors[*tensor].value.data());
        let forward = self.ops.iter().enumerate().find_map(|(step, op)| {
            let leaf = op.inputs.iter().copied().find(|input| self.tensors[*input].maker.is_none() && spoilt(input));
            let tensor = leaf.or(Some(op.output).filter(spoilt))?;
            Some(NonFinite { pass: Pass::Forward, step, tensor })
        });
        forward.or_else(|| {
            self.backward.iter().enumerate().find_map(|(step, it)| {
                let part = it.contributions.iter().find(|part| bad(part.value.data()))?;
                Some(NonFinite { pass: Pass::Backward, step, tensor: part.to })
            })
        })
    }
}
