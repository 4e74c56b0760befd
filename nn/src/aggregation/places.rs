//! Which channels of a layer's input belong to which earlier output.

use super::{How, Widths};
use std::iter::once;
use std::ops::Range;

/// An earlier output and where it lies in what a layer reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Its index in the stage.
    pub index: usize,
    /// The channels that it is or is part of: where outputs are added up, those of several sources overlap.
    pub channels: Vec<Range<usize>>,
}

/// The channels of each of `sources` in what a layer reads that gathers them; what [`How`] builds, told instead of built.
pub fn places(how: How, sources: &[usize], widths: Widths) -> Vec<Source> {
    let Widths { input, added, appended } = widths;
    let first = |index: usize| if index == 0 { input } else { added + appended };
    if how == How::Concat {
        let mut end = 0;
        let next = |&index: &usize| {
            let start = end;
            end += first(index);
            Source { index, channels: once(start..end).collect() }
        };
        return sources.iter().map(next).collect();
    }
    let oldest = sources.iter().min().copied().unwrap_or(0);
    let mut width = first(oldest);
    let mut oldest_first = sources.to_vec();
    oldest_first.sort_unstable();
    let place = |index: usize| {
        if index == oldest {
            return Source { index, channels: once(0..width).collect() };
        }
        let sum = if how == How::MixedLink { width - added..width } else { 0..added };
        let end = width;
        width += appended;
        Source { index, channels: [sum, end..width].into_iter().filter(|range| !range.is_empty()).collect() }
    };
    let mut all: Vec<Source> = oldest_first.into_iter().map(place).collect();
    // In the order in which the layer names them.
    all.sort_by_key(|source| sources.iter().position(|&index| index == source.index));
    all
}

#[cfg(test)]
mod tests {
    use super::super::{Gather, Map, Output};
    use super::*;
    use crate::context::Context;
    use engine::Tensor;

    /// A map of one pixel whose channels all hold `2^index`: a sum shows in its bits who is in it.
    fn map(index: usize, channels: usize) -> Map {
        Tensor::full([1, 1, 1, channels], f32::from(1u16 << index)).into()
    }

    #[test]
    fn what_is_told_is_what_is_built() {
        for (how, input, added, appended) in [
            (How::Concat, 5, 0, 3),
            (How::Sum, 4, 4, 0),
            (How::MixedLink, 6, 2, 3),
            (How::MixedLink, 6, 4, 1),
            (How::DualPath, 6, 2, 3),
            (How::DualPath, 6, 0, 3),
        ] {
            let widths = Widths { input, added, appended };
            let part = |index, channels| (channels > 0).then(|| map(index, channels));
            let outputs: Vec<Output> = (0..10)
                .map(|i| match i {
                    0 => Output::Input(vec![map(0, 1), map(0, input - 1)]),
                    _ if how == How::Sum => Output::Layer { added: part(i, added), appended: None },
                    _ => Output::Layer { added: part(i, added), appended: part(i, appended) },
                })
                .collect();
            let outputs: Vec<Output> = if how == How::Sum {
                outputs
                    .into_iter()
                    .enumerate()
                    .map(|(i, o)| if i == 0 { Output::Input(vec![map(0, input)]) } else { o })
                    .collect()
            } else {
                outputs
            };
            for gather in [Gather::All, Gather::Base(2), Gather::Base(3), Gather::Previous] {
                for layer in 1..=9 {
                    let sources = gather.sources(layer);
                    let (_, maps) = how.gather(&outputs, &sources, None, &Context::eval());
                    let built = Map::concat(&maps);
                    let mut told = vec![0.0; built.shape().channels()];
                    for Source { index, channels } in places(how, &sources, widths) {
                        for range in channels {
                            told[range].iter_mut().for_each(|v| *v += f32::from(1u16 << index));
                        }
                    }
                    assert_eq!(built.data(), told, "{how} {gather} layer {layer}");
                }
            }
        }
    }
}
