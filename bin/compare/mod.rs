//! `pleach compare`

mod page;
mod plan;
mod progress;
mod results;
mod table;
mod timing;

use crate::config::{Config, Flags, Layers, presets};
use crate::failure::Failure;
use crate::run::RunDir;
use crate::signals::Stop;
use crate::training::{Ending, Pictures, Session};
use crate::{networks, output, pool, train};
use plan::{Member, Place, Plan};
use progress::Overall;
use results::Row;
use std::path::{Path, PathBuf};

/// Train several networks under one recipe and budget, and compare them
///
/// Every network is trained with every seed; each of these runs is a folder in that of the comparison, which also gets the table (results.csv,
/// results.json), the figures (SVG) and one page with everything (index.html). Values of the recipe are layered as for `train`.
#[derive(clap::Args, Debug)]
#[command(args_override_self = true)]
pub struct Args {
    /// Networks: names that `pleach models` lists, wired-... names, wiring files (.toml)
    #[arg(long, value_name = "A,B,...", value_delimiter = ',', help_heading = "What is compared")]
    models: Vec<String>,
    /// Seeds that each is trained with
    #[arg(long, value_name = "N,N,...", value_delimiter = ',', help_heading = "What is compared")]
    seeds: Vec<u64>,
    #[command(flatten)]
    flags: Flags,

    /// Folder of the comparison (default: runs/compare-NNN)
    #[arg(long, value_name = "DIR", help_heading = "Running")]
    out: Option<PathBuf>,
    /// Go on with a comparison: the named one, that of --out, or the newest; --models and --seeds add to it
    #[arg(long, value_name = "DIR", num_args = 0..=1, help_heading = "Running")]
    resume: Option<Option<PathBuf>>,
    /// Time a training step of each network by itself, after the runs: their own times have in them what else the machine did
    #[arg(long, help_heading = "Running")]
    measure: bool,
    /// Print one JSON object a line (each epoch, then each row of the table), and nothing else, on standard output
    #[arg(long, help_heading = "Running")]
    json: bool,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<(), Failure> {
    args.flags.refuse_one_network()?;
    let (place, plan, recipe) = match &args.resume {
        None => start(args)?,
        Some(named) => resume(args, named.as_deref())?,
    };
    let config = recipe.config()?;
    let comparison = Comparison { place, plan, recipe, config, measure: args.measure, json: args.json };
    comparison.run(&Stop::listen()?)
}

fn start(args: &Args) -> Result<(Place, Plan, Layers), Failure> {
    let mut recipe = Layers::defaults()?;
    if args.flags.leave_recipe_open() {
        presets::find(presets::DEFAULT)?.lay_over(&mut recipe)?;
    }
    args.flags.lay_over(&mut recipe)?;
    train::anchor(&mut recipe)?;
    let config = recipe.config()?;
    config.check()?;
    if args.models.is_empty() {
        return Err(Failure::input("which networks are compared? Add --models A,B,... (`pleach models` lists them)"));
    }
    let mut plan =
        Plan { version: env!("CARGO_PKG_VERSION").into(), commands: vec![typed()], models: vec![], seeds: vec![] };
    plan.add(&args.models, if args.seeds.is_empty() { &[0] } else { &args.seeds })?;
    // What is wrong with the images is said before there is a folder.
    Pictures::read(&config)?;
    let place = Place::create(args.out.as_deref())?;
    place.save(&plan, &recipe)?;
    Ok((place, plan, recipe))
}

fn resume(args: &Args, named: Option<&Path>) -> Result<(Place, Plan, Layers), Failure> {
    let path = match named.or(args.out.as_deref()) {
        Some(path) => path.to_path_buf(),
        None => plan::newest()?,
    };
    let (place, mut plan, saved) = Place::open(&path)?;
    let mut recipe = saved.clone();
    args.flags.lay_over(&mut recipe)?;
    train::anchor(&mut recipe)?;
    if let Some((key, old, new)) = Config::first_fixed_difference(&saved, &recipe) {
        return Err(Failure::input(format!(
            "{key} is {old} in {} and cannot become {new} on the way: its runs would not be comparable; leave it, or start \
             another comparison",
            path.display()
        )));
    }
    recipe.config()?.check()?;
    if plan.add(&args.models, &args.seeds)? {
        plan.commands.push(typed());
    }
    place.save(&plan, &recipe)?;
    Ok((place, plan, recipe))
}

/// The command line, quoted as a shell reads it.
fn typed() -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,+%@#".contains(c);
    let quote = |arg: String| {
        if !arg.is_empty() && arg.chars().all(plain) { arg } else { format!("'{}'", arg.replace('\'', "'\\''")) }
    };
    let args = std::env::args_os().skip(1).map(|arg| quote(arg.to_string_lossy().into_owned()));
    std::iter::once("pleach".to_string()).chain(args).collect::<Vec<_>>().join(" ")
}

/// A comparison at work.
struct Comparison {
    place: Place,
    plan: Plan,
    recipe: Layers,
    config: Config,
    measure: bool,
    json: bool,
}

impl Comparison {
    fn run(&self, stop: &Stop) -> Result<(), Failure> {
        let members = self.plan.members();
        let threads = self.config.thread_count();
        let limit = self.config.training.max_steps;
        let pictures = pool::with_threads(threads, || Pictures::read(&self.config))?;
        let classes = pictures.dataset.classes();
        let macs: Vec<u64> = members
            .iter()
            .map(|m| Ok(networks::outline(&m.model.name, classes)?.macs()))
            .collect::<Result<_, Failure>>()?;
        let images = self.images(&pictures);
        let overall = Overall::new(&members, &macs, images, self.json);
        for (index, member) in members.iter().enumerate() {
            let folder = self.place.path().join(member.folder());
            if let Some(speed) = results::speed(&folder) {
                overall.note(index, images as f64 / speed, images as f64);
            }
            if results::is_done(&folder, limit) {
                overall.skip(index);
            }
        }
        overall.say(&format!(
            "{} on {}: {} runs; files in {}",
            self.plan.models.iter().map(|model| model.label.as_str()).collect::<Vec<_>>().join(", "),
            pictures.dataset.name,
            members.len(),
            self.place.path().display()
        ));
        let mut failed = vec![];
        for (index, member) in members.iter().enumerate() {
            if results::is_done(&self.place.path().join(member.folder()), limit) {
                continue;
            }
            let part = Box::new(overall.part(index, member));
            // A pool for each run: the account of its memory begins at zero, and what it held is given back.
            let done = pool::with_threads(threads, || self.train(member, pictures.clone(), stop, part));
            match done {
                Ok(Ending::Interrupted) => {
                    overall.end();
                    self.report(&pictures)?;
                    return Err(self.interrupted(if self.measure { " --measure" } else { "" }));
                }
                Ok(_) => {}
                // The others are worth having all the same.
                Err(Failure::Work(what)) => {
                    overall.say(&format!("{}: {what}", member.folder()));
                    failed.push(format!("{}: {what}", member.folder()));
                }
                Err(other) => {
                    overall.end();
                    return Err(other);
                }
            }
            self.report(&pictures)?;
        }
        if self.measure {
            self.time_steps(&pictures, &overall, stop)?;
        }
        overall.end();
        let rows = self.report(&pictures)?;
        self.print(&rows)?;
        match failed.first() {
            None => Ok(()),
            Some(first) => Err(Failure::work(format!(
                "{} of {} runs failed ({first}); the table has the others, and `pleach compare --resume {}` tries again",
                failed.len(),
                members.len(),
                self.place.path().display()
            ))),
        }
    }

    /// Images that a run trains on in all.
    fn images(&self, pictures: &Pictures) -> u64 {
        let training = &self.config.training;
        let (all, batch) = (pictures.dataset.train.len(), training.batch);
        let steps = if training.drop_last { all / batch } else { all.div_ceil(batch) };
        let steps = (steps * training.epochs) as u64;
        let steps = if training.max_steps > 0 { steps.min(training.max_steps) } else { steps };
        steps * batch as u64
    }

    /// Trains one member, from the beginning or from where it stands.
    fn train(
        &self,
        member: &Member,
        pictures: Pictures,
        stop: &Stop,
        screen: Box<progress::Part>,
    ) -> Result<Ending, Failure> {
        let folder = self.place.path().join(member.folder());
        let layers = member.layers(&self.recipe)?;
        let session = Session::on(layers.config()?, pictures)?;
        let run = if folder.join("config.toml").is_file() {
            session.resume(RunDir::open(&folder)?, stop.clone(), screen)?
        } else {
            session.start(&layers, Some(&folder), "", stop.clone(), screen)?
        };
        Ok(run.ending)
    }

    /// Times the networks by themselves; one that was timed before is timed again.
    fn time_steps(&self, pictures: &Pictures, overall: &Overall, stop: &Stop) -> Result<(), Failure> {
        let mut times = timing::read(self.place.path());
        for model in &self.plan.models {
            if stop.requested() {
                overall.end();
                self.report(pictures)?;
                return Err(self.interrupted(" --measure"));
            }
            let time = timing::time(&model.name, &self.config, &pictures.dataset)?;
            overall.say(&format!("{}: {:.1} ms a step by itself", model.label, time.step_ms));
            times.insert(model.label.clone(), time);
            timing::write(self.place.path(), &times)?;
        }
        Ok(())
    }

    fn interrupted(&self, flags: &str) -> Failure {
        Failure::Interrupted(format!(
            "interrupted; everything done is saved; `pleach compare --resume {}{flags}` goes on",
            self.place.path().display()
        ))
    }

    /// Writes table, figures and page from what the runs' folders hold.
    fn report(&self, pictures: &Pictures) -> Result<Vec<Row>, Failure> {
        let training = &self.config.training;
        let dataset = &pictures.dataset;
        let rows = results::rows(&self.plan, self.place.path(), dataset.classes(), training.batch, training.max_steps);
        let title = format!("{} networks on {}", self.plan.models.len(), dataset.name);
        let figures = page::figures(&rows, &title);
        for (name, svg) in &figures {
            self.place.write(name, svg)?;
        }
        self.place.write("results.csv", &table::csv(&rows))?;
        let json = serde_json::to_string_pretty(&rows).map_err(|e| Failure::work(format!("results.json: {e}")))?;
        self.place.write("results.json", &format!("{json}\n"))?;
        let seeds: Vec<String> = self.plan.seeds.iter().map(u64::to_string).collect();
        let limit = if training.max_steps > 0 {
            format!(", cut short after {} steps", training.max_steps)
        } else {
            String::new()
        };
        let recipe = self.recipe.to_toml();
        let facts = page::Facts {
            title: &title,
            facts: vec![
                (
                    "Images",
                    format!("{}: {} to train on, {} to test on", dataset.name, dataset.train.len(), dataset.test.len()),
                ),
                ("Budget", format!("{} epochs, batch {}{limit}", training.epochs, training.batch)),
                ("Seeds", seeds.join(", ")),
                ("Machine", format!("{}, {} threads", crate::run::record::cpu_model(), self.config.thread_count())),
                ("Made by", format!("pleach {}", env!("CARGO_PKG_VERSION"))),
            ],
            recipe: &recipe,
        };
        self.place.write("index.html", &page::page(&facts, &self.plan, &rows, &figures))?;
        Ok(rows)
    }

    fn print(&self, rows: &[Row]) -> Result<(), Failure> {
        if self.json {
            rows.iter().try_for_each(output::print)?;
            return output::print(&Summary {
                comparison: self.place.path(),
                runs: rows.iter().map(|row| row.runs).sum(),
            });
        }
        table::lines(rows).iter().try_for_each(|line| output::line(line))?;
        output::line(results::timed(rows))?;
        output::line("front: nothing beats it in error and P parameters, M multiply-adds, T time of a step")?;
        output::line(&format!("the page with everything: {}", self.place.path().join("index.html").display()))
    }
}

/// The last line of `--json`.
#[derive(serde::Serialize)]
struct Summary<'a> {
    comparison: &'a Path,
    runs: usize,
}
