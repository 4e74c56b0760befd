//! An example of a rule of one's own: offsets 1, 2, 3, 5, 8, ...
//!
//! A rule is a name and a pure function from a layer's index to the indices it reads. This file and its entry in
//! [`RULES`](super::RULES) are all it takes for `pleach topology --gather fibonacci` and
//! `pleach train --model wired-fibonacci-concat40-12`.
//!
//! ```
//! use nn::Model;
//! use nn::aggregation::{Gather, Wiring, fibonacci};
//!
//! let gather = Gather::Rule(fibonacci::RULE);
//! assert_eq!(gather.sources(9), [8, 7, 6, 4, 1]);
//! assert_eq!(Wiring::new(&gather, 12)?.links(), 52);
//! assert_eq!(Model::outline("wired-fibonacci-concat40-12", 10)?.layers(), 40);
//! # Ok::<(), nn::Error>(())
//! ```

use super::Rule;

/// Denser than base 2, sparser than all: a new link whenever the index passes a Fibonacci number.
pub const RULE: Rule = Rule { name: "fibonacci", sources };

fn sources(layer: usize) -> Vec<usize> {
    let mut sources = vec![];
    let (mut offset, mut next) = (1, 2);
    while offset <= layer {
        sources.push(layer - offset);
        (offset, next) = (next, offset + next);
    }
    sources
}
