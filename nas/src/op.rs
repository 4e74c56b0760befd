use crate::Error;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A candidate operation. Prints to a short name and parses back.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Op {
    /// Inverted residual, `mb5x5e6`: 1x1 to `expansion` times the channels, depthwise `kernel`x`kernel`, 1x1.
    MbConv {
        /// Of the depthwise convolution.
        kernel: usize,
        /// Inner over input channels.
        expansion: usize,
    },
    /// Nothing, `zero`. Beside a shortcut this skips the block; alone it cuts the edge.
    Zero,
    /// The input itself, `skip`.
    Skip,
    /// Convolution with batch norm and ReLU, `conv3x3`.
    Conv {
        /// `K_h = K_w`.
        kernel: usize,
    },
    /// Depthwise and 1x1 convolution, `sep3x3`.
    Separable {
        /// Of the depthwise convolution.
        kernel: usize,
    },
    /// Mean of 3x3, `avgpool3x3`.
    AvgPool,
    /// Maximum of 3x3, `maxpool3x3`.
    MaxPool,
    /// Reads the outputs at these offsets back, `from1+2+4`.
    Gather(Vec<usize>),
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Op::MbConv { kernel, expansion } => write!(f, "mb{kernel}x{kernel}e{expansion}"),
            Op::Zero => f.write_str("zero"),
            Op::Skip => f.write_str("skip"),
            Op::Conv { kernel } => write!(f, "conv{kernel}x{kernel}"),
            Op::Separable { kernel } => write!(f, "sep{kernel}x{kernel}"),
            Op::AvgPool => f.write_str("avgpool3x3"),
            Op::MaxPool => f.write_str("maxpool3x3"),
            Op::Gather(offsets) => {
                let offsets: Vec<String> = offsets.iter().map(usize::to_string).collect();
                write!(f, "from{}", offsets.join("+"))
            }
        }
    }
}

impl FromStr for Op {
    type Err = Error;

    fn from_str(text: &str) -> Result<Op, Error> {
        parse(text).ok_or_else(|| {
            Error::Arch(format!(
                "`{text}` is no operation; there are mb3x3e6 (odd kernels, any expansion), zero, skip, conv3x3, sep3x3, avgpool3x3, \
                 maxpool3x3 and from1+2 (offsets back)"
            ))
        })
    }
}

fn parse(text: &str) -> Option<Op> {
    Some(match text {
        "zero" => Op::Zero,
        "skip" => Op::Skip,
        "avgpool3x3" => Op::AvgPool,
        "maxpool3x3" => Op::MaxPool,
        _ => {
            if let Some(rest) = text.strip_prefix("mb") {
                let (window, expansion) = rest.split_once('e')?;
                Op::MbConv { kernel: window_size(window)?, expansion: number(expansion, 100)? }
            } else if let Some(window) = text.strip_prefix("conv") {
                Op::Conv { kernel: window_size(window)? }
            } else if let Some(window) = text.strip_prefix("sep") {
                Op::Separable { kernel: window_size(window)? }
            } else {
                let offsets = text.strip_prefix("from")?.split('+').map(|n| number(n, 10_000));
                let offsets: Vec<usize> = offsets.collect::<Option<_>>()?;
                let increase = offsets.windows(2).all(|pair| pair[0] < pair[1]);
                increase.then_some(Op::Gather(offsets))?
            }
        }
    })
}

/// `3` of `3x3`, odd.
fn window_size(text: &str) -> Option<usize> {
    let (height, width) = text.split_once('x')?;
    (height == width).then(|| number(height, 99)).flatten().filter(|n| n % 2 == 1)
}

/// A decimal number from 1 to `most`, in the one way it prints.
fn number(text: &str, most: usize) -> Option<usize> {
    let n: usize = text.parse().ok()?;
    ((1..=most).contains(&n) && n.to_string() == text).then_some(n)
}

impl TryFrom<String> for Op {
    type Error = Error;

    fn try_from(text: String) -> Result<Op, Error> {
        text.parse()
    }
}

impl From<Op> for String {
    fn from(op: Op) -> String {
        op.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_to_and_fro() {
        for name in [
            "mb3x3e6",
            "mb7x7e3",
            "zero",
            "skip",
            "conv1x1",
            "conv3x3",
            "sep5x5",
            "avgpool3x3",
            "maxpool3x3",
            "from1",
            "from1+2+4",
        ] {
            assert_eq!(name.parse::<Op>().expect("an operation").to_string(), name);
        }
        for bad in
            ["", "mb3x5e6", "mb4x4e6", "mb3x3e0", "mb3x3", "mb03x03e6", "conv", "from", "from2+1", "from0", "Zero"]
        {
            let message = bad.parse::<Op>().expect_err("none").to_string();
            assert!(message.contains("is no operation; there are mb3x3e6"), "{message}");
        }
    }
}
