//! Working memory of the thread that runs a task, kept from one task to the next.

use std::cell::RefCell;

/// Floats in a cache line: slices start at a multiple of it.
const LINE: usize = 16;

thread_local! {
    static BUFFERS: RefCell<Vec<Vec<f32>>> = const { RefCell::new(Vec::new()) };
}

/// Calls `f` with one slice per length, contents unspecified, each starting on a cache line.
pub fn with<const N: usize, T>(lengths: [usize; N], f: impl FnOnce([&mut [f32]; N]) -> T) -> T {
    let padded = |len: usize| len.div_ceil(LINE) * LINE;
    let total: usize = lengths.iter().map(|&len| padded(len)).sum();
    // Taken, not borrowed: `f` may be interrupted by another task of this thread that wants scratch too.
    let mut buffer = BUFFERS.with_borrow_mut(Vec::pop).unwrap_or_default();
    if buffer.len() < total + LINE {
        buffer = vec![0.0; total + LINE];
    }
    let offset = buffer.as_ptr().align_offset(LINE * size_of::<f32>()).min(LINE);
    let mut rest = &mut buffer[offset..];
    let slices = lengths.map(|len| {
        let (slice, tail) = std::mem::take(&mut rest).split_at_mut(padded(len));
        rest = tail;
        &mut slice[..len]
    });
    let result = f(slices);
    BUFFERS.with_borrow_mut(|b| b.push(buffer));
    result
}
