//! The pieces of a network whose latencies add up to the network's.

use nn::{Builder, Layer};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// What a block's latency depends on: the key of a latency table. Prints as
/// `mb5x5e6 32x32x24 -> 16x16x40 s2`, with ` skip` behind if the input is added to the output.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct BlockKey {
    /// Name of the operation, or of the fixed layer.
    pub op: String,
    /// Height, width, channels.
    pub input: [usize; 3],
    /// Height, width, channels.
    pub output: [usize; 3],
    /// Inner over input channels; 1 where there is no such thing.
    pub expansion: usize,
    /// Largest window.
    pub kernel: usize,
    /// Input over output resolution.
    pub stride: usize,
    /// Whether the input is added to the output.
    pub skip: bool,
}

impl fmt::Display for BlockKey {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let ([h, w, c], [h_out, w_out, c_out]) = (self.input, self.output);
        write!(f, "{} {h}x{w}x{c} -> {h_out}x{w_out}x{c_out} s{}", self.op, self.stride)?;
        if self.skip { f.write_str(" skip") } else { Ok(()) }
    }
}

/// A block in its place in the network.
#[derive(Clone)]
pub struct Block {
    /// Where: `stem`, `block3`, `stage2.cell1.edge0`.
    pub place: String,
    /// Equal for blocks that cost the same.
    pub key: BlockKey,
    /// Index of the edge and of the candidate that this is; `None` for a layer that every network of the space has.
    pub candidate: Option<(usize, usize)>,
    /// See [`Block::is_free`].
    pub(crate) free: bool,
    /// See [`Block::layer`].
    pub(crate) build: Make,
}

/// Makes a layer that runs alone.
pub(crate) type Make = Arc<dyn Fn(&mut Builder) -> Box<dyn Layer> + Send + Sync>;

impl Block {
    /// A layer that every network has.
    pub(crate) fn fixed(
        place: &str,
        key: BlockKey,
        build: impl Fn(&mut Builder) -> Box<dyn Layer> + Send + Sync + 'static,
    ) -> Block {
        Block { place: place.into(), key, candidate: None, free: false, build: Arc::new(build) }
    }

    /// The block alone, from maps `(N, H, W, C)` of the key's input to maps of its output; logits come as `(N, 1, 1, classes)`.
    /// Its last batch norm may be left to its reader, as in the network.
    pub fn layer(&self, builder: &mut Builder) -> Box<dyn Layer> {
        (self.build)(builder)
    }

    /// Whether it does nothing: its latency is 0.
    pub fn is_free(&self) -> bool {
        self.free
    }
}
