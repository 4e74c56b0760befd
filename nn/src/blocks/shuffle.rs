//! The units of ShuffleNets: cheap convolutions that see a part of the channels, and a shuffle that lets the parts mix.

use crate::context::Context;
use crate::init::Builder;
use crate::layers::{BatchNorm2d, Conv2d, Conv2dConfig, relu};
use crate::module::{Layer, Module, Visitor};
use engine::ops::{Pool2d, concat, sum_lazy};
use engine::{Activation, Lazy};

/// `y = bn3(conv3(relu(bn2(conv2(shuffle(relu(bn1(conv1(x)))))))))`: 1x1 in groups to a quarter of the channels, 3x3 depthwise, 1x1 in
/// groups. At stride 1 what leaves is `relu(y + x)`, at stride 2 `relu([y, mean of 3x3 (x)])`.
///
/// # Source
/// Zhang et al. 2017 (arXiv:1707.01083), figure 2; kuangliu/pytorch-cifar, which unlike the paper has a ReLU behind the depthwise
/// convolution.
pub struct ShuffleUnit {
    convs: [Conv2d; 3],
    bns: [BatchNorm2d; 3],
    shuffled: usize,
    stride: usize,
}

impl ShuffleUnit {
    /// A unit from `c_in` to `c_out` channels, what is concatenated included. The first convolution has no groups if
    /// `dense_first`.
    pub fn new(
        b: &mut Builder,
        (c_in, c_out): (usize, usize),
        stride: usize,
        groups: usize,
        dense_first: bool,
    ) -> ShuffleUnit {
        let made = if stride == 1 { c_out } else { c_out - c_in };
        let inner = made / 4;
        let shuffled = if dense_first { 1 } else { groups };
        let pointwise = |groups| Conv2dConfig { kernel_size: 1, padding: 0, groups, ..Conv2dConfig::default() };
        let (conv1, bn1) = (Conv2d::new(b, c_in, inner, pointwise(shuffled)), b.batch_norm(inner));
        let (conv2, bn2) = (b.depthwise_conv(inner, 3, stride), b.batch_norm(inner));
        let (conv3, bn3) = (Conv2d::new(b, inner, made, pointwise(groups)), b.batch_norm(made));
        ShuffleUnit { convs: [conv1, conv2, conv3], bns: [bn1, bn2, bn3], shuffled, stride }
    }
}

impl Layer for ShuffleUnit {
    fn forward(&self, x: &Lazy, ctx: &Context) -> Lazy {
        let ([conv1, conv2, conv3], [bn1, bn2, bn3]) = (&self.convs, &self.bns);
        let y = relu(bn1.forward(conv1.forward(x.clone(), ctx), ctx));
        let y = if self.shuffled == 1 { y } else { y.materialise().shuffle_channels(self.shuffled).into() };
        let y = relu(bn2.forward(conv2.forward(y, ctx), ctx));
        let y = bn3.forward(conv3.forward(y, ctx), ctx);
        if self.stride == 1 {
            return sum_lazy(&[y, x.clone()], Activation::Relu, false).into();
        }
        // The mean of rectified maps needs no further ReLU.
        let pooled = x.materialise().avg_pool2d(Pool2d { kernel_size: 3, stride: 2, padding: 1 }, true);
        concat(&[&relu(y).materialise(), &pooled]).into()
    }
}

impl Module for ShuffleUnit {
    fn visit(&self, visitor: &mut Visitor) {
        visit_all(&self.convs, &self.bns, visitor);
    }
}

/// Half of the channels pass by, the other half goes through `relu(bn3(conv3(bn2(conv2(relu(bn1(conv1(x))))))))`: 1x1, 3x3 depthwise,
/// 1x1; then both are shuffled.
///
/// # Source
/// Ma et al. 2018 (arXiv:1807.11164), figure 3 c; kuangliu/pytorch-cifar.
pub struct SplitUnit {
    convs: [Conv2d; 3],
    bns: [BatchNorm2d; 3],
}

impl SplitUnit {
    /// A unit of `channels` channels, an even number.
    pub fn new(b: &mut Builder, channels: usize) -> SplitUnit {
        let half = channels / 2;
        let (conv1, bn1) = (b.conv(half, half, 1, 1), b.batch_norm(half));
        let (conv2, bn2) = (b.depthwise_conv(half, 3, 1), b.batch_norm(half));
        let (conv3, bn3) = (b.conv(half, half, 1, 1), b.batch_norm(half));
        SplitUnit { convs: [conv1, conv2, conv3], bns: [bn1, bn2, bn3] }
    }
}

impl Layer for SplitUnit {
    fn forward(&self, x: &Lazy, ctx: &Context) -> Lazy {
        let ([conv1, conv2, conv3], [bn1, bn2, bn3]) = (&self.convs, &self.bns);
        let x = x.materialise();
        let channels = x.shape().channels();
        let y = relu(bn1.forward(conv1.forward(x.slice_channels(channels / 2..channels), ctx), ctx));
        let y = bn2.forward(conv2.forward(y, ctx), ctx);
        let y = relu(bn3.forward(conv3.forward(y, ctx), ctx)).materialise();
        concat(&[&x.slice_channels(0..channels / 2), &y]).shuffle_channels(2).into()
    }
}

impl Module for SplitUnit {
    fn visit(&self, visitor: &mut Visitor) {
        visit_all(&self.convs, &self.bns, visitor);
    }
}

/// Halves the resolution in two branches, each with half of the outputs, which are then shuffled: `relu(bn2(conv2(bn1(conv1(x)))))`, 3x3
/// depthwise and 1x1, and `relu(bn5(conv5(bn4(conv4(relu(bn3(conv3(x))))))))`, 1x1, 3x3 depthwise, 1x1.
///
/// # Source
/// Ma et al. 2018 (arXiv:1807.11164), figure 3 d; kuangliu/pytorch-cifar.
pub struct DownUnit {
    convs: [Conv2d; 5],
    bns: [BatchNorm2d; 5],
}

impl DownUnit {
    /// A unit from `c_in` to `c_out` channels, an even number.
    pub fn new(b: &mut Builder, c_in: usize, c_out: usize) -> DownUnit {
        let half = c_out / 2;
        let (conv1, bn1) = (b.depthwise_conv(c_in, 3, 2), b.batch_norm(c_in));
        let (conv2, bn2) = (b.conv(c_in, half, 1, 1), b.batch_norm(half));
        let (conv3, bn3) = (b.conv(c_in, half, 1, 1), b.batch_norm(half));
        let (conv4, bn4) = (b.depthwise_conv(half, 3, 2), b.batch_norm(half));
        let (conv5, bn5) = (b.conv(half, half, 1, 1), b.batch_norm(half));
        DownUnit { convs: [conv1, conv2, conv3, conv4, conv5], bns: [bn1, bn2, bn3, bn4, bn5] }
    }
}

impl Layer for DownUnit {
    fn forward(&self, x: &Lazy, ctx: &Context) -> Lazy {
        let ([conv1, conv2, conv3, conv4, conv5], [bn1, bn2, bn3, bn4, bn5]) = (&self.convs, &self.bns);
        let left = bn1.forward(conv1.forward(x.clone(), ctx), ctx);
        let left = relu(bn2.forward(conv2.forward(left, ctx), ctx));
        let right = relu(bn3.forward(conv3.forward(x.clone(), ctx), ctx));
        let right = bn4.forward(conv4.forward(right, ctx), ctx);
        let right = relu(bn5.forward(conv5.forward(right, ctx), ctx));
        concat(&[&left.materialise(), &right.materialise()]).shuffle_channels(2).into()
    }
}

impl Module for DownUnit {
    fn visit(&self, visitor: &mut Visitor) {
        visit_all(&self.convs, &self.bns, visitor);
    }
}

/// `conv1, bn1, conv2, bn2, ...`
fn visit_all(convs: &[Conv2d], bns: &[BatchNorm2d], visitor: &mut Visitor) {
    for (i, (conv, bn)) in (1..).zip(convs.iter().zip(bns)) {
        visitor.module(&format!("conv{i}"), conv);
        visitor.module(&format!("bn{i}"), bn);
    }
}
