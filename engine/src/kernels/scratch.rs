//! Working memory of the thread that runs a task, kept from one task to the next.

use std::cell::RefCell;

/// Floats in a cache line: slices start at a multiple of it.
const LINE: usize = 16;

thread_local! {
    static BUFFERS: RefCell<Vec<Vec<f32>>> = const { RefCell::new(Vec::new()) };
}

/// Working memory on loan. (Not a function that takes a closure: the compiler might not inline that closure into the caller,
/// and its loops would lose the caller's instruction set.)
pub struct Scratch(Vec<f32>);

impl Scratch {
    /// Room for slices of these lengths.
    pub fn new<const N: usize>(lengths: [usize; N]) -> Scratch {
        let total: usize = lengths.iter().map(|&len| padded(len)).sum::<usize>() + LINE;
        // Taken, not borrowed: the task may be interrupted by another of this thread that wants scratch too.
        let buffer = BUFFERS.with_borrow_mut(Vec::pop).unwrap_or_default();
        Scratch(if buffer.len() < total { vec![0.0; total] } else { buffer })
    }

    /// The slices, contents unspecified, each starting on a cache line.
    pub fn split<const N: usize>(&mut self, lengths: [usize; N]) -> [&mut [f32]; N] {
        let offset = self.0.as_ptr().align_offset(LINE * size_of::<f32>()).min(LINE);
        let mut rest = &mut self.0[offset..];
        lengths.map(|len| {
            let (slice, tail) = std::mem::take(&mut rest).split_at_mut(padded(len));
            rest = tail;
            &mut slice[..len]
        })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let buffer = std::mem::take(&mut self.0);
        BUFFERS.with_borrow_mut(|buffers| buffers.push(buffer));
    }
}

fn padded(len: usize) -> usize {
    len.div_ceil(LINE) * LINE
}
