//! The pool that tensor values live in, and its exact account of bytes.
//!
//! A training step builds and drops the same buffers over and over. Handing them back to the operating system
//! costs page faults (up to half of a step, measured on PyTorch with an untuned malloc), so a dropped buffer goes
//! to a free list and the next tensor of its size takes it up: after the first step nothing is allocated.
//!
//! Each thread that builds tensors has a pool of its own. Buffers know their pool and return to it from any
//! thread, so what a piece of work holds is counted exactly, whatever else the process does.

mod values;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
pub(crate) use values::Values;

/// Values start at a multiple of this many bytes, so that a vector load never straddles two cache lines.
const ALIGNMENT: usize = 64;
const SLACK: usize = ALIGNMENT / size_of::<f32>();

/// Bytes held by the tensors of one pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Bytes of the buffers that tensors hold now.
    pub live: usize,
    /// The largest `live` since the pool began or [`reset_peak`] was called.
    pub peak: usize,
    /// Bytes that wait on the free lists.
    pub free: usize,
    /// Buffers taken from the operating system since the pool began.
    pub allocations: usize,
}

#[derive(Default)]
struct State {
    /// Free buffers by length.
    free: BTreeMap<usize, Vec<Values>>,
    stats: Stats,
}

#[derive(Default)]
struct Pool(Mutex<State>);

impl Pool {
    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is counters and lists that stay consistent at every step; a panic elsewhere spoils nothing.
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }
}

thread_local! {
    static POOL: Arc<Pool> = Arc::default();
}

/// Account of this thread's pool.
pub fn stats() -> Stats {
    POOL.with(|p| p.lock().stats)
}

/// Starts measuring a new peak from what is live now. Returns the account before.
pub fn reset_peak() -> Stats {
    POOL.with(|p| {
        let mut state = p.lock();
        let before = state.stats;
        state.stats.peak = before.live;
        before
    })
}

/// Gives the buffers on this thread's free lists back to the operating system.
pub fn trim() {
    POOL.with(|p| {
        let mut state = p.lock();
        state.free.clear();
        state.stats.free = 0;
    });
}

/// `len` floats of a pool. Dropping it hands them back.
pub(crate) struct Buffer {
    values: Values,
    len: usize,
    pool: Arc<Pool>,
}

impl Buffer {
    /// A buffer with unspecified contents: whatever its last user left, or NaN in builds with debug assertions, where
    /// an element that nobody wrote must show.
    pub fn uninit(len: usize) -> Buffer {
        let mut buffer = Buffer::take(len).unwrap_or_else(|pool| Buffer::allocate(len, pool));
        if cfg!(debug_assertions) {
            buffer.as_mut_slice().fill(f32::NAN);
        }
        buffer
    }

    /// A buffer of zeros.
    pub fn zeros(len: usize) -> Buffer {
        match Buffer::take(len) {
            Ok(mut buffer) => {
                buffer.as_mut_slice().fill(0.0);
                buffer
            }
            Err(pool) => Buffer::allocate(len, pool),
        }
    }

    /// From the free list: the shortest that holds `len` and wastes at most an eighth.
    fn take(len: usize) -> Result<Buffer, Arc<Pool>> {
        POOL.with(|pool| {
            let mut state = pool.lock();
            let Some((&found, list)) = state.free.range_mut(len..=len + len / 8).next() else {
                return Err(pool.clone());
            };
            let Some(values) = list.pop() else { return Err(pool.clone()) };
            if list.is_empty() {
                state.free.remove(&found);
            }
            let bytes = values.bytes();
            state.stats.free -= bytes;
            state.stats.live += bytes;
            state.stats.peak = state.stats.peak.max(state.stats.live);
            drop(state);
            Ok(Buffer { values, len, pool: pool.clone() })
        })
    }

    fn allocate(len: usize, pool: Arc<Pool>) -> Buffer {
        let nth = pool.lock().stats.allocations;
        let values = Values::zeros(len, nth);
        let bytes = values.bytes();
        let mut state = pool.lock();
        state.stats.allocations += 1;
        state.stats.live += bytes;
        state.stats.peak = state.stats.peak.max(state.stats.live);
        drop(state);
        Buffer { values, len, pool }
    }

    pub fn as_slice(&self) -> &[f32] {
        &self.values.as_slice()[..self.len]
    }

    pub fn as_mut_slice(&mut self) -> &mut [f32] {
        &mut self.values.as_mut_slice()[..self.len]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let values = std::mem::take(&mut self.values);
        let bytes = values.bytes();
        let mut state = self.pool.lock();
        state.stats.live -= bytes;
        state.stats.free += bytes;
        state.free.entry(values.len()).or_default().push(values);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_reused_aligned_and_counted() {
        let before = stats();
        let first = Buffer::zeros(1000);
        assert_eq!(first.as_slice().as_ptr().align_offset(ALIGNMENT), 0);
        let bytes = (1000 + SLACK) * 4;
        assert_eq!(stats().live - before.live, bytes);
        drop(first);
        assert_eq!((stats().live, stats().free - before.free), (before.live, bytes));
        let again = Buffer::uninit(990);
        assert_eq!(stats().allocations - before.allocations, 1);
        assert_eq!(again.as_slice().len(), 990);
        assert_eq!(stats().peak - before.peak, bytes);
    }

    #[test]
    fn a_buffer_dropped_on_another_thread_returns_to_its_own_pool() {
        let before = stats();
        let buffer = Buffer::zeros(64);
        std::thread::spawn(move || drop(buffer)).join().expect("the thread ends");
        assert_eq!(stats().live, before.live);
        assert!(stats().free > before.free);
    }

    #[test]
    fn empty_buffers_work() {
        assert!(Buffer::zeros(0).as_slice().is_empty());
    }
}
