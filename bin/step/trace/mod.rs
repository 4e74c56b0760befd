//! A recording as JSON: the format of `docs/trace-format.md`.

mod formulas;
mod values;

pub use values::{Detail, Number, index};

use super::record::layout::layout;
use super::record::{Broken, Check, Pass, Recording, Role};
use crate::failure::Failure;
use serde::Serialize;
use serde_json::Value;
use std::collections::{BTreeMap, HashSet};
use values::Values;

/// What a trace says beside the recording itself.
#[derive(Default)]
pub struct About {
    /// Headline.
    pub title: String,
    /// Name in the zoo.
    pub model: Option<String>,
    /// What was run, on what.
    pub note: String,
    /// Names of the classes.
    pub classes: Vec<String>,
    /// The batch.
    pub examples: Vec<Example>,
    /// What a lesson says on the way.
    pub lesson: Option<Lesson>,
    /// Where to open.
    pub focus: Option<Focus>,
    /// Entries to check of each contribution.
    pub checks: usize,
    /// Whether every op that can be broken is, or one of each kind.
    pub break_all: bool,
}

/// One image of the batch.
#[derive(Clone, Debug, Serialize)]
pub struct Example {
    /// Place in its set.
    pub index: usize,
    /// Class.
    pub label: usize,
    /// Class of the image mixed in.
    pub mixed_label: Option<usize>,
    /// Class of the largest logit.
    pub predicted: Option<usize>,
}

/// A lesson's text.
#[derive(Clone, Debug, Serialize)]
pub struct Lesson {
    /// As in `pleach step --lesson NAME`.
    pub name: &'static str,
    /// Headline.
    pub title: &'static str,
    /// Paragraphs, blank lines between.
    pub intro: &'static str,
    /// Notes on some steps.
    pub steps: Vec<Note>,
}

/// A lesson's text on one step.
#[derive(Clone, Debug, Serialize)]
pub struct Note {
    /// The pass.
    pub pass: Pass,
    /// The step of that pass, from 0.
    pub step: usize,
    /// What to see there.
    pub text: String,
    /// Asked before it is shown.
    pub predict: Option<Question>,
}

/// A question with one right answer.
#[derive(Clone, Debug, Serialize)]
pub struct Question {
    /// The question.
    pub question: &'static str,
    /// Answers to choose from.
    pub choices: Vec<String>,
    /// Position of the right one.
    pub answer: usize,
}

/// A place in the trace.
#[derive(Clone, Debug, Serialize)]
pub struct Focus {
    /// The pass.
    pub pass: Pass,
    /// The step of that pass.
    pub step: usize,
    /// The tensor to look at.
    pub tensor: Option<usize>,
    /// Why there.
    pub text: String,
}

#[derive(Serialize)]
struct Trace<'a> {
    format: &'static str,
    version: u32,
    title: &'a str,
    model: &'a Option<String>,
    note: &'a str,
    classes: &'a [String],
    examples: &'a [Example],
    loss: usize,
    left_out: Option<String>,
    tensors: Vec<TensorLine<'a>>,
    ops: Vec<OpLine<'a>>,
    backward: Vec<StepLine>,
    fused: Vec<FusedLine<'a>>,
    lesson: &'a Option<Lesson>,
    focus: &'a Option<Focus>,
}

#[derive(Serialize)]
struct TensorLine<'a> {
    id: usize,
    name: &'a str,
    role: Role,
    shape: Vec<usize>,
    axes: &'a [&'static str],
    value: Values,
    grad: Option<Values>,
}

#[derive(Serialize)]
struct OpLine<'a> {
    id: usize,
    op: &'static str,
    path: &'a str,
    block: &'a str,
    inputs: &'a [usize],
    output: usize,
    formula: formulas::Formula,
    vjp: Vec<formulas::Vjp>,
    with_shapes: String,
    attributes: BTreeMap<&'static str, Value>,
    part_of: Option<String>,
    fused: Option<usize>,
    x: i32,
    y: usize,
    checks: Vec<CheckLine>,
    broken: Option<BrokenLine>,
}

#[derive(Serialize)]
struct CheckLine {
    tensor: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    input: Option<usize>,
    entry: Vec<usize>,
    scope: super::record::Scope,
    analytic: Number,
    numeric: Number,
    h: Number,
    rel_error: Number,
    ulp: Number,
    kink: bool,
    tolerance: f64,
    passed: Option<bool>,
}

#[derive(Serialize)]
struct BrokenLine {
    text: &'static str,
    tensor: usize,
    input: usize,
    value: Values,
    check: CheckLine,
}

#[derive(Serialize)]
struct FusedLine<'a> {
    id: usize,
    op: &'static str,
    path: &'a str,
    ops: &'a [usize],
    max_difference: Number,
}

#[derive(Serialize)]
struct StepLine {
    op: usize,
    incoming: usize,
    contributions: Vec<ContributionLine>,
}

#[derive(Serialize)]
struct ContributionLine {
    to: usize,
    input: usize,
    value: Option<Values>,
    norm: Number,
    share: Number,
}

/// A recording with its checks, ready to be written in any detail.
pub struct Document<'a> {
    recording: &'a Recording,
    about: &'a About,
    checks: Vec<Vec<Check>>,
    broken: Vec<Option<Broken>>,
}

impl<'a> Document<'a> {
    /// Runs the checks that `about` asks for.
    pub fn new(recording: &'a Recording, about: &'a About) -> Document<'a> {
        let checks = recording.check_ops(about.checks);
        let mut kinds = HashSet::new();
        let mut broken = vec![];
        for (i, op) in recording.ops.iter().enumerate() {
            let wanted = about.checks > 0 && (about.break_all || !kinds.contains(op.doc.name));
            let it = if wanted { recording.break_it(i) } else { None };
            if it.is_some() {
                kinds.insert(op.doc.name);
            }
            broken.push(it);
        }
        Document { recording, about, checks, broken }
    }

    /// All checks, in the order of the ops.
    pub fn checks(&self) -> impl Iterator<Item = &Check> {
        self.checks.iter().flatten()
    }

    /// The trace in the richest detail that keeps it below `bytes` in a page, where each `<` is written as six; if none does, in the one that
    /// still holds small tensors whole.
    pub fn within(&self, bytes: usize) -> Result<String, Failure> {
        for detail in Detail::LEVELS {
            let text = self.json(detail)?;
            if text.len() + 5 * text.bytes().filter(|byte| *byte == b'<').count() <= bytes {
                return Ok(text);
            }
        }
        self.json(Detail::SMALL)
    }

    /// The trace in some detail.
    pub fn json(&self, detail: Detail) -> Result<String, Failure> {
        serde_json::to_string(&self.trace(detail)).map_err(|e| Failure::work(format!("JSON: {e}")))
    }

    fn trace(&self, detail: Detail) -> Trace<'_> {
        let Document { recording: it, about, .. } = self;
        let tensors = it.tensors.iter().enumerate().map(|(id, slot)| TensorLine {
            id,
            name: &slot.name,
            role: slot.role,
            shape: slot.value.shape().to_vec(),
            axes: &slot.axes,
            value: Values::of(&slot.value, slot.role, detail),
            grad: slot.grad.as_ref().map(|grad| Values::of(grad, slot.role, detail)),
        });
        let tensors: Vec<TensorLine> = tensors.collect();
        let whole = tensors.iter().all(|t| t.value.is_whole() && t.grad.as_ref().is_none_or(Values::is_whole));
        Trace {
            format: "pleach-trace",
            version: 1,
            title: &about.title,
            model: &about.model,
            note: &about.note,
            classes: &about.classes,
            examples: &about.examples,
            loss: it.loss,
            left_out: (!whole).then(|| detail.left_out()),
            tensors,
            ops: self.ops(detail),
            backward: self.backward(detail),
            fused: self.fused(),
            lesson: &about.lesson,
            focus: &about.focus,
        }
    }

    fn ops(&self, detail: Detail) -> Vec<OpLine<'_>> {
        let it = self.recording;
        let places = layout(it);
        let line = |(id, op): (usize, &'a super::record::Op)| OpLine {
            id,
            op: op.doc.name,
            path: &op.path,
            block: &op.block,
            inputs: &op.inputs,
            output: op.output,
            formula: formulas::Formula::of(op.doc.formula),
            vjp: formulas::vjp(it, id),
            with_shapes: formulas::with_shapes(it, id),
            attributes: op.op.attributes().into_iter().map(|(name, text)| (name, parsed(text))).collect(),
            part_of: op.fused.map(|fused| format!("fused {} of {}", it.fused[fused].op, it.fused[fused].path)),
            fused: op.fused,
            x: places[id].lane,
            y: places[id].rank,
            checks: self.checks[id].iter().map(|check| self.check(check)).collect(),
            broken: self.broken[id].as_ref().map(|broken| self.broken(id, broken, detail)),
        };
        it.ops.iter().enumerate().map(line).collect()
    }

    fn check(&self, check: &Check) -> CheckLine {
        CheckLine {
            tensor: check.tensor,
            input: check.input,
            entry: index(&self.recording.tensors[check.tensor].value.shape(), check.entry),
            scope: check.scope,
            analytic: Number(check.analytic),
            numeric: Number(check.numeric),
            h: Number(check.h),
            rel_error: Number(check.rel_error),
            ulp: Number(check.ulp),
            kink: check.kink,
            tolerance: super::record::TOLERANCE,
            passed: check.passed(),
        }
    }

    fn broken(&self, op: usize, broken: &Broken, detail: Detail) -> BrokenLine {
        let tensor = self.recording.ops[op].inputs[broken.input];
        let role = self.recording.tensors[tensor].role;
        let value = Values::of(&broken.value, role, detail);
        BrokenLine { text: broken.text, tensor, input: broken.input, value, check: self.check(&broken.check) }
    }

    fn fused(&self) -> Vec<FusedLine<'_>> {
        let fused = self.recording.fused.iter().enumerate();
        let line = |(id, fused): (usize, &'a super::record::Fused)| FusedLine {
            id,
            op: fused.op,
            path: &fused.path,
            ops: &fused.ops,
            max_difference: Number(fused.max_difference),
        };
        fused.map(line).collect()
    }

    fn backward(&self, detail: Detail) -> Vec<StepLine> {
        let it = self.recording;
        let contributors: Vec<usize> = (0..it.tensors.len()).map(|tensor| it.contributors(tensor)).collect();
        let part = |part: &super::record::Contribution| ContributionLine {
            to: part.to,
            input: part.input,
            value: (contributors[part.to] > 1)
                .then(|| Values::of(&part.value, it.tensors[part.to].role, detail.of_contributions())),
            norm: Number(part.norm),
            share: Number(part.share),
        };
        let line = |step: &super::record::Step| StepLine {
            op: step.op,
            incoming: it.ops[step.op].output,
            contributions: step.contributions.iter().map(part).collect(),
        };
        it.backward.iter().map(line).collect()
    }
}

/// A setting as a number or list where it is one.
fn parsed(text: String) -> Value {
    let list = text.replace('(', "[").replace(')', "]");
    serde_json::from_str(&list).unwrap_or(Value::String(text))
}

#[cfg(test)]
mod tests;
