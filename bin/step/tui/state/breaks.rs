//! Where a run to the next break stops.

use super::App;
use super::timeline::Place;
use crate::nearest;
use crate::step::record::{Pass, Recording};
use std::fmt;

/// A breakpoint.
#[derive(Clone, Debug, PartialEq)]
pub enum Break {
    /// Where a layer, a block or a kind of op begins, going either way.
    At(String),
    /// The first step with a value that is not finite.
    NonFinite,
    /// A step of the backward pass that brings or adds a gradient of a norm above this.
    Norm(f64),
}

impl fmt::Display for Break {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Break::At(layer) => write!(f, "at {layer}"),
            Break::NonFinite => write!(f, "nan"),
            Break::Norm(limit) => write!(f, "norm {limit}"),
        }
    }
}

impl Break {
    /// Reads `at LAYER`, `nan` or `norm X`. The error says what is wrong.
    pub fn parse(text: &str, recording: &Recording) -> Result<Break, String> {
        let (word, rest) = text.trim().split_once(char::is_whitespace).unwrap_or((text.trim(), ""));
        let rest = rest.trim();
        match (word, rest) {
            ("nan", "") => Ok(Break::NonFinite),
            ("norm", limit) => match limit.parse::<f64>() {
                Ok(limit) if limit >= 0.0 => Ok(Break::Norm(limit)),
                _ => Err(format!("norm {limit}: expected a number that is not negative, as in norm 1.5")),
            },
            ("at", layer) if !layer.is_empty() => {
                let it = Break::At(layer.into());
                if (0..recording.ops.len()).any(|op| is_at(recording, op, layer)) {
                    return Ok(it);
                }
                let ops = &recording.ops;
                let names = ops.iter().flat_map(|op| [op.path.as_str(), op.block.as_str(), op.doc.name]);
                Err(format!("there is no layer or op '{layer}'{}", nearest::hint(layer, names)))
            }
            _ => Err("expected: at LAYER, nan, norm X, or clear".into()),
        }
    }

    /// Whether this stops at `place`, coming from `from`.
    fn stops(&self, app: &App, place: Place, from: Place) -> bool {
        let it = &*app.recording;
        match self {
            Break::At(layer) => {
                let inside = |place: Place| is_at(it, place.op(it), layer);
                // Where it is entered, not at each of its ops.
                inside(place) && (place.pass != from.pass || !inside(from))
            }
            Break::NonFinite => app.facts.first_non_finite == Some(place),
            Break::Norm(limit) => {
                place.pass == Pass::Backward && {
                    let step = &it.backward[place.step];
                    let incoming = app.facts.grads[it.ops[step.op].output].as_ref().map(|stats| stats.norm);
                    let added = step.contributions.iter().map(|part| part.norm);
                    // A norm that is no number is above any.
                    incoming.into_iter().chain(added).any(|norm| norm > *limit || norm.is_nan())
                }
            }
        }
    }
}

/// Whether an op is at a layer: its path, a part of it from the left, or its kind.
fn is_at(recording: &Recording, op: usize, layer: &str) -> bool {
    let it = &recording.ops[op];
    it.doc.name == layer || it.path.strip_prefix(layer).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

impl App {
    /// The next time with a break after (or before) now, and the break.
    pub(super) fn next_break(&self, forward: bool) -> Option<(usize, &Break)> {
        let times: Box<dyn Iterator<Item = usize>> =
            if forward { Box::new(self.time + 1..self.timeline.len()) } else { Box::new((0..self.time).rev()) };
        times.into_iter().find_map(|time| {
            let before = if forward { time - 1 } else { time + 1 };
            let (place, from) = (self.timeline.place(time), self.timeline.place(before));
            Some((time, self.breaks.iter().find(|b| b.stops(self, place, from))?))
        })
    }

    /// Whether a break could stop at a time, for marks beside the steps.
    pub fn has_break(&self, place: Place) -> bool {
        let time = self.timeline.time(place);
        let before = self.timeline.place(time.saturating_sub(1));
        time > 0 && self.breaks.iter().any(|b| b.stops(self, place, before))
    }
}
