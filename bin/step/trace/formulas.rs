//! What an op says about itself, for one step.

use crate::step::record::Recording;
use engine::Shape;
use engine::formula;
use serde::Serialize;

/// As text and as MathML.
#[derive(Serialize)]
pub struct Formula {
    text: String,
    mathml: String,
}

impl Formula {
    /// Of a formula in the notation of [`formula`].
    pub fn of(notation: &str) -> Formula {
        Formula { text: formula::text(notation), mathml: formula::mathml(notation) }
    }
}

/// The gradient of one input.
#[derive(Serialize)]
pub struct Vjp {
    input: usize,
    name: String,
    #[serde(flatten)]
    formula: Formula,
}

/// Names of an op's inputs, as its formulas have them.
fn names(recording: &Recording, op: usize) -> Vec<String> {
    let it = &recording.ops[op];
    let mut names = it.op.inputs();
    // An op that does not say.
    names.extend((names.len()..it.inputs.len()).map(|i| format!("x_{i}")));
    names
}

/// The vector-Jacobian product for each input that has one.
///
/// A statement `grad_x = ..` is for the input `x`. Statements that are for no input (of a helper, or of a part of an input) go to those
/// inputs that have none of their own, helpers to all.
pub fn vjp(recording: &Recording, op: usize) -> Vec<Vjp> {
    let it = &recording.ops[op];
    let names = names(recording, op);
    let statements: Vec<&str> = formula::statements(it.doc.gradient).collect();
    let left = |statement: &str| -> String {
        let end = statement.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(statement.len());
        statement[..end].to_string()
    };
    let is_for = |statement: &str, name: &str| left(statement).strip_prefix("grad_") == Some(name);
    let has_own = |name: &str| statements.iter().any(|statement| is_for(statement, name));
    let wanted = |i: &usize| recording.tensors[it.inputs[*i]].role != crate::step::record::Role::Constant;
    (0..it.inputs.len())
        .filter(wanted)
        .map(|input| {
            let name = &names[input];
            let belongs = |statement: &&&str| {
                let helper = !left(statement).starts_with("grad_");
                let stray = !names.iter().any(|name| is_for(statement, name));
                helper || is_for(statement, name) || (stray && !has_own(name))
            };
            let mine: Vec<&str> = statements.iter().filter(belongs).copied().collect();
            Vjp { input, name: name.clone(), formula: Formula::of(&mine.join("; ")) }
        })
        .collect()
}

/// The op with the shapes of this step: `y (2, 10) = matmul(a (2, 64), b (64, 10))`.
pub fn with_shapes(recording: &Recording, op: usize) -> String {
    let it = &recording.ops[op];
    let shape = |id: usize| recording.tensors[id].value.shape();
    let text = |shape: Shape| if shape.is_empty() { "(scalar)".into() } else { shape.to_string() };
    let inputs =
        names(recording, op).into_iter().zip(&it.inputs).map(|(name, &id)| format!("{name} {}", text(shape(id))));
    format!("y {} = {}({})", text(shape(it.output)), it.doc.name, inputs.collect::<Vec<_>>().join(", "))
}
