use super::*;
use crate::model::Model;

fn outline(name: &str, classes: usize) -> Model {
    Model::outline(name, classes).unwrap_or_else(|e| panic!("{e}"))
}

#[track_caller]
fn parameters(expected: &[(&str, usize, usize)]) {
    for &(name, cifar10, cifar100) in expected {
        assert_eq!(outline(name, 10).num_params(), cifar10, "{name}, 10 classes");
        assert_eq!(outline(name, 100).num_params(), cifar100, "{name}, 100 classes");
    }
}

/// Counts derived from the papers' tables, independently of this code.
#[test]
fn resnets_have_exactly_the_parameters_of_the_paper() {
    for (depth, c10, c100, preact_b, post_b) in [
        (20, 269_722, 275_572, 272_282, 272_474),
        (32, 464_154, 470_004, 466_714, 466_906),
        (44, 658_586, 664_436, 661_146, 661_338),
        (56, 853_018, 858_868, 855_578, 855_770),
        (110, 1_727_962, 1_733_812, 1_730_522, 1_730_714),
        (1202, 19_421_274, 19_427_124, 19_423_834, 19_424_026),
    ] {
        let more = c100 - c10; // the larger linear layer
        parameters(&[
            (&format!("resnet{depth}"), c10, c100),
            (&format!("preact-resnet{depth}-a"), c10, c100),
            (&format!("preact-resnet{depth}"), preact_b, preact_b + more),
            (&format!("resnet{depth}-b"), post_b, post_b + more),
        ]);
    }
}

#[test]
fn bottlenecks_have_exactly_the_parameters_of_the_paper() {
    parameters(&[
        ("preact-resnet164", 1_703_258, 1_726_388),
        ("preact-resnet164-bottleneck", 1_703_258, 1_726_388),
        ("preact-resnet1001", 10_327_706, 10_350_836),
    ]);
}

#[test]
fn vgg_has_exactly_the_parameters_of_the_reference() {
    parameters(&[
        ("vgg11-bn-bias", 9_231_114, 9_277_284),
        ("vgg13-bn-bias", 9_416_010, 9_462_180),
        ("vgg16-bn-bias", 14_728_266, 14_774_436),
        ("vgg19-bn-bias", 20_040_522, 20_086_692),
    ]);
    for (name, params) in
        [("vgg11-bn", 9_228_362), ("vgg13-bn", 9_413_066), ("vgg16-bn", 14_724_042), ("vgg19-bn", 20_035_018)]
    {
        assert_eq!(outline(name, 10).num_params(), params, "{name}");
    }
}

/// WRN-28-10 as the paper's 36.5 M, WRN-16-4 by PyTorch.
#[test]
fn wide_resnets_and_mobilenets_have_exactly_the_parameters_of_the_reference() {
    parameters(&[
        ("wrn16-4", 2_748_890, 2_772_020),
        ("wrn28-10", 36_479_194, 36_536_884),
        ("mobilenetv1", 3_217_226, 3_309_476),
        ("mobilenetv2", 2_236_682, 2_351_972),
    ]);
    assert_eq!(outline("wrn22-1", 10).num_params(), outline("preact-resnet20", 10).num_params());
}

/// Exact numbers by forward hooks on the PyTorch networks that ours are timed against; the rest rounded, from the paper's tables.
#[test]
fn macs_are_those_of_convolutions_and_linear_layers() {
    for (name, macs) in [
        ("resnet20", 40_551_040),
        ("preact-resnet110", 253_149_824),
        ("vgg16-bn", 313_201_664),
        ("wrn16-4", 392_612_352),
        ("mobilenetv2", 87_976_448),
    ] {
        assert_eq!(outline(name, 10).macs(), macs, "{name}");
    }
    for (depth, millions) in [(32, 68.86), (44, 97.17), (56, 125.49), (110, 252.89), (1202, 2829.2)] {
        let macs = outline(&format!("resnet{depth}"), 10).macs() as f64 / 1e6;
        assert!((macs - millions).abs() < 0.05, "resnet{depth}: {macs}");
    }
}

#[test]
fn layers_are_counted_with_those_of_shortcuts() {
    assert_eq!(outline("resnet20", 10).layers(), 20);
    assert_eq!(outline("preact-resnet20", 10).layers(), 22);
    assert_eq!(outline("vgg16-bn", 10).layers(), 14, "13 convolutions and one linear layer instead of three");
}

#[test]
fn every_listed_model_can_be_built() {
    for info in zoo() {
        let model = outline(&info.name, 10);
        assert_eq!(model.name(), info.name);
        assert!(model.costs().layers > 0);
    }
}

#[test]
fn wrong_names_get_a_way_out() {
    let message = |name: &str| Model::outline(name, 10).err().expect("no such model").to_string();
    assert_eq!(
        message("resnet2o"),
        "no model is called `resnet2o`; did you mean `resnet20`? (`pleach models` lists them all)"
    );
    assert!(message("ResNet-20").contains("`resnet20`"));
    assert!(message("preactresnet110").contains("`preact-resnet110`"));
    assert!(message("vgg16").contains("`vgg16-bn`"));
    assert!(message("").contains("did you mean"));
    assert_eq!(message("resnet21"), "`resnet21`: the depth must be 6n + 2, at most 10000; near it are 20 and 26");
    assert!(message("resnet0").contains("near it are 8 and 14"));
    assert!(message("resnet99998").contains("at most 10000"));
    assert!(message("resnet99999999999999999999").contains("did you mean"));
    assert!(message("vgg12-bn").contains("11, 13, 16 or 19"));
    assert_eq!(message("wrn17-4"), "`wrn17-4`: the depth must be 6n + 4, at most 10000; near it are 16 and 22");
    assert_eq!(message("wrn16-0"), "`wrn16-0`: the widening factor must be 1 to 70 at this depth");
    assert!(message("wrn28-99999999999").contains("1 to 50"));
    assert!(message("wrn16").contains("`wrn16-4`"));
    assert!(message("mobilenet-v2").contains("`mobilenetv2`"));
    assert!(Model::outline("resnet20", 1).is_err());
}
