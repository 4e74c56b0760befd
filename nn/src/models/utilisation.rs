//! How strongly each layer of a wired network uses each earlier output.

use super::Aggregation;
use crate::aggregation::{How, selection};
use crate::blocks::Stage;
use crate::context::Contribution;
use crate::param::Param;

/// A network that is wired by data, laid open.
pub struct Wired<'a> {
    /// What it was built from.
    pub of: &'a Aggregation,
    /// Its stages, in order.
    pub stages: &'a [Stage],
    /// The weights that read what leaves each stage; `None` where that is summed on without weights.
    pub exits: Vec<Option<Param>>,
}

/// How strongly one layer uses one earlier output.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Use {
    /// From 1.
    pub stage: usize,
    /// Index of the layer in its stage, from 1; the exit comes after the last.
    pub layer: usize,
    /// Index of the output: 0 is the stage's input.
    pub source: usize,
    /// 0 or more; what it is, [`Wired::measure`] says.
    pub strength: f64,
}

/// What a strength is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// Mean absolute value of the filter weights on the output's channels.
    FilterWeight,
    /// The output's share of the norms of all terms of the sum: a sum's weights are the same for all of them.
    NormShare,
}

impl Wired<'_> {
    /// What strengths are for this network: of weights where outputs keep channels of their own, of norms where all is summed.
    pub fn measure(&self) -> Measure {
        if self.of.how == How::Sum { Measure::NormShare } else { Measure::FilterWeight }
    }

    /// How strong each link is where that is learned: gates, as means over the stages, which share their wiring.
    pub fn strengths(&self) -> Option<selection::Strengths> {
        let each: Vec<selection::Strengths> = self.stages.iter().filter_map(Stage::strengths).collect();
        let mut mean = each.first()?.clone();
        for (layer, gates) in mean.iter_mut().enumerate() {
            for (source, gate) in gates.iter_mut().enumerate() {
                *gate = each.iter().map(|stage| stage[layer][source]).sum::<f32>() / each.len() as f32;
            }
        }
        Some(mean)
    }

    /// Mean absolute filter weight for each link, as in figure 5 of the DenseNet paper (arXiv:1608.06993): over output channels,
    /// taps, and the channels that the output is or is part of.
    pub fn filter_weights(&self) -> Vec<Use> {
        let mut uses = vec![];
        for (stage, (of, exit)) in (1..).zip(self.stages.iter().zip(&self.exits)) {
            let layers = of.wiring().layers();
            for layer in 1..=layers + 1 {
                let weights = if layer <= layers { of.reading(layer) } else { exit.iter().cloned().collect() };
                if weights.is_empty() {
                    continue;
                }
                for source in of.sources(layer) {
                    let (mut sum, mut count) = (0.0, 0);
                    for range in &source.channels {
                        for weight in &weights {
                            let value = weight.value();
                            let [.., c_in, c_out] = value.shape()[..] else { continue };
                            for tap in value.data().chunks_exact(c_in * c_out) {
                                let channels = &tap[range.start * c_out..range.end * c_out];
                                sum += channels.iter().map(|&w| f64::from(w.abs())).sum::<f64>();
                                count += channels.len();
                            }
                        }
                    }
                    let strength = sum / count.max(1) as f64;
                    uses.push(Use { stage, layer, source: source.index, strength });
                }
            }
        }
        uses
    }
}

/// Shares of the norms in each sum that a pass [noted](crate::Context::contributions).
pub fn norm_shares(noted: &[Contribution]) -> Vec<Use> {
    let same = |a: &Contribution, b: &Contribution| (a.stage, a.layer) == (b.stage, b.layer);
    let shares = noted.chunk_by(same).flat_map(|terms| {
        let total: f64 = terms.iter().map(|term| term.norm).sum();
        let share = move |term: &Contribution| if total > 0.0 { term.norm / total } else { 0.0 };
        terms.iter().map(move |term| Use {
            stage: term.stage + 1,
            layer: term.layer,
            source: term.source,
            strength: share(term),
        })
    });
    shares.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Context, Model};
    use engine::{Tensor, no_grad};

    #[test]
    fn a_source_whose_weights_grow_is_used_more() {
        let model = Model::new("sparsenet10-4", 10, 0).unwrap_or_else(|e| panic!("{e}"));
        let wired = model.wired().expect("wired");
        assert_eq!(wired.measure(), Measure::FilterWeight);
        let at = |uses: &[Use], stage, layer, source| {
            uses.iter().find(|u| (u.stage, u.layer, u.source) == (stage, layer, source)).map(|u| u.strength)
        };
        let before = wired.filter_weights();
        // Layer 2 of a stage reads layer 1 (4 channels), then the input.
        let weight = &wired.stages[1].reading(2)[0];
        let [_, _, c_in, c_out] = weight.shape()[..] else { panic!("a convolution") };
        weight.update(|w| {
            w.chunks_exact_mut(c_in * c_out).for_each(|tap| tap[..4 * c_out].iter_mut().for_each(|w| *w *= 3.0))
        });
        let after = wired.filter_weights();
        let ratio = at(&after, 2, 2, 1).expect("a link") / at(&before, 2, 2, 1).expect("a link");
        assert!((ratio - 3.0).abs() < 1e-5, "{ratio}");
        assert_eq!(at(&after, 2, 2, 0), at(&before, 2, 2, 0));
        let links: usize = wired.stages.iter().map(|stage| stage.wiring().links()).sum();
        assert_eq!(before.len(), links, "exits included");
    }

    #[test]
    fn shares_of_a_sum_add_up_to_one() {
        for name in ["wired-all-sum20", "sparsenet-sum22", "wired-learned-sum20"] {
            let model = Model::new(name, 10, 0).unwrap_or_else(|e| panic!("{e}"));
            assert_eq!(model.wired().expect("wired").measure(), Measure::NormShare);
            let ctx = Context::eval().watching_sums();
            no_grad(|| model.forward(&Tensor::from_fn([2, 32, 32, 3], |i| (i % 7) as f32 - 3.0), &ctx));
            let uses = norm_shares(&ctx.contributions());
            assert_eq!(uses.iter().map(|u| u.stage).max(), Some(3), "{name}");
            for group in uses.chunk_by(|a, b| (a.stage, a.layer) == (b.stage, b.layer)) {
                let total: f64 = group.iter().map(|u| u.strength).sum();
                assert!((total - 1.0).abs() < 1e-9, "{name}: {group:?}");
            }
        }
        assert!(Model::outline("resnet20", 10).unwrap_or_else(|e| panic!("{e}")).wired().is_none());
    }
}
