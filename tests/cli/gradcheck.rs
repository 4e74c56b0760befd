//! `pleach gradcheck`.

use super::{Place, keys, objects};

#[test]
fn every_parameter_is_checked_and_the_worst_entry_named() {
    let place = Place::new();
    let lines = objects(&place.done(&["gradcheck", "--model", "resnet8", "--size", "8", "--json"]));
    let [worst, report] = &lines[..] else { panic!("{lines:?}") };
    assert_eq!(keys(worst), ["analytic", "entry", "numeric", "rel_error", "tensor"]);
    let expected = ["checked", "choices", "failed", "kinks", "model", "tensors", "tolerance", "turned", "unchecked"];
    assert_eq!(keys(report), [&expected[..], &["values", "values_failed", "worst"]].concat());
    let number = |key: &str| report[key].as_u64().expect("a count");
    // Seven convolutions with a batch norm each, and the linear layer; two entries of each tensor.
    assert_eq!((number("tensors"), number("checked") + number("kinks")), (7 * 3 + 2, 2 * (7 * 3 + 2)));
    assert_eq!((&report["failed"], &report["worst"]), (&0.into(), &worst["rel_error"]));
    // Choices are held, so nothing lies at a kink; few come out otherwise in f64.
    assert_eq!(
        (number("kinks"), number("values_failed"), report["unchecked"].as_array().map(Vec::len)),
        (0, 0, Some(0))
    );
    assert!(number("turned") * 1000 < number("choices"), "{report}");
    assert!(report["values"].as_f64().is_some_and(|error| error > 0.0 && error < 1e-4), "{report}");
    let error = (worst["analytic"].as_f64().expect("a number") - worst["numeric"].as_f64().expect("a number")).abs();
    assert!(error < 1e-3, "{worst}");
    let text = place.done(&["gradcheck", "--model", "resnet8", "--size", "8", "--entries", "1"]);
    assert!(text.contains("worst:") && text.contains("entries of 23 tensors checked in f64"), "{text}");
    assert!(text.contains("choices of ReLUs and maxima come out otherwise in f64"), "{text}");
}

#[test]
fn a_gradient_that_differs_by_more_than_is_allowed_fails() {
    let place = Place::new();
    // Single precision is never this exact.
    let args = ["gradcheck", "--model", "resnet8", "--size", "8", "--entries", "1", "--tolerance", "1e-12", "--json"];
    let message = place.refused(1, &args);
    assert!(message.contains("differ from finite differences by more than 0.000000000001"), "{message}");
}

#[test]
fn what_cannot_be_checked_is_refused_in_a_sentence() {
    let place = Place::new();
    for (args, message) in [
        (&["--model", "resnet8", "--size", "40"][..], "--size is 40; the images have 32x32 pixels"),
        (&["--model", "vgg11-bn", "--size", "8"], "vgg11-bn cannot read such images"),
        (&["--model", "resnet8", "--entries", "0"], "--entries is 0"),
        (&["--model", "resnet8", "--tolerance", "2"], "--tolerance is 2"),
        (&["--model", "resnet9000000"], "resnet9000000"),
        (&["nowhere"], "nowhere is not a run"),
    ] {
        let refused = place.refused(2, &[&["gradcheck"], args].concat());
        assert!(refused.contains(message), "{args:?}: {refused}");
    }
}
