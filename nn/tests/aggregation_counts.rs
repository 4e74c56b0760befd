//! Networks wired by data have exactly the sizes that the papers, or arithmetic on their tables, give.

use nn::Model;

fn outline(name: &str, classes: usize) -> Model {
    Model::outline(name, classes).unwrap_or_else(|e| panic!("{e}"))
}

#[track_caller]
fn parameters(rows: &[(&str, usize, usize)]) {
    for &(name, cifar10, cifar100) in rows {
        assert_eq!(outline(name, 10).num_params(), cifar10, "{name}, 10 classes");
        assert_eq!(outline(name, 100).num_params(), cifar100, "{name}, 100 classes");
    }
}

#[test]
fn densenets() {
    parameters(&[
        ("densenet40-12", 1_019_722, 1_060_132),
        ("densenet40-12-stem24", 1_059_298, 1_100_428),
        ("densenet100-12", 6_979_642, 7_084_852),
        ("densenet100-12-stem24", 7_083_538, 7_189_468),
        ("densenet100-24", 27_249_082, 27_457_972),
        ("densenet100-24-stem48", 28_071_706, 28_283_476),
        ("densenet200-12", 28_461_850, 28_673_980),
        ("densenet200-12-stem24", 28_671_874, 28_884_724),
        ("densenet-bc100-12", 769_162, 800_032),
        ("densenet-bc250-24", 15_324_406, 15_480_556),
        ("densenet-bc190-40", 25_624_430, 25_821_620),
        ("densenet-bc40-36", 1_542_682, 1_578_412),
        ("densenet-bc40-48", 2_733_130, 2_780_740),
        ("densenet-bc40-60", 4_261_690, 4_321_180),
    ]);
}

#[test]
fn sparsenets_that_concatenate() {
    parameters(&[
        ("sparsenet40-12", 189_514, 193_924),
        ("sparsenet40-24", 748_522, 757_252),
        ("sparsenet100-12", 633_898, 640_468),
        ("sparsenet100-24", 2_509_354, 2_522_404),
        ("sparsenet100-36", 5_626_378, 5_645_908),
        ("sparsenet100-16-32-64", 7_183_498, 7_218_148),
        ("sparsenet100-{16,32,64}", 7_183_498, 7_218_148),
        ("sparsenet100-32-64-128", 28_656_394, 28_725_604),
        ("sparsenet200-12", 1_462_834, 1_470_484),
        ("sparsenet400-12", 3_382_666, 3_391_396),
        ("sparsenet1000-12", 10_072_234, 10_082_044),
        ("sparsenet-bc100-12", 367_858, 373_348),
        ("sparsenet-bc100-24", 1_450_234, 1_461_124),
        ("sparsenet-bc100-36", 3_247_138, 3_263_428),
        ("sparsenet-bc100-16-32-64", 4_336_538, 4_365_428),
        ("sparsenet-bc100-32-64-128", 17_282_090, 17_339_780),
    ]);
    for (base, params) in [(2, 2_509_354), (3, 1_611_802), (4, 1_315_594), (8, 932_746)] {
        assert_eq!(outline(&format!("sparsenet100-24-base{base}"), 10).num_params(), params, "base {base}");
    }
}

/// With parameter-free crossings they are ResNet's; with 1x1 convolutions there, two layers deeper, those of the table.
#[test]
fn sparsenets_that_sum() {
    for (depth, plain, convolutional) in [
        (20, 269_722, 295_514),
        (32, 464_154, 489_946),
        (44, 658_586, 684_378),
        (56, 853_018, 878_810),
        (110, 1_727_962, 1_753_754),
        (1202, 19_421_274, 19_447_066),
    ] {
        for base in ["", "-base3"] {
            let (crossed, with_convolutions) = (
                outline(&format!("sparsenet-sum{depth}{base}"), 10),
                outline(&format!("sparsenet-sum{}{base}", depth + 2), 10),
            );
            assert_eq!((crossed.num_params(), crossed.layers()), (plain, depth));
            assert_eq!((with_convolutions.num_params(), with_convolutions.layers()), (convolutional, depth + 2));
        }
    }
}

#[test]
fn mixed_link_networks() {
    parameters(&[
        ("mixnet100", 1_464_202, 1_495_072),
        ("mixnet250", 28_964_122, 29_120_272),
        ("mixnet190", 48_537_770, 48_734_960),
        ("mixnet40-12-12", 337_762, 349_732),
        ("mixnet40-24-24", 1_328_122, 1_351_972),
    ]);
    // The paper's special case: nothing added is DenseNet-BC.
    assert_eq!(outline("mixnet100-0-12", 10).num_params(), outline("densenet-bc100-12", 10).num_params());
    assert_eq!(outline("wired-all-dual40-12-12", 10).num_params(), 337_762, "where sums land changes no size");
}

#[test]
fn dual_path_networks() {
    parameters(&[
        ("dpn-small29", 455_386, 485_716),
        ("dpn-small38", 599_930, 631_700),
        ("dpn-small56", 900_058, 934_708),
    ]);
    for (name, params) in [("dpn26", 11_574_842), ("dpn92", 34_236_634)] {
        assert_eq!(outline(name, 10).num_params(), params, "{name}");
    }
}

#[test]
fn inception_and_shufflenets() {
    for (name, params) in [
        ("googlenet-bias", 6_166_250),
        ("googlenet", 6_158_346),
        ("shufflenet-g2", 887_582),
        ("shufflenet-g3", 862_768),
        ("shufflenetv2-x0.5", 352_042),
        ("shufflenetv2-x1", 1_263_854),
        ("shufflenetv2-x1.5", 2_488_874),
    ] {
        assert_eq!(outline(name, 10).num_params(), params, "{name}");
    }
}

/// The first four exactly as counted by forward hooks on the PyTorch networks that ours are timed against; the rest rounded.
#[test]
fn multiply_accumulates() {
    for (name, macs) in [
        ("densenet40-12", 264_812_928),
        ("densenet-bc100-12", 287_929_692),
        ("sparsenet40-12", 78_345_696),
        ("densenet100-12", 1_769_516_448),
    ] {
        assert_eq!(outline(name, 10).macs(), macs, "{name}");
    }
    for (name, millions) in [
        ("densenet40-12-stem24", 282.9),
        ("densenet100-12-stem24", 1816.7),
        ("densenet100-24", 6889.3),
        ("densenet200-12", 7161.7),
        ("densenet-bc250-24", 5418.8),
        ("densenet-bc190-40", 9301.9),
        ("sparsenet40-24", 312.1),
        ("sparsenet100-12", 262.9),
        ("sparsenet100-24", 1050.1),
        ("sparsenet100-36", 2361.7),
        ("sparsenet100-16-32-64", 1046.1),
        ("sparsenet-bc100-12", 160.6),
        ("sparsenet-bc100-24", 641.0),
        ("sparsenet-bc100-16-32-64", 638.2),
        ("sparsenet-bc100-32-64-128", 2550.9),
        ("sparsenet200-12", 619.9),
        ("sparsenet400-12", 1455.4),
        ("sparsenet1000-12", 4387.6),
    ] {
        let macs = outline(name, 10).macs() as f64 / 1e6;
        assert!((macs - millions).abs() < 0.051, "{name}: {macs} against {millions}");
    }
}

#[test]
fn depths_are_the_number_of_layers() {
    for (name, layers) in [
        ("densenet40-12", 40),
        ("densenet-bc100-12", 100),
        ("sparsenet100-16-32-64", 100),
        ("sparsenet-bc100-24", 100),
        ("densenet200-12", 199),
        ("wired-all-sum44", 44),
    ] {
        assert_eq!(outline(name, 10).layers(), layers, "{name}");
    }
}

#[test]
fn sizes_that_do_not_exist_get_a_way_out() {
    let message = |name: &str| Model::outline(name, 10).err().unwrap_or_else(|| panic!("{name}")).to_string();
    assert!(message("densenet41-12").contains("the depth must be 3n + 4, at most 3004; near it are 40 and 43"));
    assert!(message("densenet-bc101-12").contains("6n + 4") && message("densenet-bc101-12").contains("100 and 106"));
    assert!(message("sparsenet0-12").contains("near it are 7 and 10"));
    assert!(message("sparsenet-sum41").contains("near it are 38 and 40"));
    assert!(message("sparsenet-sum44-16").contains("takes no growth"));
    assert!(message("sparsenet40-12-base1").contains("from base 2 on"));
    assert!(message("sparsenet40-12-16").contains("one for each of the three stages"));
    assert!(message("densenet40").contains("give one growth"));
    assert!(message("densenet40-0").contains("without channels"));
    assert!(message("densenet40-12-stem0").contains("without channels"));
    assert!(message("densenet3004-1000").contains("300 million is the limit"));
    assert!(message("densenet40-99999999").contains("million parameters"));
    assert!(message("mixnet40-12").contains("as in 40-12-12"));
    assert!(message("mixnet40-0-0").contains("without channels"));
    assert!(message("dpn50").contains("26 or 92") && message("dpn-small30").contains("near it are 29 and 38"));
    assert!(message("wired-nearest-concat40-12").contains("there are all, previous"));
    for unknown in ["densenet", "densenet40-12-x", "densenet40-12-leaf3", "sparsenet-max40", "wired-all-max40-12"] {
        assert!(message(unknown).contains("did you mean"), "{unknown}");
    }
}
