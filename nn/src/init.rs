//! Initial weights, and the builder that draws them.

use crate::param::{Param, ParamKind};
use engine::parallel::{CHUNK, chunks_mut};
use engine::rng::{Rng, purpose};
use engine::{Shape, Tensor};

/// A distribution of initial values.
///
/// With `fan_in` the number of inputs that feed one output and `fan_out` the number of outputs that one input feeds (a
/// convolution counts its whole window: `K_h*K_w*C_in/groups` and `K_h*K_w*C_out`).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// Every element this value.
    Constant(f32),
    /// He et al. 2015 (arXiv:1502.01852): normal with variance `2 / fan_out`, which keeps the variance of gradients through ReLUs.
    /// `torch.nn.init.kaiming_normal_(w, mode="fan_out", nonlinearity="relu")`.
    HeNormal,
    /// Glorot and Bengio 2010: uniform in `±sqrt(6 / (fan_in + fan_out))`. `torch.nn.init.xavier_uniform_(w)`.
    XavierUniform,
    /// PyTorch's default for linear and convolutional layers: uniform in `±1/sqrt(fan_in)`.
    FanInUniform,
}

impl Init {
    /// A tensor of this distribution. Chunks draw from streams of their own, so that large tensors fill in parallel.
    pub fn draw(self, shape: impl Into<Shape>, kind: ParamKind, seed: u64, index: u64) -> Tensor {
        let shape = shape.into();
        let (fan_in, fan_out) = fans(shape, kind);
        let uniform = |bound: f64| move |rng: &mut Rng| ((2.0 * rng.uniform_f64() - 1.0) * bound) as f32;
        match self {
            Init::Constant(value) => Tensor::full(shape, value),
            Init::HeNormal => {
                let std = libm::sqrt(2.0 / fan_out) as f32;
                fill(shape, seed, index, |rng| rng.normal() * std)
            }
            Init::XavierUniform => fill(shape, seed, index, uniform(libm::sqrt(6.0 / (fan_in + fan_out)))),
            Init::FanInUniform => fill(shape, seed, index, uniform(1.0 / libm::sqrt(fan_in))),
        }
    }
}

fn fill(shape: Shape, seed: u64, index: u64, draw: impl Fn(&mut Rng) -> f32 + Send + Sync) -> Tensor {
    Tensor::build(shape, |out| {
        chunks_mut(out, CHUNK, |chunk, out| {
            let mut rng = Rng::new(seed, &[purpose::INIT, index, chunk as u64]);
            out.iter_mut().for_each(|v| *v = draw(&mut rng));
        });
    })
}

fn fans(shape: Shape, kind: ParamKind) -> (f64, f64) {
    match (kind, &*shape) {
        (ParamKind::ConvWeight, &[k_h, k_w, c_in, c_out]) => ((k_h * k_w * c_in) as f64, (k_h * k_w * c_out) as f64),
        (_, &[fan_in, fan_out]) => (fan_in as f64, fan_out as f64),
        _ => (shape.elements() as f64, shape.elements() as f64),
    }
}

/// Makes the parameters of a network, in order. Each draws from a stream named by the seed and its position.
pub struct Builder {
    seed: Option<u64>,
    made: u64,
}

impl Builder {
    /// Draws initial weights from `seed`.
    pub fn new(seed: u64) -> Builder {
        Builder { seed: Some(seed), made: 0 }
    }

    /// Leaves all that is random at zero: for networks that are only counted, or that weights will be loaded into.
    pub fn outline() -> Builder {
        Builder { seed: None, made: 0 }
    }

    /// The next parameter.
    pub fn param(&mut self, shape: impl Into<Shape>, kind: ParamKind, init: Init) -> Param {
        let shape = shape.into();
        let value = match (self.seed, init) {
            (None, Init::HeNormal | Init::XavierUniform | Init::FanInUniform) => Tensor::zeros(shape),
            (seed, init) => init.draw(shape, kind, seed.unwrap_or(0), self.made),
        };
        self.made += 1;
        Param::new(value, kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moments(t: &Tensor) -> (f64, f64, f32) {
        let n = t.elements() as f64;
        let mean = t.data().iter().map(|&v| f64::from(v)).sum::<f64>() / n;
        let var = t.data().iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / n;
        (mean, var, t.data().iter().fold(0.0, |m, v| v.abs().max(m)))
    }

    #[test]
    fn distributions_have_their_variance() {
        let conv = Shape::from([3, 3, 16, 32]);
        let n = conv.elements() as f64;
        let (mean, var, _) = moments(&Init::HeNormal.draw(conv, ParamKind::ConvWeight, 0, 0));
        let expected = 2.0 / (9.0 * 32.0);
        // Five standard errors of mean and variance.
        assert!(mean.abs() < 5.0 * (expected / n).sqrt(), "{mean}");
        assert!((var / expected - 1.0).abs() < 5.0 * (2.0 / n).sqrt(), "{var} against {expected}");

        let (_, var, max) = moments(&Init::XavierUniform.draw([64, 100], ParamKind::LinearWeight, 0, 1));
        let bound = (6.0f64 / 164.0).sqrt();
        assert!(f64::from(max) <= bound && (var / (bound * bound / 3.0) - 1.0).abs() < 0.1);

        let (_, var, max) = moments(&Init::FanInUniform.draw([64, 100], ParamKind::LinearWeight, 0, 1));
        assert!(f64::from(max) <= 0.125 && (var / (0.125 * 0.125 / 3.0) - 1.0).abs() < 0.1);
    }

    #[test]
    fn seeds_and_positions_change_the_draw() {
        let draw = |seed, index| Init::HeNormal.draw([4, 4], ParamKind::LinearWeight, seed, index).data().to_vec();
        assert_eq!(draw(1, 2), draw(1, 2));
        assert_ne!(draw(1, 2), draw(1, 3));
        assert_ne!(draw(1, 2), draw(2, 2));
    }
}
