//! Finding an op or a tensor by name.

use super::App;
use super::timeline::Place;
use crate::step::record::Pass;

/// Something found.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// What to show in a list.
    pub text: String,
    /// Where it is.
    pub place: Place,
    /// The tensor, if that was found.
    pub tensor: Option<usize>,
}

/// More than this are not listed.
const MOST: usize = 200;

impl App {
    /// Ops and tensors whose names hold every word of `words`, ops first; nothing for no words.
    pub fn find(&self, words: &str) -> Vec<Found> {
        let words: Vec<String> = words.split_whitespace().map(str::to_lowercase).collect();
        if words.is_empty() {
            return vec![];
        }
        let matches = |text: &str| {
            let text = text.to_lowercase();
            words.iter().all(|word| text.contains(word))
        };
        let it = &*self.recording;
        let ops = it.ops.iter().enumerate().filter_map(|(op, line)| {
            let text = format!("{} {}", line.path, line.doc.name);
            let place = self.place_of_op(op)?;
            matches(&text).then_some(Found { text, place, tensor: None })
        });
        let tensors = it.tensors.iter().enumerate().filter_map(|(id, slot)| {
            let place = self.place_of_tensor(id)?;
            let text = format!("{} {}", slot.name, slot.value.shape());
            matches(&slot.name).then_some(Found { text, place, tensor: Some(id) })
        });
        ops.chain(tensors).take(MOST).collect()
    }

    /// Where an op runs in the pass that is shown; in the forward pass, if the other does not come by.
    pub(super) fn place_of_op(&self, op: usize) -> Option<Place> {
        let forward = Some(Place { pass: Pass::Forward, step: op });
        match self.place().pass {
            Pass::Forward => forward,
            Pass::Backward => {
                self.recording.backward_step(op).map(|step| Place { pass: Pass::Backward, step }).or(forward)
            }
        }
    }

    /// Where a tensor is made, or first read; in the backward pass, where its gradient is handed on, or whole.
    pub(super) fn place_of_tensor(&self, id: usize) -> Option<Place> {
        let slot = &self.recording.tensors[id];
        if let Some(op) = slot.maker {
            return self.place_of_op(op);
        }
        let last = self.facts.parts[id].last();
        match (self.place().pass, last) {
            (Pass::Backward, Some(&(step, _))) => Some(Place { pass: Pass::Backward, step }),
            _ => slot.readers.first().map(|&(op, _)| Place { pass: Pass::Forward, step: op }),
        }
    }
}
