//! What a layer gathers.

use super::fibonacci;
use crate::Error;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// Which earlier outputs a layer reads.
#[derive(Clone, Debug, PartialEq)]
pub enum Gather {
    /// All of them, oldest first (ResNet when summed, DenseNet when concatenated).
    All,
    /// Those at offsets 1, c, c², ..., nearest first (SparseNet).
    Base(usize),
    /// The previous one: a plain chain.
    Previous,
    /// A link for each pair.
    Edges(Edges),
    /// A named function.
    Rule(Rule),
    /// All of them, each behind a gate that is learned: see [`selection`](super::selection).
    Learned,
}

/// A rule written in Rust: see [`fibonacci`] for one.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// As the command line and model names call it: lower-case letters.
    pub name: &'static str,
    /// From a layer's index, at least 1, to the indices it reads, all smaller, in the order in which they are concatenated.
    pub sources: fn(usize) -> Vec<usize>,
}

impl PartialEq for Rule {
    fn eq(&self, other: &Rule) -> bool {
        self.name == other.name
    }
}

/// The rules that have names.
pub const RULES: &[Rule] = &[fibonacci::RULE];

/// An explicit list of links. Index 0 is the stage's input, `n + 1` its exit.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Edges(BTreeMap<usize, Vec<usize>>);

impl Edges {
    /// From pairs `(from, to)`. What a layer reads is concatenated in the order of the list.
    ///
    /// # Errors
    /// If a link does not go forward, which would make a cycle, or is listed twice.
    pub fn new(pairs: &[(usize, usize)]) -> Result<Edges, Error> {
        let mut edges = Edges::default();
        for &(from, to) in pairs {
            if from >= to {
                return Err(Error::Wiring(format!(
                    "the link from {from} to {to} does not go forward, so layers would wait for one another in a cycle; link from \
                     a smaller index to a larger one"
                )));
            }
            let sources = edges.0.entry(to).or_default();
            if sources.contains(&from) {
                return Err(Error::Wiring(format!("the link from {from} to {to} is listed twice; remove one")));
            }
            sources.push(from);
        }
        Ok(edges)
    }

    /// The pairs `(from, to)` again, by layer.
    pub fn pairs(&self) -> Vec<(usize, usize)> {
        self.0.iter().flat_map(|(&to, sources)| sources.iter().map(move |&from| (from, to))).collect()
    }

    /// The largest index that a link leads to.
    pub fn last(&self) -> usize {
        self.0.keys().next_back().copied().unwrap_or(0)
    }
}

impl Gather {
    /// The indices that layer `layer` reads, in the order in which they are concatenated. For the exit of a stage of `n` layers,
    /// `layer = n + 1`.
    pub fn sources(&self, layer: usize) -> Vec<usize> {
        match self {
            Gather::All | Gather::Learned => (0..layer).collect(),
            Gather::Base(base) => {
                let offsets = std::iter::successors(Some(1usize), |offset| offset.checked_mul(*base));
                offsets.take_while(|&offset| offset <= layer).map(|offset| layer - offset).collect()
            }
            Gather::Previous => layer.checked_sub(1).into_iter().collect(),
            Gather::Edges(edges) => edges.0.get(&layer).cloned().unwrap_or_default(),
            Gather::Rule(rule) => (rule.sources)(layer),
        }
    }

    /// # Errors
    /// If the base is below 2.
    pub(super) fn check(&self) -> Result<(), Error> {
        match self {
            Gather::Base(base) if *base < 2 => {
                let rule = "offsets grow only from base 2 on; `previous` is the plain chain, `all` takes every offset";
                Err(Error::Setting { setting: "the base", value: base.to_string(), rule })
            }
            _ => Ok(()),
        }
    }
}

/// `all`, `base:2`, `previous`, `learned`, the name of one of [`RULES`]. A list of edges has no short form; it prints as `edges`.
impl fmt::Display for Gather {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Gather::All => f.write_str("all"),
            Gather::Base(base) => write!(f, "base:{base}"),
            Gather::Previous => f.write_str("previous"),
            Gather::Edges(_) => f.write_str("edges"),
            Gather::Rule(rule) => f.write_str(rule.name),
            Gather::Learned => f.write_str("learned"),
        }
    }
}

impl FromStr for Gather {
    type Err = Error;

    fn from_str(text: &str) -> Result<Gather, Error> {
        let rule = RULES.iter().find(|rule| rule.name == text).copied().map(Gather::Rule);
        let base = text.strip_prefix("base:").and_then(|base| base.parse().ok()).map(Gather::Base);
        let gather = match text {
            "all" => Some(Gather::All),
            "previous" => Some(Gather::Previous),
            "learned" => Some(Gather::Learned),
            _ => rule.or(base),
        };
        let gather = gather.ok_or_else(|| {
            let rules = RULES.iter().map(|rule| rule.name).collect::<Vec<_>>().join(", ");
            Error::Wiring(format!(
                "`{text}` is not a way to gather; there are all, previous, base:2 (or 3, 4, ...), learned, {rules}"
            ))
        })?;
        gather.check()?;
        Ok(gather)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lists of the SparseNet specification.
    #[test]
    fn exponential_offsets_come_nearest_first() {
        let base = |base, layer| Gather::Base(base).sources(layer);
        for (layer, sources) in [
            (1, &[0][..]),
            (2, &[1, 0]),
            (3, &[2, 1]),
            (4, &[3, 2, 0]),
            (5, &[4, 3, 1]),
            (6, &[5, 4, 2]),
            (7, &[6, 5, 3]),
            (8, &[7, 6, 4, 0]),
            (9, &[8, 7, 5, 1]),
            (10, &[9, 8, 6, 2]),
            (11, &[10, 9, 7, 3]),
            (12, &[11, 10, 8, 4]),
            (13, &[12, 11, 9, 5]),
            (16, &[15, 14, 12, 8, 0]),
        ] {
            assert_eq!(base(2, layer), sources, "base 2, layer {layer}");
        }
        for (layer, sources) in
            [(1, &[0][..]), (2, &[1]), (3, &[2, 0]), (4, &[3, 1]), (9, &[8, 6, 0]), (12, &[11, 9, 3])]
        {
            assert_eq!(base(3, layer), sources, "base 3, layer {layer}");
        }
        assert_eq!(base(2, usize::MAX).len(), 64, "the offsets end before they overflow");
    }

    #[test]
    fn the_others_are_what_they_are_called() {
        assert_eq!(Gather::All.sources(3), [0, 1, 2]);
        assert_eq!(Gather::Previous.sources(3), [2]);
        let edges = Edges::new(&[(2, 3), (0, 3), (0, 1)]).expect("sound");
        assert_eq!(edges.last(), 3);
        let edges = Gather::Edges(edges);
        assert_eq!(edges.sources(3), [2, 0], "in the order of the list");
        assert!(edges.sources(2).is_empty());
    }

    #[test]
    fn names_go_to_and_fro() {
        for name in ["all", "previous", "learned", "base:2", "base:13", "fibonacci"] {
            assert_eq!(name.parse::<Gather>().expect("sound").to_string(), name);
        }
        for bad in ["", "base", "base:", "base:x", "base:-2", "ALL", "base:99999999999999999999"] {
            let message = bad.parse::<Gather>().expect_err("not a rule").to_string();
            assert!(message.contains("previous, base:2 (or 3, 4, ...), learned, fibonacci"), "{message}");
        }
        for bad in ["base:0", "base:1"] {
            assert!(bad.parse::<Gather>().expect_err("too small").to_string().contains("from base 2 on"));
        }
    }

    #[test]
    fn edges_go_forward_once() {
        assert!(Edges::new(&[(1, 1)]).expect_err("a loop").to_string().contains("from 1 to 1 does not go forward"));
        assert!(Edges::new(&[(0, 1), (2, 1)]).expect_err("a cycle").to_string().contains("cycle"));
        assert!(Edges::new(&[(0, 1), (0, 1)]).expect_err("a repeat").to_string().contains("listed twice"));
    }
}
