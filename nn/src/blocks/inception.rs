use crate::context::Context;
use crate::init::Builder;
use crate::layers::{BatchNorm2d, Conv2d, Conv2dConfig, relu};
use crate::module::{Layer, Module, Visitor};
use engine::ops::{Pool2d, concat};
use engine::{Activation, Lazy, Tensor};

/// Four branches, concatenated: 1x1; 1x1 and 3x3; 1x1 and twice 3x3 in place of one 5x5; 3x3 max pool and 1x1. Each convolution is
/// followed by batch norm and ReLU.
///
/// What leaves is the list of the branches' maps, normalised and rectified by whoever reads it: neither concatenated nor copied.
///
/// # Source
/// Szegedy et al. 2014 (arXiv:1409.4842); kuangliu/pytorch-cifar.
pub struct Inception {
    branches: [Vec<ConvBn>; 4],
}

/// Channels within an [`Inception`] block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InceptionConfig {
    /// Output of the 1x1 branch.
    pub one: usize,
    /// 1x1 and 3x3 of the second branch.
    pub three: (usize, usize),
    /// 1x1 and both 3x3 of the third.
    pub five: (usize, usize),
    /// 1x1 behind the max pool.
    pub pool: usize,
}

impl InceptionConfig {
    /// Channels that leave the block.
    pub fn channels(self) -> usize {
        self.one + self.three.1 + self.five.1 + self.pool
    }
}

impl Inception {
    /// A block that reads `c_in` channels; `bias` gives its convolutions one.
    pub fn new(b: &mut Builder, c_in: usize, config: InceptionConfig, bias: bool) -> Inception {
        let InceptionConfig { one, three, five, pool } = config;
        let mut branch = |layers: &[(usize, usize)]| {
            let mut channels = c_in;
            let layer = |&(c_out, kernel_size): &(usize, usize)| {
                let made = ConvBn::new(b, channels, c_out, kernel_size, bias);
                channels = c_out;
                made
            };
            layers.iter().map(layer).collect()
        };
        Inception {
            branches: [
                branch(&[(one, 1)]),
                branch(&[(three.0, 1), (three.1, 3)]),
                branch(&[(five.0, 1), (five.1, 3), (five.1, 3)]),
                branch(&[(pool, 1)]),
            ],
        }
    }
}

impl Layer for Inception {
    fn forward(&self, x: &Lazy, ctx: &Context) -> Lazy {
        let pooled = x.materialise().max_pool2d(Pool2d { kernel_size: 3, stride: 1, padding: 1 });
        let inputs = [x.clone(), x.clone(), x.clone(), pooled.into()];
        let outputs = inputs.into_iter().zip(&self.branches);
        let outputs = outputs.map(|(x, branch)| branch.iter().fold(x, |x, layer| layer.forward(&x, ctx)));
        // A batch norm leaves one map and its affine.
        let (maps, affines): (Vec<Tensor>, Vec<Tensor>) =
            outputs.flat_map(|y| y.maps.into_iter().zip(y.affine)).unzip();
        let affine = concat(&affines.iter().collect::<Vec<_>>());
        Lazy { maps, affine: Some(affine), activation: Activation::Relu }
    }
}

impl Module for Inception {
    fn visit(&self, visitor: &mut Visitor) {
        for (i, branch) in self.branches.iter().enumerate() {
            for (j, layer) in branch.iter().enumerate() {
                // The max pool is the first of its `Sequential`.
                let first = 3 * j + usize::from(i == 3);
                visitor.module(&format!("b{}.{first}", i + 1), &layer.conv);
                visitor.module(&format!("b{}.{}", i + 1, first + 1), &layer.bn);
            }
        }
    }
}

/// `relu(bn(conv(x)))` that keeps the size.
struct ConvBn {
    conv: Conv2d,
    bn: BatchNorm2d,
}

impl ConvBn {
    fn new(b: &mut Builder, c_in: usize, c_out: usize, kernel_size: usize, bias: bool) -> ConvBn {
        let config = Conv2dConfig { kernel_size, padding: kernel_size / 2, bias, ..Conv2dConfig::default() };
        ConvBn { conv: Conv2d::new(b, c_in, c_out, config), bn: b.batch_norm(c_out) }
    }

    fn forward(&self, x: &Lazy, ctx: &Context) -> Lazy {
        relu(self.bn.forward(self.conv.forward(x.clone(), ctx), ctx))
    }
}
