//! Learned selection: which earlier outputs a layer needs is learned with the weights.
//!
//! With [`Gather::Learned`](super::Gather::Learned) a layer reads all earlier outputs, as with `all`, and has a real number `a_j` for each
//! of them. What output `j` gives is multiplied by the gate
//!
//! ```text
//! g_j = S * exp(a_j) / sum over the S sources of exp(a_i)
//! ```
//!
//! so that gates compete and their mean stays 1; all start at `a = 0`, where the network is exactly that of `all`. In a sum a gate
//! scales the term. In a concatenation it scales the channels behind their batch norm, which would undo it in front.
//!
//! After training, [`strongest`] keeps the `k` links of each layer with the largest gates: an explicit list of edges, to be trained on its own.
//! A gate says how much a layer was led to rely on a source beside the weights that it has for it; it is a guide, not a proof.

use super::Edges;
use crate::Error;
use crate::init::{Builder, Init};
use crate::param::{Param, ParamKind};
use engine::Tensor;

/// The learned numbers of one layer that reads `sources` outputs: `(1, S)`, zeros.
pub(crate) fn param(b: &mut Builder, sources: usize) -> Param {
    b.param([1, sources], ParamKind::Gate, Init::Constant(0.0))
}

/// `(1, S)`: gates from learned numbers.
///
/// # Shapes
/// - `a`: `(1, S)`; returns the same
pub fn gates(a: &Tensor) -> Tensor {
    a.log_softmax().exp().scale(a.shape().channels() as f32)
}

/// How strong each link of a stage is: `strengths[i - 1]` belongs to layer `i`, the last to the exit, and has the gate of each of
/// its sources `0..i`.
pub type Strengths = Vec<Vec<f32>>;

/// The `keep` strongest links of each layer (all of a layer that has no more), and for an output that then nobody reads its
/// strongest link. Ties go to the nearer output. Nearest first, as SparseNet concatenates.
///
/// # Errors
/// If `keep` is 0.
pub fn strongest(strengths: &Strengths, keep: usize) -> Result<Edges, Error> {
    if keep == 0 {
        let rule = "each layer reads at least one output";
        return Err(Error::Setting { setting: "the number of links to keep", value: "0".into(), rule });
    }
    let mut kept: Vec<Vec<usize>> = strengths
        .iter()
        .map(|gates| {
            let mut sources: Vec<usize> = (0..gates.len()).collect();
            sources.sort_by(|&a, &b| gates[b].total_cmp(&gates[a]).then(b.cmp(&a)));
            sources.truncate(keep);
            sources
        })
        .collect();
    for output in 0..strengths.len() {
        if kept.iter().any(|sources| sources.contains(&output)) {
            continue;
        }
        // Readers of output `o` are the layers after it, at `o` and beyond in the list. The nearest wins a tie.
        let readers = (output..strengths.len()).rev();
        if let Some(reader) = readers.max_by(|&a, &b| strengths[a][output].total_cmp(&strengths[b][output])) {
            kept[reader].push(output);
        }
    }
    let mut pairs = vec![];
    for (i, sources) in kept.iter_mut().enumerate() {
        sources.sort_unstable_by(|a, b| b.cmp(a));
        pairs.extend(sources.iter().map(|&source| (source, i + 1)));
    }
    Edges::new(&pairs)
}

#[cfg(test)]
mod tests {
    use super::super::{Gather, Wiring};
    use super::*;
    use crate::gradcheck::check;
    use crate::param::Param;

    #[test]
    fn gates_compete_and_their_mean_is_one() {
        let a = Tensor::from_slice([1, 4], &[0.0, 1.0, -2.0, 0.5]);
        let gates = gates(&a);
        assert!((gates.data().iter().sum::<f32>() - 4.0).abs() < 1e-5);
        assert!(gates.data()[1] > gates.data()[3] && gates.data()[2] > 0.0);
        let equal = super::gates(&Tensor::zeros([1, 3]));
        assert!(equal.data().iter().all(|g| (g - 1.0).abs() < 1e-6), "{:?}", equal.data());
        let param = Param::new(a, ParamKind::Gate);
        check(&super::gates(&param.value()), &[("a".into(), param.clone())], 4, |entry| {
            assert!(entry.rel_error < 1e-4, "{entry:?}");
        });
    }

    #[test]
    fn the_strongest_make_a_wiring_in_which_everything_is_read() {
        let strengths = vec![vec![1.0], vec![1.9, 0.1], vec![0.5, 1.2, 1.3], vec![3.0, 0.2, 0.5, 0.3]];
        let edges = strongest(&strengths, 1).expect("sound");
        let gather = Gather::Edges(edges);
        let sources = |layer| gather.sources(layer);
        // Nobody's strongest are 1 and 3: layer 3 is led to 1, the exit to 3.
        assert_eq!([sources(1), sources(2), sources(3), sources(4)], [vec![0], vec![0], vec![2, 1], vec![3, 0]]);
        assert!(Wiring::new(&gather, 3).is_ok());
        let all = Gather::Edges(strongest(&strengths, 9).expect("sound"));
        assert_eq!(all.sources(4), [3, 2, 1, 0]);
        assert!(strongest(&strengths, 0).expect_err("none").to_string().contains("at least one output"));
    }

    #[test]
    fn ties_go_to_the_nearer() {
        let equal = vec![vec![1.0], vec![1.0; 2], vec![1.0; 3], vec![1.0; 4]];
        let gather = Gather::Edges(strongest(&equal, 2).expect("sound"));
        assert_eq!([gather.sources(3), gather.sources(4)], [[2, 1], [3, 2]]);
        assert!(Wiring::new(&gather, 3).is_ok());
    }
}
