//! Working memory of the thread that runs a task, kept from one task to the next. It lies in huge pages, as maps do: kernels walk over
//! many rows of it at once, often each in a small page of its own.

use crate::memory::Values;
use std::cell::RefCell;

/// Floats in a cache line: slices start at a multiple of it.
const LINE: usize = 16;

thread_local! {
    static BUFFERS: RefCell<Vec<Values>> = const { RefCell::new(Vec::new()) };
}

/// Working memory on loan. (Not a function that takes a closure: the compiler might not inline that closure into the caller,
/// and its loops would lose the caller's instruction set.)
pub struct Scratch(Values);

impl Scratch {
    /// Room for slices of these lengths.
    pub fn new<const N: usize>(lengths: [usize; N]) -> Scratch {
        let total: usize = lengths.iter().map(|&len| padded(len)).sum::<usize>();
        // Taken, not borrowed: the task may be interrupted by another of this thread that wants scratch too.
        let buffer = BUFFERS.with_borrow_mut(Vec::pop).unwrap_or_default();
        Scratch(if buffer.len() < total { Values::zeros(total.max(Values::PAGE), 0) } else { buffer })
    }

    /// The slices, contents unspecified, each starting on a cache line.
    pub fn split<const N: usize>(&mut self, lengths: [usize; N]) -> [&mut [f32]; N] {
        let mut rest = self.0.as_mut_slice();
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
