//! The three traits that networks are made of, and the walk over their named parameters.

use crate::context::Context;
use crate::models::Wired;
use crate::param::{Param, Running};
use engine::{Lazy, Tensor};

/// Anything with named parameters. They are listed by hand, one line per field, in PyTorch's order and under PyTorch's names.
pub trait Module: Send + Sync {
    /// Shows every parameter, running statistic and submodule to `visitor`.
    fn visit(&self, visitor: &mut Visitor);
}

/// A module from feature maps to feature maps: what [`Sequential`](crate::layers::Sequential) chains.
///
/// Maps travel as [`Lazy`]: a batch norm and an activation that nobody has computed yet, for the next convolution to apply while
/// it loads.
pub trait Layer: Module {
    /// The output maps for input maps `x`.
    ///
    /// # Shapes
    /// - `x`: `(N, H, W, C_in)`; returns `(N, H_out, W_out, C_out)`
    fn forward(&self, x: &Lazy, ctx: &Context) -> Lazy;
}

/// A whole network, from images to logits.
pub trait Network: Module {
    /// # Shapes
    /// - `images`: `(N, H, W, 3)`, normalised; returns logits `(N, classes)`
    fn forward(&self, images: &Tensor, ctx: &Context) -> Tensor;

    /// Its stages laid open, if it is wired by data.
    fn wired(&self) -> Option<Wired<'_>> {
        None
    }
}

/// A parameter or a batch norm's statistics, as found by a [`Visitor`].
#[derive(Clone)]
pub enum Entry {
    /// A learned tensor.
    Param(Param),
    /// `running_mean` and `running_var` of the batch norm of this name.
    Running(Running),
}

/// Collects what a module holds, under hierarchical names such as `layer1.0.conv1.weight`.
#[derive(Default)]
pub struct Visitor {
    prefix: String,
    entries: Vec<(String, Entry)>,
}

impl Visitor {
    /// Everything in `module`, in the order of its `visit`.
    pub fn walk(module: &dyn Module) -> Vec<(String, Entry)> {
        let mut visitor = Visitor::default();
        module.visit(&mut visitor);
        visitor.entries
    }

    /// The parameters alone.
    pub fn params(module: &dyn Module) -> Vec<(String, Param)> {
        let only_params = |(name, entry)| match entry {
            Entry::Param(param) => Some((name, param)),
            Entry::Running(_) => None,
        };
        Visitor::walk(module).into_iter().filter_map(only_params).collect()
    }

    /// A submodule, whose own names get `name.` in front.
    pub fn module(&mut self, name: &str, module: &dyn Module) {
        let outer = self.prefix.len();
        self.prefix.push_str(name);
        self.prefix.push('.');
        module.visit(self);
        self.prefix.truncate(outer);
    }

    /// A parameter.
    pub fn param(&mut self, name: &str, param: &Param) {
        self.entries.push((format!("{}{name}", self.prefix), Entry::Param(param.clone())));
    }

    /// The statistics of the batch norm that is being visited.
    pub fn running(&mut self, running: &Running) {
        let name = self.prefix.trim_end_matches('.').to_owned();
        self.entries.push((name, Entry::Running(running.clone())));
    }
}
