use super::proxyless_reinforce::{policy_gradient, sample_network};
use super::*;
use crate::BlockKey;
use crate::Op;
use crate::space::MbConv;
use crate::supernet::Gate;
use engine::gradcheck::{replay, sample};
use engine::{Array, Gradients, Shape};
use nn::{State, StateDict};
use std::collections::HashMap;

/// Two edges: (mb3x3e2, mb3x3e1) without a shortcut, (mb3x3e2, mb3x3e1, zero) with one.
fn tiny() -> Space {
    let mut space = MbConv { resolution: 6, ..MbConv::of(4, 3, 6, &[(4, 2, 1)]) };
    space.candidates = ["mb3x3e2", "mb3x3e1", "zero"].map(|op| op.parse().expect("an operation")).to_vec();
    Space::Mbconv(space)
}

fn batch() -> (Tensor, Vec<usize>) {
    (sample([4, 6, 6, 3]), vec![0, 2, 1, 0])
}

fn config(method: Method) -> SearchConfig {
    SearchConfig { warmup_epochs: 1, delay_epochs: 0, every: 2, samples: 3, ..SearchConfig::new(method, 7, 4, 3) }
}

fn search(method: Method) -> Search {
    Search::new(&tiny(), 3, config(method), None).unwrap_or_else(|e| panic!("{e}"))
}

/// The loss of `route`, recorded with parameters frozen, and the gates or weights that are its only leaves.
fn frozen_loss(search: &Search, route: &Route) -> Tensor {
    let (images, labels) = batch();
    let ctx = Context::train(0, 1).untracked().frozen();
    search.supernet.forward(&images, route, &ctx).cross_entropy(&labels, 0.1)
}

fn leaves(route: &Route) -> Vec<&Tensor> {
    let leaf = |gate| match gate {
        &Gate::Path(_) => None,
        Gate::Binary { gates, .. } => Some(gates),
        Gate::Mixed { weights, .. } => Some(weights),
    };
    route.gates().iter().filter_map(leaf).collect()
}

/// The loss in `f64` with these values of the leaves.
fn replayed(loss: &Tensor, leaves: &[&Tensor], values: &[Vec<f64>]) -> f64 {
    let id = |leaf: &Tensor| leaf.node().expect("a leaf").id();
    let array = |values: &Vec<f64>| Array { shape: Shape::from([values.len()]), data: values.clone() };
    let values: HashMap<u64, Array> = leaves.iter().zip(values).map(|(l, v)| (id(l), array(v))).collect();
    replay(loss, &values).data[0]
}

fn keeping_the_tape(loss: &Tensor) -> Gradients {
    let mut steps = loss.backward_steps(Tensor::full(loss.shape(), 1.0)).keep_tape();
    steps.by_ref().for_each(drop);
    steps.into_gradients()
}

#[test]
fn gates_have_the_gradient_of_the_loss_zero_included() {
    let search = search(Method::ProxylessGradient);
    for (first, second) in [(0, 0), (1, 1), (0, 2), (1, 2)] {
        let route = Route::new(vec![Gate::binary(vec![0, 1], first), Gate::binary(vec![0, 1, 2], second)]);
        let loss = frozen_loss(&search, &route);
        let gradients = keeping_the_tape(&loss);
        let leaves = leaves(&route);
        let values: Vec<Vec<f64>> = leaves.iter().map(|l| l.data().iter().map(|&v| f64::from(v)).collect()).collect();
        assert!((replayed(&loss, &leaves, &values) - f64::from(loss.item())).abs() < 1e-5);
        for (edge, gate) in route.gates().iter().enumerate() {
            let analytic = gate.gradient(&gradients).expect("on the tape");
            for j in 0..analytic.len() {
                let at = |offset: f64| {
                    let mut values = values.clone();
                    values[edge][j] += offset;
                    replayed(&loss, &leaves, &values)
                };
                let numeric = (at(1e-5) - at(-1e-5)) / 2e-5;
                // The sum over a map of f32 products.
                let error = (analytic[j] - numeric).abs();
                assert!(error < 2e-5, "edge {edge}, gate {j}: {} against {numeric}", analytic[j]);
            }
        }
    }
}

#[test]
fn alphas_have_the_gradient_of_the_mixture_as_darts_takes_it() {
    let mut search = search(Method::ProxylessGradient);
    search.alphas.set(0, &[0.4, -0.2]);
    search.alphas.set(1, &[0.1, 0.5, -0.3]);
    let mixture = |alphas: &Alphas| [0, 1].map(|edge| alphas.probabilities(edge)).to_vec();
    let p = mixture(&search.alphas);
    let route = Route::new(vec![Gate::mixed(vec![0, 1], &p[0]), Gate::mixed(vec![0, 1, 2], &p[1])]);
    let loss = frozen_loss(&search, &route);
    let gradients = keeping_the_tape(&loss);
    for (edge, p) in p.iter().enumerate() {
        let of_weights = route.gates()[edge].gradient(&gradients).expect("on the tape");
        let analytic = through_softmax(&of_weights, p);
        for i in 0..analytic.len() {
            let at = |offset: f64| {
                let mut alphas = search.alphas.clone();
                let mut values = alphas.values(edge).to_vec();
                values[i] += offset;
                alphas.set(edge, &values);
                replayed(&loss, &leaves(&route), &mixture(&alphas))
            };
            let numeric = (at(1e-5) - at(-1e-5)) / 2e-5;
            assert!((analytic[i] - numeric).abs() < 1e-5, "edge {edge}, alpha {i}: {} against {numeric}", analytic[i]);
        }
    }
}

/// The loss of each network of the tiny space, in `f64`, by its choices.
fn enumerated(search: &Search) -> Vec<(Vec<usize>, f64)> {
    let mut losses = vec![];
    for first in 0..2 {
        for second in 0..3 {
            // A single gate keeps the pass on the tape.
            let route = Route::new(vec![Gate::binary(vec![first], 0), Gate::binary(vec![second], 0)]);
            let loss = frozen_loss(search, &route);
            losses.push((vec![first, second], replayed(&loss, &leaves(&route), &[vec![1.0], vec![1.0]])));
        }
    }
    losses
}

/// `E[L] = sum over networks of p(network) * L(network)`.
fn expected(alphas: &Alphas, losses: &[(Vec<usize>, f64)]) -> f64 {
    let p = [alphas.probabilities(0), alphas.probabilities(1)];
    losses.iter().map(|(choices, loss)| p[0][choices[0]] * p[1][choices[1]] * loss).sum()
}

fn numeric_gradient(alphas: &Alphas, losses: &[(Vec<usize>, f64)]) -> Vec<Vec<f64>> {
    let mut gradient = vec![vec![0.0; 2], vec![0.0; 3]];
    for (edge, gradient) in gradient.iter_mut().enumerate() {
        for (i, g) in gradient.iter_mut().enumerate() {
            let at = |offset: f64| {
                let mut alphas = alphas.clone();
                let mut values = alphas.values(edge).to_vec();
                values[i] += offset;
                alphas.set(edge, &values);
                expected(&alphas, losses)
            };
            *g = (at(1e-5) - at(-1e-5)) / 2e-5;
        }
    }
    gradient
}

#[test]
fn reinforce_estimates_the_gradient_of_the_expected_loss() {
    let mut search = search(Method::ProxylessReinforce);
    search.alphas.set(0, &[0.4, -0.2]);
    search.alphas.set(1, &[0.1, 0.5, -0.3]);
    let losses = enumerated(&search);
    let exact = numeric_gradient(&search.alphas, &losses);
    let loss_of = |network: &[usize]| losses.iter().find(|(choices, _)| choices == network).expect("enumerated").1;
    // The reward is minus the loss; any baseline will do.
    let baseline = -expected(&search.alphas, &losses) + 0.01;

    // Every network as often as it is probable: the mean of the estimator, without chance.
    let p = [search.alphas.probabilities(0), search.alphas.probabilities(1)];
    let mut mean = [vec![0.0; 2], vec![0.0; 3]];
    for (choices, loss) in &losses {
        let of_network = policy_gradient(&search.alphas, std::slice::from_ref(choices), &[-loss - baseline]);
        for (mean, of_network) in mean.iter_mut().zip(of_network) {
            mean.iter_mut().zip(of_network).for_each(|(m, g)| *m += p[0][choices[0]] * p[1][choices[1]] * g);
        }
    }
    // And as they are drawn.
    let n = 20_000;
    let networks: Vec<Vec<usize>> = (0..n).map(|i| sample_network(&search.alphas, 1, 0, i)).collect();
    let advantages: Vec<f64> = networks.iter().map(|network| -loss_of(network) - baseline).collect();
    let drawn = policy_gradient(&search.alphas, &networks, &advantages);
    let largest = advantages.iter().fold(0.0f64, |m, a| m.max(a.abs()));
    for edge in 0..2 {
        for i in 0..exact[edge].len() {
            assert!((mean[edge][i] - exact[edge][i]).abs() < 1e-9, "edge {edge}, alpha {i}");
            // Four standard errors, for each term is at most the largest advantage.
            let error = (drawn[edge][i] - exact[edge][i]).abs();
            assert!(error < 4.0 * largest / (n as f64).sqrt(), "edge {edge}, alpha {i}: off by {error}");
        }
    }
}

/// Where the loss is linear in an edge's output, the straight-through gradient of the gates is exact: it is that of the expected loss.
#[test]
fn gates_have_the_gradient_of_an_expected_loss_that_is_linear() {
    let mut search = search(Method::ProxylessGradient);
    let values = [0.1, 0.5, -0.3];
    search.alphas.set(1, &values);
    let p = search.alphas.probabilities(1);
    let (images, weights) = (sample([2, 6, 6, 4]), sample([2, 6, 6, 4]));
    let mut choices = search.supernet.network.choices_mut();
    let choice = &mut choices[1];
    let ctx = Context::train(0, 1).untracked().frozen();
    let read = |gate: Gate| {
        let route = Route::new(vec![Gate::Path(0), gate]);
        let loss = choice.forward(&[(&images).into()], &route, &ctx).materialise().mul(&weights).sum();
        (loss, route)
    };
    let losses: Vec<f64> = (0..3)
        .map(|i| {
            let (loss, route) = read(Gate::binary(vec![i], 0));
            replayed(&loss, &leaves(&route), &[vec![1.0]])
        })
        .collect();
    let expected = |values: &[f64]| -> f64 {
        let mut alphas = Alphas::new(&[3], 0);
        alphas.set(0, values);
        alphas.probabilities(0).iter().zip(&losses).map(|(p, l)| p * l).sum()
    };
    for open in 0..3 {
        let (loss, route) = read(Gate::binary(vec![0, 1, 2], open));
        let of_gates = route.gates()[1].gradient(&loss.backward()).expect("on the tape");
        let analytic = through_softmax(&of_gates, &p);
        for i in 0..3 {
            let at = |offset: f64| {
                let mut values = values;
                values[i] += offset;
                expected(&values)
            };
            let numeric = (at(1e-5) - at(-1e-5)) / 2e-5;
            let error = (analytic[i] - numeric).abs();
            assert!(error < 1e-4, "open {open}, alpha {i}: {} against {numeric}", analytic[i]);
        }
    }
}

fn changed(before: &[State], after: &[State]) -> Vec<String> {
    let differ = |(a, b): &(&State, &State)| a.2 != b.2;
    before.iter().zip(after).filter(differ).map(|(a, _)| a.0.clone()).collect()
}

#[test]
fn a_weight_step_touches_its_path_alone() {
    let mut search = search(Method::ProxylessGradient);
    let (images, labels) = batch();
    for _ in 0..6 {
        let (weights, memory) = (search.supernet.state(), search.optimizer.state());
        let alphas = search.alphas.clone();
        let step = search.weight_step(&images, &labels);
        let on_path = |name: &str| {
            let edges = search.supernet.edges().iter().zip(&step.path).enumerate();
            let chosen: Vec<String> =
                edges.map(|(i, (edge, &j))| format!("layers.{}.{}@{i}.", i + 1, edge.candidates[j])).collect();
            let in_choice = (1..=2).any(|i| name.starts_with(&format!("layers.{i}.")));
            !in_choice || chosen.iter().any(|prefix| name.starts_with(prefix))
        };
        for (what, names) in [
            ("weights", changed(&weights, &search.supernet.state())),
            ("momentum", changed(&memory, &search.optimizer.state())),
        ] {
            assert!(names.iter().all(|name| on_path(name)), "{what}: {names:?} for {:?}", step.path);
            assert!(names.iter().any(|name| name.starts_with("conv1")), "{what} outside the choices");
        }
        assert_eq!(search.alphas, alphas);
    }
}

#[test]
fn an_architecture_step_of_two_moves_two_probabilities_of_an_edge() {
    let mut search = search(Method::ProxylessGradient);
    let (images, labels) = batch();
    for _ in 0..10 {
        let weights = search.supernet.state();
        let before = search.alphas.probabilities(1);
        search.architecture_step(&images, &labels);
        let after = search.alphas.probabilities(1);
        let moved: Vec<f64> = before.iter().zip(&after).map(|(a, b)| (a - b).abs()).filter(|d| *d > 1e-6).collect();
        assert_eq!(moved.len(), 2, "{before:?} to {after:?}");
        assert!(changed(&weights, &search.supernet.state()).is_empty());
    }
}

/// Latencies by name.
struct ByName(fn(&str) -> f64);

impl Latency for ByName {
    fn of(&self, block: &BlockKey) -> Option<f64> {
        Some((self.0)(&block.op))
    }
}

fn seconds(op: &str) -> f64 {
    match op {
        "mb3x3e2" => 3.0,
        "mb3x3e1" => 2.0,
        _ => 0.5,
    }
}

#[test]
fn latency_alone_drives_the_policy_to_the_cheapest() {
    let terms = [
        LatencyTerm::Additive { lambda: 1.0 },
        LatencyTerm::Multiplicative { a: 0.2, b: 0.6 },
        LatencyTerm::Reward { exponent: 1.0 },
    ];
    for (term, paths) in terms.into_iter().flat_map(|term| [(term, Paths::Two), (term, Paths::All)]) {
        let is_reward = matches!(term, LatencyTerm::Reward { .. });
        let method = if is_reward { Method::ProxylessReinforce } else { Method::ProxylessGradient };
        let goal = Some(LatencyGoal { target_ms: 6.0, term });
        let config = SearchConfig { latency: goal, alpha_lr: 0.05, paths, samples: 10, ..config(method) };
        let mut search = Search::new(&tiny(), 3, config, Some(&ByName(seconds))).unwrap_or_else(|e| panic!("{e}"));
        // Without a classifier no answer depends on the choices.
        for (name, param) in search.supernet.params() {
            if name == "linear.weight" {
                param.update(|w| w.fill(0.0));
            }
        }
        let (images, labels) = batch();
        let start = search.expected_latency_ms().expect("there is a model");
        for _ in 0..250 {
            search.architecture_step(&images, &labels);
        }
        let (p, q) = (search.alphas.probabilities(0), search.alphas.probabilities(1));
        assert!(p[1] > 0.9 && q[2] > 0.9, "{term:?}, {paths:?}: {p:?}, {q:?}");
        assert!(search.expected_latency_ms().expect("there is a model") < start - 1.0);
        assert_eq!(search.best().choices().iter().map(Op::to_string).collect::<Vec<_>>(), ["mb3x3e1", "zero"]);
    }
}

#[test]
fn latency_terms_have_the_derivatives_that_they_claim() {
    for term in [LatencyTerm::Additive { lambda: 0.2 }, LatencyTerm::Multiplicative { a: 0.2, b: 0.3 }] {
        let goal = LatencyGoal { target_ms: 3.0, term };
        let (ce, ms, h) = (1.7, 4.1, 1e-5);
        let (_, by_ce, by_ms) = goal.loss(ce, ms);
        assert!((by_ce - (goal.loss(ce + h, ms).0 - goal.loss(ce - h, ms).0) / (2.0 * h)).abs() < 1e-9);
        assert!((by_ms - (goal.loss(ce, ms + h).0 - goal.loss(ce, ms - h).0) / (2.0 * h)).abs() < 1e-9);
    }
    let reward = LatencyGoal { target_ms: 3.0, term: LatencyTerm::Reward { exponent: 0.1 } };
    assert!((reward.reward(0.8, 6.0) - 0.8 * 0.5f64.powf(0.1)).abs() < 1e-12);
}

fn run(search: &mut Search, steps: usize) -> Vec<f64> {
    let (images, labels) = batch();
    let mut losses = vec![];
    for _ in 0..steps {
        match search.turn() {
            Turn::Weights => losses.push(search.weight_step(&images, &labels).loss),
            Turn::Architecture => losses.push(search.architecture_step(&images, &labels).objective),
            Turn::End => break,
        }
    }
    losses
}

fn dict(state: Vec<State>) -> StateDict {
    state.into_iter().map(|(name, shape, values)| (name, (shape, values))).collect()
}

#[test]
fn a_resumed_search_goes_on_to_the_same_bits() {
    for method in Method::ALL {
        let make = || {
            // A rate that prunes on the way.
            let config = SearchConfig { alpha_lr: 1.0, prune_below: 0.1, ..config(method) };
            Search::new(&tiny(), 3, config, None).unwrap_or_else(|e| panic!("{e}"))
        };
        let mut whole = make();
        let losses = run(&mut whole, 100);
        assert_eq!(
            losses.len(),
            16 + 6,
            "a warm-up and three epochs of four, with an architecture step after every second"
        );
        assert_eq!(whole.turn(), Turn::End);
        let left: usize = (0..2).map(|edge| whole.alphas.alive(edge).len()).sum();
        // Four images: networks are often equally right, and then REINFORCE learns nothing.
        assert!(left < 5 || method == Method::ProxylessReinforce, "nothing was pruned");
        for stop in [3, 9, 17] {
            let mut first = make();
            let mut seen = run(&mut first, stop);
            let json = serde_json::to_string(&first.state()).expect("numbers");
            let mut second = make();
            let state = serde_json::from_str(&json).expect("as written");
            second
                .resume(state, &dict(first.supernet.state()), &dict(first.optimizer.state()))
                .unwrap_or_else(|e| panic!("{e}"));
            seen.extend(run(&mut second, 100));
            assert_eq!(seen, losses, "{method}, stopped after {stop}");
            assert_eq!(second.state(), whole.state());
            assert_eq!(second.supernet.state(), whole.supernet.state());
        }
    }
}

#[test]
fn what_is_pruned_is_freed() {
    let config = SearchConfig { prune_below: 0.2, ..config(Method::ProxylessGradient) };
    let mut search = Search::new(&tiny(), 3, config, None).unwrap_or_else(|e| panic!("{e}"));
    search.alphas.set(1, &[-3.0, 1.0, 0.9]);
    let (weights, remembered) = (search.weight_bytes(), search.optimizer.state().len());
    let (images, labels) = batch();
    assert_eq!(search.architecture_step(&images, &labels).pruned, [(1, 0)]);
    assert!(search.weight_bytes() < weights && search.optimizer.state().len() < remembered);
    assert_eq!(run(&mut search, 100).len(), 16 + 5, "the rest is searched on");
    assert_ne!(search.best().indices()[1], 0);
}

#[test]
fn what_cannot_be_searched_is_named() {
    let with = |change: fn(&mut SearchConfig), latency: Option<&dyn Latency>| {
        let mut config = config(Method::ProxylessGradient);
        change(&mut config);
        Search::new(&tiny(), 3, config, latency).err().expect("cannot be").to_string()
    };
    let aim = |target_ms| Some(LatencyGoal { target_ms, term: LatencyTerm::Additive { lambda: 0.1 } });
    let latency = ByName(seconds);
    // Three fixed parts of 0.5, and mb3x3e1 twice: the fixed first block, and the fastest candidate of the first edge.
    let unreachable = Search::new(
        &tiny(),
        3,
        SearchConfig { latency: aim(3.9), ..config(Method::ProxylessGradient) },
        Some(&latency),
    );
    let message = unreachable.err().expect("too fast").to_string();
    assert!(message.contains("3.9 ms cannot be reached") && message.contains("5.500 ms (mb3x3e1,zero)"), "{message}");
    let unknown = ByName(|op| if op == "mb3x3e2" { f64::NAN } else { 1.0 });
    assert!(with(|_| {}, Some(&unknown)).contains("latency of `mb3x3e2 6x6x3 -> 6x6x4 s1` is not known"));
    assert!(
        with(|c| c.latency = Some(LatencyGoal { target_ms: 5.0, term: LatencyTerm::Additive { lambda: 0.1 } }), None)
            .contains("measure them first")
    );
    assert!(
        with(|c| c.latency = Some(LatencyGoal { target_ms: 5.0, term: LatencyTerm::Reward { exponent: 0.1 } }), None)
            .contains("proxyless-grad takes its latency in the loss")
    );
    assert!(with(|c| c.every = 0, None).contains("every is 0"));
    assert!(with(|c| c.alpha_lr = f64::NAN, None).contains("alpha_lr is NaN"));
    assert!(with(|c| c.label_smoothing = 1.0, None).contains("label_smoothing is 1; it must be below 1"));
    assert!("darts".parse::<Method>().expect_err("later").to_string().contains("proxyless-grad, proxyless-rl"));

    let (mut fresh, other) = (search(Method::ProxylessGradient), search(Method::ProxylessReinforce));
    let message = fresh.resume(other.state(), &StateDict::new(), &StateDict::new()).expect_err("other").to_string();
    assert!(message.contains("another configuration"), "{message}");
    let mut state = fresh.state();
    state.alphas = Alphas::new(&[2], 0);
    let message = fresh.resume(state, &StateDict::new(), &StateDict::new()).expect_err("other").to_string();
    assert!(message.contains("not those of the space"), "{message}");
}
