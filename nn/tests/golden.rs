//! Whole networks against PyTorch, from the same weights: logits before and after, and the losses of training steps.
//!
//! `golden/make_models.py` made the values. Weights, images and labels are computed on both sides from one integer hash.

use engine::{Shape, Tensor, no_grad};
use nn::optim::{Optimizer, OptimizerConfig};
use nn::{Context, Model, StateDict};
use serde_json::Value;
use std::collections::BTreeMap;

const IMAGES: u64 = 1_000_000;
const LABELS: u64 = 2_000_000;
const PATTERNS: u64 = 3_000_000;

/// Number `index` of `stream`, in `[0, 1)`: `unit` of the script.
fn unit(stream: u64, index: usize) -> f64 {
    let mut z = (stream << 32).wrapping_add(index as u64).wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) >> 40) as f64 / f64::from(1u32 << 24)
}

fn value(name: &str, shape: &[usize], u: f64) -> f32 {
    let value = match *shape {
        _ if name.ends_with("running_var") => 0.5 + u,
        [_, 1, k_h, k_w] => (2.0 * u - 1.0) * (6.0 / (k_h * k_w) as f64).sqrt(), // depthwise
        [c_out, _, k_h, k_w] => (2.0 * u - 1.0) * (6.0 / (c_out * k_h * k_w) as f64).sqrt(),
        [_, inputs] => (2.0 * u - 1.0) / (inputs as f64).sqrt(),
        _ if name.ends_with("weight") => 0.75 + 0.5 * u,
        _ => 0.2 * (2.0 * u - 1.0),
    };
    value as f32
}

fn formula_state(model: &Model) -> (Vec<String>, StateDict) {
    let state = model.state();
    let names = state.iter().map(|(name, ..)| name.clone()).collect();
    let fill = |(stream, (name, shape, _)): (usize, (String, Shape, Vec<f32>))| {
        let values = (0..shape.elements()).map(|i| value(&name, &shape, unit(stream as u64, i))).collect();
        (name, (shape, values))
    };
    (names, state.into_iter().enumerate().map(fill).collect())
}

fn labels(step: u64, batch: usize) -> Vec<usize> {
    (0..batch).map(|i| (unit(LABELS + step, i) * 10.0) as usize).collect()
}

/// `(N, 32, 32, 3)`; the script's are `(N, 3, 32, 32)`.
fn images(step: u64, batch: usize) -> Tensor {
    let spread = |stream, i| ((2.0 * unit(stream, i) - 1.0) * 3f64.sqrt()) as f32;
    let labels = labels(step, batch);
    Tensor::from_fn([batch, 32, 32, 3], |flat| {
        let (n, y, x, c) = (flat / 3072, flat / 96 % 32, flat / 3 % 32, flat % 3);
        let pattern = spread(PATTERNS, ((labels[n] * 3 + c) * 8 + y / 4) * 8 + x / 4);
        0.25 * spread(IMAGES + step, ((n * 3 + c) * 32 + y) * 32 + x) + pattern
    })
}

/// Largest difference, relative to the largest value.
fn apart(ours: &[f32], theirs: &[f32]) -> f32 {
    assert_eq!(ours.len(), theirs.len());
    let largest = theirs.iter().fold(0.0f32, |m, v| m.max(v.abs()));
    ours.iter().zip(theirs).fold(0.0f32, |m, (a, b)| m.max((a - b).abs())) / largest
}

fn floats(json: &Value) -> Vec<f32> {
    json.as_array().expect("an array").iter().map(|v| v.as_f64().expect("a number") as f32).collect()
}

/// Logits to 1e-4 of the largest, each loss to 1e-4 of itself; logits after training, by running statistics, to 2e-2, because there
/// PyTorch agrees with itself to no more than 6e-3 (the script says why).
#[track_caller]
fn agrees(name: &str) {
    let fixtures: BTreeMap<String, Value> =
        serde_json::from_str(include_str!("golden/models.json")).expect("the fixture is JSON");
    let golden = &fixtures[name];
    let batch = golden["batch"].as_u64().expect("a number") as usize;
    let model = Model::outline(name, 10).unwrap_or_else(|e| panic!("{e}"));
    let (names, state) = formula_state(&model);
    let golden_names: Vec<&str> =
        golden["names"].as_array().expect("an array").iter().filter_map(Value::as_str).collect();
    assert_eq!(names, golden_names, "names, in PyTorch's order");
    let logits = || no_grad(|| model.forward(&images(0, batch), &Context::eval())).data().to_vec();

    model.load_state(&state).expect("made to fit");
    let error = apart(&logits(), &floats(&golden["logits"]));
    println!("{name}: logits differ by {error:.1e}");
    assert!(error < 1e-4, "{name}: logits differ by {error}");

    for run in golden["runs"].as_array().expect("an array") {
        model.load_state(&state).expect("made to fit");
        let lr = run["lr"].as_f64().expect("a number") as f32;
        let mut optimizer = Optimizer::new(OptimizerConfig::sgd(5e-4), model.params(), true);
        for (i, &expected) in floats(&run["losses"]).iter().enumerate() {
            let step = i as u64 + 1;
            let logits = model.forward(&images(step, batch), &Context::train(0, step));
            let loss = logits.cross_entropy(&labels(step, batch), 0.0);
            let error = (loss.item() - expected).abs() / expected;
            println!("{name}, lr {lr}, step {step}: {} against {expected}, {error:.1e}", loss.item());
            assert!(error < 1e-4, "{name}, lr {lr}, step {step}: {} against {expected}", loss.item());
            optimizer.step(&loss.backward(), lr);
        }
        let error = apart(&logits(), &floats(&run["after"]));
        println!("{name}, lr {lr}: logits after training differ by {error:.1e}");
        assert!(error < 2e-2, "{name}, lr {lr}: logits after training differ by {error}");
    }
}

#[test]
fn resnet20_equals_pytorch() {
    agrees("resnet20");
}

#[test]
fn resnet20_with_projections_equals_pytorch() {
    agrees("resnet20-b");
}

#[test]
fn resnet29_with_bottlenecks_equals_pytorch() {
    agrees("resnet29-bottleneck");
}

#[test]
fn preact_resnet20_equals_pytorch() {
    agrees("preact-resnet20");
}

#[test]
fn preact_resnet20_without_projections_equals_pytorch() {
    agrees("preact-resnet20-a");
}

#[test]
fn preact_resnet29_with_bottlenecks_equals_pytorch() {
    agrees("preact-resnet29-bottleneck");
}

#[test]
fn vgg16_equals_pytorch() {
    agrees("vgg16-bn");
}

#[test]
fn wrn16_4_equals_pytorch() {
    agrees("wrn16-4");
}

#[test]
fn mobilenetv1_equals_pytorch() {
    agrees("mobilenetv1");
}

#[test]
fn mobilenetv2_equals_pytorch() {
    agrees("mobilenetv2");
}

#[test]
fn densenet40_equals_pytorch() {
    agrees("densenet40-12");
}

#[test]
fn densenet_bc100_equals_pytorch() {
    agrees("densenet-bc100-12");
}

#[test]
fn sparsenet40_equals_pytorch() {
    agrees("sparsenet40-12");
}

#[test]
fn dpn26_equals_pytorch() {
    agrees("dpn26");
}

#[test]
fn googlenet_equals_pytorch() {
    agrees("googlenet");
}

#[test]
fn shufflenet_equals_pytorch() {
    agrees("shufflenet-g2");
}

#[test]
fn shufflenetv2_equals_pytorch() {
    agrees("shufflenetv2-x0.5");
}
