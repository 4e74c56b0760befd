//! Lists against materialised concatenation, sums against ResNet, and the graph that really trains.

use engine::autograd::{Input, Node, tape};
use engine::gradcheck::sample;
use engine::ops::{Pool2d, concat};
use engine::{Conv2d, Gradients, Tensor};
use nn::aggregation::{Gather, How, Map, Output, Widths, Wiring, digit_sum};
use nn::blocks::{DenseUnit, DualPathConfig, DualPathUnit, MixedLinkUnit, Stage, Unit};
use nn::gradcheck::check;
use nn::models::{Aggregated, Aggregation};
use nn::{Builder, Context, Model, Module, Network, Param, ParamKind, StateDict, Visitor};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex};

fn images(n: usize, size: usize) -> Tensor {
    sample([n, size, size, 3])
}

/// Largest difference as a share of the largest value.
#[track_caller]
fn difference(a: &Tensor, b: &Tensor) -> f32 {
    assert_eq!(a.shape(), b.shape());
    let scale = b.data().iter().fold(1e-3f32, |m, v| m.max(v.abs()));
    a.data()
        .iter()
        .zip(b.data())
        .fold(0.0, |m: f32, (a, b)| if (a - b).is_nan() { f32::INFINITY } else { m.max((a - b).abs() / scale) })
}

#[track_caller]
fn close(what: &str, a: &Tensor, b: &Tensor, tolerance: f32) {
    let difference = difference(a, b);
    assert!(difference < tolerance, "{what}: {difference:e} of the largest");
}

/// The parameters of a network that concatenates, and its equation in plain ops: every input written out as one tensor, a plain
/// batch norm with statistics of its own for each.
struct Plain {
    params: BTreeMap<String, Param>,
    of: Aggregation,
}

impl Plain {
    fn value(&self, name: &str) -> Tensor {
        self.params[name].value()
    }

    fn bn_relu_conv(&self, x: &Tensor, bn: &str, conv: &str) -> Tensor {
        let a =
            x.standardise(1e-5).affine(&self.value(&format!("{bn}.weight")), &self.value(&format!("{bn}.bias"))).relu();
        let weight = self.value(&format!("{conv}.weight"));
        a.conv2d(&weight, None, Conv2d { padding: weight.shape()[0] / 2, ..Conv2d::default() })
    }

    fn forward(&self, images: &Tensor) -> Tensor {
        let mut x = images.conv2d(&self.value("conv1.weight"), None, Conv2d { padding: 1, ..Conv2d::default() });
        for stage in 1..=3 {
            let mut outputs = vec![x];
            let gather = |outputs: &[Tensor], layer| {
                concat(&self.of.gather.sources(layer).iter().map(|&s| &outputs[s]).collect::<Vec<_>>())
            };
            for layer in 1..=self.of.layers {
                let unit = format!("block{stage}.layer.{}", layer - 1);
                let name = |part: &str| format!("{unit}.{part}");
                let y = self.bn_relu_conv(&gather(&outputs, layer), &name("bn1"), &name("conv1"));
                let y = if self.of.bottleneck { self.bn_relu_conv(&y, &name("bn2"), &name("conv2")) } else { y };
                outputs.push(y);
            }
            x = gather(&outputs, self.of.layers + 1);
            if stage < 3 {
                x = self.bn_relu_conv(&x, &format!("trans{stage}.bn1"), &format!("trans{stage}.conv1"));
                x = x.avg_pool2d(Pool2d { kernel_size: 2, stride: 2, padding: 0 }, true);
            }
        }
        let x = x.standardise(1e-5).affine(&self.value("bn1.weight"), &self.value("bn1.bias")).relu();
        x.global_avg_pool().matmul(&self.value("fc.weight")).add(&self.value("fc.bias"))
    }
}

/// Moves gamma and beta off 1 and 0.
fn shake(module: &dyn Module) -> Vec<(String, Param)> {
    let params = Visitor::params(module);
    for (i, (_, param)) in params.iter().enumerate() {
        if param.shape().len() == 1 {
            param.update(|v| v.iter_mut().enumerate().for_each(|(c, v)| *v += ((i + 3 * c) % 5) as f32 * 0.1 - 0.2));
        }
    }
    params
}

/// The largest difference between a network and its plain form, in the gradient of the images and of every parameter. (Of the logits it is below
/// 1e-4 in every network.)
fn list_against_plain(gather: &Gather, bottleneck: bool, seed: u64) -> f32 {
    let of = Aggregation::concat(gather.clone(), 4, [5, 4, 3], bottleneck);
    let network = Aggregated::new(&mut Builder::new(seed), &of, 4).unwrap_or_else(|e| panic!("{e}"));
    let params = shake(&network);
    let plain = Plain { params: params.iter().cloned().collect(), of };
    let run = |f: &dyn Fn(&Tensor) -> Tensor| -> (Tensor, Gradients, Tensor) {
        let leaf = images(3, 8).requires_grad();
        let logits = f(&leaf);
        let gradients = logits.cross_entropy(&[0, 3, 1], 0.0).backward();
        (logits, gradients, leaf)
    };
    let (list, list_grads, list_x) = run(&|x| network.forward(x, &Context::train(0, 1)));
    let (whole, whole_grads, whole_x) = run(&|x| plain.forward(x));
    let of = |g: &Gradients, leaf: &Tensor| g.get(leaf).expect("every leaf has a gradient").clone();
    let of_images = difference(&of(&list_grads, &list_x), &of(&whole_grads, &whole_x));
    let of_params = params.iter().map(|(_, param)| {
        let leaf = param.value();
        difference(&of(&list_grads, &leaf), &of(&whole_grads, &leaf))
    });
    close("logits", &list, &whole, 1e-4);
    of_params.fold(of_images, f32::max)
}

/// Both sides round sums of some thousand products, in different orders, through a dozen layers: differences of 3e-6, 4e-4 where layers form
/// a chain of 4 channels. Where a value lies so close to 0 that rounding decides whether ReLU passes its gradient, one in twenty networks
/// differs by more than 1e-3; hence five of each kind, and the one in the middle.
#[test]
fn a_list_is_materialised_concatenation_with_plain_batch_norm() {
    for gather in [Gather::All, Gather::Base(2), Gather::Base(3), Gather::Previous] {
        for bottleneck in [false, true] {
            let mut differences: Vec<f32> = (0..5).map(|seed| list_against_plain(&gather, bottleneck, seed)).collect();
            differences.sort_by(f32::total_cmp);
            assert!(differences[2] < 1e-3, "{gather}, bottleneck {bottleneck}: {differences:?}");
        }
    }
}

#[test]
fn whole_stages_agree_with_f64() {
    let wiring = |gather: &Gather| Wiring::new(gather, 3).unwrap_or_else(|e| panic!("{e}"));
    for gather in [Gather::All, Gather::Base(2)] {
        for (how, widths) in [
            (How::Concat, Widths { input: 4, added: 0, appended: 3 }),
            (How::MixedLink, Widths { input: 4, added: 3, appended: 2 }),
            (How::DualPath, Widths { input: 4, added: 2, appended: 3 }),
        ] {
            let b = &mut Builder::new(3);
            let unit = |_, c_in| -> Box<dyn Unit> {
                match how {
                    How::Concat => Box::new(DenseUnit::new(b, c_in, widths.appended, false)),
                    How::DualPath => {
                        let Widths { added, appended, .. } = widths;
                        let config = DualPathConfig { inner: 4, groups: 2, added, appended, stride: 1 };
                        Box::new(DualPathUnit::new(b, c_in, config))
                    }
                    _ => Box::new(MixedLinkUnit::new(b, c_in, widths.added, widths.appended)),
                }
            };
            let stage = Stage::new(wiring(&gather), how, widths, unit).unwrap_or_else(|e| panic!("{e}"));
            let mut params = shake(&stage);
            let input = Param::new(sample([2, 3, 3, 4]), ParamKind::Bias);
            params.push(("x".into(), input.clone()));
            for ctx in [Context::train(0, 1), Context::eval()] {
                let y = Map::concat(&stage.forward(vec![input.value().into()], &ctx));
                assert_eq!(y.shape().channels(), stage.channels());
                check(&y, &params, 8, |e| assert!(e.rel_error < 2e-3, "{gather}, {how}: {e:?}"));
            }
        }
    }
}

fn dict(model: &Model) -> StateDict {
    model.state().into_iter().map(|(name, shape, values)| (name, (shape, values))).collect()
}

/// The sum of all earlier outputs is the pre-activation ResNet: same names, same values, same gradients.
#[test]
fn the_sum_of_all_is_resnet() {
    let (resnet, sum) = ("preact-resnet20-a", "wired-all-sum20");
    let [resnet, sum] = [resnet, sum].map(|name| Model::new(name, 10, 5).unwrap_or_else(|e| panic!("{e}")));
    assert_eq!(dict(&resnet), dict(&sum), "names and initial weights");
    let run = |model: &Model| {
        let logits = model.forward(&images(4, 16), &Context::train(0, 1));
        (logits.clone(), logits.cross_entropy(&[1, 2, 3, 4], 0.0).backward())
    };
    let ((a, a_grads), (b, b_grads)) = (run(&resnet), run(&sum));
    close("logits", &b, &a, 1e-4);
    for ((name, a), (_, b)) in resnet.params().iter().zip(&sum.params()) {
        let of = |g: &Gradients, p: &Param| g.get(&p.value()).expect("every parameter has a gradient").clone();
        close(name, &of(&b_grads, b), &of(&a_grads, a), 1e-3);
    }
}

/// A unit that remembers which tape node it made.
struct Watched {
    unit: DenseUnit,
    nodes: Arc<Mutex<Vec<Arc<Node>>>>,
}

impl Unit for Watched {
    fn forward(&self, x: &[Map], ctx: &Context) -> Output {
        let output = self.unit.forward(x, ctx);
        if let Output::Layer { appended: Some(map), .. } = &output {
            self.nodes.lock().expect("no panic").push(map.value.node().expect("recorded").clone());
        }
        output
    }
}

impl Module for Watched {
    fn visit(&self, visitor: &mut Visitor) {
        self.unit.visit(visitor);
    }
}

/// On the tape of a stage in training: the fewest convolutions between any two layers is the digit sum of their distance.
#[test]
fn the_tape_that_trains_has_the_shortest_paths_of_the_wiring() {
    for base in [2, 3] {
        let layers = 24;
        let wiring = Wiring::new(&Gather::Base(base), layers).unwrap_or_else(|e| panic!("{e}"));
        let widths = Widths { input: 2, added: 0, appended: 2 };
        let nodes = Arc::new(Mutex::new(vec![]));
        let b = &mut Builder::new(0);
        let unit = |_, c_in| -> Box<dyn Unit> {
            Box::new(Watched { unit: DenseUnit::new(b, c_in, 2, false), nodes: nodes.clone() })
        };
        let stage = Stage::new(wiring.clone(), How::Concat, widths, unit).unwrap_or_else(|e| panic!("{e}"));
        let x = sample([2, 2, 2, 2]).requires_grad();
        let y = Map::concat(&stage.forward(vec![x.clone().into()], &Context::train(0, 1)));
        assert_eq!(y.shape().channels(), stage.channels());
        let mut nodes = nodes.lock().expect("no panic").clone();
        nodes.insert(0, x.node().expect("a leaf").clone());
        assert!(tape(&y).len() > layers);
        for from in 1..=layers {
            let reached = convolutions_between(&nodes[from]);
            for (to, node) in nodes[..from].iter().enumerate() {
                let found = reached.get(&node.id()).copied();
                assert_eq!(found, Some(digit_sum(from - to, base)), "base {base}, from {from} to {to}");
                assert_eq!(found, wiring.distance(from, to));
            }
        }
    }
}

/// For every node below `from`, the fewest convolutions on a way there, `from`'s own included: a breadth-first search in which other
/// ops cost nothing.
fn convolutions_between(from: &Arc<Node>) -> HashMap<u64, usize> {
    let mut found = HashMap::from([(from.id(), 0)]);
    let mut queue = VecDeque::from([(from.clone(), 0)]);
    while let Some((node, steps)) = queue.pop_front() {
        if found[&node.id()] < steps {
            continue;
        }
        let step = usize::from(node.op().is_some_and(|op| op.doc().name == "conv2d"));
        for input in node.inputs() {
            let Input::Node(input) = input else { continue };
            if found.get(&input.id()).is_none_or(|&known| known > steps + step) {
                found.insert(input.id(), steps + step);
                if step == 0 {
                    queue.push_front((input.clone(), steps))
                } else {
                    queue.push_back((input.clone(), steps + 1))
                }
            }
        }
    }
    found
}
