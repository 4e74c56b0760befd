//! `pleach utilisation`, `pleach select`, `pleach bench memory` and the recording of gradient norms.

use super::{Place, history, keys, objects, same_bits};
use std::fs;

/// Trains a small network into `out`.
fn train(place: &Place, model: &str, out: &str, more: &[&str]) -> String {
    let args = ["train", "--model", model, "--data", "synthetic:64,32", "--batch", "16", "--epochs", "2", "--out", out];
    place.done(&[&args[..], more].concat())
}

#[test]
fn filter_weights_of_a_concatenation_are_shown_for_every_link() {
    let place = Place::new();
    train(&place, "sparsenet16-4", "run", &["--gradient-norms", "3"]);
    let lines = objects(&place.done(&["utilisation", "run", "--json"]));
    assert_eq!(keys(&lines[0]), ["layer", "sources", "stage", "strengths"]);
    // Four layers and the exit in each of three stages, recorded steps 3 and 6, the summary.
    assert_eq!(lines.len(), 15 + 2 + 1);
    assert_eq!((&lines[3]["layer"], &lines[3]["sources"]), (&4.into(), &serde_json::json!([3, 2, 0])));
    assert!(lines[3]["strengths"][0].as_f64().is_some_and(|s| s > 0.0));
    assert_eq!(lines[15]["step"], 3);
    assert!(lines[15]["gradient_norms"]["block1.layer.0.conv1.weight"].as_f64().is_some_and(|norm| norm > 0.0));
    assert_eq!((&lines[17]["measure"], &lines[17]["model"]), (&"filter-weight".into(), &"sparsenet16-4".into()));
    let read = |name: &str| fs::read_to_string(place.path("run").join(name)).expect(name);
    // Links of one stage: 1 + 2 + 2 + 3 + 3.
    assert_eq!(read("utilisation.csv").lines().count(), 1 + 3 * 11);
    assert_eq!(read("gradient-norms.csv").lines().count(), 3);
    assert!(read("utilisation.svg").contains("stage 3") && read("gradient-norms.svg").contains("block3.layer.3.conv1"));
    let text = place.done(&["utilisation", "run", "--out", "elsewhere"]);
    assert!(text.contains("mean absolute filter weight") && text.contains('█'), "{text}");
    assert!(place.path("elsewhere/utilisation.svg").is_file());
}

#[test]
fn sums_show_shares_of_norms_and_other_networks_are_refused() {
    let place = Place::new();
    train(&place, "sparsenet-sum14", "sum", &[]);
    let lines = objects(&place.done(&["utilisation", "sum", "--json"]));
    for line in &lines[..lines.len() - 1] {
        let total: f64 = line["strengths"].as_array().expect("a list").iter().filter_map(|s| s.as_f64()).sum();
        assert!((total - 1.0).abs() < 1e-6, "{line}");
    }
    assert_eq!(lines.last().expect("a summary")["measure"], "norm-share");
    assert!(place.done(&["utilisation", "sum"]).contains("train with --gradient-norms"));
    train(&place, "resnet8", "resnet", &[]);
    assert!(place.refused(2, &["utilisation", "resnet"]).contains("not wired by data"));
    assert!(place.refused(2, &["utilisation", "nowhere"]).contains("nowhere is not a run"));
}

#[test]
fn recording_gradients_changes_nothing_and_survives_a_stop() {
    let place = Place::new();
    train(&place, "sparsenet10-4", "plain", &[]);
    train(&place, "sparsenet10-4", "watched", &["--gradient-norms", "2"]);
    same_bits(&place, "plain", "watched");
    train(&place, "sparsenet10-4", "cut", &["--gradient-norms", "2", "--max-steps", "5"]);
    place.done(&["train", "--resume", "cut", "--max-steps", "0"]);
    assert_eq!(history(&place, "watched"), history(&place, "cut"));
    let lines = objects(&train(&place, "sparsenet10-4", "json", &["--gradient-norms", "4", "--json"]));
    assert_eq!(lines.iter().filter(|line| line.get("gradient_norms").is_some()).count(), 2);
}

#[test]
fn what_a_learned_selection_found_becomes_a_network() {
    let place = Place::new();
    for model in ["wired-learned-concat16-4", "wired-learned-sum26"] {
        let run = format!("run-{model}");
        train(&place, model, &run, &[]);
        let report = objects(&place.done(&["select", &run, "--keep", "2", "--out", "found.toml", "--json"])).remove(0);
        assert_eq!(keys(&report), ["file", "keep", "links", "model", "of_links", "params"]);
        let (links, all) = (report["links"].as_u64().expect("a count"), report["of_links"].as_u64().expect("a count"));
        assert_eq!(all, 15);
        assert!((9..15).contains(&links), "{report}");
        let text = fs::read_to_string(place.path("found.toml")).expect("written");
        assert!(text.contains("edges = [") && text.starts_with("# The 2 strongest"), "{text}");
        train(&place, "found.toml", &format!("found-{model}"), &[]);
    }
    assert!(
        place
            .refused(2, &["select", "found-wired-learned-sum26", "--keep", "2", "--out", "x.toml"])
            .contains("no gates")
    );
    let refused =
        |keep: &str, out: &str| place.refused(2, &["select", "run-wired-learned-sum26", "--keep", keep, "--out", out]);
    assert!(refused("0", "x.toml").contains("at least one output"));
    assert!(refused("2", "x.json").contains("ends in .toml"));
    assert!(place.refused(2, &["train", "--model", "wired-learned-mixed10-4-4"]).contains("goes with sum or concat"));
}

#[test]
fn memory_of_lists_and_of_what_is_written_out() {
    let place = Place::new();
    let args =
        ["bench", "memory", "--models", "densenet10-12,densenet22-12", "--batch", "2", "--written-out", "--json"];
    let lines = objects(&place.done(&[&args[..], &["--svg", "memory.svg"]].concat()));
    let expected = [
        "activation_bytes",
        "batch",
        "extrapolated",
        "layers",
        "losses",
        "model",
        "params",
        "peak_bytes",
        "step_ms_median",
        "written_out",
    ];
    assert_eq!((lines.len(), keys(&lines[0])), (4, expected.to_vec()));
    let bytes = |i: usize, key: &str| lines[i][key].as_u64().expect("bytes");
    for i in [0, 2] {
        assert!(bytes(i, "activation_bytes") < bytes(i + 1, "activation_bytes") / 2, "{lines:?}");
        assert!(bytes(i, "activation_bytes") < bytes(i, "peak_bytes"));
    }
    let again = objects(&place.done(&[&args[..], &["--threads", "1"]].concat()));
    assert_eq!(again[2]["peak_bytes"], lines[2]["peak_bytes"], "the same on any number of threads");
    assert!(fs::read_to_string(place.path("memory.svg")).expect("drawn").contains("written out"));
    assert!(place.refused(2, &["bench", "memory", "--models", "densenet41-12"]).contains("near it are 40 and 43"));
    assert!(place.refused(2, &["bench", "memory", "--batch", "0"]).contains("--batch is 0"));
}
