//! Wide residual networks: fewer, wider pre-activation units.

use super::{Built, Depth, Family, ModelInfo, PreActResNet, units};
use crate::Error;
use crate::blocks::ShortcutKind;
use crate::init::Builder;

/// The family `wrn16-4`, `wrn28-10`, ...: `6n + 4` layers, of which the projections of the three stages are counted as one; stages of
/// `16k`, `32k` and `64k` channels. Otherwise a [`PreActResNet`] with projections, and so are the parameters' names.
pub(super) const FAMILY: Family = Family { listed, build };

const PAPER: &str = "https://arxiv.org/abs/1605.07146";
const REFERENCE: &str = "szagoruyko/wide-residual-networks";

fn listed() -> Vec<ModelInfo> {
    let info = |name: &str, published_error| ModelInfo {
        name: name.into(),
        reference: REFERENCE,
        page: PAPER,
        published_error: Some(published_error),
    };
    // Errors without dropout, of the paper's tables 4 to 6.
    vec![info("wrn16-4", 5.02), info("wrn16-8", 4.27), info("wrn40-4", 4.53), info("wrn28-10", 4.0)]
}

fn build(name: &str, classes: usize, b: &mut Builder) -> Option<Built> {
    let depth = Depth::parse(name, "wrn")?;
    let k: usize = depth.suffix.strip_prefix('-')?.parse().ok()?;
    Some(units(name, depth.layers, 6, 4).and_then(|n| {
        // A unit of each stage together: about 97,000 k^2 parameters.
        let largest = 10_000 / n;
        if k == 0 || k.saturating_mul(k) > largest {
            let reason = format!("the widening factor must be 1 to {} at this depth", largest.isqrt());
            return Err(Error::ImpossibleModel { name: name.into(), reason });
        }
        Ok(PreActResNet::basic(b, n, 16 * k, ShortcutKind::B, classes).boxed())
    }))
}
