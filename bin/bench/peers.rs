//! `pleach bench peers`

use super::timing::median;
use crate::failure::Failure;
use crate::{nearest, output, pool};
use serde_json::Value;
use std::process::{Command, Stdio};

/// Training steps of ours and of another framework, in alternation
///
/// The peer's command is run with `--model M --batch N --threads T` appended and must print one JSON object, as its last line, with
/// `img_s`, `peak_rss_mib`, `params` and `fwd_macs`. Each measurement, ours too, is a process of its own. A ratio counts
/// only where both sides have the same parameters and multiply-accumulates. Run nothing else meanwhile.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Command of the peer, as in 'python train_step.py --mode channels_last'; words are split at spaces, quotes keep them together
    #[arg(long, value_name = "COMMAND")]
    peer: String,
    /// Networks, by our names
    #[arg(long, value_name = "NAMES", value_delimiter = ',', default_value = DEFAULT)]
    models: Vec<String>,
    /// Measurements of each side
    #[arg(long, value_name = "N", default_value_t = 3)]
    rounds: usize,
    /// Images a step (default: 128 for resnet20, else 64)
    #[arg(long, value_name = "N")]
    batch: Option<usize>,
    /// Threads of each side (default: one a core)
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Timed steps of each of our measurements
    #[arg(long, value_name = "N", default_value_t = 7)]
    steps: usize,
    /// Print one JSON object a line on standard output, and nothing else
    #[arg(long)]
    json: bool,
}

const DEFAULT: &str = "resnet20,preact-resnet110,wrn16-4,vgg16-bn,mobilenetv2";

/// Our name and the peer's.
const NAMES: [(&str, &str); 9] = [
    ("resnet20", "resnet20"),
    ("preact-resnet110", "preact110"),
    ("wrn16-4", "wrn16_4"),
    ("vgg16-bn", "vgg16_bn"),
    ("mobilenetv2", "mobilenetv2"),
    ("densenet40-12", "densenet40"),
    ("densenet-bc100-12", "densenet_bc100"),
    ("sparsenet40-12", "sparsenet40"),
    ("densenet100-12", "densenet100"),
];

/// Some run of a step.
#[derive(Clone, Debug, PartialEq)]
struct Measured {
    images_per_s: f64,
    rss_mib: Option<f64>,
    params: u64,
    macs: u64,
    mode: Option<String>,
}

/// A row of the table. Medians over the rounds.
#[derive(serde::Serialize)]
struct Row {
    model: String,
    batch: usize,
    threads: usize,
    rounds: usize,
    ours_images_per_s: f64,
    peer_images_per_s: f64,
    /// Missing where the two sides do not compute the same network.
    ratio: Option<f64>,
    ours_rss_mib: Option<f64>,
    peer_rss_mib: Option<f64>,
    memory_ratio: Option<f64>,
    ours_params: u64,
    peer_params: u64,
    ours_macs: u64,
    peer_macs: u64,
    peer_mode: Option<String>,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<(), Failure> {
    let peer = words(&args.peer)?;
    for (flag, value, most) in [
        ("--rounds", args.rounds, 1000),
        ("--steps", args.steps, 1 << 20),
        ("--batch", args.batch.unwrap_or(1), 1 << 16),
    ] {
        if !(1..=most).contains(&value) {
            return Err(Failure::input(format!("{flag} is {value}; it must be between 1 and {most}")));
        }
    }
    let threads = pool::check(args.threads)?;
    let models: Vec<(&str, &str)> = args.models.iter().map(|name| names(name)).collect::<Result<_, _>>()?;
    let ours =
        std::env::current_exe().map_err(|e| Failure::work(format!("cannot find this program's own file: {e}")))?;
    let ours = ours.to_string_lossy().into_owned();
    if !args.json {
        output::line(&format!(
            "{:<20} {:>5} {:>12} {:>12} {:>6}   {:>9} {:>9} {:>6}",
            "model", "batch", "ours img/s", "peer img/s", "ratio", "ours MiB", "peer MiB", "ratio"
        ))?;
    }
    for (model, peer_model) in models {
        let batch = args.batch.unwrap_or(if model == "resnet20" { 128 } else { 64 });
        let size = ["--batch".to_string(), batch.to_string(), "--threads".into(), threads.to_string()];
        let mut our_command = vec![ours.clone(), "bench".into(), "step".into(), "--json".into()];
        our_command.extend(["--steps".into(), args.steps.to_string(), "--model".into(), model.to_string()]);
        our_command.extend(size.clone());
        let mut peer_command = peer.clone();
        peer_command.extend(["--model".into(), peer_model.to_string()]);
        peer_command.extend(size);
        let (mut a, mut b) = (vec![], vec![]);
        for _ in 0..args.rounds {
            a.push(our_measurement(&measure("our step", &our_command)?)?);
            b.push(peer_measurement(&measure("the peer", &peer_command)?)?);
        }
        print(args.json, &row(model, batch, threads, &a, &b))?;
    }
    Ok(())
}

/// Our model and what the peer calls it.
fn names(model: &str) -> Result<(&'static str, &'static str), Failure> {
    NAMES.iter().find(|(ours, _)| *ours == model).copied().ok_or_else(|| {
        let hint = nearest::hint(model, NAMES.iter().map(|(ours, _)| *ours));
        let known: Vec<&str> = NAMES.iter().map(|(ours, _)| *ours).collect();
        Failure::input(format!("--models: no peer of '{model}' is known{hint}; there are {}", known.join(", ")))
    })
}

/// Splits a command at spaces. Single or double quotes keep what is between them together.
fn words(command: &str) -> Result<Vec<String>, Failure> {
    let (mut words, mut word, mut quote) = (vec![], None::<String>, None);
    for c in command.chars() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    match (quote, words.is_empty()) {
        (Some(quote), _) => Err(Failure::input(format!("--peer {command}: the quote {quote} is not closed"))),
        (None, true) => Err(Failure::input("--peer is empty; give the command that runs the peer's step")),
        (None, false) => Ok(words),
    }
}

/// Runs a command to its end; gives the JSON object of its last line that is one.
fn measure(who: &str, command: &[String]) -> Result<Value, Failure> {
    let line = command.join(" ");
    let run = Command::new(&command[0]).args(&command[1..]).stdin(Stdio::null()).output();
    let run = run.map_err(|e| Failure::input(format!("cannot run {who}, `{line}`: {e}; check the command")))?;
    if !run.status.success() {
        let said = String::from_utf8_lossy(&run.stderr);
        let last = said.lines().rev().find(|l| !l.trim().is_empty()).unwrap_or("it said nothing");
        return Err(Failure::work(format!("{who}, `{line}`, failed ({}): {}", run.status, last.trim())));
    }
    let said = String::from_utf8_lossy(&run.stdout);
    let object = said.lines().rev().find_map(|l| serde_json::from_str::<Value>(l).ok().filter(Value::is_object));
    object.ok_or_else(|| Failure::work(format!("{who}, `{line}`, printed no JSON object on standard output")))
}

fn our_measurement(object: &Value) -> Result<Measured, Failure> {
    Ok(Measured {
        images_per_s: number("our step", object, "images_per_s")?,
        rss_mib: object["peak_rss_bytes"].as_f64().map(|bytes| bytes / f64::from(1 << 20)),
        params: count("our step", object, "params")?,
        macs: count("our step", object, "macs")?,
        mode: None,
    })
}

fn peer_measurement(object: &Value) -> Result<Measured, Failure> {
    Ok(Measured {
        images_per_s: number("the peer", object, "img_s")?,
        rss_mib: Some(number("the peer", object, "peak_rss_mib")?),
        params: count("the peer", object, "params")?,
        macs: count("the peer", object, "fwd_macs")?,
        mode: object["mode"].as_str().map(str::to_string),
    })
}

fn number(who: &str, object: &Value, key: &str) -> Result<f64, Failure> {
    object[key].as_f64().filter(|&v| v > 0.0).ok_or_else(|| without(who, object, key))
}

fn count(who: &str, object: &Value, key: &str) -> Result<u64, Failure> {
    object[key].as_u64().ok_or_else(|| without(who, object, key))
}

fn without(who: &str, object: &Value, key: &str) -> Failure {
    Failure::work(format!("{who} printed no usable `{key}`: {object}"))
}

fn row(model: &str, batch: usize, threads: usize, ours: &[Measured], peer: &[Measured]) -> Row {
    let speed = |side: &[Measured]| median(&side.iter().map(|m| m.images_per_s).collect::<Vec<_>>());
    let memory = |side: &[Measured]| {
        let known: Vec<f64> = side.iter().filter_map(|m| m.rss_mib).collect();
        (!known.is_empty()).then(|| median(&known))
    };
    let same = ours.iter().all(|a| peer.iter().all(|b| (a.params, a.macs) == (b.params, b.macs)));
    let (a, b) = (speed(ours), speed(peer));
    let (memory_a, memory_b) = (memory(ours), memory(peer));
    Row {
        model: model.to_string(),
        batch,
        threads,
        rounds: ours.len(),
        ours_images_per_s: a,
        peer_images_per_s: b,
        ratio: same.then(|| a / b),
        ours_rss_mib: memory_a,
        peer_rss_mib: memory_b,
        memory_ratio: memory_a.zip(memory_b).filter(|_| same).map(|(a, b)| a / b),
        ours_params: ours[0].params,
        peer_params: peer[0].params,
        ours_macs: ours[0].macs,
        peer_macs: peer[0].macs,
        peer_mode: peer[0].mode.clone(),
    }
}

fn print(json: bool, row: &Row) -> Result<(), Failure> {
    if json {
        return output::print(row);
    }
    let shown = |v: Option<f64>, decimals: usize| v.map_or("-".to_string(), |v| format!("{v:.decimals$}"));
    output::line(&format!(
        "{:<20} {:>5} {:>12.1} {:>12.1} {:>6}   {:>9} {:>9} {:>6}",
        row.model,
        row.batch,
        row.ours_images_per_s,
        row.peer_images_per_s,
        shown(row.ratio, 2),
        shown(row.ours_rss_mib, 0),
        shown(row.peer_rss_mib, 0),
        shown(row.memory_ratio, 2)
    ))?;
    if row.ratio.is_none() {
        output::line(&format!(
            "  not the same network, so no ratio: {} parameters and {} multiply-accumulates against {} and {}",
            row.ours_params, row.ours_macs, row.peer_params, row.peer_macs
        ))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_split_as_people_write_them() {
        assert_eq!(words(" python  'a b.py' -x\"y z\" ''").expect("sound"), ["python", "a b.py", "-xy z", ""]);
        assert!(words("  ").expect_err("refused").to_string().contains("--peer is empty"));
        assert!(words("sh 'x").expect_err("refused").to_string().contains("not closed"));
    }

    #[test]
    fn medians_are_compared_and_only_between_equals() {
        let measured =
            |images_per_s, params| Measured { images_per_s, rss_mib: Some(100.0), params, macs: 5, mode: None };
        let ours = [measured(30.0, 1), measured(90.0, 1), measured(20.0, 1)];
        let row = |peer: &[Measured]| super::row("resnet20", 128, 2, &ours, peer);
        assert_eq!(row(&[measured(10.0, 1), measured(12.0, 1), measured(5.0, 1)]).ratio, Some(3.0));
        let other = row(&[measured(10.0, 2)]);
        assert_eq!((other.ratio, other.memory_ratio, other.ours_images_per_s), (None, None, 30.0));
    }

    #[test]
    fn every_model_with_a_peer_exists() {
        for (model, _) in NAMES {
            assert!(nn::Model::outline(model, 10).is_ok(), "{model}");
        }
        assert!(DEFAULT.split(',').all(|model| names(model).is_ok()));
        assert!(names("resnet-20").expect_err("refused").to_string().contains("did you mean 'resnet20'?"));
    }
}
