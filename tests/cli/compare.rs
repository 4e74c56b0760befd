//! `pleach compare`: the table, the page, and going on after a stop anywhere.

use super::{Place, history, keys, objects, same_bits};
use std::fs;

const COMPARE: [&str; 11] = [
    "compare",
    "--models",
    "resnet8,mine.toml",
    "--data",
    "synthetic:96,32",
    "--subset",
    "48",
    "--batch",
    "16",
    "--epochs",
    "2",
];

/// A place with the wiring file.
fn place() -> Place {
    let place = Place::new();
    let wiring = "layers = 2\ngrowth = 4\nedges = [[0, 1], [1, 2], [0, 2], [2, 3], [0, 3]]\n";
    fs::write(place.path("mine.toml"), wiring).expect("written");
    place
}

fn compare(place: &Place, out: &str, more: &[&str]) -> String {
    place.done(&[&COMPARE[..], &["--out", out, "--json"], more].concat())
}

#[test]
fn the_table_has_a_row_for_each_network_and_the_page_everything() {
    let place = place();
    let lines = objects(&compare(&place, "c", &["--seeds", "0,3"]));
    assert_eq!(lines.len(), 2 * 2 * 2 + 2 + 1, "epochs, rows, and where they are");
    assert_eq!((&lines[0]["model"], &lines[0]["seed"], &lines[0]["epoch"]), (&"resnet8".into(), &0.into(), &1.into()));
    let row = &lines[8];
    let expected = [
        "error",
        "error_spread",
        "errors",
        "front_macs",
        "front_params",
        "front_step_time",
        "images_per_s",
        "macs",
        "model",
        "params",
        "peak_bytes",
        "published_error",
        "runs",
        "step_ms",
        "timed_alone",
        "train_error",
    ];
    assert_eq!(keys(row), expected);
    let errors: Vec<f64> = row["errors"].as_array().expect("a list").iter().filter_map(|e| e.as_f64()).collect();
    assert_eq!((errors.len(), &row["params"], &row["runs"]), (2, &75_290.into(), &2.into()));
    assert!((row["error"].as_f64().expect("a mean") - (errors[0] + errors[1]) / 2.0).abs() < 1e-9);
    assert!(["images_per_s", "step_ms", "peak_bytes"].iter().all(|key| row[key].as_f64().is_some_and(|v| v > 0.0)));
    assert_eq!(lines[9]["model"], "mine");
    assert_eq!((&lines[10]["comparison"], &lines[10]["runs"]), (&"c".into(), &4.into()));

    let read = |name: &str| fs::read_to_string(place.path("c").join(name)).expect(name);
    assert_eq!(read("results.csv").lines().count(), 3);
    let page = read("index.html");
    for part in
        ["pleach compare --models resnet8,mine.toml", "<caption>", "scope=\"row\">mine", "prefers-color-scheme: dark"]
    {
        assert!(page.contains(part), "{part}");
    }
    assert!(!page.replace("http://www.w3.org/2000/svg", "").contains("://"), "nothing from elsewhere");
    for figure in ["error-params.svg", "error-macs.svg", "error-step-time.svg"] {
        assert!(read(figure).contains("resnet8") && page.contains(&read(figure)));
    }
    // The members are runs like any other, and trained on the stated subset.
    let eval = ["eval", "--weights", "c/resnet8-seed3", "--data", "synthetic:96,32", "--json"];
    let tested = objects(&place.done(&eval));
    assert!(tested[0]["accuracy"].as_f64().is_some());
    assert!(read("resnet8-seed0/run.json").contains("\"train_images\": 48"));
}

#[test]
fn a_stopped_comparison_goes_on_to_the_same_bits() {
    let place = place();
    compare(&place, "whole", &[]);
    // Three steps an epoch: in the first epoch of each, and in the second.
    for steps in ["1", "4"] {
        compare(&place, steps, &["--max-steps", steps]);
        place.done(&["compare", "--resume", steps, "--max-steps", "0"]);
        for member in ["resnet8-seed0", "mine-seed0"] {
            let (whole, cut) = (format!("whole/{member}"), format!("{steps}/{member}"));
            same_bits(&place, &whole, &cut);
            assert_eq!(history(&place, &whole), history(&place, &cut), "{member} stopped after {steps}");
        }
    }
    // A member that was never begun, and one whose beginning was cut short.
    fs::remove_dir_all(place.path("4/mine-seed0")).expect("removed");
    fs::remove_dir_all(place.path("1/mine-seed0")).expect("removed");
    fs::create_dir_all(place.path("1/mine-seed0/ckpt")).expect("made");
    for out in ["1", "4"] {
        place.done(&["compare", "--resume", out]);
        same_bits(&place, "whole/mine-seed0", &format!("{out}/mine-seed0"));
    }
}

#[test]
fn networks_and_seeds_can_be_added_to_what_is_there() {
    let place = place();
    compare(&place, "c", &[]);
    let before = fs::read(place.path("c/resnet8-seed0/ckpt/last.safetensors")).expect("trained");
    let more = ["compare", "--resume", "c", "--models", "wired-base2-concat10-4,resnet8", "--seeds", "1", "--json"];
    let lines = objects(&place.done(&more));
    let rows: Vec<_> = lines.iter().filter(|line| line.get("runs").is_some() && line.get("model").is_some()).collect();
    assert_eq!(rows.len(), 3);
    assert!(rows.iter().all(|row| row["runs"] == 2), "{rows:?}");
    assert_eq!(fs::read(place.path("c/resnet8-seed0/ckpt/last.safetensors")).expect("kept"), before);
}

#[test]
fn steps_can_be_timed_by_themselves_afterwards() {
    let place = place();
    assert_eq!(objects(&compare(&place, "c", &[]))[4]["timed_alone"], false);
    let before = fs::read(place.path("c/resnet8-seed0/ckpt/last.safetensors")).expect("trained");
    let rows = objects(&place.done(&["compare", "--resume", "c", "--measure", "--json"]));
    assert_eq!(rows.len(), 3, "nothing is trained again");
    assert!(rows[..2].iter().all(|row| row["timed_alone"] == true && row["step_ms"].as_f64() > Some(0.0)), "{rows:?}");
    assert_eq!(fs::read(place.path("c/resnet8-seed0/ckpt/last.safetensors")).expect("kept"), before);
    // What was measured stays.
    let again = objects(&place.done(&["compare", "--resume", "c", "--json"]));
    assert_eq!(again[..2], rows[..2]);
    assert!(fs::read_to_string(place.path("c/index.html")).expect("a page").contains("timed by themselves"));
}

#[test]
fn what_cannot_be_compared_is_refused_before_anything_is_made() {
    let place = place();
    let says = |args: &[&str], part: &str| {
        let before = place.names("");
        let message = place.refused(2, &[&["compare"], args].concat());
        assert!(message.contains(part), "{message}");
        assert_eq!(place.names(""), before);
    };
    says(&[], "--models A,B");
    says(&["--models", "resnet8,resnet9"], "6n + 2");
    says(&["--models", "resnet8,densenet41-12", "--data", "synthetic:32,16"], "near it are 40 and 43");
    says(&["--models", "resnet8", "--model", "resnet14"], "a comparison takes --models");
    says(&["--models", "resnet8", "--seed", "1"], "a comparison takes --seeds");
    says(&["--models", "none.toml"], "cannot read the wiring file none.toml");
    says(&["--models", "resnet8", "--data", "synthetic:32,16", "--subset", "33"], "between 10 and 32");
    says(&["--models", "resnet8", "--data", "synthetic:32,16", "--subset", "9"], "between 10 and 32");
    says(&["--models", "resnet8", "--data", "synthetic:32,16", "--batch", "64"], "a batch of 64");
    says(&["--resume"], "no comparison under runs/");
    says(&["--resume", "nowhere"], "nowhere is not a comparison");
    place.done(&[
        "compare",
        "--models",
        "resnet8",
        "--data",
        "synthetic:32,16",
        "--batch",
        "16",
        "--epochs",
        "1",
        "--out",
        "c",
    ]);
    says(&["--resume", "c", "--epochs", "2"], "training.epochs is 1 in c and cannot become 2");
    says(&["--models", "resnet8", "--data", "synthetic:32,16", "--batch", "16", "--out", "c"], "c is not empty");
}

#[test]
fn a_run_that_fails_leaves_the_others() {
    let place = place();
    let args = [&COMPARE[..], &["--out", "c", "--lr", "1e30"]].concat();
    let output = place.command(&args).assert().code(1).get_output().clone();
    let message = String::from_utf8(output.stderr).expect("text");
    assert!(message.contains("of 2 runs failed") && message.contains("compare --resume c"), "{message}");
    assert!(place.path("c/index.html").is_file());
}
