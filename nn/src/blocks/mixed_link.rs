use super::dense::DenseUnit;
use super::stage::Unit;
use crate::aggregation::{Map, Output};
use crate::context::Context;
use crate::init::Builder;
use crate::module::{Module, Visitor};
use crate::param::Param;

/// Two bottleneck layers that read the same list: `inner`, whose output is added, and `outer`, whose output is appended. A width of
/// zero leaves that one out.
///
/// # Source
/// Wang et al. 2018, Mixed Link Networks (arXiv:1802.01808); DeepInsight-PCALab/MixNet.
pub struct MixedLinkUnit {
    inner: Option<DenseUnit>,
    outer: Option<DenseUnit>,
}

impl MixedLinkUnit {
    /// A unit that adds `added` channels and appends `appended`.
    pub fn new(b: &mut Builder, c_in: usize, added: usize, appended: usize) -> MixedLinkUnit {
        let mut branch = |width| (width > 0).then(|| DenseUnit::new(b, c_in, width, true));
        MixedLinkUnit { inner: branch(added), outer: branch(appended) }
    }
}

impl Unit for MixedLinkUnit {
    fn forward(&self, x: &[Map], ctx: &Context) -> Output {
        let branch = |unit: &Option<DenseUnit>| unit.as_ref().map(|unit| Map::from(unit.run(x, ctx)));
        Output::Layer { added: branch(&self.inner), appended: branch(&self.outer) }
    }

    fn reading(&self) -> Vec<Param> {
        self.inner.iter().chain(&self.outer).map(DenseUnit::reading).collect()
    }
}

impl Module for MixedLinkUnit {
    fn visit(&self, visitor: &mut Visitor) {
        if let Some(inner) = &self.inner {
            visitor.module("inner", inner);
        }
        if let Some(outer) = &self.outer {
            visitor.module("outer", outer);
        }
    }
}
