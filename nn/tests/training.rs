//! Networks learn, start where they should, and move in and out of files.

use engine::rng::{Rng, purpose};
use engine::{Algorithm, Shape, Tensor, no_grad};
use nn::layers::{Dropout, Relu, Sequential};
use nn::optim::{Optimizer, OptimizerConfig};
use nn::{Context, Layer, Model, StateDict};

fn images(n: usize, size: usize) -> Tensor {
    let mut rng = Rng::new(5, &[purpose::TEST]);
    Tensor::from_fn([n, size, size, 3], |_| rng.normal())
}

fn dict(model: &Model) -> StateDict {
    model.state().into_iter().map(|(name, shape, values)| (name, (shape, values))).collect()
}

fn model(name: &str, seed: u64) -> Model {
    Model::new(name, 10, seed).unwrap_or_else(|e| panic!("{e}"))
}

#[test]
fn a_small_network_learns_32_images_by_heart() {
    let labels: Vec<usize> = (0..32).map(|i| i * 7 % 10).collect();
    for name in ["resnet8", "preact-resnet8"] {
        let model = model(name, 1);
        let mut optimizer = Optimizer::new(OptimizerConfig::sgd(0.0), model.params(), true);
        let x = images(32, 16);
        let mut loss = f32::NAN;
        for step in 1..=60 {
            let mean = model.forward(&x, &Context::train(0, step)).cross_entropy(&labels, 0.0);
            loss = mean.item();
            optimizer.step(&mean.backward(), 0.05);
        }
        assert!(loss < 0.05, "{name}: {loss} after 60 steps");
    }
}

/// Weights and momentum after some steps on `threads` threads.
fn trained(name: &str, threads: usize) -> (StateDict, StateDict) {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads start");
    pool.install(|| {
        let model = model(name, 4);
        let mut optimizer = Optimizer::new(OptimizerConfig::sgd(5e-4), model.params(), true);
        for step in 1..=3 {
            let loss = model.forward(&images(6, 32), &Context::train(0, step)).cross_entropy(&[0, 1, 2, 3, 4, 5], 0.1);
            optimizer.step(&loss.backward(), 0.1);
        }
        let momentum = optimizer.state().into_iter().map(|(name, shape, values)| (name, (shape, values)));
        (dict(&model), momentum.collect())
    })
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    for name in ["resnet8", "preact-resnet8"] {
        let alone = trained(name, 1);
        for threads in [2, 3] {
            assert!(trained(name, threads) == alone, "{name}: {threads} threads give other weights than 1");
        }
    }
}

/// Winograd's constants cost a few bits, so the same run drifts apart slowly; a wrong gradient would part it at once.
#[test]
fn algorithms_of_convolution_differ_by_rounding() {
    let logits = |algorithm| -> Vec<f32> {
        let model = model("resnet8", 4);
        let mut optimizer = Optimizer::new(OptimizerConfig::sgd(5e-4), model.params(), true);
        for step in 1..=4 {
            let ctx = Context::train(0, step).with_algorithm(algorithm);
            let loss = model.forward(&images(8, 32), &ctx).cross_entropy(&[0, 1, 2, 3, 4, 5, 6, 7], 0.0);
            optimizer.step(&loss.backward(), 0.01);
        }
        no_grad(|| model.forward(&images(8, 32), &Context::eval().with_algorithm(algorithm))).data().to_vec()
    };
    let (direct, winograd) = (logits(Algorithm::Direct), logits(Algorithm::Winograd));
    let largest = |values: &mut dyn Iterator<Item = f32>| values.fold(0.0f32, |m, v| m.max(v.abs()));
    let apart = largest(&mut direct.iter().zip(&winograd).map(|(a, b)| a - b)) / largest(&mut direct.iter().copied());
    assert!(apart > 0.0, "the algorithm does not reach the convolutions");
    assert!(apart < 1e-3, "logits differ by {apart}");
}

#[test]
fn a_training_step_allocates_nothing_once_it_has_run() {
    let model = model("resnet8", 1);
    let mut optimizer = Optimizer::new(OptimizerConfig::sgd(5e-4), model.params(), true);
    let x = images(4, 16);
    let mut step = |number| {
        let loss = model.forward(&x, &Context::train(0, number)).cross_entropy(&[0, 1, 2, 3], 0.0);
        optimizer.step(&loss.backward(), 0.1);
        engine::memory::stats().allocations
    };
    let warm = [step(1), step(2)][1];
    assert_eq!(step(3), warm, "buffers were taken from the system in the third step");
}

#[test]
fn the_first_loss_is_near_that_of_a_guess() {
    let labels: Vec<usize> = (0..16).map(|i| i % 10).collect();
    // A post-activation network adds up rectified maps, so that its features, and logits, start larger: PyTorch's resnet20
    // starts between 2.5 and 2.8, too.
    for (name, distance) in
        [("preact-resnet20", 0.3), ("preact-resnet29-bottleneck", 0.3), ("resnet20", 0.6), ("vgg11-bn", 0.6)]
    {
        let loss = model(name, 2).forward(&images(16, 32), &Context::train(0, 1)).cross_entropy(&labels, 0.0).item();
        assert!((loss - 10f32.ln()).abs() < distance, "{name}: {loss}");
    }
}

#[test]
fn seeds_make_networks() {
    let weights = |seed| dict(&model("resnet8", seed));
    assert_eq!(weights(1), weights(1));
    assert_ne!(weights(1), weights(2));
}

#[test]
fn weights_survive_the_trip_through_a_file() {
    for name in ["resnet8-b", "preact-resnet11-bottleneck"] {
        let from = model(name, 1);
        // Moves the running statistics off their start.
        no_grad(|| from.forward(&images(4, 16), &Context::train(0, 1)));
        let to = Model::outline(name, 10).unwrap_or_else(|e| panic!("{e}"));
        to.load_state(&dict(&from)).expect("the same model's state fits");
        assert_eq!(dict(&from), dict(&to), "{name}");
        let logits = |m: &Model| no_grad(|| m.forward(&images(4, 16), &Context::eval())).data().to_vec();
        assert_eq!(logits(&from), logits(&to), "{name}");
    }
}

#[test]
fn names_and_shapes_are_pytorchs() {
    let state = dict(&model("resnet8", 1));
    let shape = |name: &str| state[name].0.to_vec();
    assert_eq!(shape("conv1.weight"), [16, 3, 3, 3]);
    assert_eq!(shape("layer2.0.conv1.weight"), [32, 16, 3, 3]);
    assert_eq!(shape("layer3.0.bn2.running_var"), [64]);
    assert_eq!(shape("linear.weight"), [10, 64]);
    let vgg = dict(&Model::outline("vgg16-bn-bias", 10).unwrap_or_else(|e| panic!("{e}")));
    assert_eq!(vgg["features.0.bias"].0.to_vec(), [64]);
    assert_eq!(vgg["features.41.running_mean"].0.to_vec(), [512]);
    assert_eq!(vgg["classifier.weight"].0.to_vec(), [10, 512]);
}

#[test]
fn pytorchs_extras_are_ignored() {
    let from = model("resnet8", 1);
    let mut state: StateDict = dict(&from).into_iter().map(|(name, v)| (format!("module.{name}"), v)).collect();
    state.insert("module.bn1.num_batches_tracked".into(), (Shape::from([]), vec![3.0]));
    let to = Model::outline("resnet8", 10).unwrap_or_else(|e| panic!("{e}"));
    to.load_state(&state).expect("only the prefix and the counter differ");
    assert_eq!(dict(&from), dict(&to));
}

#[test]
fn a_state_that_does_not_fit_is_named_and_changes_nothing() {
    let to = model("resnet8", 1);
    let before = dict(&to);
    let mut state = dict(&model("resnet8", 2));
    state.remove("bn1.weight");
    state.insert("layer4.0.conv1.weight".into(), (Shape::from([1]), vec![0.0]));
    state.insert("linear.bias".into(), (Shape::from([100]), vec![0.0; 100]));
    let message = to.load_state(&state).expect_err("three things are wrong").to_string();
    assert_eq!(
        message,
        "the tensors do not fit resnet8: 1 missing (bn1.weight), 1 that it does not have (layer4.0.conv1.weight), \
         1 of another shape (linear.bias is (100), expected (10)); was it saved from another model?"
    );
    assert_eq!(dict(&to), before);

    let other = to.load_state(&dict(&model("resnet14", 1))).expect_err("a deeper network").to_string();
    assert!(other.contains("30 that it does not have") && other.contains("; ...)"), "{other}");
}

#[test]
fn dropout_drops_in_training_alone() {
    let mut layers = Sequential::default();
    layers.push(Dropout { p: 0.5 });
    layers.push(Relu);
    let x = Tensor::full([1, 8, 8, 16], 1.0);
    let run = |ctx: &Context| layers.forward(&(&x).into(), ctx).materialise().data().to_vec();
    assert_eq!(run(&Context::eval()), x.data());
    let dropped = run(&Context::train(1, 1));
    assert!(dropped.iter().all(|&v| v == 0.0 || v == 2.0));
    let kept = dropped.iter().filter(|&&v| v > 0.0).count();
    // Six standard deviations of 1024 coin tosses.
    assert!((kept as i32 - 512).abs() < 96, "{kept} of 1024 kept");
    assert_eq!(dropped, run(&Context::train(1, 1)));
    assert_ne!(dropped, run(&Context::train(1, 2)));
}
