//! What a run leaves behind, and that it can be run again.

use super::{Place, history, objects, same_bits, tensors};
use std::fs;

#[test]
fn a_smoke_run_writes_everything_and_overwrites_nothing() {
    let place = Place::new();
    place.done(&["train", "--smoke", "--model", "resnet8"]);
    place.done(&["train", "--smoke", "--model", "resnet8"]);
    assert_eq!(place.names("runs"), ["resnet8-synthetic-001", "resnet8-synthetic-002"]);
    let run = "runs/resnet8-synthetic-001";
    let expected =
        [".lock", "ckpt", "config.toml", "curves.svg", "log.txt", "metrics.csv", "metrics.jsonl", "run.json"];
    assert_eq!(place.names(run), expected);
    assert_eq!(place.names(&format!("{run}/ckpt")), ["best.safetensors", "last.safetensors"]);
    let svg = fs::read_to_string(place.path(run).join("curves.svg")).expect("curves");
    assert!(svg.starts_with("<svg") && svg.contains("Accuracy"));
    let csv = fs::read_to_string(place.path(run).join("metrics.csv")).expect("csv");
    assert_eq!(csv.lines().count(), 2, "{csv}");
    assert_eq!(history(&place, run).len(), 3, "two steps and an epoch");
    let names: Vec<String> = tensors(&place.path(run).join("ckpt/last.safetensors")).into_keys().collect();
    for name in ["conv1.weight", "layer1.0.bn1.running_mean", "linear.bias"] {
        assert!(names.iter().any(|n| n == name), "{name} in {names:?}");
    }
    assert!(names.iter().any(|n| n.starts_with("optimizer.") && n.contains("conv1.weight")), "{names:?}");
}

#[test]
fn the_saved_configuration_runs_again_to_the_same_bits() {
    let place = Place::new();
    place.small("first", &["--set", "optimizer.momentum=0.8", "--optimizer", "sgd", "--schedule", "cosine"]);
    place.done(&["train", "--config", "first/config.toml", "--out", "second"]);
    same_bits(&place, "first", "second");
    let values = |run: &str| {
        let text = fs::read_to_string(place.path(run).join("config.toml")).expect("a config");
        text.parse::<toml::Table>().expect("TOML")
    };
    assert_eq!(values("first"), values("second"));
    assert_eq!(values("first")["optimizer"]["momentum"].as_float(), Some(0.8));
}

#[test]
fn layers_win_in_their_order() {
    let place = Place::new();
    fs::write(place.path("mine.toml"), "[training]\nepochs = 5\nbatch = 32\n[optimizer]\nlr = 0.3\n").expect("written");
    let args = ["train", "--preset", "peer-cifar10-16", "--config", "mine.toml", "--data", "builtin", "--batch", "64"];
    let text = place.done(&[&args[..], &["--set", "optimizer.lr=0.4", "--print-config"]].concat());
    let config = text.parse::<toml::Table>().expect("TOML");
    let training = config["training"].as_table().expect("a section");
    assert_eq!(training["epochs"].as_integer(), Some(5), "the file over the preset");
    assert_eq!(training["batch"].as_integer(), Some(64), "the flag over the file");
    assert_eq!(config["optimizer"]["lr"].as_float(), Some(0.4), "--set over all");
    assert_eq!(config["schedule"]["rise"].as_float(), Some(0.2), "the preset where nothing else spoke");
    assert!(!place.path("runs").exists(), "printing makes no run");
}

#[test]
fn weights_move_between_runs_and_eval_agrees_with_the_run() {
    let place = Place::new();
    let lines = objects(&place.small("run", &[]));
    let summary = lines.last().expect("a summary");
    let eval = ["eval", "--weights", "run", "--data", "synthetic:96,32", "--json", "--logits", "logits.safetensors"];
    let report = &objects(&place.done(&eval))[0];
    assert_eq!(report["accuracy"], summary["best_test_acc"]);
    assert_eq!(report["images"], 32);
    assert_eq!(tensors(&place.path("logits.safetensors"))["logits"].len(), 32 * 10 * 4);

    // A plain file, as PyTorch would write it: the weights alone, without any metadata.
    let mut weights = tensors(&place.path("run/ckpt/last.safetensors"));
    weights.retain(|name, _| !name.starts_with("optimizer."));
    let bytes = fs::read(place.path("run/ckpt/last.safetensors")).expect("a checkpoint");
    let file = safetensors::SafeTensors::deserialize(&bytes).expect("safetensors");
    let plain = file.tensors().into_iter().filter(|(name, _)| weights.contains_key(name));
    let plain = safetensors::serialize(plain.collect::<Vec<_>>(), None).expect("serialises");
    fs::write(place.path("plain.safetensors"), plain).expect("written");
    let eval = |weights: &str, more: &[&str]| {
        place.done(&[&["eval", "--data", "synthetic:96,32", "--json", "--weights", weights], more].concat())
    };
    assert_eq!(
        eval("plain.safetensors", &["--model", "resnet8"]),
        eval("run/ckpt/last.safetensors", &[]),
        "the same weights, the same report"
    );
    let message = place.refused(2, &["eval", "--weights", "plain.safetensors", "--data", "synthetic:96,32"]);
    assert!(message.contains("name it with --model"), "{message}");

    // Started from those weights, the first loss is that of a trained network.
    let first_loss = |more: &[&str], out: &str| {
        let lines = objects(&place.small(out, &[&["--max-steps", "1", "--mixup", "0"], more].concat()));
        lines[0]["loss"].as_f64().expect("a loss")
    };
    assert_ne!(first_loss(&["--init", "plain.safetensors"], "warm"), first_loss(&[], "cold"));
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    let place = Place::new();
    for threads in ["1", "2", "3"] {
        place.small(threads, &["--threads", threads]);
    }
    same_bits(&place, "1", "2");
    same_bits(&place, "1", "3");
    assert_eq!(history(&place, "1"), history(&place, "2"));
}

#[test]
fn held_out_images_are_taken_from_training() {
    let place = Place::new();
    place.small("run", &["--hold-out", "32"]);
    let record = fs::read(place.path("run/run.json")).expect("a record");
    let record: serde_json::Value = serde_json::from_slice(&record).expect("JSON");
    assert_eq!((&record["train_images"], &record["test_images"]), (&64.into(), &32.into()));
    assert_eq!(record["state"], "finished");
}
