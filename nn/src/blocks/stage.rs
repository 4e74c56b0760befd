use crate::aggregation::{How, Map, Output, Widths, Wiring};
use crate::context::Context;
use crate::error::Error;
use crate::module::{Module, Visitor};

/// A layer of a [`Stage`]: from the list of maps that it gathers to its own output.
pub trait Unit: Module {
    /// # Shapes
    /// - `x`: maps `(N, H, W, C_i)`, read as their concatenation
    fn forward(&self, x: &[Map], ctx: &Context) -> Output;
}

/// Layers of one resolution, wired by data: layer `i` reads the outputs that the wiring names, put together as [`How`] says.
///
/// Nothing is concatenated: a layer is handed a list of maps, so that what is kept for the backward pass grows with the number of
/// layers and not with the number of links.
pub struct Stage {
    units: Vec<Box<dyn Unit>>,
    wiring: Wiring,
    how: How,
    channels: usize,
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
        Ok(Stage { units, how, channels: channels(wiring.exit()), wiring })
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
        let mut outputs = vec![Output::Input(x)];
        let mut read = None;
        for (layer, unit) in (1..).zip(&self.units) {
            if let Some(first) = first.take() {
                outputs.push(unit.forward(first, ctx));
                continue;
            }
            let gathered = self.how.gather(&outputs, self.wiring.sources(layer), read.as_ref(), ctx);
            outputs.push(unit.forward(&gathered.1, ctx));
            read = Some(gathered);
        }
        self.how.gather(&outputs, self.wiring.sources(self.wiring.exit()), read.as_ref(), ctx).1
    }
}

/// Layers are called `0`, `1`, ...
impl Module for Stage {
    fn visit(&self, visitor: &mut Visitor) {
        for (i, unit) in self.units.iter().enumerate() {
            visitor.module(&i.to_string(), &**unit);
        }
    }
}
