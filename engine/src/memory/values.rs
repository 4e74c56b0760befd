//! Floats from the operating system, in huge pages where there are many.
//!
//! Kernels stream through maps of tens of megabytes. Of pages of 4 KiB the processor knows a few thousand by heart, and its prefetchers stop
//! at the end of each: in pages of 2 MiB two cores read memory a third faster (measured: 25 and 33 GB/s). Linux gives them to whoever
//! asks, in its usual setting (`madvise`), and wherever it does not, nothing but speed is lost.

use super::{ALIGNMENT, SLACK};
use memmap2::MmapMut;

/// Bytes of a huge page.
const HUGE: usize = 2 << 20;

/// Maps that all began at the start of a page would meet in the same sets of L2, pixel for pixel: they begin at so many places in turn,
/// so many bytes apart, which spreads them over a way of it (128 KiB).
const PLACES: usize = 16;
const APART: usize = 8 * 1024 + ALIGNMENT;

/// Aligned floats.
pub struct Values {
    memory: Memory,
    /// Where they begin in `memory`.
    offset: usize,
    /// How many.
    len: usize,
}

enum Memory {
    Heap(Vec<f32>),
    /// Of its own, longer by addresses (not memory) enough for huge pages to begin somewhere in it.
    Pages(MmapMut),
}

impl Values {
    /// Floats of a huge page.
    pub const PAGE: usize = HUGE / size_of::<f32>();

    /// `len` zeros. Of those who ask for several, the `nth` (which changes nothing but where they lie).
    pub fn zeros(len: usize, nth: usize) -> Values {
        Values::in_pages(len, nth).unwrap_or_else(|| {
            let values = vec![0.0; len + SLACK];
            // `align_offset` may decline to answer; an unaligned start is only slower.
            let offset = values.as_ptr().align_offset(ALIGNMENT).min(SLACK);
            Values { memory: Memory::Heap(values), offset, len }
        })
    }

    /// In huge pages, if they fill at least one.
    fn in_pages(len: usize, nth: usize) -> Option<Values> {
        let bytes = len.checked_mul(size_of::<f32>())?;
        if bytes < HUGE {
            return None;
        }
        // Refused, the heap is asked, which knows what to say.
        let map = MmapMut::map_anon(bytes.checked_add(HUGE + PLACES * APART)?).ok()?;
        let start = map.as_ptr().align_offset(HUGE);
        if start > HUGE {
            return None;
        }
        // The last one would not be filled and hold memory for nothing: the last floats lie in small pages. A kernel without huge pages
        // refuses, and small ones it is.
        #[cfg(target_os = "linux")]
        let _ = map.advise_range(memmap2::Advice::HugePage, start, bytes / HUGE * HUGE);
        Some(Values { memory: Memory::Pages(map), offset: (start + nth % PLACES * APART) / size_of::<f32>(), len })
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Bytes that holding them takes, but for what lies between them and the ends of their pages (128 KiB at most).
    pub fn bytes(&self) -> usize {
        match &self.memory {
            Memory::Heap(values) => size_of_val(&values[..]),
            Memory::Pages(_) => self.len * size_of::<f32>(),
        }
    }

    pub fn as_slice(&self) -> &[f32] {
        let all = match &self.memory {
            Memory::Heap(values) => values,
            Memory::Pages(map) => pulp::bytemuck::cast_slice(map),
        };
        &all[self.offset..self.offset + self.len]
    }

    pub fn as_mut_slice(&mut self) -> &mut [f32] {
        let all = match &mut self.memory {
            Memory::Heap(values) => values,
            Memory::Pages(map) => pulp::bytemuck::cast_slice_mut(map),
        };
        &mut all[self.offset..self.offset + self.len]
    }
}

impl Default for Values {
    fn default() -> Values {
        Values { memory: Memory::Heap(vec![]), offset: 0, len: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_values_are_there_and_begin_at_a_cache_line() {
        let floats = Values::PAGE;
        for (nth, len) in [0, floats - 1, floats, 3 * floats + 7].into_iter().enumerate() {
            let mut values = Values::zeros(len, 5 * nth);
            assert_eq!(values.as_slice().as_ptr().align_offset(ALIGNMENT), 0, "{len}");
            assert!(values.as_slice().len() == len && values.as_slice().iter().all(|&v| v == 0.0), "{len}");
            values.as_mut_slice().fill(1.0);
            assert!(values.as_slice().iter().all(|&v| v == 1.0), "{len}");
        }
    }
}
