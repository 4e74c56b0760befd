//! `pleach step`: pages, traces, lessons, questions, and the step a run stopped at.

use super::{Place, keys, objects};
use serde_json::Value;
use std::fs;

/// The trace that a page holds.
fn trace_of(page: &str) -> Value {
    let mark = "<script type=\"application/json\" id=\"trace\">";
    let start = page.find(mark).expect("a page with a trace") + mark.len();
    let end = start + page[start..].find("</script>").expect("the trace ends");
    serde_json::from_str(&page[start..end]).expect("JSON")
}

fn floats(values: &Value) -> Vec<f32> {
    use base64::Engine as _;
    let text = values["whole"].as_str().expect("a whole tensor");
    let bytes = base64::engine::general_purpose::STANDARD.decode(text).expect("base64");
    let (chunks, _) = bytes.as_chunks::<4>();
    chunks.iter().map(|chunk| f32::from_le_bytes(*chunk)).collect()
}

#[test]
fn a_page_and_a_trace_hold_the_same_step_and_the_page_says_what_it_leaves_out() {
    let place = Place::new();
    let args = ["step", "--model", "resnet8", "--batch", "1", "--checks", "1", "--json"];
    let report = objects(&place.done(&[&args[..], &["--html", "out.html", "--trace", "out.json"]].concat())).remove(0);
    let expected =
        ["at_kinks", "checked", "failed", "files", "loss", "model", "ops", "tensors", "title", "worst_rel_error"];
    assert_eq!(keys(&report), expected);
    assert!(report["checked"].as_u64() > Some(50) && report["failed"] == 0, "{report}");
    let page = fs::read_to_string(place.path("out.html")).expect("a page");
    assert!(page.len() <= 3_000_000, "{} bytes", page.len());
    let (page, trace) = (trace_of(&page), place.path("out.json"));
    let trace: Value = serde_json::from_str(&fs::read_to_string(trace).expect("a trace")).expect("JSON");
    assert!(page["left_out"].is_string() && trace["left_out"].is_null());
    assert_eq!((&page["format"], &page["version"]), (&"pleach-trace".into(), &1.into()));
    assert_eq!(page["ops"].as_array().map(Vec::len), trace["ops"].as_array().map(Vec::len));
    for (short, whole) in
        page["tensors"].as_array().into_iter().flatten().zip(trace["tensors"].as_array().into_iter().flatten())
    {
        assert_eq!((&short["name"], &short["value"]["summary"]), (&whole["name"], &whole["value"]["summary"]));
        if short["value"]["whole"].is_string() {
            assert_eq!(short["value"], whole["value"], "{}", short["name"]);
        }
    }
    assert_eq!(trace["examples"].as_array().map(Vec::len), Some(1));
    let loss = trace["loss"].as_u64().expect("an id") as usize;
    let shown = floats(&trace["tensors"][loss]["value"])[0];
    assert_eq!(shown, report["loss"].as_f64().expect("a number") as f32);
}

#[test]
fn the_weights_shown_are_those_of_the_run() {
    let place = Place::new();
    place.small("run", &["--max-steps", "1"]);
    place.done(&["step", "run", "--batch", "1", "--checks", "0", "--trace", "out.json"]);
    let trace: Value =
        serde_json::from_str(&fs::read_to_string(place.path("out.json")).expect("a trace")).expect("JSON");
    let file = super::tensors(&place.path("run/ckpt/best.safetensors"));
    let bias = trace["tensors"].as_array().into_iter().flatten().find(|t| t["name"] == "linear.bias").expect("there");
    let bytes: Vec<u8> = floats(&bias["value"]).into_iter().flat_map(f32::to_le_bytes).collect();
    assert_eq!(bytes, file["linear.bias"]);
    assert!(trace["note"].as_str().is_some_and(|note| note.contains("best.safetensors")), "{}", trace["note"]);
}

#[test]
fn lessons_are_listed_and_written() {
    let place = Place::new();
    let lessons = objects(&place.done(&["step", "--list-lessons", "--json"]));
    assert_eq!((lessons.len(), keys(&lessons[0])), (8, vec!["lesson", "title"]));
    let report = objects(&place.done(&["step", "--lesson", "one-neuron", "--html", "page.html", "--json"])).remove(0);
    assert!(report["checked"].as_u64() > Some(8) && report["failed"] == 0, "{report}");
    let trace = trace_of(&fs::read_to_string(place.path("page.html")).expect("a page"));
    assert_eq!((&trace["lesson"]["name"], &trace["left_out"]), (&"one-neuron".into(), &Value::Null));
    let z = trace["tensors"].as_array().into_iter().flatten().find(|t| t["name"] == "z").expect("named");
    assert!((floats(&z["value"])[0] + 0.4).abs() < 1e-6, "0.4 - 0.6 - 0.1 - 0.1");
}

#[test]
fn questions_are_answered() {
    let place = Place::new();
    let small = ["step", "--model", "resnet8", "--batch", "1", "--json"];
    let check = objects(&place.done(&[&small[..], &["--check", "linear.bias[3]"]].concat()));
    assert_eq!(check.len(), 2, "through the loss, and what the one op that reads it contributes");
    for line in &check {
        assert_eq!(
            (&line["tensor"], &line["entry"], &line["passed"]),
            (&"linear.bias".into(), &vec![3].into(), &true.into())
        );
        assert!(line["rel_error"].as_f64() < Some(1e-3), "{line}");
    }
    assert_eq!((&check[0]["scope"], &check[1]["scope"]), (&"loss".into(), &"op".into()));
    let lines = objects(&place.done(&[&small[..], &["--what-if", "linear.bias[3]=2", "--precision", "f64"]].concat()));
    let loss = lines.last().expect("the loss");
    assert_eq!(keys(loss), ["gradient_predicts", "loss", "loss_before"]);
    assert_ne!(loss["loss"], loss["loss_before"]);
    let text = place.done(&["step", "--lesson", "chain-rule", "--check", "a[]", "--what-if", "a=2.5"]);
    assert!(text.contains("agrees") && text.contains("the gradient alone predicts"), "{text}");
}

#[test]
fn names_from_outside_stay_text() {
    let place = Place::new();
    let name = "<img src=x onerror=alert(1)>";
    for part in ["train", "test"] {
        for class in [name, "<svg onload=alert(2)>"] {
            let folder = place.path("images").join(part).join(class);
            fs::create_dir_all(&folder).expect("created");
            let png =
                image::RgbImage::from_fn(8, 8, |x, y| image::Rgb([(x * 30) as u8, (y * 30) as u8, class.len() as u8]));
            (0..2).for_each(|i| png.save(folder.join(format!("{i}.png"))).expect("written"));
        }
    }
    let wiring = format!("{name}.toml");
    fs::write(place.path(&wiring), "layers = 2\ngrowth = 4\ngather = 'all'\n").expect("written");
    place
        .done(&["step", "--model", &wiring, "--data", "images", "--batch", "2", "--checks", "0", "--html", "out.html"]);
    let page = fs::read_to_string(place.path("out.html")).expect("a page");
    assert!(!page.contains("<img") && !page.contains("<svg onload"), "as markup");
    let trace = trace_of(&page);
    assert_eq!(trace["model"], name);
    assert!(trace["classes"].as_array().is_some_and(|classes| classes.contains(&name.into())), "{}", trace["classes"]);
    assert_eq!(page.matches("<script").count(), 2);
}

#[test]
fn what_cannot_be_stepped_is_refused_in_a_sentence() {
    let place = Place::new();
    fs::write(place.path("notes.txt"), "mine").expect("written");
    for (args, message) in [
        (&["--lesson", "chain-rul"][..], "did you mean 'chain-rule'?"),
        (&["--model", "resnet8", "--images", "3,1000"], "there is no test image 1000 in"),
        (&["--model", "resnet8", "--batch", "0"], "--batch is 0"),
        (&["--model", "resnet9000000"], "resnet9000000"),
        (&["--model", "resnet8", "--weights", "notes.txt"], "not a whole safetensors file"),
        (&["nowhere"], "nowhere is not a run"),
        (&["--model", "resnet8", "--data", "nowhere"], "nowhere"),
        (&["--model", "resnet8", "--checks", "101"], "--checks"),
        (&["--model", "resnet8", "--label-smoothing", "1.5"], "between 0 and 1"),
        (&["--model", "resnet8", "--batch", "1", "--check", "linear.weigt[0,0]"], "did you mean 'linear.weight'?"),
        (&["--model", "resnet8", "--batch", "1", "--check", "linear.weight[64,0]"], "linear.weight has shape (64, 10)"),
        (&["--model", "resnet8", "--batch", "1", "--what-if", "linear.bias[0]=much"], "as in linear.bias[3]=0.5"),
    ] {
        let refused = place.refused(2, &[&["step"], args].concat());
        assert!(refused.contains(message), "{args:?}: {refused}");
    }
    let full = place.refused(1, &["step", "--lesson", "one-neuron", "--html", "no/folder/page.html"]);
    assert!(full.contains("cannot write"), "{full}");
}

#[test]
fn the_step_that_turned_to_nan_is_kept_and_opens_where_that_began() {
    let place = Place::new();
    let args =
        ["train", "--model", "resnet8", "--data", "synthetic:96,32", "--batch", "16", "--epochs", "2", "--out", "run"];
    let output = place.command(&[&args[..], &["--lr", "1e30"]].concat()).assert().code(1).get_output().clone();
    let said = String::from_utf8(output.stderr).expect("text");
    let message = said.lines().last().expect("a message");
    assert!(message.contains("look into it with: pleach step run --nan"), "{message}");
    assert!(message.contains(", after conv1") || message.contains("was already not finite"), "{message}");
    assert!(place.names("run").contains(&"non-finite.safetensors".into()));

    place.done(&["step", "run", "--nan", "--html", "page.html"]);
    let page = fs::read_to_string(place.path("page.html")).expect("a page");
    assert!(page.len() <= 3_000_000, "{} bytes", page.len());
    let trace = trace_of(&page);
    let focus = &trace["focus"];
    let tensor = &trace["tensors"][focus["tensor"].as_u64().expect("a tensor") as usize];
    let summary = &tensor[if focus["pass"] == "forward" { "value" } else { "grad" }]["summary"];
    assert!(summary["nan"].as_u64().unwrap_or(0) + summary["inf"].as_u64().unwrap_or(0) > 0, "{tensor}");
    assert_eq!(trace["examples"].as_array().map(Vec::len), Some(16));

    place.small("sound", &["--max-steps", "1"]);
    let refused = place.refused(2, &["step", "sound", "--nan"]);
    assert!(refused.contains("did not stop at a value that is not finite"), "{refused}");
    let text = fs::read(place.path("run/non-finite.safetensors")).expect("written");
    fs::write(place.path("run/non-finite.safetensors"), &text[..text.len() / 2]).expect("written");
    assert!(place.refused(2, &["step", "run", "--nan"]).contains("cut short"));
}
