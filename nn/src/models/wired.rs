//! Any pair of a way to gather and a way to put together, by name.

use super::spec::Spec;
use super::{Built, Family, ModelInfo, mixnet, sparsenet};
use crate::aggregation::{Gather, How};
use crate::init::Builder;

/// The family `wired-<gather>-<how><depth>-<channels>`: `wired-previous-concat40-12`, `wired-base3-concat-bc100-24`,
/// `wired-all-sum44`, `wired-base2-mixed40-12-12`, `wired-fibonacci-dual40-12-12`. What gathers is `all`, `previous`, `base2` (or 3,
/// 4, ...) or a rule of [`RULES`](crate::aggregation::RULES).
pub(super) const FAMILY: Family = Family { listed, build };

fn listed() -> Vec<ModelInfo> {
    let info = |name: &str| ModelInfo {
        name: name.into(),
        reference: "ours",
        page: "https://arxiv.org/abs/1801.05895",
        published_error: None,
    };
    vec![
        info("wired-previous-concat40-12"),
        info("wired-fibonacci-concat40-12"),
        info("wired-all-sum44"),
        info("wired-base2-mixed40-12-12"),
        info("wired-all-dual40-12-12"),
    ]
}

fn build(name: &str, classes: usize, b: &mut Builder) -> Option<Built> {
    let (gather, rest) = name.strip_prefix("wired-")?.split_once('-')?;
    let (how, rest) = rest.split_at(rest.find(|c: char| c.is_ascii_digit())?);
    let gather = gather.strip_prefix("base").map_or(gather.into(), |base| format!("base:{base}"));
    let spec = Spec::parse(name, rest)?;
    if !spec.is_done() {
        return None;
    }
    let gather: Gather = match gather.parse() {
        Ok(gather) => gather,
        Err(e) => return Some(Err(e)),
    };
    Some(match how {
        "concat" => sparsenet::concat(&spec, gather, false, classes, b),
        "concat-bc" => sparsenet::concat(&spec, gather, true, classes, b),
        "sum" => sparsenet::sum(&spec, gather, classes, b),
        "mixed" => mixnet::mixed(&spec, gather, How::MixedLink, classes, b),
        "dual" => mixnet::mixed(&spec, gather, How::DualPath, classes, b),
        _ => return None,
    })
}
