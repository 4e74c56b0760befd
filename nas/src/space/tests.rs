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
            assert_eq!(arch.choices().iter().zip(changed.choices()).filter(|(a, b)| a != b).count(), 1);
        }
    }
}

#[test]
fn a_path_of_the_supernet_is_the_derived_network() {
    for name in NAMES {
        let space = Space::named(name).expect("built in");
        let supernet = space.supernet(10, &mut Builder::new(1));
        let arch = space.random(0, 1);
        let model = space.build(&arch, 10, &mut Builder::new(2)).expect("of the space");
        // Weights of the path, without the operations' names.
        let ops: Vec<String> = space.edges().iter().flat_map(|e| e.candidates.iter().map(Op::to_string)).collect();
        let chosen: Vec<String> = arch.choices().iter().map(Op::to_string).collect();
        let layers_of = |name: &str| name.split('.').nth(1).and_then(|i| i.parse::<usize>().ok()).unwrap_or(0);
        let state = supernet.state().into_iter().filter_map(|(name, shape, values)| {
            let op = name.split('.').find(|part| ops.iter().any(|op| op == part)).map(str::to_owned);
            match op {
                None => Some((name, (shape, values))),
                Some(op) if chosen[layers_of(&name) - 1] == op => {
                    Some((name.replace(&format!("{op}."), ""), (shape, values)))
                }
                Some(_) => None,
            }
        });
        model.load_state(&state.collect()).expect("the same parameters");
        let images = engine::gradcheck::sample([2, 32, 32, 3]);
        let route = supernet.route(&arch).expect("of the space");
        let (a, b) = no_grad(|| {
            let ctx = Context::train(0, 1);
            (supernet.forward(&images, &route, &ctx), model.forward(&images, &ctx))
        });
        assert_eq!(a.data(), b.data(), "{name}");
    }
}

#[test]
fn blocks_run_alone_and_make_up_the_network() {
    let space = Space::named("mbconv-small").expect("built in");
    let arch = space.random(0, 2);
    let blocks = space.blocks_of(&arch, 10);
    let mut x: engine::Lazy = engine::gradcheck::sample([1, 32, 32, 3]).into();
    for block in &blocks {
        let layer = block.layer(&mut Builder::new(0));
        assert_eq!(x.shape()[1..], block.key.input, "{}", block.key);
        x = no_grad(|| layer.forward(&x, &Context::eval()));
        assert_eq!(x.shape()[1..], block.key.output, "{}", block.key);
    }
    let params: usize = blocks
        .iter()
        .map(|b| {
            nn::Visitor::params(&*b.layer(&mut Builder::outline()))
                .iter()
                .map(|p| p.1.shape().elements())
                .sum::<usize>()
        })
        .sum();
    assert_eq!(params, space.build(&arch, 10, &mut Builder::outline()).expect("of the space").num_params());
    assert_eq!(Tensor::zeros([1]).elements(), 1);
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
    assert!(message(&of("'sep3x3'", 1)).contains("no candidate of an MBConv space"));
    assert!(message(&of("'mb3x3'", 1)).contains("`mb3x3` is no operation"));
    assert!(message(&of("'zero', 'zero'", 1)).contains("listed twice"));
    assert!(message("kind = 'cells'").contains("unknown variant `cells`"));
    assert!(message(&(of("'zero'", 1) + "depth = 3\n")).contains("unknown field `depth`"));
    assert!(Space::named("mbconf").expect_err("none").to_string().contains("there are mbconv, "));

    let (small, large) = (Space::named("mbconv-small").expect("built in"), Space::named("mbconv").expect("built in"));
    let other = small.build(&large.random(0, 0), 10, &mut Builder::outline()).err().expect("of another space");
    assert!(other.to_string().contains("makes 21 choices, but the space `mbconv` has 9 edges"), "{other}");
    let first: Vec<&str> = vec!["zero"; 9];
    let wrong = small.parse_arch(&first.join(",")).expect_err("no shortcut there").to_string();
    assert!(wrong.contains("edge `block1` of the space `mbconv` cannot be `zero`"), "{wrong}");
}
