//! Values as a trace holds them: whole, or in slices that keep it small.

use crate::step::record::Role;
use crate::step::record::stats::{Stats, histogram};
use base64::Engine as _;
use engine::{Shape, Tensor};
use serde::{Serialize, Serializer};

/// Bins of a histogram.
const BINS: usize = 16;

/// A number that JSON may not have.
#[derive(Clone, Copy, Debug)]
pub struct Number(pub f64);

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            x if x.is_finite() => serializer.serialize_f64(x),
            x if x.is_nan() => serializer.serialize_str("NaN"),
            x if x > 0.0 => serializer.serialize_str("Infinity"),
            _ => serializer.serialize_str("-Infinity"),
        }
    }
}

/// How much of large tensors a trace keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Detail {
    /// Tensors of at most this many elements are whole.
    whole: usize,
    /// Channels kept of the first image of larger ones (kernels of as many input and output channels).
    channels: usize,
    /// The same for contributions to a gradient that has several.
    channels_of_contributions: usize,
}

impl Detail {
    /// Everything.
    pub const WHOLE: Detail = Detail { whole: usize::MAX, channels: 0, channels_of_contributions: 0 };

    /// Small tensors, and summaries of the others.
    pub const SMALL: Detail = Detail { whole: 64, channels: 0, channels_of_contributions: 0 };

    /// From rich to poor, for a page of limited size.
    pub const LEVELS: [Detail; 8] = [
        Detail::WHOLE,
        Detail { whole: 4096, channels: 4, channels_of_contributions: 4 },
        Detail { whole: 2048, channels: 3, channels_of_contributions: 3 },
        Detail { whole: 1024, channels: 2, channels_of_contributions: 2 },
        Detail { whole: 1024, channels: 1, channels_of_contributions: 1 },
        Detail { whole: 512, channels: 1, channels_of_contributions: 0 },
        Detail::SMALL,
        Detail { whole: 1, channels: 0, channels_of_contributions: 0 },
    ];

    /// For contributions.
    pub fn of_contributions(self) -> Detail {
        Detail { channels: self.channels_of_contributions, ..self }
    }

    /// What is not there, for people.
    pub fn left_out(self) -> String {
        let kept = match self.channels {
            0 => "only their summaries are here".to_string(),
            1 => "the first channel of the first image is here, and the first kernel of weights".into(),
            n => format!(
                "the first {n} channels of the first image are here, and of weights the kernels between the first {n} channels"
            ),
        };
        format!("Of tensors with more than {} elements {kept}; summaries are of the whole tensors.", self.whole)
    }
}

/// Values of a tensor or a gradient.
#[derive(Debug, Serialize)]
pub struct Values {
    summary: Summary,
    #[serde(skip_serializing_if = "Option::is_none")]
    whole: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    slices: Option<Vec<Slice>>,
}

#[derive(Debug, Serialize)]
struct Summary {
    min: Option<f64>,
    max: Option<f64>,
    mean: Option<f64>,
    std: Option<f64>,
    norm: Option<f64>,
    zeros: usize,
    nan: usize,
    inf: usize,
    histogram: Vec<usize>,
}

#[derive(Debug, Serialize)]
struct Slice {
    at: Vec<Option<usize>>,
    shape: Vec<usize>,
    data: String,
}

impl Values {
    /// In some detail.
    pub fn of(tensor: &Tensor, role: Role, detail: Detail) -> Values {
        let (values, shape) = (tensor.data(), tensor.shape());
        let stats = Stats::of(values);
        let histogram = if values.len() > 1 { histogram(values, &stats, BINS) } else { vec![] };
        // Single precision's seven digits say all there is and are half as long.
        let short = |x: f64| x.is_finite().then(|| short(x));
        let summary = Summary {
            min: short(stats.min),
            max: short(stats.max),
            mean: short(stats.mean),
            std: short(stats.std),
            norm: short(stats.norm),
            zeros: stats.zeros,
            nan: stats.nan,
            inf: stats.inf,
            histogram,
        };
        if values.len() <= detail.whole {
            return Values { summary, whole: Some(encode(values.iter().copied())), slices: None };
        }
        let slices = places(shape, role, detail.channels).into_iter().map(|at| slice(tensor, at)).collect();
        Values { summary, whole: None, slices: Some(slices) }
    }

    /// Whether nothing is left out.
    pub fn is_whole(&self) -> bool {
        self.whole.is_some()
    }
}

/// The nearest `f64` that prints in as few digits as the `f32`.
fn short(x: f64) -> f64 {
    let narrow = x as f32;
    if narrow.is_finite() { narrow.to_string().parse().unwrap_or(x) } else { x }
}

/// Which slices to keep of a large tensor.
fn places(shape: Shape, role: Role, channels: usize) -> Vec<Vec<Option<usize>>> {
    let first = |extent: usize| 0..channels.min(extent);
    match (&*shape, role) {
        (&[_, _, c_in, c_out], Role::Parameter) => {
            first(c_in).flat_map(|i| first(c_out).map(move |o| vec![None, None, Some(i), Some(o)])).collect()
        }
        (&[_, _, _, c], _) => first(c).map(|c| vec![Some(0), None, None, Some(c)]).collect(),
        // Rows of a matrix, and of whatever else is large.
        (dims, _) => first(dims.first().copied().unwrap_or(0))
            .map(|row| {
                let mut at = vec![Some(0); dims.len()];
                at[0] = Some(row);
                if let Some(last) = at.last_mut() {
                    *last = None;
                }
                at
            })
            .collect(),
    }
}

fn slice(tensor: &Tensor, at: Vec<Option<usize>>) -> Slice {
    let dims = tensor.shape();
    let free: Vec<usize> =
        at.iter().zip(dims.iter()).filter(|(at, _)| at.is_none()).map(|(_, extent)| *extent).collect();
    let count: usize = free.iter().product();
    let value = |mut i: usize| {
        let (mut offset, mut stride) = (0, 1);
        for (at, extent) in at.iter().zip(dims.iter()).rev() {
            let place = at.unwrap_or_else(|| {
                let place = i % extent;
                i /= extent;
                place
            });
            offset += place * stride;
            stride *= extent;
        }
        tensor.data()[offset]
    };
    let data = encode((0..count).map(value));
    Slice { at, shape: free, data }
}

fn encode(values: impl Iterator<Item = f32>) -> String {
    let bytes: Vec<u8> = values.flat_map(f32::to_le_bytes).collect();
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// The index of a flat entry in each dimension.
pub fn index(shape: &Shape, mut entry: usize) -> Vec<usize> {
    let mut index = vec![0; shape.len()];
    for (at, extent) in index.iter_mut().zip(shape.iter()).rev() {
        *at = entry % extent;
        entry /= extent;
    }
    index
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(text: &str) -> Vec<f32> {
        let bytes = base64::engine::general_purpose::STANDARD.decode(text).expect("base64");
        let (chunks, _) = bytes.as_chunks::<4>();
        chunks.iter().map(|chunk| f32::from_le_bytes(*chunk)).collect()
    }

    #[test]
    fn slices_hold_the_values_at_their_place() {
        let map = Tensor::from_fn([2, 3, 4, 5], |i| i as f32);
        let values =
            Values::of(&map, Role::Activation, Detail { whole: 10, channels: 2, channels_of_contributions: 0 });
        let slices = values.slices.expect("too large to be whole");
        assert_eq!((slices.len(), &slices[1].shape), (2, &vec![3, 4]));
        assert_eq!(decode(&slices[1].data)[5], map.data()[(4 + 1) * 5 + 1], "row 1, column 1, channel 1");
        let weight = Values::of(&map, Role::Parameter, Detail { whole: 10, channels: 9, channels_of_contributions: 0 });
        let slices = weight.slices.expect("too large");
        assert_eq!(
            (slices.len(), &slices[6].at, &slices[6].shape),
            (20, &vec![None, None, Some(1), Some(1)], &vec![2, 3])
        );
        assert_eq!(decode(&slices[6].data)[4], map.data()[((3 + 1) * 4 + 1) * 5 + 1]);
    }

    #[test]
    fn what_is_not_a_number_is_counted_and_kept() {
        let odd = Tensor::from_slice([3], &[f32::NAN, f32::NEG_INFINITY, 1.5]);
        let text = serde_json::to_string(&Values::of(&odd, Role::Activation, Detail::WHOLE)).expect("JSON");
        assert!(text.contains("\"nan\":1,\"inf\":1") && text.contains("\"min\":1.5"), "{text}");
        let whole = decode(Values::of(&odd, Role::Activation, Detail::WHOLE).whole.as_deref().expect("whole"));
        assert!(whole[0].is_nan() && whole[1] == f32::NEG_INFINITY);
        assert_eq!(serde_json::to_string(&Number(f64::NAN)).expect("JSON"), "\"NaN\"");
    }

    #[test]
    fn entries_have_an_index_in_each_dimension() {
        assert_eq!(index(&Shape::from([2, 3, 4]), 23), [1, 2, 3]);
        assert!(index(&Shape::from([]), 0).is_empty());
    }
}
