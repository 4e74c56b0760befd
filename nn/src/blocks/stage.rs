use crate::aggregation::{How, Map, Output, Source, Widths, Wiring, places, selection};
use crate::context::{Context, Contribution};
use crate::error::Error;
use crate::init::Builder;
use crate::module::{Module, Visitor};
use crate::param::Param;
use engine::Tensor;

/// A layer of a [`Stage`]: from the list of maps that it gathers to its own output.
pub trait Unit: Module {
    /// # Shapes
    /// - `x`: maps `(N, H, W, C_i)`, read as their concatenation
    fn forward(&self, x: &[Map], ctx: &Context) -> Output;

    /// The weights that read `x`, each with the channels of `x` as its last but one dimension; none where nobody asks.
    fn reading(&self) -> Vec<Param> {
        vec![]
    }
}

/// Layers of one resolution, wired by data: layer `i` reads the outputs that the wiring names, put together as [`How`] says.
///
/// Nothing is concatenated: a layer is handed a list of maps, so that what is kept for the backward pass grows with the number of
/// layers and not with the number of links.
pub struct Stage {
    units: Vec<Box<dyn Unit>>,
    wiring: Wiring,
    how: How,
    widths: Widths,
    channels: usize,
    /// Of each layer and the exit, where they are learned and there is a choice.
    gates: Vec<Option<Param>>,
}

impl Stage {
    /// A stage whose layers are made by `unit` from their index, from 1, and input channels.
    ///
    /// # Errors
    /// If the widths do not go together.
    pub fn new(
        wiring: Wiring,
        how: How,
        widths: Widths,
        mut unit: impl FnMut(usize, usize) -> Box<dyn Unit>,
    ) -> Result<Stage, Error> {
        how.check(widths)?;
        let channels = |layer| how.channels(wiring.sources(layer), widths);
        let units = (1..=wiring.layers()).map(|layer| unit(layer, channels(layer))).collect();
        let gates = vec![None; wiring.exit()];
        Ok(Stage { units, how, widths, channels: channels(wiring.exit()), wiring, gates })
    }

    /// The same with a learned gate for each source of a layer that has several.
    pub fn with_gates(mut self, b: &mut Builder) -> Stage {
        let several = |layer| Some(self.wiring.sources(layer).len()).filter(|&sources| sources > 1);
        self.gates = (1..=self.wiring.exit()).map(|layer| Some(selection::param(b, several(layer)?))).collect();
        self
    }

    /// How strong each link is, where that is learned: the gates of each layer and of the exit.
    pub fn strengths(&self) -> Option<selection::Strengths> {
        let strength = |gate: &Option<Param>| match gate {
            Some(a) => selection::gates(&a.value()).data().to_vec(),
            None => vec![1.0],
        };
        self.gates.iter().any(Option::is_some).then(|| self.gates.iter().map(strength).collect())
    }

    /// What layer `layer`, from 1 to the exit, reads, and on which of its input channels.
    pub fn sources(&self, layer: usize) -> Vec<Source> {
        places(self.how, self.wiring.sources(layer), self.widths)
    }

    /// The weights of layer `layer`, from 1, that read what it gathers.
    pub fn reading(&self, layer: usize) -> Vec<Param> {
        self.units[layer - 1].reading()
    }

    /// Channels of what leaves the stage.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// Who reads whom: what [`forward`](Stage::forward) follows.
    pub fn wiring(&self) -> &Wiring {
        &self.wiring
    }

    /// What the exit gathers, from the stage's input `x`.
    ///
    /// # Shapes
    /// - `x`: maps `(N, H, W, C_i)`; returns maps of the same extent, [`channels`](Stage::channels) in all
    pub fn forward(&self, x: Vec<Map>, ctx: &Context) -> Vec<Map> {
        self.run(None, x, ctx)
    }

    /// The same for a stage whose first layer changes the resolution: it reads `before`, while the stage's input `x`, which later
    /// layers read, has the new resolution already.
    pub fn forward_from(&self, before: &[Map], x: Vec<Map>, ctx: &Context) -> Vec<Map> {
        self.run(Some(before), x, ctx)
    }

    fn run(&self, mut first: Option<&[Map]>, x: Vec<Map>, ctx: &Context) -> Vec<Map> {
        let skips_first = first.is_some();
        let mut outputs = vec![Output::Input(x)];
        let mut read = None;
        for (layer, unit) in (1..).zip(&self.units) {
            if let Some(first) = first.take() {
                outputs.push(unit.forward(first, ctx));
                continue;
            }
            let gathered = self.gather(&outputs, layer, read.as_ref(), ctx);
            outputs.push(unit.forward(&gathered.1, ctx));
            read = Some(gathered);
        }
        if ctx.watches_sums() {
            ctx.note_stage(|stage| self.contributions(stage, &outputs, skips_first));
        }
        self.gather(&outputs, self.wiring.exit(), read.as_ref(), ctx).1
    }

    fn gather(
        &self,
        outputs: &[Output],
        layer: usize,
        before: Option<&(Vec<usize>, Vec<Map>)>,
        ctx: &Context,
    ) -> (Vec<usize>, Vec<Map>) {
        let sources = self.wiring.sources(layer);
        let Some(a) = &self.gates[layer - 1] else { return self.how.gather(outputs, sources, before, ctx) };
        let gates = selection::gates(&ctx.value(a));
        let gate = |at: usize| gates.slice_channels(at..at + 1);
        let gated = (0..).zip(sources).flat_map(|(at, &source)| {
            let gate = gate(at);
            outputs[source].maps().into_iter().map(move |map| map.gated(&gate))
        });
        let maps: Vec<Map> = gated.collect();
        let maps = if self.how == How::Sum { vec![Map::sum(&maps.iter().collect::<Vec<_>>(), ctx)] } else { maps };
        (sources.to_vec(), maps)
    }

    /// The norms of the terms of each sum.
    fn contributions(&self, stage: usize, outputs: &[Output], skips_first: bool) -> Vec<Contribution> {
        let norms: Vec<f64> = outputs.iter().map(norm).collect();
        let read = (1..=self.wiring.exit()).skip(usize::from(skips_first));
        let of = |layer: usize| {
            let gates = self.gates[layer - 1].as_ref().map(|a| selection::gates(&a.value()));
            let gate = move |at: usize| gates.as_ref().map_or(1.0, |gates| f64::from(gates.data()[at]));
            let norms = &norms;
            let contribution = move |(at, &source): (usize, &usize)| Contribution {
                stage,
                layer,
                source,
                norm: gate(at) * norms[source],
            };
            self.wiring.sources(layer).iter().enumerate().map(contribution).collect::<Vec<_>>()
        };
        read.flat_map(of).collect()
    }
}

/// Frobenius norm of what an output adds, or of all of a stage's input.
fn norm(output: &Output) -> f64 {
    let square = |map: &Tensor| map.data().iter().map(|&v| f64::from(v) * f64::from(v)).sum::<f64>();
    let squares: f64 = match output {
        Output::Input(maps) => maps.iter().map(|map| square(&map.value)).sum(),
        Output::Layer { added, .. } => added.iter().map(|map| square(&map.value)).sum(),
    };
    squares.sqrt()
}

/// Layers are called `0`, `1`, ..., gates `gates.1`, ..., by the layer that has them.
impl Module for Stage {
    fn visit(&self, visitor: &mut Visitor) {
        for (i, unit) in self.units.iter().enumerate() {
            visitor.module(&i.to_string(), &**unit);
        }
        for (layer, gates) in (1..).zip(&self.gates) {
            if let Some(gates) = gates {
                visitor.param(&format!("gates.{layer}"), gates);
            }
        }
    }
}
