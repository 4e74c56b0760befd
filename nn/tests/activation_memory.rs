//! What a dense stage keeps for its backward pass. Alone in its process, because memory is counted per process.

use engine::gradcheck::sample;
use nn::aggregation::{Gather, How, Widths, Wiring};
use nn::blocks::{DenseUnit, Stage, Unit};
use nn::{Builder, Context};

const MAP: usize = 4 * 32 * 32 * 8 * 4;

/// Bytes that a training forward pass of a dense stage leaves alive, in maps of one layer.
fn kept_maps(layers: usize) -> f64 {
    let widths = Widths { input: 8, added: 0, appended: 8 };
    let wiring = Wiring::new(&Gather::All, layers).unwrap_or_else(|e| panic!("{e}"));
    let b = &mut Builder::new(0);
    let unit = |_, c_in| -> Box<dyn Unit> { Box::new(DenseUnit::new(b, c_in, 8, false)) };
    let stage = Stage::new(wiring, How::Concat, widths, unit).unwrap_or_else(|e| panic!("{e}"));
    let x = sample([4, 32, 32, 8]).requires_grad();
    let before = engine::memory::stats().live;
    let y = stage.forward(vec![x.into()], &Context::train(0, 1));
    assert_eq!(y.len(), layers + 1);
    (engine::memory::stats().live - before) as f64 / MAP as f64
}

#[test]
fn activations_grow_with_depth_and_not_with_its_square() {
    for layers in [4, 8, 16, 32, 64] {
        let kept = kept_maps(layers);
        println!("{layers} layers keep {kept:.3} maps");
        // One map a layer; the rest is scales, shifts and moments: 4 numbers for each channel that a layer reads.
        assert!(kept < 1.05 * layers as f64, "{layers} layers keep {kept} maps");
    }
}
