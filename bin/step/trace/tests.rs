use super::*;
use crate::step::record::{Leaf, Recording};
use base64::Engine as _;
use engine::Tensor;
use engine::gradcheck::sample;
use serde_json::Value;

fn recording() -> Recording {
    let leaf =
        |name: &str, tensor: Tensor| Leaf { name: name.into(), role: Role::Parameter, tensor: tensor.requires_grad() };
    let leaves = [leaf("</script><img src=x onerror=alert(1)>", sample([2, 3])), leaf("w", sample([3, 4]))];
    let (x, w) = (leaves[0].tensor.clone(), leaves[1].tensor.clone());
    Recording::of(&leaves, || {
        let y = x.matmul(&w).relu();
        y.mul(&y).add(&y).cross_entropy(&[0, 2], 0.0).into()
    })
}

fn json(recording: &Recording) -> Value {
    let about = About { title: "a title".into(), checks: 2, break_all: true, ..About::default() };
    let text = Document::new(recording, &about).json(Detail::WHOLE).expect("JSON");
    serde_json::from_str(&text).expect("JSON")
}

fn floats(values: &Value) -> Vec<f32> {
    let bytes =
        base64::engine::general_purpose::STANDARD.decode(values["whole"].as_str().expect("whole")).expect("base64");
    let (chunks, _) = bytes.as_chunks::<4>();
    chunks.iter().map(|chunk| f32::from_le_bytes(*chunk)).collect()
}

#[test]
fn every_value_is_the_tapes() {
    let it = recording();
    let trace = json(&it);
    for (slot, line) in it.tensors.iter().zip(trace["tensors"].as_array().expect("a list")) {
        assert_eq!(line["name"], slot.name.as_str());
        assert_eq!(floats(&line["value"]), slot.value.data());
        assert_eq!(floats(&line["grad"]), slot.grad.as_ref().expect("all have one").data());
    }
    for (step, line) in it.backward.iter().zip(trace["backward"].as_array().expect("a list")) {
        for (part, line) in step.contributions.iter().zip(line["contributions"].as_array().expect("a list")) {
            let alone = it.contributors(part.to) == 1;
            assert_eq!(line["value"].is_null(), alone, "a single contribution is the gradient itself");
            if !alone {
                assert_eq!(floats(&line["value"]), part.value.data());
            }
        }
    }
}

#[test]
fn a_value_read_three_times_has_three_contributions_that_add_up() {
    let it = recording();
    let relu = it.ops.iter().position(|op| op.doc.name == "relu").expect("there is one");
    let y = it.ops[relu].output;
    let parts: Vec<_> = it.backward.iter().flat_map(|s| &s.contributions).filter(|part| part.to == y).collect();
    assert_eq!(parts.len(), 3, "twice by mul, once by add");
    assert!((parts.iter().map(|part| part.share).sum::<f64>() - 1.0).abs() < 1e-12);
    let grad = it.tensors[y].grad.as_ref().expect("a gradient");
    for (i, g) in grad.data().iter().enumerate() {
        assert!((parts.iter().map(|p| p.value.data()[i]).sum::<f32>() - g).abs() < 1e-6);
    }
}

#[test]
fn ops_come_with_formulas_checks_and_a_mistake() {
    let trace = json(&recording());
    let matmul = &trace["ops"][0];
    assert_eq!(matmul["with_shapes"], "y (2, 4) = matmul(a (2, 3), b (3, 4))");
    assert_eq!(matmul["vjp"][1]["text"], "grad_b[k,n] = sum_{m} a[m,k] * grad_output[m,n]");
    assert!(matmul["vjp"][1]["mathml"].as_str().expect("text").starts_with("<math"));
    assert_eq!(matmul["checks"].as_array().expect("a list").len(), 4);
    for op in trace["ops"].as_array().expect("a list") {
        for check in op["checks"].as_array().expect("a list") {
            assert_ne!(check["passed"], false, "{check}");
        }
    }
    let broken: Vec<&Value> = trace["ops"].as_array().into_iter().flatten().map(|op| &op["broken"]["check"]).collect();
    assert!(broken.iter().any(|check| check["passed"] == false), "{broken:?}");
}
