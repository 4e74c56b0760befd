//! Residual and depthwise units against `f64` and against the plain ops they stand for.

use engine::gradcheck::sample;
use engine::{Activation, Conv2d, Gradients, Lazy, Tensor};
use nn::blocks::{
    BasicBlock, Bottleneck, InvertedResidual, PreActBasicBlock, PreActBottleneck, SeparableBlock, ShortcutKind,
};
use nn::gradcheck::check;
use nn::{Builder, Context, Layer, Param, ParamKind, Visitor};
use std::collections::BTreeMap;

fn x() -> Tensor {
    sample([2, 5, 4, 4])
}

fn units(kind: ShortcutKind, c_out: usize, stride: usize) -> Vec<Box<dyn Layer>> {
    let b = &mut Builder::new(3);
    vec![
        Box::new(BasicBlock::new(b, 4, c_out, stride, kind)),
        Box::new(Bottleneck::new(b, 4, c_out, stride, kind)),
        Box::new(PreActBasicBlock::new(b, 4, c_out, stride, kind)),
        Box::new(PreActBottleneck::new(b, 4, c_out, stride, kind)),
    ]
}

fn output(unit: &dyn Layer, x: &Tensor, ctx: &Context) -> Tensor {
    unit.forward(&Lazy::from(x), ctx).materialise()
}

#[test]
fn whole_units_agree_with_f64() {
    for kind in [ShortcutKind::A, ShortcutKind::B] {
        for (c_out, stride) in [(4, 1), (8, 2)] {
            for unit in units(kind, c_out, stride) {
                agrees(&*unit, &format!("{kind:?}, {c_out}"));
            }
        }
    }
}

#[test]
fn depthwise_units_agree_with_f64() {
    let b = &mut Builder::new(3);
    for (c_out, stride) in [(4, 1), (8, 2)] {
        agrees(&SeparableBlock::new(b, 4, c_out, stride), "separable");
        agrees(&InvertedResidual::new(b, (4, c_out), 3, stride, 1), "not expanded");
        agrees(&InvertedResidual::new(b, (4, c_out), 5, stride, 3), "expanded");
    }
}

#[track_caller]
fn agrees(unit: &dyn Layer, what: &str) {
    let input = Param::new(x(), ParamKind::Bias);
    let mut params = Visitor::params(unit);
    params.push(("x".into(), input.clone()));
    for ctx in [Context::train(0, 1), Context::eval()] {
        let y = output(unit, &input.value(), &ctx);
        check(&y, &params, 16, |e| assert!(e.rel_error < 1e-3, "{what}: {e:?}"));
    }
}

/// The parameters of a unit, and the plain ops that its layers stand for.
struct Plain(BTreeMap<String, Param>);

impl Plain {
    fn of(unit: &dyn Layer) -> Plain {
        Plain(Visitor::params(unit).into_iter().collect())
    }

    fn value(&self, name: &str) -> Tensor {
        self.0[name].value()
    }

    fn conv(&self, name: &str, x: &Tensor, stride: usize) -> Tensor {
        let weight = self.value(&format!("{name}.weight"));
        let (padding, groups) = (weight.shape()[0] / 2, x.shape()[3] / weight.shape()[2]);
        x.conv2d(&weight, None, Conv2d { stride, padding, groups, ..Conv2d::default() })
    }

    fn bn(&self, name: &str, x: &Tensor) -> Tensor {
        let part = |part| self.value(&format!("{name}.{part}"));
        x.standardise(1e-5).affine(&part("weight"), &part("bias"))
    }
}

/// Values and gradients of both, with gamma and beta moved away from 1 and 0.
#[track_caller]
fn same(unit: &dyn Layer, plain: impl Fn(&Plain, &Tensor) -> Tensor) {
    let params = Visitor::params(unit);
    for (i, (_, param)) in params.iter().enumerate() {
        if param.shape().len() == 1 {
            param.update(|v| v.iter_mut().enumerate().for_each(|(c, v)| *v += ((i + 3 * c) % 5) as f32 * 0.1 - 0.2));
        }
    }
    let weights = sample(output(unit, &x(), &Context::eval()).shape());
    let run = |f: &dyn Fn(&Tensor) -> Tensor| -> (Tensor, Gradients, Tensor) {
        let leaf = x().requires_grad();
        let y = f(&leaf);
        let gradients = y.mul(&weights).sum().backward();
        (y, gradients, leaf)
    };
    let (fused, fused_grads, fused_x) = run(&|x| output(unit, x, &Context::train(0, 1)));
    let (composed, plain_grads, plain_x) = run(&|x| plain(&Plain::of(unit), x));
    close("output", &fused, &composed);
    let gradient = |g: &Gradients, leaf: &Tensor| g.get(leaf).expect("every leaf has a gradient").clone();
    close("grad_input", &gradient(&fused_grads, &fused_x), &gradient(&plain_grads, &plain_x));
    for (name, param) in &params {
        close(name, &gradient(&fused_grads, &param.value()), &gradient(&plain_grads, &param.value()));
    }
}

/// Both sides round sums of a few hundred products, in different orders.
#[track_caller]
fn close(what: &str, a: &Tensor, b: &Tensor) {
    assert_eq!(a.shape(), b.shape(), "{what}");
    let scale = b.data().iter().fold(1e-2f32, |m, v| m.max(v.abs()));
    for (a, b) in a.data().iter().zip(b.data()) {
        assert!((a - b).abs() < 2e-5 * scale, "{what}: {a} against {b}");
    }
}

#[test]
fn a_post_activation_unit_is_its_equation() {
    let unit = BasicBlock::new(&mut Builder::new(1), 4, 4, 1, ShortcutKind::A);
    same(&unit, |p, x| {
        let y = p.bn("bn1", &p.conv("conv1", x, 1)).relu();
        p.bn("bn2", &p.conv("conv2", &y, 1)).add(x).relu()
    });
}

#[test]
fn a_post_activation_projection_is_its_equation() {
    let unit = BasicBlock::new(&mut Builder::new(1), 4, 8, 2, ShortcutKind::B);
    same(&unit, |p, x| {
        let y = p.bn("bn1", &p.conv("conv1", x, 2)).relu();
        let shortcut = p.bn("shortcut.1", &p.conv("shortcut.0", x, 2));
        p.bn("bn2", &p.conv("conv2", &y, 1)).add(&shortcut).relu()
    });
}

#[test]
fn a_padded_shortcut_is_its_equation() {
    let unit = BasicBlock::new(&mut Builder::new(1), 4, 8, 2, ShortcutKind::A);
    same(&unit, |p, x| {
        let y = p.bn("bn1", &p.conv("conv1", x, 2)).relu();
        let shortcut = x.subsample2d(2).pad(&[(0, 0), (0, 0), (0, 0), (2, 2)]);
        p.bn("bn2", &p.conv("conv2", &y, 1)).add(&shortcut).relu()
    });
}

#[test]
fn a_pre_activation_projection_is_its_equation() {
    let unit = PreActBasicBlock::new(&mut Builder::new(1), 4, 8, 2, ShortcutKind::B);
    same(&unit, |p, x| {
        let a = p.bn("bn1", x).relu();
        let y = p.bn("bn2", &p.conv("conv1", &a, 2)).relu();
        p.conv("conv2", &y, 1).add(&p.conv("shortcut.0", &a, 2))
    });
}

#[test]
fn a_pre_activation_bottleneck_is_its_equation() {
    let unit = PreActBottleneck::new(&mut Builder::new(1), 4, 4, 1, ShortcutKind::B);
    same(&unit, |p, x| {
        let a = p.bn("bn1", x).relu();
        let y = p.bn("bn2", &p.conv("conv1", &a, 1)).relu();
        let y = p.bn("bn3", &p.conv("conv2", &y, 1)).relu();
        p.conv("conv3", &y, 1).add(x)
    });
}

#[test]
fn a_separable_block_is_its_equation() {
    let unit = SeparableBlock::new(&mut Builder::new(1), 4, 8, 2);
    same(&unit, |p, x| {
        let y = p.bn("bn1", &p.conv("conv1", x, 2)).relu();
        p.bn("bn2", &p.conv("conv2", &y, 1)).relu()
    });
}

#[test]
fn an_inverted_residual_is_its_equation() {
    let unit = InvertedResidual::new(&mut Builder::new(1), (4, 4), 3, 1, 6);
    same(&unit, |p, x| {
        let y = p.bn("bn1", &p.conv("conv1", x, 1)).relu6();
        let y = p.bn("bn2", &p.conv("conv2", &y, 1)).relu6();
        p.bn("bn3", &p.conv("conv3", &y, 1)).add(x)
    });
}

#[test]
fn batch_norm_reads_a_list_of_maps_as_one() {
    let b = &mut Builder::new(1);
    let (list, whole) = (b.batch_norm(7), b.batch_norm(7));
    let (first, second) = (sample([2, 3, 3, 3]), sample([2, 3, 3, 4]));
    let joined = engine::ops::concat(&[&first, &second]);
    let maps = Lazy { maps: vec![first, second], affine: None, activation: Activation::Identity };
    let ctx = Context::train(0, 1);
    close("output", &list.forward(maps, &ctx).materialise(), &whole.forward(&joined, &ctx).materialise());
    close("running statistics", &list.running.get(), &whole.running.get());
}

#[test]
fn batch_norm_writes_out_what_is_not_raw() {
    let bn = Builder::new(1).batch_norm(4);
    let ctx = Context::train(0, 1);
    let rectified = Lazy { activation: Activation::Relu, ..Lazy::from(x()) };
    close("output", &bn.forward(rectified, &ctx).materialise(), &x().relu().standardise(1e-5));
}
