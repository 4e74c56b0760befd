//! Signals, kills, full disks and diverging losses: nothing that was saved is lost.
#![cfg(unix)]

use super::{PLEACH, Place, SMALL, history, same_bits};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Starts [`SMALL`] into `out` with 200 epochs, and waits until it has done some steps.
fn started(place: &Place, out: &str, more: &[&str]) -> Child {
    let child = Command::new(PLEACH)
        .current_dir(place.path(""))
        .args(SMALL)
        .args(["--epochs", "200", "--out", out])
        .args(more)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let began = Instant::now();
    while steps(place, out) < 2 {
        assert!(began.elapsed() < Duration::from_secs(60), "no step in a minute");
        sleep(Duration::from_millis(5));
    }
    child
}

fn steps(place: &Place, run: &str) -> usize {
    std::fs::read_to_string(place.path(run).join("metrics.jsonl")).map_or(0, |text| text.lines().count())
}

fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill").args([name, &child.id().to_string()]).status().expect("kill runs");
    assert!(sent.success());
}

/// Waits for the end; gives the exit code and what was said.
fn ended(child: Child) -> (Option<i32>, String) {
    let output = child.wait_with_output().expect("it ends");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Takes a stopped run on for some steps, and compares it with one that was never stopped.
fn goes_on_as_if_nothing_had_been(place: &Place, run: &str) {
    let limit = (steps(place, run) + 9).to_string();
    let stopped = |code: Option<i32>| assert_eq!(code, Some(0));
    let resume = ["train", "--resume", run, "--max-steps", &limit];
    stopped(place.command(&resume).output().expect("it runs").status.code());
    place.small("whole", &["--epochs", "200", "--max-steps", &limit]);
    same_bits(place, "whole", run);
    assert_eq!(history(place, "whole"), history(place, run));
}

#[test]
fn sigterm_and_ctrl_c_save_and_say_how_to_go_on() {
    let place = Place::new();
    for name in ["-TERM", "-INT"] {
        let run = name.trim_start_matches('-');
        let child = started(&place, run, &["--checkpoint-minutes", "60"]);
        signal(&child, name);
        let (code, said) = ended(child);
        assert_eq!(code, Some(130), "{said}");
        assert!(said.contains(&format!("`pleach train --resume {run}` goes on")), "{said}");
        let record = std::fs::read_to_string(place.path(run).join("run.json")).expect("a record");
        assert!(record.contains("\"interrupted\""), "{record}");
    }
    goes_on_as_if_nothing_had_been(&place, "TERM");
}

#[test]
fn a_kill_at_any_moment_leaves_a_checkpoint_that_loads() {
    let place = Place::new();
    // A checkpoint after every step: nearly every kill comes in the middle of a save.
    let mut child = started(&place, "run", &["--checkpoint-minutes", "0"]);
    for wait in [0, 7, 13, 29] {
        sleep(Duration::from_millis(wait));
        signal(&child, "-KILL");
        ended(child);
        place.done(&["eval", "--weights", "run/ckpt/last.safetensors", "--data", "synthetic:96,32", "--json"]);
        let before = steps(&place, "run");
        child = Command::new(PLEACH)
            .current_dir(place.path(""))
            .args(["train", "--resume", "run"])
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        let began = Instant::now();
        while steps(&place, "run") <= before {
            assert!(began.elapsed() < Duration::from_secs(60), "no step in a minute");
            sleep(Duration::from_millis(5));
        }
    }
    signal(&child, "-TERM");
    assert_eq!(ended(child).0, Some(130));
    assert!(place.names("run/ckpt").iter().all(|name| !name.ends_with(".tmp")), "{:?}", place.names("run/ckpt"));
    goes_on_as_if_nothing_had_been(&place, "run");
}

#[test]
fn a_run_in_use_is_refused_to_a_second_process() {
    let place = Place::new();
    let child = started(&place, "run", &[]);
    let message = place.refused(2, &["train", "--resume", "run"]);
    assert!(message.contains("run is in use by another pleach process"), "{message}");
    signal(&child, "-TERM");
    assert_eq!(ended(child).0, Some(130));
}

#[test]
fn a_second_signal_ends_at_once() {
    let place = Place::new();
    // Both come while it is stopped, so that it cannot end between them. Two threads may take one each at the same time,
    // which then both count as the first: hence several tries.
    let at_once = (0..5).any(|attempt| {
        let run = format!("run{attempt}");
        let child = started(&place, &run, &[]);
        for name in ["-STOP", "-INT", "-TERM", "-CONT"] {
            signal(&child, name);
        }
        let (code, said) = ended(child);
        assert_eq!(code, Some(130));
        let last = format!("{run}/ckpt/last.safetensors");
        place.done(&["eval", "--weights", &last, "--data", "synthetic:96,32", "--json"]);
        !said.contains("goes on")
    });
    assert!(at_once);
}

#[test]
fn a_full_disk_keeps_the_checkpoint_before() {
    let place = Place::new();
    place.small("run", &["--max-steps", "3"]);
    let last = place.path("run/ckpt/last.safetensors");
    let before = std::fs::read(&last).expect("a checkpoint");
    // The limit of a file's size, 64 KiB, stands in for the disk's: metrics fit, a checkpoint does not.
    let script =
        format!("trap '' XFSZ; ulimit -f 128; exec '{PLEACH}' train --resume run --max-steps 0 --checkpoint-minutes 0");
    let output = Command::new("sh").current_dir(place.path("")).args(["-c", &script]).output().expect("sh runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    let message = said.lines().last().expect("a message");
    assert!(message.starts_with("pleach: cannot write run/ckpt/last.safetensors: "), "{said}");
    assert!(message.contains("make room on the disk") && message.contains("the checkpoint before is whole"), "{said}");
    assert_eq!(std::fs::read(&last).expect("a checkpoint"), before);
    assert!(place.names("run/ckpt").iter().all(|name| !name.ends_with(".tmp")));
    // With room again it goes on.
    place.done(&["train", "--resume", "run", "--max-steps", "0"]);
    place.small("whole", &[]);
    same_bits(&place, "whole", "run");
}

#[test]
fn a_loss_that_turns_nan_stops_with_the_step_and_the_op() {
    let place = Place::new();
    let args = [&SMALL[..], &["--lr", "1e20", "--schedule", "constant", "--out", "run"]].concat();
    let output = place.command(&args).assert().code(1).get_output().clone();
    let said = String::from_utf8(output.stderr).expect("text");
    let message = said.lines().last().expect("a message");
    assert!(message.starts_with("pleach: step ") && message.contains("(lr 100000000000000000000)"), "{said}");
    assert!(message.contains("first op with a non-finite output is") || message.contains("not finite"), "{said}");
    assert!(message.contains("the last checkpoint is kept"), "{said}");
    // The checkpoint kept is from before the damage.
    let eval = place.done(&["eval", "--weights", "run/ckpt/last.safetensors", "--data", "synthetic:96,32", "--json"]);
    assert!(super::objects(&eval)[0]["loss"].as_f64().is_some_and(f64::is_finite));
}
