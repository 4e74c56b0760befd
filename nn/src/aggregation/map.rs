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
}

impl From<Tensor> for Map {
    fn from(value: Tensor) -> Map {
        Map { value, moments: Arc::default() }
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
        let terms: Vec<Lazy> = maps.iter().map(|map| Lazy::from(&map.value)).collect();
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
