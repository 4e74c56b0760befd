//! A panel of the weight's channels, copied out of it.

use crate::kernels::ahead::{LINE, ask};
use crate::kernels::scratch::Scratch;

/// Rows of a weight that are asked for ahead: of a panel, they lie too far apart for anyone else to fetch them.
const AHEAD: usize = 16;
/// Channels of a row that are mirrored at a time.
const MIRRORED: usize = 4 * LINE;

/// The nine taps of one panel of channels: `[tap][row][width]`, zeros beyond the last channel.
///
/// A copy, for a panel's rows in the weight may lie a power of two apart: they would fall into a few cache sets, and come from far away for each
/// row of positions.
pub struct Taps {
    memory: Scratch,
    len: usize,
}

impl Taps {
    /// Of output channels from `first` on; rows are input channels.
    pub fn copy(weight: &[f32], [c_in, c_out]: [usize; 2], first: usize, width: usize) -> Taps {
        let channels = (c_out - first).min(width);
        Taps::build(9 * c_in * width, |taps| {
            for (row, taps) in taps.chunks_exact_mut(width).enumerate() {
                let at = row * c_out + first;
                (0..channels).step_by(LINE).for_each(|line| ask(weight, at + AHEAD * c_out + line));
                let (taps, beyond) = taps.split_at_mut(channels);
                taps.copy_from_slice(&weight[at..at + channels]);
                beyond.fill(0.0);
            }
        })
    }

    /// Of input channels from `first` on, mirrored: the last tap comes first, and rows are output channels.
    pub fn mirror(weight: &[f32], [c_in, c_out]: [usize; 2], first: usize, width: usize) -> Taps {
        let channels = (c_in - first).min(width);
        // A few lines of each row at a time.
        let blocks = c_out.div_ceil(MIRRORED);
        let start_of = |block: usize, lane: usize| {
            let (tap, block) = (block / blocks, block % blocks);
            ((8 - tap.min(8)) * c_in + first + lane) * c_out + block * MIRRORED
        };
        Taps::build(9 * c_out * width, |taps| {
            if channels < width {
                taps.fill(0.0);
            }
            for (tap, taps) in taps.chunks_exact_mut(c_out * width).enumerate() {
                for (block, taps) in taps.chunks_mut(MIRRORED * width).enumerate() {
                    let block = tap * blocks + block;
                    for lane in 0..channels {
                        let next = start_of(block + 1, lane);
                        (0..MIRRORED).step_by(LINE).for_each(|line| ask(weight, next + line));
                        let row = &weight[start_of(block, lane)..];
                        taps.chunks_exact_mut(width).zip(row).for_each(|(t, &w)| t[lane] = w);
                    }
                }
            }
        })
    }

    fn build(len: usize, fill: impl FnOnce(&mut [f32])) -> Taps {
        let mut memory = Scratch::new([len]);
        let [taps] = memory.split([len]);
        fill(taps);
        Taps { memory, len }
    }

    /// Of each tap, its rows.
    pub fn each(&mut self) -> [&[f32]; 9] {
        let [taps] = self.memory.split([self.len]);
        let (taps, len) = (&*taps, self.len / 9);
        std::array::from_fn(|tap| &taps[tap * len..][..len])
    }
}
