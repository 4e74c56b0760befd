use super::*;
use engine::gradcheck::sample;
use nn::{Context, Model};

fn network(name: &str, train: bool) -> Recording {
    let model = Model::new(name, 10, 3).expect("in the zoo");
    let images = sample([2, 32, 32, 3]).requires_grad();
    let mut leaves = vec![Leaf { name: "images".into(), role: Role::Input, tensor: images.clone() }];
    let params = model.params().into_iter();
    leaves.extend(params.map(|(name, param)| Leaf { name, role: Role::Parameter, tensor: param.value() }));
    let ctx = if train { Context::train(0, 1) } else { Context::eval() };
    Recording::of(&leaves, || model.forward(&images, &ctx).cross_entropy(&[3, 7], 0.1).into())
}

fn sum_of(parts: &[&Tensor]) -> Vec<f64> {
    (0..parts[0].elements()).map(|i| parts.iter().map(|part| f64::from(part.data()[i])).sum()).collect()
}

/// Ops, values, gradients and contributions are those of the engine, for every way that the zoo puts ops together.
#[test]
fn networks_come_apart_into_plain_ops() {
    for name in ["resnet8", "preact-resnet8", "sparsenet40-12", "mobilenetv2", "vgg11-bn", "dpn-c8"] {
        let Ok(_) = Model::outline(name, 10) else { continue };
        let it = network(name, true);
        for fused in &it.fused {
            // Winograd and direct convolutions round differently, batch norm of a small map amplifies it.
            assert!(
                fused.max_difference < 1e-3,
                "{name}: {} of {} is off by {}",
                fused.op,
                fused.path,
                fused.max_difference
            );
        }
        for op in &it.ops {
            let inputs: Vec<&Tensor> = op.inputs.iter().map(|&i| &it.tensors[i].value).collect();
            let again = engine::no_grad(|| op.op.again(&inputs)).expect("the engine's ops repeat themselves");
            assert_eq!(again.data(), it.tensors[op.output].value.data(), "{name}: {} {}", op.path, op.doc.name);
        }
        for (id, slot) in it.tensors.iter().enumerate() {
            let parts: Vec<&Tensor> =
                it.backward.iter().flat_map(|s| &s.contributions).filter(|p| p.to == id).map(|p| &p.value).collect();
            let Some(grad) = slot.grad.as_ref().filter(|_| !parts.is_empty()) else { continue };
            let reach = grad.data().iter().fold(1e-20f32, |m, g| m.max(g.abs()));
            for (sum, grad) in sum_of(&parts).iter().zip(grad.data()) {
                assert!((sum - f64::from(*grad)).abs() < 1e-4 * f64::from(reach), "{name}: {}", slot.name);
            }
        }
        assert_eq!(it.backward.len(), it.ops.len(), "{name}: every op is walked once");
    }
}

#[test]
fn plain_ops_know_their_module() {
    let it = network("resnet20", true);
    let op = |path: &str, op: &str| it.ops.iter().find(|o| o.path == path && o.doc.name == op);
    for (path, name) in [
        ("conv1", "conv2d"),
        ("bn1", "fold_batch_norm"),
        ("bn1", "scale_shift"),
        ("layer1.0.conv1", "conv2d"),
        ("layer1.0.bn2", "scale_shift"),
        ("layer1.0.add", "add"),
        ("layer2.0.subsample2d", "subsample2d"),
        ("linear", "matmul"),
        ("cross_entropy", "cross_entropy"),
    ] {
        assert!(op(path, name).is_some(), "{name} at {path}");
    }
    let names: std::collections::HashSet<&str> = it.tensors.iter().map(|t| t.name.as_str()).collect();
    assert_eq!(names.len(), it.tensors.len(), "names are unique");
}

#[test]
fn gradients_agree_with_finite_differences_and_broken_ones_do_not() {
    let it = network("resnet8", true);
    let checks: Vec<Check> = it.check_ops(2).into_iter().flatten().collect();
    let wrong: Vec<&Check> = checks.iter().filter(|c| c.passed() == Some(false)).collect();
    assert!(checks.len() > 100 && wrong.is_empty(), "{wrong:?}");
    let broken: Vec<&str> =
        (0..it.ops.len()).filter(|&op| it.break_it(op).is_some()).map(|op| it.ops[op].doc.name).collect();
    for name in ["conv2d", "relu", "moments", "scale_shift", "matmul", "cross_entropy", "global_avg_pool"] {
        assert!(broken.contains(&name), "{name} can be broken: {broken:?}");
    }
}

#[test]
fn the_whole_gradient_agrees_through_everything_that_follows() {
    let it = network("resnet8", true);
    for name in ["layer3.0.conv2.weight", "layer2.0.bn1.weight", "linear.bias"] {
        let tensor = it.tensors.iter().position(|t| t.name == name).expect("a parameter");
        let check = it.check_loss(tensor, 1).expect("a gradient");
        assert!(!check.kink && check.rel_error < TOLERANCE, "{name}: {check:?}");
    }
}

#[test]
fn what_if_follows_a_value_to_the_loss() {
    let it = network("resnet8", true);
    let tensor = it.tensors.iter().position(|t| t.name == "linear.bias").expect("a parameter");
    let value = f64::from(it.tensors[tensor].value.data()[3]);
    for precision in [Precision::F32, Precision::F64] {
        let same = it.what_if(&[Change { tensor, entry: 3, value }], precision);
        assert_eq!(same.loss, same.loss_before, "{precision:?}");
        let more = it.what_if(&[Change { tensor, entry: 3, value: value + 1.0 }], precision);
        assert_eq!(more.tensors.len(), 3, "the bias, the logits and the loss");
        assert!(more.loss < more.loss_before, "class 3 is right for one image and only one of ten for the other");
    }
}

#[test]
fn the_first_value_that_is_not_finite_is_found_in_either_pass() {
    let leaf =
        |value: f32| Leaf { name: "w".into(), role: Role::Parameter, tensor: Tensor::full([2], value).requires_grad() };
    let big = leaf(1e30);
    let it = Recording::of(std::slice::from_ref(&big), || big.tensor.scale(1e30).relu().sum().into());
    let found = it.first_non_finite().expect("an infinity");
    assert_eq!((found.pass, it.ops[found.step].doc.name), (Pass::Forward, "scale"));

    let spoilt = leaf(f32::NAN);
    let it = Recording::of(std::slice::from_ref(&spoilt), || spoilt.tensor.relu().sum().into());
    let found = it.first_non_finite().expect("a NaN");
    assert_eq!((found.step, it.tensors[found.tensor].name.as_str()), (0, "w"), "it was there before");

    let small = leaf(1e-30);
    let it =
        Recording::of(std::slice::from_ref(&small), || small.tensor.scale(1e30).scale(1e30).scale(1e-20).sum().into());
    let found = it.first_non_finite().expect("an infinity");
    assert_eq!((found.pass, it.tensors[found.tensor].name.as_str()), (Pass::Backward, "w"));
}
