//! How the outputs that a layer gathers are put together.

use super::Map;
use crate::Error;
use crate::context::Context;
use std::fmt;
use std::str::FromStr;

/// How outputs are put together. What results is a list of maps that is read as their concatenation.
///
/// An output has a part that is added to what came before and a part that is appended; the four ways differ in how wide these are
/// and where the sum lands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// All is added (ResNet).
    Sum,
    /// All is appended, in the order gathered (DenseNet).
    Concat,
    /// Both; sums land on the last channels so far, so that their place slides (Wang et al. 2018, MixNet, arXiv:1802.01808).
    MixedLink,
    /// Both; sums land on the first channels (Chen et al. 2017, dual path networks, arXiv:1707.01629).
    DualPath,
}

/// Channels of a stage's outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Widths {
    /// Of the stage's input.
    pub input: usize,
    /// Of the part of a layer's output that is added.
    pub added: usize,
    /// Of the part that is appended.
    pub appended: usize,
}

/// What a layer, or the input of a stage, gives to those that gather it.
#[derive(Clone)]
pub enum Output {
    /// The stage's input.
    Input(Vec<Map>),
    /// A layer's output: the part that is added and the part that is appended.
    Layer {
        /// At most one of the two is absent.
        added: Option<Map>,
        /// See [`How`].
        appended: Option<Map>,
    },
}

impl Output {
    /// Its maps.
    pub(crate) fn maps(&self) -> Vec<Map> {
        match self {
            Output::Input(maps) => maps.clone(),
            Output::Layer { added, appended } => added.iter().chain(appended).cloned().collect(),
        }
    }
}

impl How {
    /// Channels of what a layer reads that gathers `sources`.
    pub fn channels(self, sources: &[usize], widths: Widths) -> usize {
        let Widths { input, added, appended } = widths;
        let first = |source: usize| if source == 0 { input } else { added + appended };
        match self {
            How::Concat => sources.iter().map(|&source| first(source)).sum(),
            _ => {
                // The oldest stands for itself; the others add to it and append to it.
                let oldest = sources.iter().min().map_or(0, |&source| first(source));
                oldest + appended * sources.len().saturating_sub(1)
            }
        }
    }

    /// # Errors
    /// If outputs of these widths cannot be put together this way.
    pub fn check(self, widths: Widths) -> Result<(), Error> {
        let Widths { input, added, appended } = widths;
        let wrong = match self {
            How::Sum if appended > 0 => {
                Some(format!("a sum appends nothing, but layers would append {appended} channels"))
            }
            How::Sum if input != added => Some(format!(
                "widths {input} (the stage's input) and {added} (its layers) cannot be summed; make them equal or concatenate"
            )),
            How::Concat if added > 0 => {
                Some(format!("concatenation adds nothing, but layers would add {added} channels"))
            }
            How::MixedLink | How::DualPath if input < added => Some(format!(
                "layers would add {added} channels to a stage's input of {input}; make it at least as wide"
            )),
            _ if input == 0 || added + appended == 0 => Some("a layer without channels computes nothing".into()),
            _ => None,
        };
        wrong.map_or(Ok(()), |wrong| Err(Error::Wiring(wrong)))
    }

    /// Puts the outputs at `sources` together. `before` is what an earlier layer read: where this one reads the same and more, only
    /// the rest is added to it, so that the sum of all costs one addition a layer.
    pub(crate) fn gather(
        self,
        outputs: &[Output],
        sources: &[usize],
        before: Option<&(Vec<usize>, Vec<Map>)>,
        ctx: &Context,
    ) -> (Vec<usize>, Vec<Map>) {
        if self == How::Concat {
            return (sources.to_vec(), sources.iter().flat_map(|&source| outputs[source].maps()).collect());
        }
        let mut oldest_first = sources.to_vec();
        oldest_first.sort_unstable();
        let (mut state, rest) = match before {
            Some((read, maps)) if oldest_first.starts_with(read) => (maps.clone(), &oldest_first[read.len()..]),
            _ => (outputs[oldest_first[0]].maps(), &oldest_first[1..]),
        };
        if self == How::Sum {
            let layers: Vec<Map> = rest.iter().flat_map(|&source| outputs[source].maps()).collect();
            state = vec![Map::sum(&state.iter().chain(&layers).collect::<Vec<_>>(), ctx)];
        } else {
            for &source in rest {
                let Output::Layer { added, appended } = &outputs[source] else {
                    unreachable!("the input is the oldest")
                };
                if let Some(added) = added {
                    let width: usize = state.iter().map(Map::channels).sum();
                    let at = if self == How::MixedLink { width - added.channels() } else { 0 };
                    state = add_at(&state, at, added, ctx);
                }
                state.extend(appended.clone());
            }
        }
        (oldest_first, state)
    }
}

/// The list `state` with `added` added to the channels from `at` on. Maps that it covers in part are split.
fn add_at(state: &[Map], at: usize, added: &Map, ctx: &Context) -> Vec<Map> {
    let end = at + added.channels();
    let mut sum = vec![];
    let mut first = 0;
    for map in state {
        let last = first + map.channels();
        let (from, to) = (at.clamp(first, last), end.clamp(first, last));
        if from == to {
            sum.push(map.clone());
        } else {
            if first < from {
                sum.push(map.slice(0..from - first));
            }
            sum.push(Map::sum(&[&map.slice(from - first..to - first), &added.slice(from - at..to - at)], ctx));
            if to < last {
                sum.push(map.slice(to - first..last - first));
            }
        }
        first = last;
    }
    sum
}

/// `sum`, `concat`, `mixed`, `dual`.
impl fmt::Display for How {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            How::Sum => "sum",
            How::Concat => "concat",
            How::MixedLink => "mixed",
            How::DualPath => "dual",
        })
    }
}

impl FromStr for How {
    type Err = Error;

    fn from_str(text: &str) -> Result<How, Error> {
        let all = [How::Sum, How::Concat, How::MixedLink, How::DualPath];
        all.into_iter().find(|how| how.to_string() == text).ok_or_else(|| {
            Error::Wiring(format!(
                "`{text}` is not a way to put outputs together; there are sum, concat, mixed and dual"
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregation::Gather;
    use engine::Tensor;
    use engine::gradcheck::{gradcheck, sample};

    fn ctx() -> Context {
        Context::train(0, 1)
    }

    /// A map of 1x1 pixels with these channels.
    fn map(channels: &[f32]) -> Map {
        Tensor::from_slice([1, 1, 1, channels.len()], channels).into()
    }

    fn layer(added: &[f32], appended: &[f32]) -> Output {
        let part = |channels: &[f32]| (!channels.is_empty()).then(|| map(channels));
        Output::Layer { added: part(added), appended: part(appended) }
    }

    fn put(how: How, outputs: &[Output], sources: &[usize]) -> Vec<f32> {
        let (_, maps) = how.gather(outputs, sources, None, &ctx());
        maps.iter().flat_map(|map| map.value.data().to_vec()).collect()
    }

    #[test]
    fn each_way_does_what_it_says() {
        let input = Output::Input(vec![map(&[1., 2., 3.])]);
        let concat = [input.clone(), layer(&[], &[4.]), layer(&[], &[5., 6.])];
        assert_eq!(put(How::Concat, &concat, &[2, 0]), [5., 6., 1., 2., 3.]);
        let sum = [input.clone(), layer(&[10., 20., 30.], &[]), layer(&[100., 200., 300.], &[])];
        assert_eq!(put(How::Sum, &sum, &[2, 1, 0]), [111., 222., 333.]);
        assert_eq!(put(How::Sum, &sum, &[1]), [10., 20., 30.]);
        let both = [input, layer(&[10., 20.], &[4.]), layer(&[100., 200.], &[5.])];
        assert_eq!(put(How::MixedLink, &both, &[0, 1, 2]), [1., 12., 123., 204., 5.], "the place of the sum slides");
        assert_eq!(put(How::DualPath, &both, &[2, 0, 1]), [111., 222., 3., 4., 5.], "the place of the sum is fixed");
        assert_eq!(put(How::MixedLink, &both, &[1, 2]), [10., 120., 204., 5.], "the oldest stands for itself");
    }

    #[test]
    fn what_was_read_before_is_not_put_together_again() {
        let outputs: Vec<Output> = (0..5)
            .map(|i| if i == 0 { Output::Input(vec![map(&[1., 2., 3.])]) } else { layer(&[i as f32, 7.], &[9., 8.]) })
            .collect();
        for how in [How::MixedLink, How::DualPath] {
            let mut before = None;
            for i in 1..=5 {
                let sources = Gather::All.sources(i);
                let after = how.gather(&outputs, &sources, before.as_ref(), &ctx());
                let values: Vec<f32> = after.1.iter().flat_map(|map| map.value.data().to_vec()).collect();
                assert_eq!(values, put(how, &outputs, &sources));
                before = Some(after);
            }
        }
    }

    #[test]
    fn widths_are_those_of_what_is_put_together() {
        for (how, added, appended, input) in [
            (How::Sum, 3, 0, 3),
            (How::Concat, 0, 2, 5),
            (How::MixedLink, 2, 1, 4),
            (How::MixedLink, 1, 3, 4),
            (How::DualPath, 3, 2, 4),
        ] {
            let widths = Widths { input, added, appended };
            how.check(widths).unwrap_or_else(|e| panic!("{e}"));
            let outputs: Vec<Output> = (0..9)
                .map(|i| match i {
                    0 => Output::Input(vec![map(&vec![1.0; input])]),
                    _ => layer(&vec![1.0; added], &vec![1.0; appended]),
                })
                .collect();
            for gather in [Gather::All, Gather::Previous, Gather::Base(2), Gather::Base(3)] {
                for i in 1..=9 {
                    let sources = gather.sources(i);
                    assert_eq!(put(how, &outputs, &sources).len(), how.channels(&sources, widths), "{how} {sources:?}");
                }
            }
        }
    }

    #[test]
    fn gradients_reach_every_part() {
        gradcheck(&[sample([1, 2, 2, 5]), sample([1, 2, 2, 3]), sample([1, 2, 2, 2])], |t| {
            let outputs = [
                Output::Input(vec![t[0].clone().into()]),
                Output::Layer { added: Some(t[1].clone().into()), appended: Some(t[2].clone().into()) },
                Output::Layer { added: Some(t[1].scale(2.0).into()), appended: None },
            ];
            let (_, maps) = How::MixedLink.gather(&outputs, &[0, 1, 2], None, &ctx());
            Map::concat(&maps)
        });
    }

    #[test]
    fn names_go_to_and_fro_and_wrong_widths_are_refused() {
        for how in [How::Sum, How::Concat, How::MixedLink, How::DualPath] {
            assert_eq!(how.to_string().parse(), Ok(how));
        }
        assert!("add".parse::<How>().expect_err("no way").to_string().contains("sum, concat, mixed and dual"));
        let message = |how: How, input, added, appended| {
            how.check(Widths { input, added, appended }).expect_err("cannot be").to_string()
        };
        assert!(
            message(How::Sum, 24, 16, 0).contains("widths 24 (the stage's input) and 16 (its layers) cannot be summed")
        );
        assert!(message(How::Sum, 16, 16, 1).contains("appends nothing"));
        assert!(message(How::Concat, 16, 1, 2).contains("adds nothing"));
        assert!(message(How::MixedLink, 2, 3, 1).contains("at least as wide"));
        assert!(message(How::DualPath, 2, 0, 0).contains("without channels"));
    }
}
