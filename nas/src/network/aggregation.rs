//! The supernet of the aggregation space. Derived networks are nn's own.

use super::parts::Head;
use super::{Kept, Skeleton};
use crate::Op;
use crate::space::{Aggregation, Definition, Join};
use crate::supernet::{Candidate, Choice, Route};
use engine::{Lazy, Tensor};
use nn::aggregation::{Map, Output};
use nn::blocks::{DenseUnit, ResidualFunction, Transition, Unit};
use nn::layers::Conv2d;
use nn::{Builder, Context, Layer, Module, Visitor};
use std::sync::Arc;

/// Stem, three stages with transitions between them, BN-ReLU, global average pool, linear. Parameters are named as those of
/// [`nn::models::Aggregated`].
pub(crate) struct AggregationNet {
    conv1: Conv2d,
    stages: Vec<Vec<Gathering>>,
    transitions: Vec<Transition>,
    exit: Vec<usize>,
    how: Join,
    head: Head,
}

/// A layer of a stage.
enum Gathering {
    /// Candidates read other channels each, and so have weights of their own.
    Concat(Choice),
    /// Candidates have no weights; their sum goes through the shared function.
    Sum(Choice, ResidualFunction),
}

impl AggregationNet {
    pub fn new(b: &mut Builder, space: &Aggregation, classes: usize, kept: &Kept) -> AggregationNet {
        let conv1 = b.conv(3, space.stem, 3, 1);
        let (inputs, exits) = space.channels();
        let edges = space.edges();
        let (mut stages, mut transitions) = (vec![], vec![]);
        for stage in 0..3 {
            let (widths, width) = (space.widths(stage, inputs[stage]), space.widths[stage]);
            let mut layers = vec![];
            for (i, edge) in edges.iter().enumerate() {
                layers.push(match space.how {
                    Join::Concat => Gathering::Concat(Choice::of(i, &edge.candidates, kept, |op| {
                        let offsets = offsets(op);
                        let sources: Vec<usize> = offsets.iter().map(|offset| i + 1 - offset).collect();
                        let c_in = space.how.how().channels(&sources, widths);
                        Arc::new(Dense { unit: DenseUnit::new(b, c_in, width, space.bottleneck), offsets })
                    })),
                    Join::Sum => {
                        let choice = Choice::of(i, &edge.candidates, kept, |op| Arc::new(Sum { offsets: offsets(op) }));
                        Gathering::Sum(choice, ResidualFunction::new(b, width, width, 1))
                    }
                });
            }
            stages.push(layers);
            if stage < 2 {
                transitions.push(Transition::new(b, exits[stage], inputs[stage + 1]));
            }
        }
        let head = Head::new(b, exits[2], classes);
        AggregationNet { conv1, stages, transitions, exit: space.exit_sources(), how: space.how, head }
    }
}

fn offsets(op: &Op) -> Vec<usize> {
    match op {
        Op::Gather(offsets) => offsets.clone(),
        _ => vec![],
    }
}

/// The outputs of a layer's candidate sources, nearest first.
fn gathered(x: &[Lazy], offsets: &[usize]) -> Vec<Map> {
    offsets.iter().map(|offset| Map::from(x[x.len() - offset].materialise())).collect()
}

/// What a unit puts out, be it added or appended.
fn output(unit: &dyn Unit, x: &[Map], ctx: &Context) -> Lazy {
    let (Output::Layer { added: Some(map), .. } | Output::Layer { appended: Some(map), .. }) = unit.forward(x, ctx)
    else {
        unreachable!("a unit of one part")
    };
    map.value.into()
}

/// Sums go from the oldest on, as in nn.
fn sum(maps: &[Map], ctx: &Context) -> Map {
    Map::sum(&maps.iter().rev().collect::<Vec<_>>(), ctx)
}

impl Skeleton for AggregationNet {
    fn forward(&self, images: &Tensor, route: &Route, ctx: &Context) -> Tensor {
        let mut x = self.conv1.forward(images, ctx);
        for (stage, layers) in self.stages.iter().enumerate() {
            let mut outputs = vec![Lazy::from(x)];
            for layer in layers {
                let y = match layer {
                    Gathering::Concat(choice) => choice.forward(&outputs, route, ctx),
                    Gathering::Sum(choice, function) => {
                        let read = choice.forward(&outputs, route, ctx).materialise();
                        output(function, &[read.into()], ctx)
                    }
                };
                outputs.push(y);
            }
            let exit: Vec<Map> = self.exit.iter().map(|&source| Map::from(outputs[source].materialise())).collect();
            let exit = if self.how == Join::Sum { vec![sum(&exit, ctx)] } else { exit };
            match self.transitions.get(stage) {
                Some(transition) => x = transition.forward(&exit, ctx).value,
                None => {
                    let maps = exit.into_iter().map(|map| map.value).collect();
                    let maps = Lazy { maps, affine: None, activation: engine::Activation::Identity };
                    return self.head.logits(&maps, ctx);
                }
            }
        }
        unreachable!("the last stage has no transition")
    }

    fn choices_mut(&mut self) -> Vec<&mut Choice> {
        let choice = |layer| match layer {
            &mut Gathering::Concat(ref mut choice) => choice,
            Gathering::Sum(choice, _) => choice,
        };
        self.stages.iter_mut().flatten().map(choice).collect()
    }
}

impl Module for AggregationNet {
    fn visit(&self, visitor: &mut Visitor) {
        visitor.module("conv1", &self.conv1);
        for (stage, layers) in self.stages.iter().enumerate() {
            for (i, layer) in layers.iter().enumerate() {
                let name = format!("block{}.layer.{i}", stage + 1);
                match layer {
                    Gathering::Concat(choice) => visitor.module(&name, choice),
                    Gathering::Sum(_, function) => visitor.module(&name, function),
                }
            }
            if let Some(transition) = self.transitions.get(stage) {
                visitor.module(&format!("trans{}", stage + 1), transition);
            }
        }
        visitor.module("bn1", &self.head.bn);
        visitor.module("fc", &self.head.linear);
    }
}

/// A layer that concatenates what it gathers.
struct Dense {
    unit: DenseUnit,
    offsets: Vec<usize>,
}

impl Candidate for Dense {
    fn forward(&self, x: &[Lazy], ctx: &Context) -> Lazy {
        output(&self.unit, &gathered(x, &self.offsets), ctx)
    }
}

impl Module for Dense {
    fn visit(&self, visitor: &mut Visitor) {
        self.unit.visit(visitor);
    }
}

/// The sum of what is gathered.
struct Sum {
    offsets: Vec<usize>,
}

impl Candidate for Sum {
    fn forward(&self, x: &[Lazy], ctx: &Context) -> Lazy {
        sum(&gathered(x, &self.offsets), ctx).value.into()
    }
}

impl Module for Sum {
    fn visit(&self, _visitor: &mut Visitor) {}
}

pub(crate) fn stem(b: &mut Builder, channels: usize) -> Box<dyn Layer> {
    Box::new(b.conv(3, channels, 3, 1))
}

pub(crate) fn dense(b: &mut Builder, c_in: usize, growth: usize, bottleneck: bool) -> Box<dyn Layer> {
    Box::new(Alone(DenseUnit::new(b, c_in, growth, bottleneck)))
}

pub(crate) fn residual(b: &mut Builder, width: usize) -> Box<dyn Layer> {
    Box::new(Alone(ResidualFunction::new(b, width, width, 1)))
}

pub(crate) fn sum_of(count: usize) -> Box<dyn Layer> {
    Box::new(SumOf(count))
}

pub(crate) fn transition(b: &mut Builder, c_in: usize, c_out: usize) -> Box<dyn Layer> {
    Box::new(AloneTransition(Transition::new(b, c_in, c_out)))
}

pub(crate) fn classifier(b: &mut Builder, channels: usize, classes: usize) -> Box<dyn Layer> {
    Box::new(Head::new(b, channels, classes))
}

/// A unit that reads one map.
struct Alone<U: Unit>(U);

impl<U: Unit> Layer for Alone<U> {
    fn forward(&self, x: &Lazy, ctx: &Context) -> Lazy {
        output(&self.0, &[x.materialise().into()], ctx)
    }
}

impl<U: Unit> Module for Alone<U> {
    fn visit(&self, visitor: &mut Visitor) {
        self.0.visit(visitor);
    }
}

/// A map added to itself: as long as a sum of so many takes.
struct SumOf(usize);

impl Layer for SumOf {
    fn forward(&self, x: &Lazy, ctx: &Context) -> Lazy {
        let maps = vec![Map::from(x.materialise()); self.0];
        sum(&maps, ctx).value.into()
    }
}

impl Module for SumOf {
    fn visit(&self, _visitor: &mut Visitor) {}
}

struct AloneTransition(Transition);

impl Layer for AloneTransition {
    fn forward(&self, x: &Lazy, ctx: &Context) -> Lazy {
        self.0.forward(&[x.materialise().into()], ctx).value.into()
    }
}

impl Module for AloneTransition {
    fn visit(&self, visitor: &mut Visitor) {
        self.0.visit(visitor);
    }
}
