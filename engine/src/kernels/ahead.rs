//! Asking for memory before it is needed.
//!
//! Hardware follows a stream of reads while a kernel copies a block, and stops with it; while the block is multiplied, memory rests. A
//! multiplication that asks for the next block as it goes lets the two overlap. No value depends on it.

use prefetch_index::prefetch_index;
use std::ops::Range;

/// Floats of a cache line.
pub const LINE: usize = 16;

/// Asks for the line of `values[at]`; nothing happens if there is none.
#[inline(always)]
pub fn ask(values: &[f32], at: usize) {
    prefetch_index(values, at);
}

/// Maps, each with its channels, whose next pixels are asked for little by little.
#[derive(Clone)]
pub struct Ahead<'a> {
    /// What is copied first.
    first: [(&'a [f32], usize); 2],
    /// The inputs of a convolution, or none.
    maps: &'a [(&'a [f32], usize)],
    /// Of `first`, and of `maps`.
    pixels: [(usize, usize); 2],
    /// The map whose turn it is, and its lines that have been asked for.
    at: (usize, usize),
    /// Lines of a step.
    step: usize,
}

/// Neighbouring lines to ask for.
#[derive(Clone, Copy)]
pub struct Lines<'a> {
    /// What they are of.
    pub values: &'a [f32],
    /// Where the first of them begins.
    pub start: usize,
    /// How many.
    pub count: usize,
}

impl<'a> Ahead<'a> {
    /// Nothing.
    pub const NONE: Ahead<'static> =
        Ahead { first: [(&[], 1); 2], maps: &[], pixels: [(0, 0); 2], at: (0, 0), step: 0 };

    /// `pixels` of all of these.
    pub fn new(first: [(&'a [f32], usize); 2], maps: &'a [(&'a [f32], usize)], pixels: Range<usize>) -> Ahead<'a> {
        Ahead::of(first, pixels.clone(), maps, pixels)
    }

    /// Some pixels of `first`, and some of `maps`.
    pub fn of(
        first: [(&'a [f32], usize); 2],
        of_first: Range<usize>,
        maps: &'a [(&'a [f32], usize)],
        of_maps: Range<usize>,
    ) -> Ahead<'a> {
        let pixels = [of_first, of_maps].map(|range| (range.start, range.len()));
        Ahead { first, maps, pixels, at: (0, 0), step: 0 }
    }

    #[inline(always)]
    fn map(&self, i: usize) -> Option<(&'a [f32], usize)> {
        self.first.get(i).or_else(|| self.maps.get(i - self.first.len())).copied()
    }

    /// The pixels of map `i`: the first, and how many.
    #[inline(always)]
    fn pixels_of(&self, i: usize) -> (usize, usize) {
        self.pixels[usize::from(i >= self.first.len())]
    }

    /// Lines of map `i`, with so many channels.
    #[inline(always)]
    fn lines_of(&self, i: usize, (map, channels): (&[f32], usize)) -> usize {
        if map.is_empty() { 0 } else { (self.pixels_of(i).1 * channels).div_ceil(LINE) }
    }

    /// Lines that have not been asked for.
    #[inline(always)]
    pub fn left(&self) -> usize {
        let maps = self.first.iter().chain(self.maps).enumerate().skip(self.at.0);
        maps.map(|(i, &map)| self.lines_of(i, map)).sum::<usize>() - self.at.1
    }

    /// From now on, `lines` of them in about `steps` steps.
    #[inline(always)]
    pub fn spread(&mut self, lines: usize, steps: usize) {
        self.step = lines.div_ceil(steps.max(1));
    }

    /// Those of the next step, to be asked for.
    #[inline(always)]
    pub fn step(&mut self) -> Lines<'a> {
        while let Some(map) = self.map(self.at.0) {
            let (done, all) = (self.at.1, self.lines_of(self.at.0, map));
            if done < all {
                let count = self.step.min(all - done);
                self.at.1 = done + count;
                let start = self.pixels_of(self.at.0).0 * map.1 + done * LINE;
                return Lines { values: map.0, start, count };
            }
            self.at = (self.at.0 + 1, 0);
        }
        Lines { values: &[], start: 0, count: 0 }
    }
}

impl<'a> Lines<'a> {
    /// Asks for all of them.
    #[inline(always)]
    pub fn ask(self) {
        for line in 0..self.count {
            ask(self.values, self.start + line * LINE);
        }
    }

    /// Where to begin, and how far to go on in each of `steps` steps so as to meet all of them. If there are none, the same line of
    /// `instead`, which is near anyway: to look for an address that does not exist takes long.
    #[inline(always)]
    pub fn walk(self, steps: usize, instead: &'a [f32]) -> (&'a [f32], usize, usize) {
        match self.count {
            0 => (instead, 0, 0),
            count => (self.values, self.start, (count * LINE).div_ceil(steps.max(1))),
        }
    }
}
