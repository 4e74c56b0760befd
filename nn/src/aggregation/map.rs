use crate::context::Context;
use engine::Tensor;
use engine::ops::{concat, sum_lazy};
use engine::{Activation, Lazy};
use std::ops::Range;
use std::sync::{Arc, OnceLock};

/// A feature map with the moments that all its batch norms share.
///
/// The mean and variance of a map do not depend on who reads it. Every clone shares one `moments` node of the tape, so the correction
/// that batch norm's statistics cause in the backward pass is gathered from all readers and applied to the map once.
#[derive(Clone)]
pub struct Map {
    /// `(N, H, W, C)`
    pub value: Tensor,
    moments: Arc<OnceLock<Tensor>>,
    /// `(1, 1)`: what this reader's view of the map is multiplied by once it is normalised, or as a term of a sum.
    gate: Option<Arc<Tensor>>,
}

impl From<Tensor> for Map {
    fn from(value: Tensor) -> Map {
        Map { value, moments: Arc::default(), gate: None }
    }
}

impl Map {
    /// `(2, C)`: mean and biased variance, taken when first asked for (see [`Tensor::moments`]).
    pub fn moments(&self) -> &Tensor {
        self.moments.get_or_init(|| self.value.moments())
    }

    /// Number of channels.
    pub fn channels(&self) -> usize {
        self.value.shape().channels()
    }

    /// The same map and moments for a reader that multiplies it by `gate`, `(1, 1)`. A batch norm would undo a factor before it, so
    /// it is applied behind: the rectified map of a positive gate is that many times as large.
    pub fn gated(&self, gate: &Tensor) -> Map {
        Map { gate: Some(Arc::new(gate.clone())), ..self.clone() }
    }

    /// `(1, C)`: the gate of each channel of the concatenation; `None` if no map has one.
    pub(crate) fn gates(maps: &[Map]) -> Option<Tensor> {
        maps.iter().any(|map| map.gate.is_some()).then(|| {
            let spread = |map: &Map| {
                let ones = Tensor::full([1, map.channels()], 1.0);
                map.gate.as_ref().map_or(ones.clone(), |gate| ones.mul(gate))
            };
            let each: Vec<Tensor> = maps.iter().map(spread).collect();
            match &each[..] {
                [one] => one.clone(),
                each => concat(&each.iter().collect::<Vec<_>>()),
            }
        })
    }

    /// Some of the channels; the same map if all.
    pub fn slice(&self, channels: Range<usize>) -> Map {
        if channels == (0..self.channels()) { self.clone() } else { self.value.slice_channels(channels).into() }
    }

    /// The sum of `maps`, in one pass; the same map if there is one.
    ///
    /// # Panics
    /// If there are none or their shapes differ.
    #[track_caller]
    pub fn sum(maps: &[&Map], ctx: &Context) -> Map {
        if let [map] = maps {
            return (*map).clone();
        }
        let term = |map: &&Map| {
            // Scales of the gate, shifts of zero.
            let scale = |i: usize| if i < map.channels() { 1.0 } else { 0.0 };
            let affine = map.gate.as_ref().map(|gate| Tensor::from_fn([2, map.channels()], scale).mul(gate));
            Lazy { affine, ..Lazy::from(&map.value) }
        };
        let terms: Vec<Lazy> = maps.iter().map(term).collect();
        sum_lazy(&terms, Activation::Identity, ctx.train).into()
    }

    /// `maps` in one tensor: what a list avoids.
    pub fn concat(maps: &[Map]) -> Tensor {
        match maps {
            [map] => map.value.clone(),
            maps => concat(&maps.iter().map(|map| &map.value).collect::<Vec<_>>()),
        }
    }
}
