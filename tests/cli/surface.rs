//! The machine-readable surface: exactly these keys, and nothing else on standard output.

use super::{Place, keys, objects};

#[test]
fn training_prints_steps_epochs_and_a_summary() {
    let place = Place::new();
    let lines = objects(&place.small("run", &[]));
    assert_eq!(lines.len(), 2 * (6 + 1) + 1);
    let step = &lines[0];
    assert_eq!(keys(step), ["epoch", "images_per_s", "loss", "lr", "step"]);
    assert_eq!((&step["step"], &step["epoch"]), (&1.into(), &1.into()));
    let epoch = &lines[6];
    let expected = [
        "epoch",
        "images_per_s",
        "lr",
        "peak_bytes",
        "seconds",
        "step",
        "test_acc",
        "test_loss",
        "train_acc",
        "train_loss",
    ];
    assert_eq!(keys(epoch), expected);
    assert!(epoch["peak_bytes"].as_u64().is_some_and(|bytes| bytes > 100_000));
    assert!(epoch["test_acc"].as_f64().is_some_and(|acc| (0.0..=1.0).contains(&acc)));
    assert_eq!(keys(&lines[14]), ["best_epoch", "best_test_acc", "run", "state", "steps"]);
    assert_eq!((&lines[14]["state"], &lines[14]["steps"]), (&"finished".into(), &12.into()));
}

#[test]
fn the_algorithm_of_convolutions_changes_a_run_by_rounding_alone() {
    let place = Place::new();
    let loss = |out: &str, algorithm: &str| {
        let lines = objects(&place.small(out, &["--max-steps", "3", "--conv-algorithm", algorithm]));
        lines[2]["loss"].as_f64().expect("a loss")
    };
    let (direct, winograd) = (loss("direct", "direct"), loss("winograd", "winograd"));
    // Three steps at lr 0.05 amplify rounding of 1e-6 a hundredfold at most.
    assert!((direct - winograd).abs() < 1e-3 * direct, "{direct} against {winograd}");
    let saved = std::fs::read_to_string(place.path("direct/config.toml")).expect("a configuration");
    assert!(saved.contains("conv_algorithm = \"direct\""), "{saved}");
}

#[test]
fn evaluation_is_spared_where_it_is_not_asked_for() {
    let place = Place::new();
    let lines = objects(&place.small("run", &["--epochs", "3", "--eval-every", "2"]));
    let tested: Vec<bool> =
        lines.iter().filter(|l| l.get("train_loss").is_some()).map(|l| !l["test_acc"].is_null()).collect();
    assert_eq!(tested, [false, true, true], "every second and the last");
}

#[test]
fn eval_models_and_presets() {
    let place = Place::new();
    place.small("run", &["--max-steps", "1"]);
    let eval = objects(&place.done(&["eval", "--weights", "run", "--data", "synthetic:96,32", "--json"]));
    assert_eq!(keys(&eval[0]), ["accuracy", "data", "images", "loss", "model"]);

    let models = objects(&place.done(&["models", "--json"]));
    let resnet20 = models.iter().find(|m| m["name"] == "resnet20").expect("listed");
    assert_eq!(keys(resnet20), ["layers", "macs", "name", "params", "published_error", "reference"]);
    assert_eq!((&resnet20["params"], &resnet20["macs"]), (&269_722.into(), &40_551_040.into()));
    assert_eq!((&resnet20["layers"], &resnet20["published_error"]), (&20.into(), &8.75.into()));

    let shown = place.done(&["models", "sparsenet40-24"]);
    for part in ["748522 parameters", "1801.05895", "published error: 5.47 %", "What the paper leaves open"] {
        assert!(shown.contains(part), "{part:?} is not in: {shown}");
    }
    let unlisted = &objects(&place.done(&["models", "sparsenet46-12", "--json"]))[0];
    assert_eq!((&unlisted["layers"], unlisted["published_error"].is_null()), (&46.into(), true));
    assert!(place.refused(2, &["models", "sparsenet41-12"]).contains("near it are 40 and 43"));

    let presets = objects(&place.done(&["presets", "--json"]));
    assert!(presets.iter().any(|p| p["name"] == "resnet20-cifar10" && p["config"]["training"]["epochs"] == 200));
    let shown = place.done(&["presets", "peer-cifar10-16"]);
    assert!(shown.parse::<toml::Table>().expect("TOML")["training"]["epochs"].as_integer() == Some(16));
}

#[test]
fn benches_report_what_scripts_read() {
    let place = Place::new();
    let args = ["bench", "step", "--model", "resnet8", "--batch", "4", "--steps", "2", "--threads", "2", "--json"];
    let step = &objects(&place.done(&args))[0];
    for key in ["images_per_s", "step_ms_median", "step_ms_min", "gflops", "peak_bytes", "params", "macs"] {
        assert!(step[key].as_f64().is_some_and(|v| v > 0.0), "{key}: {step}");
    }
    for pass in ["forward", "grad-input", "grad-weight"] {
        let instructions = if pass == "forward" { "avx2" } else { "native" };
        let args = ["bench", "conv", "--shape", "2,8,8,16,16,3,1", "--pass", pass, "--seconds", "0.01", "--json"];
        let args = [&args[..], &["--instructions", instructions]].concat();
        let conv = &objects(&place.done(&args))[0];
        for key in ["gflops", "ms", "peak_gflops"] {
            assert!(conv[key].as_f64().is_some_and(|v| v > 0.0), "{key}: {conv}");
        }
        assert!(conv["algorithm"].is_string());
        // f32 sums of at most 144 products; Winograd's constants cost a few bits more.
        assert!(conv["max_rel_error"].as_f64().is_some_and(|e| e < 2e-5), "{conv}");
    }
}

#[test]
#[cfg(unix)]
fn peers_are_compared_with_ours_where_the_network_is_the_same() {
    let place = Place::new();
    let peer = |file: &str, script: &str| {
        std::fs::write(place.path(file), script).expect("a script");
        format!("sh '{}'", place.path(file).display())
    };
    let bench = |peer: &str| {
        ["bench", "peers", "--models", "resnet20", "--rounds", "1", "--batch", "2", "--threads", "1", "--steps", "1"]
            .map(str::to_string)
            .into_iter()
            .chain(["--json".to_string(), "--peer".into(), peer.into()])
            .collect::<Vec<_>>()
    };
    let done = |peer: &str| {
        let args = bench(peer);
        objects(&place.done(&args.iter().map(String::as_str).collect::<Vec<_>>())).remove(0)
    };
    let refused = |peer: &str, code| {
        let args = bench(peer);
        place.refused(code, &args.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let says = |params: u64| {
        format!(
            "echo warming up; test \"$*\" = '--model resnet20 --batch 2 --threads 1' || exit 3\n\
             echo '{{\"img_s\": 0.5, \"peak_rss_mib\": 1000, \"params\": {params}, \"fwd_macs\": 40551040, \"mode\": \"eager\"}}'\n"
        )
    };
    let row = done(&peer("same.sh", &says(269_722)));
    let ratio = |key: &str| row[key].as_f64().expect("a ratio");
    assert_eq!(ratio("ratio"), ratio("ours_images_per_s") / 0.5, "{row}");
    assert_eq!((&row["model"], &row["batch"], &row["peer_mode"]), (&"resnet20".into(), &2.into(), &"eager".into()));
    if cfg!(target_os = "linux") {
        assert!(ratio("memory_ratio") > 0.001 && ratio("memory_ratio") < 1.0, "{row}");
    }
    let other = done(&peer("other.sh", &says(269_723)));
    assert!(other["ratio"].is_null() && other["memory_ratio"].is_null(), "{other}");

    assert!(refused(&peer("fails.sh", "echo no torch here >&2; exit 4"), 1).contains("no torch here"));
    assert!(refused(&peer("mute.sh", "echo hello"), 1).contains("no JSON object"));
    assert!(refused(&peer("poor.sh", "echo '{\"img_s\": 1}'"), 1).contains("`peak_rss_mib`"));
    assert!(refused("no-such-program", 2).contains("cannot run the peer"));
}

#[test]
fn help_and_usage() {
    let place = Place::new();
    place.done(&["--help"]);
    place.done(&["--version"]);
    for command in ["train", "eval", "models", "presets", "bench"] {
        place.done(&[command, "--help"]);
    }
    place.command(&["trian"]).assert().code(2);
    place.command(&["train", "--epochs"]).assert().code(2);
    place.command(&["train", "--resume", "x", "--smoke"]).assert().code(2);
}
