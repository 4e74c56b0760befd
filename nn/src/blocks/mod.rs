//! Blocks: the repeated units that networks stack. They differ in which earlier outputs they aggregate, and how.

mod dense;
mod inverted_residual;
mod mixed_link;
mod residual;
mod residual_function;
mod shortcut;
mod stage;

pub use dense::{DenseUnit, Transition};
pub use inverted_residual::{InvertedResidual, SeparableBlock};
pub use mixed_link::MixedLinkUnit;
pub use residual::{BasicBlock, Bottleneck, PreActBasicBlock, PreActBottleneck};
pub use residual_function::ResidualFunction;
pub use shortcut::{Shortcut, ShortcutKind};
pub use stage::{Stage, Unit};
