//! Learned selection: it begins as `all`, its gates learn, and what is selected is a network of its own.

use engine::Tensor;
use engine::gradcheck::sample;
use nn::aggregation::{Gather, How, Map, Widths, Wiring, selection};
use nn::blocks::{DenseUnit, ResidualFunction, Stage, Unit};
use nn::gradcheck::check;
use nn::models::WiringFile;
use nn::{Builder, Context, Model, Module, Param, ParamKind, StateDict, Visitor};

#[test]
fn it_begins_as_the_network_that_reads_all() {
    for how in ["concat16-4", "concat-bc16-4", "sum20", "sum22"] {
        let model =
            |gather: &str| Model::new(&format!("wired-{gather}-{how}"), 10, 3).unwrap_or_else(|e| panic!("{e}"));
        let (all, learned) = (model("all"), model("learned"));
        let gates = learned.state().into_iter().filter(|(name, ..)| name.contains("gates."));
        let state: StateDict = all.state().into_iter().chain(gates).map(|(n, s, v)| (n, (s, v))).collect();
        learned.load_state(&state).unwrap_or_else(|e| panic!("{e}"));
        for ctx in [|| Context::train(0, 1), Context::eval] {
            let (a, b) = (all.forward(&sample([2, 8, 8, 3]), &ctx()), learned.forward(&sample([2, 8, 8, 3]), &ctx()));
            // The softmax of equal numbers is off by rounding.
            assert!(a.data().iter().zip(b.data()).all(|(a, b)| (a - b).abs() < 1e-4 * a.abs().max(1.0)), "{how}");
        }
    }
}

#[test]
fn gates_have_the_gradients_of_finite_differences() {
    let wiring = Wiring::new(&Gather::Learned, 3).unwrap_or_else(|e| panic!("{e}"));
    for (how, widths) in [
        (How::Concat, Widths { input: 4, added: 0, appended: 3 }),
        (How::Sum, Widths { input: 4, added: 4, appended: 0 }),
    ] {
        let b = &mut Builder::new(3);
        let unit = |_, c_in| -> Box<dyn Unit> {
            match how {
                How::Sum => Box::new(ResidualFunction::new(b, c_in, 4, 1)),
                _ => Box::new(DenseUnit::new(b, c_in, 3, false)),
            }
        };
        let stage = Stage::new(wiring.clone(), how, widths, unit).unwrap_or_else(|e| panic!("{e}"));
        let stage = stage.with_gates(&mut Builder::new(4));
        let mut params = Visitor::params(&stage);
        let gates = params.iter().filter(|(_, p)| p.kind() == ParamKind::Gate);
        let gates: Vec<Param> = gates.map(|(_, p)| p.clone()).collect();
        assert_eq!(gates.len(), 3, "layers 2 and 3 and the exit; the first has no choice");
        for gate in &gates {
            gate.update(|a| a.iter_mut().enumerate().for_each(|(i, a)| *a = (i % 3) as f32 * 0.6 - 0.5));
        }
        let input = Param::new(sample([2, 3, 3, 4]), ParamKind::Bias);
        params.push(("x".into(), input.clone()));
        for ctx in [Context::train(0, 1), Context::eval(), Context::train(0, 1).written_out()] {
            // What the exit hands on still has its gates to be applied, as a batch norm does.
            let norm = Builder::new(0).batch_norm(stage.channels());
            let maps = stage.forward(vec![Map::from(input.value())], &ctx);
            let y = norm.forward_maps(&maps, &ctx).materialise();
            let mut params = params.clone();
            params.extend(Visitor::params(&norm as &dyn Module));
            check(&y, &params, 6, |e| assert!(e.rel_error < 5e-3, "{how}: {e:?}"));
        }
    }
}

#[test]
fn what_was_learned_becomes_a_list_of_edges() {
    let model = Model::new("wired-learned-concat16-4", 10, 0).unwrap_or_else(|e| panic!("{e}"));
    let images = sample([8, 8, 8, 3]);
    for step in 1..=3 {
        let logits = model.forward(&images, &Context::train(0, step));
        let gradients = logits.cross_entropy(&[0, 1, 2, 3, 4, 5, 6, 7], 0.0).backward();
        for (_, param) in model.params() {
            let g: Tensor = gradients.get(&param.value()).expect("a gradient").clone();
            param.update(|v| v.iter_mut().zip(g.data()).for_each(|(v, g)| *v -= 0.5 * g));
        }
    }
    let wired = model.wired().expect("wired");
    let strengths = wired.strengths().expect("learned");
    assert_eq!(strengths.iter().map(Vec::len).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    assert!(strengths[4].iter().any(|g| (g - 1.0).abs() > 1e-4), "{strengths:?}");
    let edges = selection::strongest(&strengths, 2).unwrap_or_else(|e| panic!("{e}"));
    let selected = nn::models::Aggregation { gather: Gather::Edges(edges), ..wired.of.clone() };
    let text = WiringFile::of(&selected).to_toml().unwrap_or_else(|e| panic!("{e}"));
    let again = WiringFile::parse(&text).and_then(|file| file.aggregation()).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(again, selected);
    assert!(again.build(&mut Builder::outline(), 10).is_ok());
}
