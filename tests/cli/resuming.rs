//! A run that was stopped anywhere goes on to the bits of one that was not.

use super::{Place, history, same_bits};

#[test]
fn a_stop_in_the_middle_of_an_epoch_leaves_no_trace() {
    let place = Place::new();
    place.small("whole", &["--threads", "2"]);
    // In the first epoch, at its end, and in the second.
    for steps in ["1", "4", "6", "9"] {
        place.small(steps, &["--max-steps", steps]);
        assert_eq!(state(&place, steps), "stopped");
        place.done(&["train", "--resume", steps, "--max-steps", "0", "--threads", "1"]);
        same_bits(&place, "whole", steps);
        assert_eq!(history(&place, "whole"), history(&place, steps), "stopped after {steps}");
        assert_eq!(state(&place, steps), "finished");
    }
}

#[test]
fn adam_resumes_too_and_by_the_whole_command_again() {
    let place = Place::new();
    let adam = ["--optimizer", "adamw", "--lr", "0.001"];
    let args = |out: &'static str| {
        let small: Vec<&str> = super::SMALL.iter().copied().filter(|a| *a != "--lr" && *a != "0.05").collect();
        [&small[..], &adam, &["--out", out]].concat()
    };
    place.done(&args("whole"));
    place.done(&[&args("cut")[..], &["--max-steps", "5"]].concat());
    // As a script that always adds --resume would.
    place.done(&[&args("cut")[..], &["--max-steps", "0", "--resume"]].concat());
    same_bits(&place, "whole", "cut");
}

#[test]
fn without_a_name_the_newest_unfinished_run_is_meant() {
    let place = Place::new();
    let message = place.refused(2, &["train", "--resume"]);
    assert!(message.contains("no unfinished run under runs/"), "{message}");
    let mut small = super::SMALL.to_vec();
    small.extend(["--name", "a", "--max-steps", "3"]);
    place.done(&small);
    place.done(&["train", "--resume", "--max-steps", "0"]);
    assert_eq!(state(&place, "runs/a-001"), "finished");
    // Finished: nothing to do is no failure.
    place.done(&["train", "--resume", "runs/a-001"]);
    place.refused(2, &["train", "--resume"]);
}

#[test]
fn what_determines_the_bits_cannot_change_on_the_way() {
    let place = Place::new();
    place.small("run", &["--max-steps", "3"]);
    let message = place.refused(2, &["train", "--resume", "run", "--lr", "0.1"]);
    assert!(message.contains("optimizer.lr is 0.05") && message.contains("cannot become 0.1"), "{message}");
    let config = place.path("run/config.toml");
    let text = std::fs::read_to_string(&config).expect("a config");
    std::fs::write(&config, text.replace("seed = 7", "seed = 8")).expect("written");
    let message = place.refused(2, &["train", "--resume", "run", "--max-steps", "0"]);
    assert!(message.contains("config.toml does not say what the checkpoint"), "{message}");
}

fn state(place: &Place, run: &str) -> String {
    let record = std::fs::read(place.path(run).join("run.json")).expect("a record");
    let record: serde_json::Value = serde_json::from_slice(&record).expect("JSON");
    record["state"].as_str().expect("a text").to_string()
}
