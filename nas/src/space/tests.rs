use super::*;
use engine::{Tensor, no_grad};
use nn::Context;

#[test]
fn the_mbconv_space_has_the_published_size() {
    let space = Space::named("mbconv").expect("built in");
    let edges = space.edges();
    assert_eq!(edges.len(), 21);
    assert_eq!(edges.iter().filter(|edge| edge.candidates.contains(&Op::Zero)).count(), 15);
    assert_eq!(edges.iter().map(|edge| edge.candidates.len()).sum::<usize>(), 141);
    assert_eq!(space.count(), (6u128.pow(6) * 7u128.pow(15)).to_string());
    assert!((space.log10_count() - 17.345).abs() < 1e-3);
}

#[test]
fn candidates_are_cut_and_extended() {
    let space = Space::named("mbconv").expect("built in");
    for k in 1..=9 {
        let cut = space.with_candidates(k).expect("as many");
        assert!(cut.edges().iter().all(|edge| edge.candidates.len() == k), "{k}");
        cut.check().expect("sound");
        assert_eq!(Space::from_toml(&cut.to_toml()), Ok(cut));
    }
    for k in [0, 10] {
        assert!(space.with_candidates(k).expect_err("none").to_string().contains("1 to 9 candidates"));
    }
}

#[test]
fn spaces_and_architectures_go_to_and_fro() {
    for name in NAMES {
        let space = Space::named(name).expect("built in");
        assert_eq!(Space::from_toml(&space.to_toml()), Ok(space.clone()), "{name}");
        for i in 0..5 {
            let arch = space.random(3, i);
            assert_eq!(space.parse_arch(&arch.to_string()), Ok(arch.clone()));
            assert_eq!(Arch::from_json(&arch.to_json()), Ok(arch.clone()));
            let changed = space.mutate(&arch, &mut Rng::new(0, &[purpose::TEST, i])).expect("of the space");
            assert_eq!(arch.choices().iter().zip(changed.choices()).filter(|(a, b)| a != b).count(), 1, "{name}");
        }
    }
}

#[test]
fn a_path_of_the_supernet_is_the_derived_network() {
    for &name in NAMES.iter().filter(|name| **name != "tree-cell") {
        let space = Space::named(name).expect("built in");
        let supernet = space.supernet(10, &mut Builder::new(1));
        let arch = space.random(0, 1);
        let model = space.build(&arch, 10, &mut Builder::new(2)).expect("of the space");
        model.load_state(&supernet.inherited(&arch).expect("of the space")).expect("the same parameters");
        let images = engine::gradcheck::sample([2, 32, 32, 3]);
        let route = supernet.route(&arch).expect("of the space");
        let (a, b) = no_grad(|| {
            let ctx = Context::train(0, 1);
            (supernet.forward(&images, &route, &ctx), model.forward(&images, &ctx))
        });
        // Sums can be added up in another order.
        let largest = a.data().iter().fold(0.0f32, |m, v| m.max(v.abs()));
        let off = a.data().iter().zip(b.data()).fold(0.0f32, |m, (a, b)| m.max((a - b).abs()));
        assert!(
            off <= if name == "aggregation-sum" { 1e-5 * largest } else { 0.0 },
            "{name}: off by {off} of {largest}"
        );
    }
}

#[test]
fn benchmark_cells_have_the_published_parameter_counts() {
    let space = Space::named("nb201").expect("built in");
    assert_eq!(space.count(), "15625");
    for (text, params) in [
        ("|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|nor_conv_3x3~0|nor_conv_3x3~1|nor_conv_3x3~2|", 1_531_546),
        ("|skip_connect~0|+|skip_connect~0|skip_connect~1|+|skip_connect~0|skip_connect~1|skip_connect~2|", 73_306),
        ("|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|", 1_288_506),
        ("|nor_conv_3x3~0|+|none~0|nor_conv_3x3~1|+|skip_connect~0|none~1|skip_connect~2|", 559_386),
    ] {
        let arch = space.parse_arch(text).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(arch.to_string(), text);
        let model = space.build(&arch, 10, &mut Builder::outline()).expect("of the space");
        assert_eq!(model.num_params(), params, "{text}");
    }
    let wrong = |text: &str| space.parse_arch(text).expect_err("no cell").to_string();
    assert!(wrong("|skip_connect~0|+|none~0|").contains("six edges, not 2"));
    assert!(wrong("|none~0|+|none~0|none~1|+|none~0|none~1|dil_conv~2|").contains("no operation `dil_conv`"));
    assert!(
        wrong("|none~0|+|none~0|none~1|+|none~0|none~2|none~1|").contains("`none~2` stands where the edge from node 1")
    );
    // What leads nowhere is a network all the same.
    let dead = space.parse_arch("|none~0|+|none~0|none~1|+|none~0|none~1|none~2|").expect("a cell");
    let model = space.build(&dead, 10, &mut Builder::new(0)).expect("of the space");
    let loss =
        model.forward(&engine::gradcheck::sample([2, 32, 32, 3]), &Context::train(0, 1)).cross_entropy(&[1, 2], 0.0);
    assert!((loss.item() - 10f32.ln()).abs() < 0.1);
}

#[test]
fn what_a_layer_gathers_is_a_wiring_file() {
    for name in ["aggregation", "aggregation-sum"] {
        let space = Space::named(name).expect("built in");
        let edges = space.edges();
        assert_eq!(edges[0].list(), "from1", "there is nothing else to read");
        assert_eq!(edges[3].list(), "from1+2+3+4, from1+2+4, from1+3, from1+4, from1+2+3, from1+2, from1");
        let arch = space.random(5, 0);
        let file = arch.wiring_toml().expect("a wiring");
        let wired = nn::models::WiringFile::parse(&file).and_then(|file| file.aggregation()).expect("sound");
        let network = wired.build(&mut Builder::new(4), 10).expect("sound");
        let (from_file, from_arch) =
            (Model::of("file", 10, network), space.build(&arch, 10, &mut Builder::new(4)).expect("of the space"));
        assert_eq!(from_file.state(), from_arch.state(), "{name}");
        let images = engine::gradcheck::sample([1, 32, 32, 3]);
        let logits = |model: &Model| no_grad(|| model.forward(&images, &Context::eval()).data().to_vec());
        assert_eq!(logits(&from_file), logits(&from_arch), "{name}");
    }
    let space = Space::named("aggregation").expect("built in");
    let base_2 = |layer: usize| Op::Gather([1, 2, 4, 8].into_iter().filter(|offset| *offset <= layer).collect());
    let sparse = Arch::new(&space, (1..=12).map(base_2).collect()).expect("base 2 is a candidate");
    let sparse = space.build(&sparse, 10, &mut Builder::outline()).expect("of the space");
    assert_eq!(sparse.num_params(), 189_514, "SparseNet-40-12");

    let mut bad = Aggregation::concat();
    bad.candidates.push("from2".into());
    assert!(Space::Aggregation(bad.clone()).check().expect_err("bad").to_string().contains("add offset 1"));
    bad.candidates = vec!["every".into()];
    assert!(Space::Aggregation(bad.clone()).check().expect_err("bad").to_string().contains("`every` is not a way"));
    bad.candidates.clear();
    assert!(Space::Aggregation(bad).check().expect_err("bad").to_string().contains("`layer1` has no candidates"));
}

#[test]
fn trees_split_and_merge_either_way() {
    let space = Space::named("tree-cell").expect("built in");
    assert_eq!((space.edges().len(), space.log10_count() as usize), (54 * 14, 638));
    assert_eq!(space.count().len(), 639);
    let small = TreeCell { resolution: 8, alpha: 12, blocks: 1, ..TreeCell::small() };
    for merge in [Merge::Add, Merge::Concat] {
        let space = Space::TreeCell(TreeCell { merge, ..small.clone() }).with_candidates(9).expect("nine");
        space.check().expect("sound");
        let images = engine::gradcheck::sample([2, 8, 8, 3]);
        let supernet = space.supernet(10, &mut Builder::new(1));
        let arch = space.random(0, 3);
        let model = space.build(&arch, 10, &mut Builder::outline()).expect("of the space");
        model.load_state(&supernet.inherited(&arch).expect("of the space")).expect("the same parameters");
        let route = supernet.route(&arch).expect("of the space");
        let run = || {
            no_grad(|| {
                let ctx = Context::train(0, 1);
                (supernet.forward(&images, &route, &ctx), model.forward(&images, &ctx))
            })
        };
        let (a, b) = run();
        assert_eq!(a.data(), b.data(), "{merge:?}");
        // Nothing but zeros is a network all the same, and so is any mixture.
        let zeros = space.parse_arch(&vec!["zero"; 18].join(",")).expect("of the space");
        let route = supernet.route(&zeros).expect("of the space");
        assert!(supernet.forward(&images, &route, &Context::train(0, 1)).data().iter().all(|v| v.is_finite()));
        let gates = vec![crate::supernet::Gate::mixed((0..9).collect(), &[1.0 / 9.0; 9]); 18];
        let route = crate::supernet::Route::new(gates);
        let loss = supernet.forward(&images, &route, &Context::train(0, 1)).cross_entropy(&[0, 1], 0.0);
        let gradients = loss.backward();
        assert!(route.gates().iter().all(|gate| gate.gradient(&gradients).is_some()));
    }
    let message = |of: TreeCell| Space::TreeCell(of).check().expect_err("cannot be").to_string();
    assert!(message(TreeCell { start: 3, merge: Merge::Concat, ..small.clone() }).contains("make `start` larger"));
    assert!(message(TreeCell { resolution: 30, ..small }).contains("multiple of 4"));
}

#[test]
fn blocks_run_alone_and_make_up_the_network() {
    for &name in NAMES.iter().filter(|name| **name != "tree-cell") {
        let space = Space::named(name).expect("built in");
        let arch = space.random(0, 2);
        let blocks = space.blocks_of(&arch, 10);
        let mut params = 0;
        for block in &blocks {
            let layer = block.layer(&mut Builder::outline());
            params += nn::Visitor::params(&*layer).iter().map(|(_, p)| p.shape().elements()).sum::<usize>();
            let [h, w, c] = block.key.input;
            // Values do not matter, only shapes.
            let y = no_grad(|| layer.forward(&Tensor::zeros([1, h, w, c]).into(), &Context::counting()));
            assert_eq!(y.shape()[1..], block.key.output, "{name}: {} {}", block.place, block.key);
        }
        assert_eq!(
            params,
            space.build(&arch, 10, &mut Builder::outline()).expect("of the space").num_params(),
            "{name}"
        );
        let edges = space.edges();
        for block in space.blocks(10) {
            if let Some((edge, candidate)) = block.candidate {
                assert!(candidate < edges[edge].candidates.len(), "{name}: {}", block.place);
            }
        }
    }
}

#[test]
fn what_cannot_be_searched_is_named() {
    let message = |text: &str| Space::from_toml(text).expect_err("cannot be").to_string();
    let of = |candidates: &str, stride: usize| {
        format!(
            "kind = 'mbconv'\nresolution = 32\nstem = 8\nfirst = 8\nhead = 16\ncandidates = [{candidates}]\n[[stages]]\nwidth = 8\nblocks = 1\nstride = {stride}\n"
        )
    };
    assert!(Space::from_toml(&of("'mb3x3e3'", 1)).is_ok());
    assert!(message(&of("'zero'", 2)).contains("edge `block1` has no candidates"));
    assert!(message(&of("", 1)).contains("edge `block1` has no candidates"));
    assert!(message(&of("'mb3x3e3'", 3)).contains("the stride of stage 1 is 3"));
    assert!(message(&of("'sep3x3'", 1)).contains("no candidate of such a space; it takes mb3x3e6, zero"));
    assert!(message(&of("'mb3x3'", 1)).contains("`mb3x3` is no operation"));
    assert!(message(&of("'zero', 'zero'", 1)).contains("listed twice"));
    assert!(message("kind = 'cells'").contains("unknown variant `cells`"));
    assert!(message(&(of("'zero'", 1) + "depth = 3\n")).contains("unknown field `depth`"));
    assert!(Space::named("mbconf").expect_err("none").to_string().contains("there are mbconv, "));

    let (small, large) = (Space::named("mbconv-small").expect("built in"), Space::named("mbconv").expect("built in"));
    let other = small.build(&large.random(0, 0), 10, &mut Builder::outline()).err().expect("of another space");
    assert!(other.to_string().contains("makes 21 choices, but the space `mbconv` has 9 edges"), "{other}");
    let zeros = ["zero"; 9].join(",");
    let wrong = small.parse_arch(&zeros).expect_err("no shortcut there").to_string();
    assert!(wrong.contains("edge `block1` of the space `mbconv` cannot be `zero`"), "{wrong}");
}
