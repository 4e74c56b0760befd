//! The ordinary pass, which stores nothing that it can compute on the way, against the same network with everything written out.

use engine::Tensor;
use engine::gradcheck::sample;
use engine::memory;
use nn::{Context, Model};

/// Both sides round sums of some thousand products, in different orders, through a dozen layers.
#[track_caller]
fn close(what: &str, a: &Tensor, b: &Tensor, tolerance: f32) {
    assert_eq!(a.shape(), b.shape(), "{what}");
    let scale = b.data().iter().fold(1e-3f32, |m, v| m.max(v.abs()));
    for (a, b) in a.data().iter().zip(b.data()) {
        assert!((a - b).abs() < tolerance * scale, "{what}: {a} against {b}, the largest is {scale}");
    }
}

#[test]
fn every_family_computes_the_same_either_way() {
    for name in [
        "resnet8",
        "preact-resnet8",
        "densenet10-4",
        "densenet-bc10-4",
        "sparsenet16-4",
        "sparsenet-sum22",
        "mixnet10-4-4",
        "wired-base2-dual10-4-4",
        "wired-learned-concat13-4",
        "wired-learned-sum20",
    ] {
        let run = |written_out: bool| {
            let model = Model::new(name, 4, 7).unwrap_or_else(|e| panic!("{e}"));
            let ctx = Context::train(0, 1);
            let ctx = if written_out { ctx.written_out() } else { ctx };
            let logits = model.forward(&sample([3, 8, 8, 3]), &ctx);
            let gradients = logits.cross_entropy(&[0, 3, 1], 0.0).backward();
            (model, logits, gradients)
        };
        let ((lazy_model, lazy, lazy_grads), (model, whole, grads)) = (run(false), run(true));
        close(&format!("{name}: logits"), &lazy, &whole, 1e-4);
        for ((what, a), (_, b)) in lazy_model.params().iter().zip(&model.params()) {
            let (a, b) = (lazy_grads.get(&a.value()), grads.get(&b.value()));
            if let (Some(a), Some(b)) = (a, b) {
                close(&format!("{name}: {what}"), a, b, 2e-3);
            } else {
                assert_eq!(a.is_some(), b.is_some(), "{name}: {what}");
            }
        }
        for ((what, _, a), (_, _, b)) in lazy_model.state().iter().zip(&model.state()) {
            if what.contains("running") {
                let tensor = |v: &[f32]| Tensor::from_slice([v.len()], v);
                close(&format!("{name}: {what}"), &tensor(a), &tensor(b), 1e-4);
            }
        }
    }
}

/// Bytes that are live when the forward pass of a training step is over.
fn activations(name: &str, written_out: bool) -> f64 {
    let model = Model::outline(name, 10).unwrap_or_else(|e| panic!("{e}"));
    let ctx = Context::train(0, 1);
    let ctx = if written_out { ctx.written_out() } else { ctx };
    let images = Tensor::zeros([2, 32, 32, 3]);
    let before = memory::stats().live;
    let logits = model.forward(&images, &ctx);
    let live = memory::stats().live - before;
    drop(logits);
    live as f64
}

/// Each layer more costs a list the same; written out it costs more each time. (Small buffers' rounding is below a percent.)
#[test]
fn activations_grow_with_depth_and_not_with_its_square() {
    let of = |written_out| [16, 28, 40].map(|depth| activations(&format!("densenet{depth}-12"), written_out));
    let steps = |[a, b, c]: [f64; 3]| (c - b) / (b - a);
    let (lists, whole) = (steps(of(false)), steps(of(true)));
    assert!((lists - 1.0).abs() < 0.05, "a list grows evenly: {lists}");
    assert!(whole > 1.3, "written out the second dozen layers cost more than the first: {whole}");
}
