//! Where each op stands in a drawing: a rank, which grows along the forward pass, and a lane.

use super::Recording;
use std::collections::HashSet;

/// Lane (0 is the main path) and rank of an op.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Sideways.
    pub lane: i32,
    /// Downwards.
    pub rank: usize,
}

/// Places of all ops.
///
/// An op stands one rank below the lowest of the ops it reads, in the lane of the input with the most work behind it (the longest
/// way back), or the nearest lane that is free at its rank.
pub fn layout(recording: &Recording) -> Vec<Place> {
    let mut places: Vec<Place> = vec![];
    let mut taken: HashSet<(i32, usize)> = HashSet::new();
    for op in &recording.ops {
        let before = op.inputs.iter().filter_map(|&i| recording.tensors[i].maker).map(|maker| places[maker]);
        let deepest = before.max_by_key(|place| (place.rank, -place.lane.abs()));
        let (lane, rank) = deepest.map_or((0, 0), |place| (place.lane, place.rank + 1));
        let nearest = (0..).flat_map(|d| [lane + d, lane - d]).find(|lane| !taken.contains(&(*lane, rank)));
        let place = Place { lane: nearest.unwrap_or(lane), rank };
        taken.insert((place.lane, rank));
        places.push(place);
    }
    // The loss ends the main path.
    let shift = places.last().map_or(0, |place| place.lane);
    places.into_iter().map(|place| Place { lane: place.lane - shift, ..place }).collect()
}
