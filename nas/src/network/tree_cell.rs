//! The network of the tree-cell space.

use super::parts::{ConvBn, Head, Identity, Zeros, halve, pool3x3};
use super::{Kept, Skeleton};
use crate::Op;
use crate::space::{Merge, TreeCell, TreeEdge, TreePlace};
use crate::supernet::{Choice, Route};
use engine::ops::sum_lazy;
use engine::{Activation, Lazy, Tensor};
use nn::layers::{BatchNorm2d, Conv2d, relu};
use nn::{Builder, Context, Layer, Module, Visitor};

/// Stem, pre-activation bottleneck blocks with a tree each, BN-ReLU, global average pool, linear.
pub(crate) struct TreeNet {
    stem: ConvBn,
    blocks: Vec<TreeBlock>,
    head: Head,
}

impl TreeNet {
    pub fn new(b: &mut Builder, space: &TreeCell, classes: usize, kept: &Kept) -> TreeNet {
        let stem = ConvBn::new(b, 3, space.start, 3);
        let places = space.places();
        let mut next = 0;
        let blocks: Vec<TreeBlock> =
            places.iter().map(|&place| TreeBlock::new(b, space, place, &mut next, kept)).collect();
        let width = places.last().expect("at least three blocks").c_out;
        TreeNet { stem, blocks, head: Head::new(b, width, classes) }
    }
}

impl Skeleton for TreeNet {
    fn forward(&self, images: &Tensor, route: &Route, ctx: &Context) -> Tensor {
        let mut x = Lazy::from(self.stem.forward(&images.into(), ctx).materialise());
        for block in &self.blocks {
            x = block.forward(&x, route, ctx);
        }
        self.head.logits(&x, ctx)
    }

    fn choices_mut(&mut self) -> Vec<&mut Choice> {
        self.blocks.iter_mut().flat_map(|block| block.tree.choices_mut()).collect()
    }
}

impl Module for TreeNet {
    fn visit(&self, visitor: &mut Visitor) {
        visitor.module("conv1", &self.stem.conv);
        visitor.module("bn1", &self.stem.bn);
        for (i, block) in self.blocks.iter().enumerate() {
            visitor.module(&format!("blocks.{i}"), block);
        }
        visitor.module("bn", &self.head.bn);
        visitor.module("linear", &self.head.linear);
    }
}

/// `y = bn(conv(relu(bn(tree(conv(bn(x))))))) + shortcut`, where the shortcut is `x`, at stride 2 its mean over 2x2, with zero channels
/// to fill up.
struct TreeBlock {
    enter: Enter,
    tree: Node,
    leave: Leave,
    place: TreePlace,
}

impl TreeBlock {
    fn new(b: &mut Builder, space: &TreeCell, place: TreePlace, next: &mut usize, kept: &Kept) -> TreeBlock {
        let enter = Enter { bn: b.batch_norm(place.c_in), conv: b.conv(place.c_in, place.inner, 1, 1) };
        let first = *next;
        let edges = space.tree(place);
        let tree = Node::new(b, space, 1, &edges, first, next, kept);
        TreeBlock { enter, tree, leave: Leave::new(b, place.inner, place.c_out), place }
    }

    fn forward(&self, x: &Lazy, route: &Route, ctx: &Context) -> Lazy {
        let y = self.tree.forward(&self.enter.forward(x, ctx), route, ctx);
        let y = self.leave.forward(&y, ctx);
        let TreePlace { c_in, c_out, stride, .. } = self.place;
        let shortcut = if stride == 2 { halve(x) } else { x.materialise() };
        let shortcut =
            if c_in == c_out { shortcut } else { shortcut.pad(&[(0, 0), (0, 0), (0, 0), (0, c_out - c_in)]) };
        sum_lazy(&[y, shortcut.into()], Activation::Identity, ctx.train).into()
    }
}

impl Module for TreeBlock {
    fn visit(&self, visitor: &mut Visitor) {
        self.enter.visit(visitor);
        visitor.module("tree", &self.tree);
        self.leave.visit(visitor);
    }
}

/// Two branches, each an edge and, but at the last level, a node behind it.
struct Node {
    branches: Vec<(Choice, Option<Node>)>,
    merge: Merge,
}

impl Node {
    /// Takes the edges numbered `next` and on, of those of the tree, `edges`, whose first has the number `first`.
    fn new(
        b: &mut Builder,
        space: &TreeCell,
        level: usize,
        edges: &[TreeEdge],
        first: usize,
        next: &mut usize,
        kept: &Kept,
    ) -> Node {
        let ops = space.ops();
        let branches = (0..2).map(|_| {
            let at = edges[*next - first];
            let choice = Choice::new(*next, &ops, kept, |op| candidate(b, at, op));
            *next += 1;
            let behind = (level < space.depth).then(|| Node::new(b, space, level + 1, edges, first, next, kept));
            (choice, behind)
        });
        Node { branches: branches.collect(), merge: space.merge }
    }

    fn forward(&self, x: &Lazy, route: &Route, ctx: &Context) -> Lazy {
        let x = x.materialise();
        let half = x.shape().channels() / 2;
        let mut outputs = vec![];
        for (i, (choice, behind)) in self.branches.iter().enumerate() {
            // Zero adds nothing; a node behind it still makes something of its biases.
            if self.merge == Merge::Add && behind.is_none() && choice.is_cut(route) {
                continue;
            }
            let input = match self.merge {
                Merge::Add => Lazy::from(&x),
                Merge::Concat => x.slice_channels(i * half..(i + 1) * half).into(),
            };
            let y = choice.forward(&[input], route, ctx);
            outputs.push(match behind {
                Some(node) => node.forward(&y, route, ctx),
                None => y,
            });
        }
        match (self.merge, &outputs[..]) {
            (Merge::Concat, _) => Lazy {
                maps: outputs.iter().map(Lazy::materialise).collect(),
                affine: None,
                activation: Activation::Identity,
            },
            (Merge::Add, []) => self.branches[0].0.forward(&[x.into()], route, ctx),
            (Merge::Add, [only]) => only.clone(),
            (Merge::Add, terms) => sum_lazy(terms, Activation::Identity, ctx.train).into(),
        }
    }

    fn choices_mut(&mut self) -> Vec<&mut Choice> {
        let mut choices = vec![];
        for (choice, behind) in &mut self.branches {
            choices.push(choice);
            choices.extend(behind.iter_mut().flat_map(Node::choices_mut));
        }
        choices
    }
}

impl Module for Node {
    fn visit(&self, visitor: &mut Visitor) {
        for (i, (choice, behind)) in self.branches.iter().enumerate() {
            visitor.module(&format!("{i}.edge"), choice);
            if let Some(node) = behind {
                visitor.module(&i.to_string(), node);
            }
        }
    }
}

/// A candidate in its place.
pub(crate) fn candidate(b: &mut Builder, at: TreeEdge, op: &Op) -> Box<dyn Layer> {
    let TreeEdge { channels, stride, .. } = at;
    match op {
        Op::Separable { kernel } => Box::new(Separable {
            bn: b.batch_norm(channels),
            depthwise: b.depthwise_conv(channels, *kernel, stride),
            pointwise: b.conv(channels, channels, 1, 1),
        }),
        Op::Conv { kernel } => {
            Box::new(BnReluConv { bn: b.batch_norm(channels), conv: b.conv(channels, channels, *kernel, stride) })
        }
        Op::MaxPool | Op::AvgPool => pool3x3(op, stride),
        Op::Skip if stride == 2 => Box::new(Halve),
        Op::Skip => Box::new(Identity),
        _ => Box::new(Zeros { stride }),
    }
}

pub(crate) fn stem(b: &mut Builder, channels: usize) -> Box<dyn Layer> {
    Box::new(ConvBn::new(b, 3, channels, 3))
}

pub(crate) fn enter(b: &mut Builder, c_in: usize, inner: usize) -> Box<dyn Layer> {
    Box::new(Enter { bn: b.batch_norm(c_in), conv: b.conv(c_in, inner, 1, 1) })
}

pub(crate) fn leave(b: &mut Builder, inner: usize, c_out: usize) -> Box<dyn Layer> {
    Box::new(Leave::new(b, inner, c_out))
}

pub(crate) fn classifier(b: &mut Builder, channels: usize, classes: usize) -> Box<dyn Layer> {
    Box::new(Head::new(b, channels, classes))
}

/// `y = conv(bn(x))`, 1x1: PyramidNet leaves the first ReLU of a block out.
struct Enter {
    bn: BatchNorm2d,
    conv: Conv2d,
}

impl Layer for Enter {
    fn forward(&self, x: &Lazy, ctx: &Context) -> Lazy {
        self.conv.forward(self.bn.forward(x.clone(), ctx), ctx).into()
    }
}

impl Module for Enter {
    fn visit(&self, visitor: &mut Visitor) {
        visitor.module("bn1", &self.bn);
        visitor.module("conv1", &self.conv);
    }
}

/// `y = bn3(conv(relu(bn2(x))))`, 1x1.
struct Leave {
    bn2: BatchNorm2d,
    conv: Conv2d,
    bn3: BatchNorm2d,
}

impl Leave {
    fn new(b: &mut Builder, inner: usize, c_out: usize) -> Leave {
        Leave { bn2: b.batch_norm(inner), conv: b.conv(inner, c_out, 1, 1), bn3: b.batch_norm(c_out) }
    }
}

impl Layer for Leave {
    fn forward(&self, x: &Lazy, ctx: &Context) -> Lazy {
        self.bn3.forward(self.conv.forward(relu(self.bn2.forward(x.clone(), ctx)), ctx), ctx)
    }
}

impl Module for Leave {
    fn visit(&self, visitor: &mut Visitor) {
        visitor.module("bn2", &self.bn2);
        visitor.module("conv2", &self.conv);
        visitor.module("bn3", &self.bn3);
    }
}

/// `y = pointwise(depthwise(relu(bn(x))))`
struct Separable {
    bn: BatchNorm2d,
    depthwise: Conv2d,
    pointwise: Conv2d,
}

impl Layer for Separable {
    fn forward(&self, x: &Lazy, ctx: &Context) -> Lazy {
        let z = self.depthwise.forward_unmeasured(relu(self.bn.forward(x.clone(), ctx)), ctx);
        self.pointwise.forward(z, ctx).into()
    }
}

impl Module for Separable {
    fn visit(&self, visitor: &mut Visitor) {
        visitor.module("bn", &self.bn);
        visitor.module("depthwise", &self.depthwise);
        visitor.module("pointwise", &self.pointwise);
    }
}

/// `y = conv(relu(bn(x)))`
struct BnReluConv {
    bn: BatchNorm2d,
    conv: Conv2d,
}

impl Layer for BnReluConv {
    fn forward(&self, x: &Lazy, ctx: &Context) -> Lazy {
        self.conv.forward(relu(self.bn.forward(x.clone(), ctx)), ctx).into()
    }
}

impl Module for BnReluConv {
    fn visit(&self, visitor: &mut Visitor) {
        visitor.module("bn", &self.bn);
        visitor.module("conv", &self.conv);
    }
}

/// Mean of 2x2.
struct Halve;

impl Layer for Halve {
    fn forward(&self, x: &Lazy, _ctx: &Context) -> Lazy {
        halve(x).into()
    }
}

impl Module for Halve {
    fn visit(&self, _visitor: &mut Visitor) {}
}
