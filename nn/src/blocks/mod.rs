//! Blocks: the repeated units that networks stack. They differ in which earlier outputs they aggregate, and how.

mod inverted_residual;
mod residual;
mod shortcut;

pub use inverted_residual::{InvertedResidual, SeparableBlock};
pub use residual::{BasicBlock, Bottleneck, PreActBasicBlock, PreActBottleneck};
pub use shortcut::{Shortcut, ShortcutKind};
