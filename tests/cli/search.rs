//! Searches, latency tables and what they found, as users meet them.

use super::{Place, keys, objects};
use std::fs;

/// A space whose networks run in no time.
const SPACE: &str = "
kind = 'mbconv'
resolution = 32
stem = 4
first = 4
head = 8
candidates = ['mb3x3e2', 'mb5x5e1', 'zero']

[[stages]]
width = 4
blocks = 2
stride = 2

[[stages]]
width = 8
blocks = 1
stride = 2
";

/// A place with the space in `tiny.toml`.
fn place() -> Place {
    let place = Place::new();
    fs::write(place.path("tiny.toml"), SPACE).expect("written");
    place
}

/// Arguments of a search of three epochs of five steps, and a trust report.
const SEARCH: [&str; 19] = [
    "search",
    "--space",
    "tiny.toml",
    "--data",
    "synthetic:60,20",
    "--hold-out",
    "20",
    "--batch",
    "8",
    "--warmup-epochs",
    "1",
    "--epochs",
    "2",
    "--every",
    "2",
    "--set",
    "search.delay_epochs=0",
    "--seed",
    "3",
];

fn search(place: &Place, out: &str, more: &[&str]) -> String {
    place.done(&[&SEARCH[..], &["--json", "--out", out], more].concat())
}

/// What a search has come to, without times: checkpoint and metrics.
fn end(place: &Place, run: &str) -> (Vec<u8>, Vec<String>, String, String) {
    let bytes = |name: &str| fs::read(place.path(run).join(name)).expect("a file");
    let text = |name: &str| String::from_utf8(bytes(name)).expect("text");
    let timeless = |line: &str| {
        let mut line: serde_json::Value = serde_json::from_str(line).expect("JSON");
        for key in ["seconds", "images_per_s", "expected_latency_ms", "best_latency_ms", "activation_peak_bytes"] {
            line.as_object_mut().expect("an object").remove(key);
        }
        line.to_string()
    };
    let metrics = text("metrics.jsonl").lines().map(timeless).collect();
    let mut tensors = super::tensors(&place.path(run).join("ckpt/last.safetensors"));
    let all: Vec<u8> = std::mem::take(&mut tensors).into_values().flatten().collect();
    (all, metrics, text("probabilities.jsonl"), text("arch.json"))
}

#[test]
fn the_lines_of_a_search_have_the_agreed_fields() {
    let place = place();
    let lines = objects(&search(&place, "run", &["--no-trust", "--max-steps", "7"]));
    for key in
        ["step", "loss", "entropy", "expected_latency_ms", "activation_peak_bytes", "weight_bytes", "images_per_s"]
    {
        assert!(lines[0].get(key).is_some_and(|v| v.is_number()), "{key}: {}", lines[0]);
    }
    let last = lines.last().expect("a line");
    assert!(last["arch"].is_string() && last["arch_file"] == "run/arch.json", "{last}");
    for name in ["arch.json", "net_config.json", "arch.svg", "probabilities.svg", "report.html", "latency.json"] {
        assert!(place.names("run").contains(&name.to_string()), "{name}");
    }
    let methods = objects(&place.done(&["search", "--list", "--json"]));
    assert!(methods.iter().all(|line| keys(line) == ["method", "paper", "title"]));
    assert!(methods.iter().any(|line| line["method"] == "proxyless-rl"));
}

#[test]
fn a_search_that_was_stopped_anywhere_ends_in_the_same_bits() {
    let place = place();
    for method in ["proxyless-grad", "proxyless-rl"] {
        let more = ["--method", method, "--no-trust", "--set", "search.samples=2"];
        let whole = format!("{method}-whole");
        search(&place, &whole, &[&more[..], &["--threads", "2"]].concat());
        // In the warm-up, at an epoch's end, between weights and architecture.
        for steps in ["2", "5", "7", "8", "12"] {
            let cut = format!("{method}-{steps}");
            search(&place, &cut, &[&more[..], &["--threads", "1", "--max-steps", steps]].concat());
            place.done(&["search", "--resume", &cut, "--max-steps", "0"]);
            // Not assert_eq: it would print every byte.
            assert!(end(&place, &whole) == end(&place, &cut), "{method} stopped after {steps}");
        }
    }
}

#[test]
fn the_trust_report_trains_found_and_random_alike_and_goes_on_after_a_stop() {
    let place = place();
    let trust = [
        "--trust",
        "2",
        "--trust-seeds",
        "1",
        "--trust-epochs",
        "1",
        "--trust-subset",
        "40",
        "--set",
        "trust.batch=10",
    ];
    let lines = objects(&search(&place, "run", &trust));
    let trained: Vec<&str> = lines.iter().filter_map(|line| line["trust"].as_str()).collect();
    assert_eq!(trained, ["found", "random-1", "random-2"]);
    let text = fs::read_to_string(place.path("run/trust.json")).expect("a report");
    let report: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(report["networks"].as_array().map(Vec::len), Some(3));
    assert_eq!(report["recipe"]["subset"], 40);
    assert!(report["networks"][2]["latency"]["ms"].as_f64().is_some_and(|ms| ms > 0.0));
    assert!(report["verdict"].as_str().is_some_and(|v| v.contains("random")), "{report}");
    assert!(fs::read_to_string(place.path("run/report.html")).expect("a page").contains("Can it be trusted?"));
    // Cut short, it has a report all the same, and can go on afterwards.
    search(&place, "cut", &[&trust[..], &["--max-steps", "6"]].concat());
    let cut = objects(&place.done(&["search", "--resume", "cut", "--finish", "--json"]));
    assert!(cut.last().is_some_and(|l| l["steps"] == 6 && l["verdict"].is_string()), "{cut:?}");
    let message = place.command(&["search", "--finish"]).assert().code(2).get_output().clone();
    assert!(String::from_utf8_lossy(&message.stderr).contains("--resume"));
    // A second time: all is there.
    let again = objects(&place.done(&["search", "--resume", "run", "--json"]));
    let accuracy = |lines: &[serde_json::Value]| -> Vec<f64> {
        lines.iter().filter(|l| l["trust"].is_string()).map(|l| l["test_acc"].as_f64().expect("a number")).collect()
    };
    assert_eq!(accuracy(&lines), accuracy(&again));
}

#[test]
fn what_was_found_is_a_network_to_every_command() {
    let place = place();
    search(&place, "run", &["--no-trust", "--max-steps", "1"]);
    let small = ["train", "--data", "synthetic:40,20", "--batch", "20", "--epochs", "1", "--out", "net"];
    place.done(&[&small[..], &["--model", "run/arch.json"]].concat());
    let eval = place.done(&["eval", "--weights", "net", "--data", "synthetic:40,20", "--json"]);
    assert_eq!(objects(&eval)[0]["images"], 20);
    let bench = place.done(&["bench", "step", "--model", "run/arch.json", "--batch", "2", "--steps", "1", "--json"]);
    assert!(objects(&bench)[0]["macs"].as_u64().is_some_and(|macs| macs > 0));
    place.done(&[&small[..7], &["--arch", "run/arch.json", "--max-steps", "1", "--out", "again"]].concat());
    // Beside a network that people made.
    let models = ["compare", "--models", "run/arch.json,resnet8", "--seeds", "0", "--out", "both", "--json"];
    let rows = objects(&place.done(&[&models[..], &small[1..7]].concat()));
    let labels: Vec<&str> =
        rows.iter().filter(|row| row["params"].is_u64()).filter_map(|row| row["model"].as_str()).collect();
    assert!(labels.contains(&"arch") && labels.contains(&"resnet8"), "{rows:?}");
    // The network of a file that has changed is another network.
    let file = place.path("run/arch.json");
    let text = fs::read_to_string(&file).expect("text").replace("\"stem\": 4", "\"stem\": 5");
    fs::write(&file, text).expect("written");
    let message = place.refused(2, &["eval", "--weights", "net", "--data", "synthetic:40,20"]);
    assert!(message.contains("has changed since its network was built"), "{message}");
}

#[test]
fn a_table_is_measured_validated_and_used_on_this_machine_alone() {
    let place = place();
    let latency =
        ["latency", "--space", "tiny.toml", "--rounds", "3", "--validate", "4", "--table", "t.json", "--json"];
    let lines = objects(&place.done(&latency));
    let (summary, blocks) = lines.split_last().expect("lines");
    assert!(blocks.iter().all(|line| line["block"].is_string() && line["ms"].as_f64().is_some_and(|ms| ms >= 0.0)));
    assert!(summary["median_error"].is_number() && summary["rank_correlation"].is_number(), "{summary}");
    assert!(place.path("t.svg").exists());
    let text = fs::read_to_string(place.path("t.json")).expect("a table");
    fs::write(place.path("t.json"), text.replace("\"cores\": ", "\"cores\": 9")).expect("written");
    for args in [&latency[..], &[&SEARCH[..], &["--latency-target", "9", "--table", "t.json"]].concat()] {
        let message = place.refused(2, args);
        assert!(
            message.contains("measured for something else: cores is '9") && message.contains("--force"),
            "{message}"
        );
    }
    fs::write(place.path("t.json"), text).expect("written");
    let message = place.refused(2, &["latency", "--space", "mbconv-small", "--table", "t.json"]);
    assert!(message.contains("space is 'tiny.toml") && message.contains("'mbconv-small"), "{message}");
}

#[test]
fn what_a_step_of_a_search_takes_is_told() {
    let place = place();
    let of_tiny = ["--space", "tiny.toml", "--batch", "4", "--json"];
    let step = place.done(&[&["bench", "search-step", "--steps", "2"][..], &of_tiny].concat());
    let report = &objects(&step)[0];
    for key in ["weight_step_ms_median", "derived_step_ms_median", "ratio_median", "architecture_step_ms_median"] {
        assert!(report[key].as_f64().is_some_and(|ms| ms > 0.0), "{key}: {report}");
    }
    let memory = ["bench", "search-memory", "--candidates", "1,2,3", "--svg", "m.svg"];
    let lines = objects(&place.done(&[&memory[..], &of_tiny].concat()));
    assert_eq!(lines.len(), 3 * 3 + 1);
    assert!(lines[9]["all_paths_ratio"].as_f64() > lines[9]["two_paths_ratio"].as_f64(), "{}", lines[9]);
    assert!(place.path("m.svg").exists());
    for args in [["bench", "search-step", "--method", "darst"], ["bench", "search-memory", "--candidates", "40"]] {
        place.refused(2, &args);
    }
}

#[test]
fn bad_input_is_refused_before_anything_is_searched() {
    let place = place();
    let refused = |more: &[&str], parts: &[&str]| {
        let message = place.refused(2, &[&SEARCH[..], more, &["--out", "run"]].concat());
        for part in parts {
            assert!(message.contains(part), "{part:?} is not in: {message}");
        }
        assert!(!place.path("run").exists(), "nothing is made");
    };
    refused(&["--method", "proxyless-gard"], &["proxyless-gard", "did you mean 'proxyless-grad'?"]);
    refused(&["--space", "mbconv-smal"], &["did you mean 'mbconv-small'?"]);
    refused(&["--space", "absent.toml"], &["absent.toml"]);
    refused(&["--candidates", "40"], &["candidates", "40"]);
    refused(&["--batch", "30"], &["a batch of 30", "20 images"]);
    refused(&["--latency-target", "-1"], &["latency.target_ms is -1"]);
    refused(&["--latency-target", "5", "--latency-form", "reward"], &["proxyless-grad"]);
    refused(&["--budget", "10"], &["budget of 10 images"]);
    refused(&["--set", "search.delay_epochs=2"], &["never learns"]);
    refused(&["--trust-subset", "5000"], &["balanced subset of 5000 of the 60"]);
    place.done(&["latency", "--space", "tiny.toml", "--rounds", "3", "--validate", "0", "--table", "t.json"]);
    let least = ["--latency-target", "0.000001", "--table", "t.json"];
    refused(&least, &["microsecond"]);
    refused(
        &["--latency-target", "0.0011", "--table", "t.json"],
        &["cannot be reached", "the fastest network of the space takes"],
    );
    fs::write(place.path("empty.toml"), SPACE.replace("'mb3x3e2', 'mb5x5e1', 'zero'", "'zero'")).expect("written");
    refused(&["--space", "empty.toml"], &["has no candidates"]);
    search(&place, "good", &["--no-trust", "--max-steps", "1"]);
    fs::write(place.path("broken.json"), "{\"arch\": \"zero\"}").expect("written");
    let message = place.refused(2, &["train", "--model", "broken.json", "--data", "builtin"]);
    assert!(message.contains("broken.json"), "{message}");
    let text = fs::read_to_string(place.path("good/arch.json")).expect("text");
    fs::write(place.path("other.json"), text.replace("\"arch\": \"", "\"arch\": \"mb7x7e6,")).expect("written");
    let message = place.refused(2, &["train", "--model", "other.json", "--data", "builtin"]);
    assert!(message.contains("other.json") && message.contains("is it of another space?"), "{message}");
}
