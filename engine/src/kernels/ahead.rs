//! Asking for memory before it is needed.
//!
//! Hardware follows a stream of reads while a kernel copies a block, and stops with it; while the block is multiplied, memory rests. A
//! multiplication that asks for the next block as it goes lets the two overlap. No value depends on it.

use prefetch_index::prefetch_index;
use std::ops::Range;

/// Floats of a cache line.
const LINE: usize = 16;

/// Asks for the line of `values[at]`; nothing happens if there is none.
#[inline(always)]
pub fn ask(values: &[f32], at: usize) {
    prefetch_index(values, at);
}

/// Maps, each with its channels, whose next pixels are asked for little by little.
#[derive(Clone)]
pub struct Ahead<'a> {
    /// The inputs of a convolution, or none.
    pub maps: &'a [(&'a [f32], usize)],
    /// Whatever else.
    pub others: [(&'a [f32], usize); 2],
    /// What has not been asked for.
    pub pixels: Range<usize>,
    /// Pixels of a step.
    pub step: usize,
}

impl Ahead<'_> {
    /// Nothing.
    pub const NONE: Ahead<'static> = Ahead { maps: &[], others: [(&[], 1); 2], pixels: 0..0, step: 0 };

    /// From now on, `pixels` of them in about `steps` steps.
    #[inline(always)]
    pub fn spread(&mut self, pixels: usize, steps: usize) {
        self.step = pixels.div_ceil(steps.max(1));
    }

    /// The next few pixels.
    #[inline(always)]
    pub fn step(&mut self) {
        let start = self.pixels.start;
        let end = (start + self.step).min(self.pixels.end);
        if start >= end {
            return;
        }
        for &(map, channels) in self.maps.iter().chain(&self.others) {
            for at in (start * channels..end * channels).step_by(LINE) {
                ask(map, at);
            }
        }
        self.pixels.start = end;
    }
}
