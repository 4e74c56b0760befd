//! The network of the NAS-Bench-201 space.

use super::parts::{ConvBn, Head, Identity, Zeros, halve, pool3x3};
use super::{Kept, Skeleton};
use crate::Op;
use crate::space::{Definition, EDGES, Nb201};
use crate::supernet::{Choice, Route};
use engine::ops::sum_lazy;
use engine::{Activation, Lazy, Tensor};
use nn::layers::{BatchNorm2d, Conv2d, relu};
use nn::{Builder, Context, Layer, Module, Visitor};

/// Stem, three stages of cells with a residual reduction block between them, BN-ReLU, global average pool, linear. Parameters of a
/// derived network are named as in D-X-Y/AutoDL-Projects.
pub(crate) struct Nb201Net {
    stem: ConvBn,
    cells: Vec<Part>,
    head: Head,
}

enum Part {
    Cell(Vec<Choice>),
    Reduction(Reduction),
}

impl Nb201Net {
    pub fn new(b: &mut Builder, space: &Nb201, classes: usize, kept: &Kept) -> Nb201Net {
        let stem = ConvBn::new(b, 3, space.channels, 3);
        let edges = space.edges();
        let mut cells = vec![];
        for stage in 0..3 {
            let (channels, _) = space.stage(stage);
            if stage > 0 {
                cells.push(Part::Reduction(Reduction::new(b, channels / 2)));
            }
            for _ in 0..space.cells {
                let choice = |(i, edge): (usize, &crate::Edge)| {
                    Choice::new(i, &edge.candidates, kept, |op| candidate(b, channels, op))
                };
                cells.push(Part::Cell(edges.iter().enumerate().map(choice).collect()));
            }
        }
        Nb201Net { stem, cells, head: Head::new(b, space.stage(2).0, classes) }
    }
}

/// What the last node of a cell holds.
fn cell(edges: &[Choice], x: &Lazy, route: &Route, ctx: &Context) -> Lazy {
    let mut nodes = vec![Lazy::from(x.materialise())];
    for node in 1..=3 {
        let into = EDGES.iter().zip(edges).filter(|((to, _), _)| *to == node);
        let terms: Vec<Lazy> = into
            .filter(|(_, choice)| !choice.is_cut(route))
            .map(|((_, from), choice)| choice.forward(std::slice::from_ref(&nodes[*from]), route, ctx))
            .collect();
        nodes.push(match &terms[..] {
            [] => Tensor::zeros(nodes[0].shape()).into(),
            [only] => only.materialise().into(),
            terms => sum_lazy(terms, Activation::Identity, false).into(),
        });
    }
    nodes.swap_remove(3)
}

impl Skeleton for Nb201Net {
    fn forward(&self, images: &Tensor, route: &Route, ctx: &Context) -> Tensor {
        let mut x = self.stem.forward(&images.into(), ctx);
        for part in &self.cells {
            x = match part {
                Part::Cell(edges) => cell(edges, &x, route, ctx),
                Part::Reduction(reduction) => reduction.forward(&x, ctx),
            };
        }
        self.head.logits(&x, ctx)
    }

    fn choices_mut(&mut self) -> Vec<&mut Choice> {
        let choices = self.cells.iter_mut().filter_map(|part| match part {
            Part::Cell(edges) => Some(edges),
            Part::Reduction(_) => None,
        });
        choices.flatten().collect()
    }
}

impl Module for Nb201Net {
    fn visit(&self, visitor: &mut Visitor) {
        visitor.module("stem", &self.stem);
        for (i, part) in self.cells.iter().enumerate() {
            match part {
                Part::Cell(edges) => {
                    for (k, edge) in edges.iter().enumerate() {
                        visitor.module(&format!("cells.{i}.layers.{k}"), edge);
                    }
                }
                Part::Reduction(reduction) => visitor.module(&format!("cells.{i}"), reduction),
            }
        }
        visitor.module("lastact.0", &self.head.bn);
        visitor.module("classifier", &self.head.linear);
    }
}

/// A candidate for maps of so many channels.
pub(crate) fn candidate(b: &mut Builder, channels: usize, op: &Op) -> Box<dyn Layer> {
    match op {
        Op::Conv { kernel } => Box::new(ReluConvBn::new(b, channels, channels, *kernel, 1)),
        Op::AvgPool => pool3x3(op, 1),
        Op::Skip => Box::new(Identity),
        _ => Box::new(Zeros { stride: 1 }),
    }
}

pub(crate) fn stem(b: &mut Builder, channels: usize) -> Box<dyn Layer> {
    Box::new(ConvBn::new(b, 3, channels, 3))
}

pub(crate) fn reduction(b: &mut Builder, channels: usize) -> Box<dyn Layer> {
    Box::new(Reduction::new(b, channels))
}

pub(crate) fn classifier(b: &mut Builder, channels: usize, classes: usize) -> Box<dyn Layer> {
    Box::new(Head::new(b, channels, classes))
}

/// `y = bn(conv(relu(x)))`
struct ReluConvBn {
    conv: Conv2d,
    bn: BatchNorm2d,
}

impl ReluConvBn {
    fn new(b: &mut Builder, c_in: usize, c_out: usize, kernel_size: usize, stride: usize) -> ReluConvBn {
        ReluConvBn { conv: b.conv(c_in, c_out, kernel_size, stride), bn: b.batch_norm(c_out) }
    }
}

impl Layer for ReluConvBn {
    fn forward(&self, x: &Lazy, ctx: &Context) -> Lazy {
        self.bn.forward(self.conv.forward(relu(x.clone()), ctx), ctx)
    }
}

impl Module for ReluConvBn {
    fn visit(&self, visitor: &mut Visitor) {
        visitor.module("op.1", &self.conv);
        visitor.module("op.2", &self.bn);
    }
}

/// From `C` channels to `2C` at half the resolution: two ReLU-conv-BN, plus a 1x1 convolution of the mean of 2x2.
struct Reduction {
    conv_a: ReluConvBn,
    conv_b: ReluConvBn,
    downsample: Conv2d,
}

impl Reduction {
    fn new(b: &mut Builder, channels: usize) -> Reduction {
        Reduction {
            conv_a: ReluConvBn::new(b, channels, 2 * channels, 3, 2),
            conv_b: ReluConvBn::new(b, 2 * channels, 2 * channels, 3, 1),
            downsample: b.conv(channels, 2 * channels, 1, 1),
        }
    }
}

impl Layer for Reduction {
    fn forward(&self, x: &Lazy, ctx: &Context) -> Lazy {
        let y = self.conv_b.forward(&self.conv_a.forward(x, ctx), ctx);
        let shortcut = self.downsample.forward_unmeasured(halve(x), ctx);
        sum_lazy(&[y, shortcut.into()], Activation::Identity, false).into()
    }
}

impl Module for Reduction {
    fn visit(&self, visitor: &mut Visitor) {
        visitor.module("conv_a", &self.conv_a);
        visitor.module("conv_b", &self.conv_b);
        visitor.module("downsample.1", &self.downsample);
    }
}
