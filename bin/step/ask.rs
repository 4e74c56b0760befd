//! Questions on the command line: the checked derivative of one entry, and what follows from another value.

use super::record::{Change, Check, Precision, Recording, Scope, WhatIf};
use super::trace::Number;
use crate::failure::Failure;
use crate::{nearest, output};

/// Precision of `--what-if`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum In {
    /// The engine's own ops, as in training.
    F32,
    /// The naive references.
    F64,
}

#[derive(clap::Args, Debug)]
#[group(skip)]
pub struct Args {
    #[arg(
        long,
        help = "Check one entry of a tensor's gradient, as in conv1.weight[0,1,2,3]; may be repeated",
        value_name = "NAME[I,J,..]",
        help_heading = "Questions"
    )]
    check: Vec<String>,
    #[arg(
        long,
        help = "Change one value and compute what follows, as in linear.bias[3]=0.5; may be repeated",
        value_name = "NAME[I,J,..]=VALUE",
        help_heading = "Questions"
    )]
    what_if: Vec<String>,
    /// Precision of --what-if
    #[arg(long, value_name = "PRECISION", value_enum, default_value_t = In::F32, help_heading = "Questions")]
    precision: In,
}

#[derive(serde::Serialize)]
struct CheckLine<'a> {
    tensor: &'a str,
    entry: &'a [usize],
    scope: Scope,
    /// The op whose contribution was checked; none for the whole gradient.
    #[serde(skip_serializing_if = "Option::is_none")]
    op: Option<&'a str>,
    analytic: Number,
    numeric: Number,
    h: Number,
    rel_error: Number,
    ulp: Number,
    kink: bool,
    passed: Option<bool>,
}

#[derive(serde::Serialize)]
struct Follows<'a> {
    tensor: &'a str,
    changed: usize,
    elements: usize,
    largest_change: Number,
}

#[derive(serde::Serialize)]
struct Loss {
    loss_before: Number,
    loss: Number,
    gradient_predicts: Number,
}

impl Args {
    /// Whether anything is asked.
    pub fn any(&self) -> bool {
        !self.check.is_empty() || !self.what_if.is_empty()
    }

    /// Answers on standard output.
    pub fn answer(&self, recording: &Recording, json: bool) -> Result<(), Failure> {
        for question in &self.check {
            let (tensor, entry) = place(recording, question)?;
            let Some(check) = recording.check_loss(tensor, entry) else {
                return Err(Failure::input(format!("{question}: no gradient reaches this tensor")));
            };
            print_check(recording, None, &check, json)?;
            let readers = &recording.tensors[tensor].readers;
            let parts = readers.iter().filter_map(|&(op, position)| Some((op, recording.check(op, position, entry)?)));
            for (op, check) in parts {
                print_check(recording, Some(&recording.ops[op].path), &check, json)?;
            }
        }
        if !self.what_if.is_empty() {
            let changes: Vec<Change> =
                self.what_if.iter().map(|text| change(recording, text)).collect::<Result<_, _>>()?;
            let precision = if self.precision == In::F32 { Precision::F32 } else { Precision::F64 };
            print_what_follows(recording, &changes, &recording.what_if(&changes, precision), json)?;
        }
        Ok(())
    }
}

fn print_check(recording: &Recording, op: Option<&str>, check: &Check, json: bool) -> Result<(), Failure> {
    let slot = &recording.tensors[check.tensor];
    let entry = super::trace::index(&slot.value.shape(), check.entry);
    let Check { scope, analytic, numeric, h, rel_error, ulp, kink, .. } = *check;
    if json {
        let (analytic, numeric, h) = (Number(analytic), Number(numeric), Number(h));
        let (rel_error, ulp, passed) = (Number(rel_error), Number(ulp), check.passed());
        return output::print(&CheckLine {
            tensor: &slot.name,
            entry: &entry,
            scope,
            op,
            analytic,
            numeric,
            h,
            rel_error,
            ulp,
            kink,
            passed,
        });
    }
    let what = op.map_or_else(|| "the loss".to_string(), |op| format!("what {op} contributes"));
    let verdict = match check.passed() {
        None => "at a kink",
        Some(true) => "agrees",
        Some(false) => "differs",
    };
    output::line(&format!(
        "{}{entry:?}, {what}: gradient {analytic:.7e}, finite difference {numeric:.7e} (h {h:.0e}), relative error {rel_error:.1e}: {verdict}",
        slot.name
    ))
}

fn print_what_follows(recording: &Recording, changes: &[Change], it: &WhatIf, json: bool) -> Result<(), Failure> {
    for (&id, (before, after)) in &it.tensors {
        let pairs = || before.data.iter().zip(&after.data);
        let follows = Follows {
            tensor: &recording.tensors[id].name,
            changed: pairs().filter(|(a, b)| a.to_bits() != b.to_bits()).count(),
            elements: before.data.len(),
            largest_change: Number(pairs().map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)),
        };
        if json {
            output::print(&follows)?;
            continue;
        }
        let Follows { tensor, changed, elements, largest_change } = follows;
        output::line(&format!("{tensor}: {changed} of {elements} values change, by at most {:.3e}", largest_change.0))?;
    }
    let predicted: f64 = changes
        .iter()
        .filter_map(|change| {
            let slot = &recording.tensors[change.tensor];
            let slope = f64::from(slot.grad.as_ref()?.data()[change.entry]);
            Some(slope * (change.value - f64::from(slot.value.data()[change.entry])))
        })
        .sum();
    if json {
        let (loss_before, loss) = (Number(it.loss_before), Number(it.loss));
        return output::print(&Loss { loss_before, loss, gradient_predicts: Number(it.loss_before + predicted) });
    }
    output::line(&format!(
        "loss {} becomes {}; the gradient alone predicts {}",
        it.loss_before,
        it.loss,
        it.loss_before + predicted
    ))
}

fn change(recording: &Recording, text: &str) -> Result<Change, Failure> {
    let bad = || Failure::input(format!("--what-if {text}: expected a place and a value, as in linear.bias[3]=0.5"));
    let (at, value) = text.rsplit_once('=').ok_or_else(bad)?;
    let (tensor, entry) = place(recording, at)?;
    Ok(Change { tensor, entry, value: value.trim().parse().map_err(|_| bad())? })
}

/// Tensor and flat entry of `name[i,j,..]`.
fn place(recording: &Recording, text: &str) -> Result<(usize, usize), Failure> {
    let (name, rest) = text.split_once('[').unwrap_or((text, "]"));
    let named = recording.tensors.iter().position(|slot| slot.name == name.trim());
    let tensor = named.ok_or_else(|| {
        let hint = nearest::hint(name, recording.tensors.iter().map(|slot| slot.name.as_str()));
        Failure::input(format!("there is no tensor '{name}' in this step{hint}"))
    })?;
    let shape = recording.tensors[tensor].value.shape();
    let inside = rest.strip_suffix(']').unwrap_or(rest);
    let index: Option<Vec<usize>> =
        inside.split(',').filter(|part| !part.is_empty()).map(|part| part.trim().parse().ok()).collect();
    let index = index
        .filter(|index| index.len() == shape.len() && index.iter().zip(shape.iter()).all(|(i, extent)| i < extent));
    let index = index.ok_or_else(|| {
        Failure::input(format!("{text}: {name} has shape {shape}; give an index for each dimension, counted from 0"))
    })?;
    Ok((tensor, index.iter().zip(shape.iter()).fold(0, |flat, (i, extent)| flat * extent + i)))
}
