use crate::context::{Context, Costs};
use crate::error::Error;
use crate::init::Builder;
use crate::models;
use crate::module::{Network, Visitor};
use crate::param::Param;
use crate::state::{State, StateDict, load_state, state};
use engine::{ConvSize, Tensor, no_grad};

/// A network with its name.
pub struct Model {
    name: String,
    classes: usize,
    network: Box<dyn Network>,
}

impl Model {
    /// The model of the zoo called `name`, with fresh weights drawn from `seed`.
    ///
    /// # Errors
    /// If there is no such model, or fewer than 2 classes.
    pub fn new(name: &str, classes: usize, seed: u64) -> Result<Model, Error> {
        let network = models::build(name, classes, &mut Builder::new(seed))?;
        Ok(Model::of(name, classes, network))
    }

    /// The same with its random weights left at zero: to count, or to load weights into.
    ///
    /// # Errors
    /// As [`Model::new`].
    pub fn outline(name: &str, classes: usize) -> Result<Model, Error> {
        let network = models::build(name, classes, &mut Builder::outline())?;
        Ok(Model::of(name, classes, network))
    }

    /// Any network under a name of your own.
    pub fn of(name: &str, classes: usize, network: Box<dyn Network>) -> Model {
        Model { name: name.into(), classes, network }
    }

    /// The same network under another name.
    pub fn named(self, name: &str) -> Model {
        Model { name: name.into(), ..self }
    }

    /// Its name in the zoo.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Number of logits.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// # Shapes
    /// - `images`: `(N, H, W, 3)`, normalised; returns logits `(N, classes)`
    #[track_caller]
    pub fn forward(&self, images: &Tensor, ctx: &Context) -> Tensor {
        self.network.forward(images, ctx)
    }

    /// Its stages laid open, if it is wired by data.
    pub fn wired(&self) -> Option<models::Wired<'_>> {
        self.network.wired()
    }

    /// Every parameter under its PyTorch name, in PyTorch's order.
    pub fn params(&self) -> Vec<(String, Param)> {
        Visitor::params(&*self.network)
    }

    /// Every parameter and running statistic under its PyTorch name and in PyTorch's layout.
    pub fn state(&self) -> Vec<State> {
        state(&*self.network)
    }

    /// Takes up what [`state`](Model::state), or PyTorch's `state_dict`, gave. `num_batches_tracked` is ignored.
    ///
    /// # Errors
    /// If a tensor is missing, unknown or of another shape: one message names them. Then nothing is changed.
    pub fn load_state(&self, state: &StateDict) -> Result<(), Error> {
        load_state(&self.name, &*self.network, state)
    }

    /// Number of learned values; running statistics do not count.
    pub fn num_params(&self) -> usize {
        self.params().iter().map(|(_, p)| p.shape().elements()).sum()
    }

    /// What a 32x32 image costs in the forward pass. The wiring is walked; nothing is computed.
    pub fn costs(&self) -> Costs {
        self.counted().costs()
    }

    /// Every convolution of a 32x32 image, in the order of the forward pass.
    pub fn convolutions(&self) -> Vec<ConvSize> {
        self.counted().convolutions()
    }

    fn counted(&self) -> Context {
        let ctx = Context::counting();
        no_grad(|| self.forward(&Tensor::zeros([1, 32, 32, 3]), &ctx));
        ctx
    }

    /// Multiply-accumulates of convolutions and linear layers for a 32x32 image.
    pub fn macs(&self) -> u64 {
        self.costs().macs
    }

    /// Convolutions and linear layers, those of shortcuts included.
    pub fn layers(&self) -> usize {
        self.costs().layers
    }
}
