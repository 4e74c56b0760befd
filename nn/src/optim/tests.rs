use super::*;
use crate::param::ParamKind;
use std::collections::BTreeMap;

fn weights() -> Param {
    Param::new(Tensor::from_fn([5], |i| (i as f32 - 2.0) / 2.0), ParamKind::LinearWeight)
}

/// Gradients of `param` at step `t`, as the script that made the golden values has them.
fn gradients(param: &Param, t: u64) -> Gradients {
    let slope = Tensor::from_fn([5], |i| ((7 * t as usize + 3 * i) % 11) as f32 / 4.0 - 1.25);
    param.value().mul(&slope).sum().backward()
}

fn run(config: OptimizerConfig, steps: std::ops::RangeInclusive<u64>, optimizer: &mut Optimizer, param: &Param) {
    assert_eq!(optimizer.config(), &config);
    for t in steps {
        optimizer.step(&gradients(param, t), (0.1 / t as f64) as f32);
    }
}

fn cases() -> [(&'static str, OptimizerConfig); 5] {
    let sgd = |momentum, nesterov| OptimizerConfig::Sgd { momentum, nesterov, weight_decay: 0.01, decoupled: false };
    let adam = |beta1, beta2, weight_decay, decoupled| OptimizerConfig::Adam {
        beta1,
        beta2,
        eps: 1e-8,
        weight_decay,
        decoupled,
    };
    [
        ("sgd plain", sgd(0.0, false)),
        ("sgd momentum", sgd(0.9, false)),
        ("sgd nesterov", sgd(0.9, true)),
        ("adam", adam(0.9, 0.999, 0.01, false)),
        ("adamw", adam(0.8, 0.95, 0.1, true)),
    ]
}

#[test]
fn steps_equal_pytorch() {
    let golden: BTreeMap<String, Vec<Vec<f32>>> =
        serde_json::from_str(include_str!("../../tests/golden/optim.json")).expect("the fixture is JSON");
    for (name, config) in cases() {
        let param = weights();
        let mut optimizer = Optimizer::new(config.clone(), vec![("w".into(), param.clone())], true);
        for (i, expected) in golden[name].iter().enumerate() {
            let t = i as u64 + 1;
            run(config.clone(), t..=t, &mut optimizer, &param);
            for (a, b) in param.value().data().iter().zip(expected) {
                // Four roundings of values near 1.
                assert!((a - b).abs() < 3e-7, "{name}, step {t}: {a} against {b}");
            }
        }
    }
}

#[test]
fn decoupled_sgd_shrinks_the_weight_and_leaves_the_momentum_alone() {
    let config = OptimizerConfig::Sgd { momentum: 0.5, nesterov: false, weight_decay: 0.1, decoupled: true };
    let param = Param::new(Tensor::from_slice([1], &[2.0]), ParamKind::LinearWeight);
    let mut optimizer = Optimizer::new(config, vec![("w".into(), param.clone())], true);
    let grads = || param.value().scale(3.0).sum().backward();
    optimizer.step(&grads(), 0.5);
    let first = 2.0 * (1.0 - 0.05) - 0.5 * 3.0;
    assert!((param.value().item() - first).abs() < 1e-6);
    optimizer.step(&grads(), 0.5);
    let second = first * 0.95 - 0.5 * 4.5;
    assert!((param.value().item() - second).abs() < 1e-6);
}

#[test]
fn a_parameter_without_a_gradient_is_not_touched() {
    let (used, idle) = (weights(), weights());
    let params = vec![("used".into(), used.clone()), ("idle".into(), idle.clone())];
    let mut optimizer = Optimizer::new(OptimizerConfig::sgd(0.1), params, true);
    run(OptimizerConfig::sgd(0.1), 1..=3, &mut optimizer, &used);
    assert_eq!(idle.value().data(), weights().value().data());
    assert_ne!(used.value().data(), weights().value().data());
}

#[test]
fn biases_and_batch_norm_decay_only_when_asked() {
    let step = |kind, decay_norm_and_bias| {
        let param = Param::new(Tensor::from_slice([1], &[1.0]), kind);
        let config = OptimizerConfig::Sgd { momentum: 0.0, nesterov: false, weight_decay: 0.1, decoupled: false };
        let mut optimizer = Optimizer::new(config, vec![("p".into(), param.clone())], decay_norm_and_bias);
        let grads = param.value().scale(0.0).sum().backward();
        optimizer.step(&grads, 1.0);
        param.value().item()
    };
    assert_eq!(step(ParamKind::BatchNormWeight, true), 0.9);
    assert_eq!(step(ParamKind::BatchNormWeight, false), 1.0);
    assert_eq!(step(ParamKind::ConvWeight, false), 0.9);
}

#[test]
fn a_parameter_listed_twice_steps_once() {
    let (shared, alone) = (weights(), weights());
    let config = OptimizerConfig::sgd(0.0);
    let twice = vec![("a".into(), shared.clone()), ("b".into(), shared.clone())];
    run(config.clone(), 1..=2, &mut Optimizer::new(config.clone(), twice, true), &shared);
    let once = vec![("a".into(), alone.clone())];
    run(config.clone(), 1..=2, &mut Optimizer::new(config.clone(), once, true), &alone);
    assert_eq!(shared.value().data(), alone.value().data());
}

#[test]
fn a_reloaded_optimiser_goes_on_to_the_same_bits() {
    for (name, config) in cases() {
        let whole = weights();
        let params = |p: &Param| vec![("w".to_owned(), p.clone())];
        run(config.clone(), 1..=6, &mut Optimizer::new(config.clone(), params(&whole), true), &whole);

        let halves = weights();
        let mut first = Optimizer::new(config.clone(), params(&halves), true);
        run(config.clone(), 1..=3, &mut first, &halves);
        let saved: StateDict = first.state().into_iter().map(|(n, s, v)| (n, (s, v))).collect();
        let mut second = Optimizer::new(config.clone(), params(&halves), true);
        second.load_state(&saved).expect("its own state fits");
        run(config.clone(), 4..=6, &mut second, &halves);
        assert_eq!(whole.value().data(), halves.value().data(), "{name}");
    }
}

#[test]
fn another_optimisers_state_is_refused_whole() {
    let params = || vec![("w".to_owned(), weights())];
    let adam = Optimizer::new(OptimizerConfig::adamw(0.0), params(), true);
    let saved: StateDict = adam.state().into_iter().map(|(n, s, v)| (n, (s, v))).collect();
    let mut sgd = Optimizer::new(OptimizerConfig::sgd(0.0), params(), true);
    let message = sgd.load_state(&saved).expect_err("Adam's state is not SGD's").to_string();
    assert!(
        message.contains("1 missing (w.momentum_buffer)") && message.contains("2 that it does not have"),
        "{message}"
    );
}

#[test]
fn impossible_constants_are_refused() {
    let sgd = |momentum, nesterov| OptimizerConfig::Sgd { momentum, nesterov, weight_decay: 0.0, decoupled: false };
    assert!(sgd(0.9, true).check().is_ok());
    for bad in [sgd(1.0, false), sgd(f32::NAN, false), sgd(0.0, true), OptimizerConfig::sgd(-1.0)] {
        assert!(bad.check().is_err(), "{bad:?}");
    }
}
