//! Where in the network an op belongs. The tape knows no modules, but parameters have names: an op that reads `layer1.0.conv1.weight`
//! is `layer1.0.conv1`, and what comes after it without parameters of its own is in the same block.

use super::{Recording, Role};
use std::collections::HashSet;

/// Ops that leave the last block behind: what they make belongs to no block.
const OUTSIDE: [&str; 2] = ["global_avg_pool", "cross_entropy"];

#[derive(Default)]
pub(super) struct Names {
    taken: HashSet<String>,
    /// The block of the last op that read a parameter.
    block: String,
}

impl Names {
    /// `name`, or `name_1`, `name_2`, ... if it is taken.
    pub fn unique(&mut self, name: String) -> String {
        let numbered = (1..).map(|i| format!("{name}_{i}"));
        let free =
            std::iter::once(name.clone()).chain(numbered).find(|name| !self.taken.contains(name)).unwrap_or(name);
        self.taken.insert(free.clone());
        free
    }

    /// Path and block of an op, and a name for its output. `given` is the name its author gave the output.
    pub fn of(
        &mut self,
        recording: &Recording,
        op: &str,
        inputs: &[usize],
        given: Option<&str>,
    ) -> (String, String, String) {
        let tensors = &recording.tensors;
        let parameter = inputs.iter().rev().find(|&&i| tensors[i].role == Role::Parameter);
        let module = parameter.map(|&i| parent(&tensors[i].name)).filter(|module| !module.is_empty());
        if let Some(module) = module {
            self.block = parent(module).into();
            let output = if op == "conv2d" || op == "matmul" { module.to_string() } else { join(module, op) };
            return (module.into(), self.block.clone(), given.map_or(output, Into::into));
        }
        if op == "scale_shift"
            && let Some(fold) = inputs.get(1).and_then(|&affine| tensors[affine].maker)
        {
            // A batch norm's last step.
            let op = &recording.ops[fold];
            return (op.path.clone(), op.block.clone(), op.path.clone());
        }
        if let Some(given) = given {
            return (given.into(), parent(given).into(), given.into());
        }
        if OUTSIDE.contains(&op) {
            self.block.clear();
        }
        let path = join(&self.block, op);
        (path.clone(), self.block.clone(), path)
    }

    /// The module that a fused op is called by: that of the last of its ops that reads a parameter, else of the last.
    pub fn module_of(&self, recording: &Recording, ops: &[usize]) -> String {
        let reads =
            |op: &&usize| recording.ops[**op].inputs.iter().any(|&i| recording.tensors[i].role == Role::Parameter);
        let op = ops.iter().rev().find(reads).or(ops.last());
        op.map_or_else(String::new, |&op| recording.ops[op].path.clone())
    }
}

/// All of a dotted name but its last part.
fn parent(name: &str) -> &str {
    name.rsplit_once('.').map_or("", |(parent, _)| parent)
}

fn join(block: &str, name: &str) -> String {
    if block.is_empty() { name.into() } else { format!("{block}.{name}") }
}

/// Names of the dimensions of a tensor.
pub(super) fn axes(name: &str, role: Role, rank: usize, op: Option<&str>) -> Vec<&'static str> {
    match (rank, role, op) {
        (4, Role::Parameter, _) => vec!["K_h", "K_w", "C_in", "C_out"],
        (4, ..) => vec!["N", "H", "W", "C"],
        (2, Role::Parameter, _) if ["weight", "w", "kernels"].iter().any(|it| name.ends_with(it)) => vec!["in", "out"],
        (2, _, Some("moments")) => vec!["mean/var", "C"],
        (2, _, Some("fold_batch_norm")) => vec!["scale/shift", "C"],
        (2, ..) => vec!["N", if name.contains("linear") || name.contains("logits") { "K" } else { "C" }],
        (1, ..) => vec!["C"],
        (rank, ..) => vec![""; rank],
    }
}
