//! The network of the MBConv space.

use super::parts::{ConvBn, Identity, as_map};
use super::{Kept, Skeleton};
use crate::Op;
use crate::space::{Definition, MbConv, MbPlace};
use crate::supernet::{Choice, Route};
use engine::{Lazy, Tensor};
use nn::blocks::InvertedResidual;
use nn::layers::{GlobalAvgPool, Linear, relu6};
use nn::{Builder, Context, Layer, Module, Visitor};

/// Stem, fixed block, chosen blocks, mixing layer, classifier. Parameters are named as in MobileNetV2.
pub(crate) struct MbConvNet {
    stem: ConvBnRelu6,
    first: InvertedResidual,
    blocks: Vec<Choice>,
    mix: ConvBnRelu6,
    linear: Linear,
}

impl MbConvNet {
    pub fn new(b: &mut Builder, space: &MbConv, classes: usize, kept: &Kept) -> MbConvNet {
        let stem = conv_bn(b, 3, space.stem, 3);
        let first = InvertedResidual::new(b, (space.stem, space.first), 3, 1, 1);
        let places = space.places();
        let edges = space.edges();
        let block =
            |(i, &place): (usize, &MbPlace)| Choice::new(i, &edges[i].candidates, kept, |op| candidate(b, place, op));
        let blocks = places.iter().enumerate().map(block).collect();
        let width = places.last().expect("at least one stage").c_out;
        MbConvNet { stem, first, blocks, mix: conv_bn(b, width, space.head, 1), linear: b.linear(space.head, classes) }
    }
}

impl Skeleton for MbConvNet {
    fn forward(&self, images: &Tensor, route: &Route, ctx: &Context) -> Tensor {
        let stem = self.stem.forward(&images.into(), ctx);
        let mut x = self.first.forward(&stem, ctx);
        for block in &self.blocks {
            x = block.forward(&[x], route, ctx);
        }
        let x = self.mix.forward(&x, ctx);
        self.linear.forward(&GlobalAvgPool.forward(&x), ctx)
    }

    fn choices_mut(&mut self) -> Vec<&mut Choice> {
        self.blocks.iter_mut().collect()
    }
}

impl Module for MbConvNet {
    fn visit(&self, visitor: &mut Visitor) {
        visitor.module("conv1", &self.stem.0.conv);
        visitor.module("bn1", &self.stem.0.bn);
        visitor.module("layers.0", &self.first);
        for (i, block) in (1..).zip(&self.blocks) {
            visitor.module(&format!("layers.{i}"), block);
        }
        visitor.module("conv2", &self.mix.0.conv);
        visitor.module("bn2", &self.mix.0.bn);
        visitor.module("linear", &self.linear);
    }
}

/// A candidate in its place; zero is the shortcut alone.
pub(crate) fn candidate(b: &mut Builder, place: MbPlace, op: &Op) -> Box<dyn Layer> {
    match op {
        Op::MbConv { kernel, expansion } => {
            Box::new(InvertedResidual::new(b, (place.c_in, place.c_out), *kernel, place.stride, *expansion))
        }
        _ => Box::new(Identity),
    }
}

pub(crate) fn stem(b: &mut Builder, c_in: usize, c_out: usize) -> Box<dyn Layer> {
    Box::new(conv_bn(b, c_in, c_out, 3))
}

pub(crate) fn mix(b: &mut Builder, c_in: usize, c_out: usize) -> Box<dyn Layer> {
    Box::new(conv_bn(b, c_in, c_out, 1))
}

pub(crate) fn classifier(b: &mut Builder, c_in: usize, classes: usize) -> Box<dyn Layer> {
    Box::new(Classifier(b.linear(c_in, classes)))
}

fn conv_bn(b: &mut Builder, c_in: usize, c_out: usize, kernel_size: usize) -> ConvBnRelu6 {
    ConvBnRelu6(ConvBn::new(b, c_in, c_out, kernel_size))
}

/// `y = relu6(bn(conv(x)))`
struct ConvBnRelu6(ConvBn);

impl Layer for ConvBnRelu6 {
    fn forward(&self, x: &Lazy, ctx: &Context) -> Lazy {
        relu6(self.0.forward(x, ctx))
    }
}

impl Module for ConvBnRelu6 {
    fn visit(&self, visitor: &mut Visitor) {
        self.0.visit(visitor);
    }
}

/// Global average pool and linear, for measuring them alone.
struct Classifier(Linear);

impl Layer for Classifier {
    fn forward(&self, x: &Lazy, ctx: &Context) -> Lazy {
        as_map(self.0.forward(&GlobalAvgPool.forward(x), ctx))
    }
}

impl Module for Classifier {
    fn visit(&self, visitor: &mut Visitor) {
        visitor.module("linear", &self.0);
    }
}
