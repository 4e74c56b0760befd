//! VGG with batch norm and a single linear layer, for CIFAR.

use super::{Built, Depth, Family, ModelInfo};
use crate::Error;
use crate::context::Context;
use crate::init::Builder;
use crate::layers::{Conv2d, Conv2dConfig, GlobalAvgPool, Linear, MaxPool2d, Relu, Sequential};
use crate::module::{Layer, Module, Network, Visitor};
use engine::ops::Pool2d;
use engine::{Lazy, Tensor};

/// The family `vgg11-bn`, `vgg13-bn`, `vgg16-bn`, `vgg19-bn`: convolutions without bias, which the batch norm behind makes useless;
/// `-bias` for kuangliu's, which have one.
pub(super) const FAMILY: Family = Family { listed, build };

const PAPER: &str = "https://arxiv.org/abs/1409.1556";
/// Its parameter names are ours; its weights load into the `-bias` form.
const REFERENCE: &str = "kuangliu/pytorch-cifar";

fn listed() -> Vec<ModelInfo> {
    let info = |name: &str, published_error| ModelInfo {
        name: name.into(),
        reference: REFERENCE,
        page: PAPER,
        published_error,
    };
    vec![
        info("vgg11-bn", None),
        info("vgg13-bn", None),
        info("vgg16-bn", Some(7.36)),
        info("vgg19-bn", None),
        info("vgg16-bn-bias", Some(7.36)),
    ]
}

fn build(name: &str, classes: usize, b: &mut Builder) -> Option<Built> {
    let depth = Depth::parse(name, "vgg")?;
    let bias = match depth.suffix {
        "-bn" => false,
        "-bn-bias" => true,
        _ => return None,
    };
    let Some(widths) = widths(depth.layers) else {
        let reason = "VGG comes with 11, 13, 16 or 19 layers".into();
        return Some(Err(Error::ImpossibleModel { name: name.into(), reason }));
    };
    Some(Ok(Box::new(Vgg::new(b, widths, bias, classes))))
}

/// Channels of the convolutions between one 2x2 max pool and the next (tables 1 and 2 of the paper: A, B, D, E).
fn widths(layers: usize) -> Option<[&'static [usize]; 5]> {
    Some(match layers {
        11 => [&[64], &[128], &[256; 2], &[512; 2], &[512; 2]],
        13 => [&[64; 2], &[128; 2], &[256; 2], &[512; 2], &[512; 2]],
        16 => [&[64; 2], &[128; 2], &[256; 3], &[512; 3], &[512; 3]],
        19 => [&[64; 2], &[128; 2], &[256; 4], &[512; 4], &[512; 4]],
        _ => return None,
    })
}

/// Conv-BN-ReLU chains with a max pool behind each, from 32x32 to 1x1, then linear.
///
/// # Source
/// Simonyan and Zisserman 2014 (arXiv:1409.1556); kuangliu/pytorch-cifar for the CIFAR head.
pub struct Vgg {
    features: Sequential,
    classifier: Linear,
}

impl Vgg {
    /// A network whose convolutions have these widths, a max pool behind each group.
    pub fn new(b: &mut Builder, widths: [&[usize]; 5], bias: bool, classes: usize) -> Vgg {
        let mut features = Sequential::default();
        let mut channels = 3;
        for group in widths {
            for &width in group {
                features.push(Conv2d::new(b, channels, width, Conv2dConfig { bias, ..Conv2dConfig::default() }));
                features.push(b.batch_norm(width));
                features.push(Relu);
                channels = width;
            }
            features.push(MaxPool2d(Pool2d { kernel_size: 2, stride: 2, padding: 0 }));
        }
        Vgg { features, classifier: b.linear(channels, classes) }
    }
}

impl Network for Vgg {
    fn forward(&self, images: &Tensor, ctx: &Context) -> Tensor {
        let x = self.features.forward(&Lazy::from(images), ctx);
        // The maps are 1x1 already for 32x32 images; larger ones are averaged.
        self.classifier.forward(&GlobalAvgPool.forward(&x), ctx)
    }
}

impl Module for Vgg {
    fn visit(&self, visitor: &mut Visitor) {
        visitor.module("features", &self.features);
        visitor.module("classifier", &self.classifier);
    }
}
