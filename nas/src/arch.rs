use crate::{Error, Op, Space};
use serde::{Deserialize, Serialize};
use std::fmt;

/// One choice per edge of a space: a network. As JSON it holds its whole space, so that a file alone can be built from.
///
/// Displayed, it is the choices in a row, `mb3x3e6,zero,mb5x5e3`, or `|nor_conv_3x3~0|+|...|` for NAS-Bench-201.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "ArchFile", into = "ArchFile")]
pub struct Arch {
    space: Space,
    choices: Vec<Op>,
}

/// An [`Arch`] before it is checked.
#[derive(Serialize, Deserialize)]
struct ArchFile {
    arch: String,
    space: Space,
}

impl TryFrom<ArchFile> for Arch {
    type Error = Error;

    fn try_from(file: ArchFile) -> Result<Arch, Error> {
        file.space.check()?;
        file.space.parse_arch(&file.arch)
    }
}

impl From<Arch> for ArchFile {
    fn from(arch: Arch) -> ArchFile {
        ArchFile { arch: arch.to_string(), space: arch.space }
    }
}

impl Arch {
    /// The network of `space` with these operations, edge by edge.
    ///
    /// # Errors
    /// If there are not as many as edges, or an edge has no such candidate.
    pub fn new(space: &Space, choices: Vec<Op>) -> Result<Arch, Error> {
        let edges = space.edges();
        if edges.len() != choices.len() {
            return Err(Error::Arch(format!(
                "it makes {} choices, but the space `{}` has {} edges; is it of another space?",
                choices.len(),
                space.name(),
                edges.len()
            )));
        }
        for (edge, op) in edges.iter().zip(&choices) {
            edge.index_of(op).ok_or_else(|| {
                Error::Arch(format!(
                    "edge `{}` of the space `{}` cannot be `{op}`; it can be {}; is the architecture of another space?",
                    edge.name,
                    space.name(),
                    edge.list()
                ))
            })?;
        }
        Ok(Arch { space: space.clone(), choices })
    }

    /// The space it is of.
    pub fn space(&self) -> &Space {
        &self.space
    }

    /// An operation per edge.
    pub fn choices(&self) -> &[Op] {
        &self.choices
    }

    /// The index of the chosen candidate, per edge.
    pub fn indices(&self) -> Vec<usize> {
        let edges = self.space.edges();
        edges.iter().zip(&self.choices).map(|(edge, op)| edge.index_of(op).expect("checked when made")).collect()
    }

    /// The wiring file of a network of an aggregation space; `None` for other spaces.
    pub fn wiring_toml(&self) -> Option<String> {
        match &self.space {
            Space::Aggregation(space) => Some(space.wiring_toml(&self.choices)),
            _ => None,
        }
    }

    /// The JSON of `arch.json`.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("strings and numbers")
    }

    /// What [`to_json`](Arch::to_json) gave.
    ///
    /// # Errors
    /// If the text is no such JSON, or its choices are not of its space.
    pub fn from_json(text: &str) -> Result<Arch, Error> {
        serde_json::from_str(text).map_err(|e| Error::Arch(format!("{e}; is this an arch.json of a search?")))
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.space.arch_string(&self.choices))
    }
}
