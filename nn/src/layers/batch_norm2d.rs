use crate::aggregation::Map;
use crate::context::Context;
use crate::init::{Builder, Init};
use crate::module::{Layer, Module, Visitor};
use crate::param::{Param, ParamKind, Running};
use engine::ops::fold_batch_norm;
use engine::{Activation, Lazy, Tensor, no_grad};

/// The constants of batch norm.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchNorm2dConfig {
    /// Added to the variance.
    pub eps: f32,
    /// Share of the batch in the running statistics.
    pub momentum: f32,
}

impl Default for BatchNorm2dConfig {
    fn default() -> BatchNorm2dConfig {
        BatchNorm2dConfig { eps: 1e-5, momentum: 0.1 }
    }
}

/// Batch norm: `y = (x - mean) / sqrt(var + eps) * weight + bias`, per channel.
///
/// Mean and variance are the batch's in training, where they are also tracked, and the running ones in evaluation. Nothing is
/// computed over `x` here: the result is `x` with a scale and a shift per channel that its reader applies while it loads.
/// The moments of a map are measured by the layer that produced it, once, however many batch norms read it.
///
/// # Shapes
/// - `x`: `(N, H, W, C)` in any number of maps, taken as their concatenation; returns the same
///
/// # Panics
/// In training, if there is a single value per channel.
///
/// # Source
/// Ioffe and Szegedy 2015 (arXiv:1502.03167); `torch.nn.BatchNorm2d`.
pub struct BatchNorm2d {
    /// gamma, `(C)`
    pub weight: Param,
    /// beta, `(C)`
    pub bias: Param,
    /// Mean and variance for evaluation.
    pub running: Running,
    /// Constants.
    pub config: BatchNorm2dConfig,
}

impl BatchNorm2d {
    /// `weight` 1, `bias` 0, running mean 0, running variance 1.
    pub fn new(builder: &mut Builder, channels: usize, config: BatchNorm2dConfig) -> BatchNorm2d {
        BatchNorm2d {
            weight: builder.param([channels], ParamKind::BatchNormWeight, Init::Constant(1.0)),
            bias: builder.param([channels], ParamKind::BatchNormBias, Init::Constant(0.0)),
            running: Running::new(channels),
            config,
        }
    }

    /// See [`BatchNorm2d`].
    #[track_caller]
    pub fn forward(&self, x: impl Into<Lazy>, ctx: &Context) -> Lazy {
        let x = x.into();
        let raw = x.affine.is_none() && matches!(x.activation, Activation::Identity);
        let maps = if raw { x.maps } else { vec![x.materialise()] };
        self.forward_maps(&maps.into_iter().map(Map::from).collect::<Vec<_>>(), ctx)
    }

    /// The same for maps that other batch norms read, too: their moments are shared, and so is what corrects their gradients.
    #[track_caller]
    pub fn forward_maps(&self, x: &[Map], ctx: &Context) -> Lazy {
        if ctx.train && ctx.writes_out() {
            return self.plain(x, ctx).into();
        }
        let running;
        let moments: Vec<&Tensor> = if ctx.train {
            let moments: Vec<&Tensor> = x.iter().map(Map::moments).collect();
            if ctx.tracks() {
                self.running.track(&moments, x[0].value.shape().rows(), self.config.momentum);
            }
            moments
        } else {
            running = self.running.get();
            vec![&running]
        };
        let affine = fold_batch_norm(&moments, &ctx.value(&self.weight), &ctx.value(&self.bias), self.config.eps);
        let affine = Map::gates(x).map_or(affine.clone(), |gates| affine.mul(&gates));
        let maps = x.iter().map(|map| map.value.clone()).collect();
        Lazy { maps, affine: Some(affine), activation: Activation::Identity }
    }

    /// Batch norm in training as the textbook has it, of one tensor.
    fn plain(&self, x: &[Map], ctx: &Context) -> Tensor {
        let all = Map::concat(x);
        if ctx.tracks() {
            let moments = no_grad(|| all.moments());
            self.running.track(&[&moments], all.shape().rows(), self.config.momentum);
        }
        let y = all.standardise(self.config.eps).affine(&ctx.value(&self.weight), &ctx.value(&self.bias));
        Map::gates(x).map_or(y.clone(), |gates| y.mul(&gates))
    }
}

impl Module for BatchNorm2d {
    fn visit(&self, visitor: &mut Visitor) {
        visitor.param("weight", &self.weight);
        visitor.param("bias", &self.bias);
        visitor.running(&self.running);
    }
}

impl Layer for BatchNorm2d {
    fn forward(&self, x: &Lazy, ctx: &Context) -> Lazy {
        BatchNorm2d::forward(self, x.clone(), ctx)
    }
}

impl Builder {
    /// A batch norm with PyTorch's constants.
    pub fn batch_norm(&mut self, channels: usize) -> BatchNorm2d {
        BatchNorm2d::new(self, channels, BatchNorm2dConfig::default())
    }
}
