//! Memory of a search step against the number of candidates, by the exact account of the pool.

use nas::Space;
use nas::search::{Held, StepMemory, step_memory};
use nas::space::MbConv;

/// Narrow, so that it takes a second; several blocks a stage, so that what a path holds outweighs what is at work in one block, and activations outweigh
/// the gradients of weights, as they do in a real search.
fn curve(held: Held) -> Vec<StepMemory> {
    let space = MbConv { resolution: 16, ..MbConv::of(8, 8, 64, &[(8, 3, 1), (16, 3, 2)]) };
    let space = Space::Mbconv(space);
    [1, 3, 5, 7, 9].map(|k| step_memory(&space, k, held, 8).unwrap_or_else(|e| panic!("{e}"))).to_vec()
}

#[test]
fn a_search_step_does_not_grow_with_the_candidates() {
    let [one, two, all] = [Held::OnePath, Held::TwoPaths, Held::AllPaths].map(curve);
    for (held, curve) in [("one path", &one), ("two paths", &two)] {
        let single = curve[0].activation_peak as f64;
        for (k, memory) in [1, 3, 5, 7, 9].into_iter().zip(curve) {
            let ratio = memory.activation_peak as f64 / single;
            println!("{held}, {k} candidates: {memory:?}, {ratio:.3} times a step with one candidate");
            assert!(ratio <= 1.05, "{held}, {k} candidates: {ratio:.3} times the memory of one");
        }
    }
    for (k, pair) in [3, 5, 7, 9].into_iter().zip(all.windows(2)) {
        println!("all paths, {k} candidates: {:?}", pair[1]);
        assert!(pair[1].activation_peak > pair[0].activation_peak + pair[0].activation_peak / 10, "all paths, {k}");
    }
    let [first, .., last] = &all[..] else { unreachable!("five of them") };
    assert!(last.activation_peak > 4 * first.activation_peak, "all paths hold all outputs: {first:?}, {last:?}");
    // Weights do grow, by each candidate's own; they are counted apart.
    assert!(one[4].weights > 5 * one[0].weights && one[4].optimizer > 5 * one[0].optimizer);
}
