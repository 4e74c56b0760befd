//! Blocks: the repeated units that networks stack. They differ in which earlier outputs they aggregate, and how.

mod dense;
mod dual_path;
mod inception;
mod inverted_residual;
mod mixed_link;
mod residual;
mod residual_function;
mod shortcut;
mod shuffle;
mod stage;

pub use dense::{DenseUnit, Transition};
pub use dual_path::{DualPathConfig, DualPathUnit};
pub use inception::{Inception, InceptionConfig};
pub use inverted_residual::{InvertedResidual, SeparableBlock};
pub use mixed_link::MixedLinkUnit;
pub use residual::{BasicBlock, Bottleneck, PreActBasicBlock, PreActBottleneck};
pub use residual_function::ResidualFunction;
pub use shortcut::{Shortcut, ShortcutKind};
pub use shuffle::{DownUnit, ShuffleUnit, SplitUnit};
pub use stage::{Stage, Unit};
