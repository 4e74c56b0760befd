//! `pleach search`

mod collapse;
mod config;
mod draw;
mod figure;
mod flags;
mod images;
mod lines;
mod outcome;
mod page;
mod presets;
mod report;
mod saved;
mod session;
mod state;
mod trust;

use crate::config::Layers;
use crate::failure::Failure;
use crate::latency::{self, Request};
use crate::run::RunDir;
use crate::signals::Stop;
use crate::{images as sources, output, pool, spaces};
use config::Config;
use images::Split;
use nas::Space;
use nas::latency::{Effort, Table};
use nas::search::Method;
use outcome::{Found, put};
use session::{Ending, Session};
use state::State;
use std::path::{Path, PathBuf};

/// Search a network
///
/// Trains a network that holds every candidate, one random path at a time, and learns which path to take; then compares what it found
/// with random networks of the same space, trained alike. docs/search.md says what each setting means.
#[derive(clap::Args, Debug)]
#[command(args_override_self = true)]
pub struct Args {
    #[command(flatten)]
    flags: flags::Flags,

    /// Folder of the search (default: runs/search-METHOD-SPACE-NNN)
    #[arg(long, value_name = "RUN", help_heading = "Running")]
    out: Option<PathBuf>,
    /// Go on with a search: the named one, or that of --out
    #[arg(long, value_name = "RUN", num_args = 0..=1, help_heading = "Running")]
    resume: Option<Option<PathBuf>>,
    /// End the search where it stands: take what it has found so far, and make the trust report
    #[arg(long, help_heading = "Running", requires = "resume")]
    finish: bool,
    /// List the methods and stop
    #[arg(long)]
    list: bool,
    /// Print the resolved configuration and stop
    #[arg(long, help_heading = "Running")]
    print_config: bool,
    /// Print one JSON object a line, and nothing else, on standard output
    #[arg(long, help_heading = "Running")]
    json: bool,
}

/// Rounds of a table that a search measures for itself.
const ROUNDS: usize = 20;
/// The same if there is no target, and the latency is only told.
const FEW_ROUNDS: usize = 3;
/// Of the run's own copy.
const TABLE: &str = "latency.json";

/// Runs the command.
pub fn run(args: &Args) -> Result<(), Failure> {
    if args.list {
        return list(args.json);
    }
    match &args.resume {
        None => start(args),
        Some(named) => resume(args, named.as_deref()),
    }
}

#[derive(serde::Serialize)]
struct MethodLine {
    method: String,
    title: &'static str,
    paper: &'static str,
}

fn list(json: bool) -> Result<(), Failure> {
    for method in Method::ALL {
        let line = MethodLine { method: method.to_string(), title: method.title(), paper: method.paper() };
        if json {
            output::print(&line)?;
        } else {
            output::line(&format!("{:<16} {:<42} {}", line.method, line.title, line.paper))?;
        }
    }
    if json {
        return Ok(());
    }
    output::line(&format!("spaces: {}, and files ending in .toml", nas::space::NAMES.join(", ")))?;
    for preset in presets::PRESETS {
        output::line(&format!("--preset {:<16} {}", preset.name, preset.about))?;
    }
    Ok(())
}

fn start(args: &Args) -> Result<(), Failure> {
    let mut layers = Layers::of(&Config::default())?;
    args.flags.lay_over(&mut layers)?;
    anchor(&mut layers)?;
    let config: Config = layers.read()?;
    config.check()?;
    if args.print_config {
        return output::line(layers.to_toml_of("search").trim_end());
    }
    let space = space_of(&config)?;
    let stop = Stop::listen()?;
    let split = Split::load(&config)?;
    // Every other setting is checked before the latency is measured, which takes a while.
    let batches = (split.parts.train.len() / config.search.batch) as u64;
    config.for_nas(batches)?.check()?;
    if config.trust.networks > 0 && config.trust.subset > 0 {
        split.whole.subset(config.trust.subset)?;
    }
    let classes = split.parts.classes();
    let table = table(&config, &space, classes, &stop)?;
    pool::with_threads(threads(&config), || {
        let search = session::prepare(&config, &space, &split, Some(&table))?;
        let name = format!("search-{}-{}", config.search.method, crate::networks::label(&config.space));
        let run = RunDir::create(args.out.as_deref(), &name)?;
        put(&run.file("config.toml"), &layers.to_toml_of("search"))?;
        put(&run.file("space.toml"), &space.to_toml())?;
        put(&run.file(TABLE), &table.to_json()?)?;
        go(Session::new(config.clone(), split, search, run, stop, args.json)?, false)
    })
}

fn resume(args: &Args, named: Option<&Path>) -> Result<(), Failure> {
    let Some(path) = named.or(args.out.as_deref()) else {
        return Err(Failure::input(
            "--resume does not say which search; name its folder, as in --resume runs/NAME-001",
        ));
    };
    let run = RunDir::open(path)?;
    if !run.file("space.toml").exists() {
        return Err(Failure::input(format!(
            "{} is no search; if it is a training, go on with `pleach train --resume {0}`",
            path.display()
        )));
    }
    let mut stored = Layers::of(&Config::default())?;
    stored.lay_file(&run.file("config.toml"))?;
    let mut layers = stored.clone();
    args.flags.lay_over(&mut layers)?;
    anchor(&mut layers)?;
    for key in stored.keys().iter().filter(|key| !Config::FREE_ON_RESUME.contains(&key.as_str())) {
        if let (Some(old), Some(new)) = (stored.get(key), layers.get(key))
            && old != new
        {
            return Err(Failure::input(format!(
                "{key} is {old} in {} and cannot become {new} on the way; leave it, or start another search",
                path.display()
            )));
        }
    }
    let config: Config = layers.read()?;
    config.check()?;
    if args.print_config {
        return output::line(layers.to_toml_of("search").trim_end());
    }
    let stop = Stop::listen()?;
    let place = run.file("space.toml");
    let text = std::fs::read_to_string(&place).map_err(|e| Failure::reading(&place, &e))?;
    let space = Space::from_toml(&text).map_err(|e| Failure::input(format!("{}: {e}", place.display())))?;
    let table = Table::read(&run.file(TABLE))?;
    let elsewhere = table.setting.machine.differences(&nas::latency::Machine::here());
    if !elsewhere.is_empty() {
        output::tell(&format!(
            "the search goes on with the latencies of the machine it began on: {}",
            elsewhere.join(", ")
        ));
    }
    let split = Split::load(&config)?;
    pool::with_threads(threads(&config), || {
        let search = session::prepare(&config, &space, &split, Some(&table))?;
        go(Session::new(config.clone(), split, search, run, stop, args.json)?, args.finish)
    })
}

fn threads(config: &Config) -> usize {
    if config.threads == 0 { pool::all_cores() } else { config.threads }
}

fn space_of(config: &Config) -> Result<Space, Failure> {
    spaces::space(&config.space, (config.candidates > 0).then_some(config.candidates))
}

/// Makes the paths in a configuration absolute: the saved file must mean the same wherever it is run.
fn anchor(layers: &mut Layers) -> Result<(), Failure> {
    let config: Config = layers.read()?;
    if !config.data.source.is_empty() {
        layers.replace("data.source", sources::anchored(&config.data.source)?);
    }
    for (key, path) in [("space", &config.space), ("latency.table", &config.latency.table)] {
        if path.ends_with(".toml") || path.ends_with(".json") {
            layers.replace(key, sources::anchored_path(Path::new(path))?);
        }
    }
    Ok(())
}

/// The latency table that the configuration asks for: opened, or measured and kept.
fn table(config: &Config, space: &Space, classes: usize, stop: &Stop) -> Result<Table, Failure> {
    let aimed = config.latency.target_ms > 0.0;
    let (batch, threads) = (config.latency.batch, pool::check(Some(config.latency.threads))?);
    let name = match config.candidates {
        0 => config.space.clone(),
        k => format!("{}-k{k}", config.space.trim_end_matches(".toml")),
    };
    let request = Request {
        space,
        label: latency::label(&name, space),
        classes,
        batch,
        threads,
        effort: Effort { warm_up: 1, rounds: if aimed { ROUNDS } else { FEW_ROUNDS } },
        seed: config.seed,
    };
    let named = !config.latency.table.is_empty();
    let path = if named { config.latency.table.clone().into() } else { latency::default_path(&name, batch, threads) };
    pool::with_threads(threads, || {
        if aimed || named {
            return latency::kept(&path, &request, stop);
        }
        // Without a target the latency is only told: a table that is not of this machine is left alone.
        match Table::open(&path, &request.setting(), &request.keys()) {
            Ok(table) => Ok(table),
            Err(_) => latency::passing(&request, stop),
        }
    })
}

/// Searches, or with `finish` takes the search for ended; writes what was found, and asks whether it can be trusted.
fn go(mut session: Session, finish: bool) -> Result<(), Failure> {
    let folder = session.folder().path().to_path_buf();
    state::write(&folder, State::Running)?;
    announce(&mut session, &folder);
    let ending = if finish { Ok(Ending::Finished) } else { session.run() };
    session.reporter().end();
    let ending = ending.inspect_err(|failure| session.reporter().log(&failure.to_string()))?;
    let step = session.search().progress().weight_steps;
    let go_on = format!("pleach search --resume {}", folder.display());
    if ending == Ending::Interrupted {
        state::write(&folder, State::Interrupted)?;
        let message = format!("interrupted after step {step}, which is saved; `{go_on}` goes on");
        session.reporter().log(&message);
        return Err(Failure::Interrupted(message));
    }
    let found = outcome::write(session.search(), &folder)?;
    show(&mut session, &found);
    // A search that has not ended has not failed to decide.
    let alarms = match ending {
        Ending::Finished => collapse::alarms(&found.arch, session.search().alphas()),
        _ => vec![],
    };
    alarms.iter().for_each(|alarm| session.reporter().say(&format!("alarm: {alarm}")));
    if ending == Ending::Stopped {
        state::write(&folder, State::Stopped)?;
        page(&session, &found, &alarms, None)?;
        session.reporter().say(&format!("stopped at max_steps, after step {step}; `{go_on} --max-steps 0` goes on"));
        return conclude(&session, &found, &alarms, None);
    }
    let report = match session.config().trust.networks {
        0 => None,
        _ => Some(contest(&mut session, &found, &alarms, &go_on)?),
    };
    page(&session, &found, &alarms, report.as_ref())?;
    if let Some(report) = &report {
        session.reporter().say(page::table(report).trim_end());
        session.reporter().say(&report.verdict.clone());
    }
    state::write(&folder, State::Finished)?;
    session.reporter().say(&format!("done; the architecture and the report are in {}", folder.display()));
    conclude(&session, &found, &alarms, report.as_ref())
}

fn announce(session: &mut Session, folder: &Path) {
    let (search, parts) = (session.search(), &session.split().parts);
    let space = search.supernet().space();
    let text = format!(
        "{} in the {} space: {} choices, {} networks; {:.1} MiB of shared weights; {} images to train weights on, {} to choose by; \
         files in {}",
        search.config().method.title(),
        space.name(),
        space.edges().len(),
        space.count(),
        search.weight_bytes() as f64 / f64::from(1 << 20),
        parts.train.len(),
        parts.test.len(),
        folder.display()
    );
    let step = search.progress().weight_steps;
    session.reporter().say(&text);
    if step > 0 {
        session.reporter().say(&format!("going on after step {step}"));
    }
}

fn show(session: &mut Session, found: &Found) {
    let classes = session.search().supernet().classes();
    let drawing = draw::text(&found.arch, classes, session.search().latency());
    let latency = found.predicted_ms.map_or_else(String::new, |ms| format!(", {ms:.3} ms by the table"));
    let mut text = format!("found {}{latency}\n{}", found.arch, drawing.trim_end());
    if let Some(best) = &found.fallen_back {
        text.push_str(&format!(
            "\nthe most probable network, {best}, is slower than the target; this is the most probable one within it"
        ));
    }
    session.reporter().say(&text);
}

/// The trust report; `trust.json` and `trust.svg` are written.
fn contest(session: &mut Session, found: &Found, alarms: &[String], go_on: &str) -> Result<trust::Report, Failure> {
    let folder = session.folder().path().to_path_buf();
    let interrupted = || {
        Failure::Interrupted(format!(
            "interrupted in the trust report; what is trained is saved, and `{go_on}` goes on"
        ))
    };
    let json = session.reporter().json();
    let config = session.config();
    let pictures = session.pictures()?;
    let contest = trust::Contest {
        config,
        pictures: &pictures,
        folder: &folder,
        latency: session.search().latency(),
        stop: session.stop(),
        json,
    };
    let Some((mut contestants, random_are)) = contest.train(&found.arch)? else {
        state::write(&folder, State::Interrupted)?;
        return Err(interrupted());
    };
    let classes = session.split().whole.classes();
    let measured = pool::with_threads(pool::check(Some(config.latency.threads))?, || {
        trust::measure(config, &mut contestants, classes, session.stop())
    })?;
    if !measured {
        state::write(&folder, State::Interrupted)?;
        return Err(interrupted());
    }
    let report = trust::report(config, contestants, random_are, alarms.to_vec());
    let text = serde_json::to_string_pretty(&report).map_err(|e| Failure::work(format!("trust.json: {e}")))?;
    put(&folder.join("trust.json"), &(text + "\n"))?;
    if let Some(chart) = page::chart(&report) {
        put(&folder.join("trust.svg"), &chart)?;
    }
    Ok(report)
}

fn page(session: &Session, found: &Found, alarms: &[String], report: Option<&trust::Report>) -> Result<(), Failure> {
    let folder = session.folder().path();
    let title = format!("{} in {}", session.search().config().method.title(), session.config().space);
    let html = page::html(&title, &found.arch.to_string(), alarms, report, folder)?;
    put(&folder.join("report.html"), &html)
}

/// The last line of `--json`.
#[derive(serde::Serialize)]
struct Summary<'a> {
    arch: String,
    arch_file: &'a Path,
    run: &'a Path,
    steps: u64,
    predicted_latency_ms: Option<f64>,
    alarms: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    better_than_random: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    verdict: Option<&'a str>,
}

fn conclude(
    session: &Session,
    found: &Found,
    alarms: &[String],
    report: Option<&trust::Report>,
) -> Result<(), Failure> {
    session.print(&Summary {
        arch: found.arch.to_string(),
        arch_file: &found.file,
        run: session.folder().path(),
        steps: session.search().progress().weight_steps,
        predicted_latency_ms: found.predicted_ms,
        alarms,
        better_than_random: report.and_then(|report| report.better_than_random),
        verdict: report.map(|report| report.verdict.as_str()),
    })
}
