//! grad_weight of a block of pixels: outer products of two operands' rows, summed over the rows.

use super::tile::Rows;
use crate::kernels::ahead::{Ahead, Lines, ask};
use crate::kernels::conv2d::columns::Columns;
use crate::kernels::conv2d::tile::{MR, add_outer, load, tile_rows};
use crate::kernels::simd::apart;
use pulp::{Simd, WithSimd};
use std::ops::Range;

/// Rows that are packed together.
const PACKED: usize = 16;

/// Floats of the sums of `narrow` values against `columns`.
pub fn sums_len(narrow: usize, columns: Columns) -> usize {
    narrow * columns.padded()
}

/// Where the sums of a vector lie: those of the first value, and the distance of each value's to the next.
pub fn sums_at(narrow: usize, columns: Columns, vector: usize) -> (usize, usize) {
    let panel = vector / 2 * 2;
    let width = (columns.vectors() - panel).min(2);
    ((panel * narrow + vector - panel) * columns.lanes(), width * columns.lanes())
}

/// `sums += narrow^T * wide`, or `=` for the `first` block; rows of both taken in pairs. `wide` is read in vectors, `narrow` value by
/// value. Sums lie as `[panel][narrow][up to two vectors of wide]`, so that those of a tile are neighbours ([`sums_at`]).
///
/// `narrow` is packed first, into `panels` of as many floats: a tile's values row after row. Read where they lie, each row's few
/// values would cost a cache line, and a block more lines than L1 has. Asks for `asked` lines of `ahead` meanwhile.
#[inline(always)]
pub fn outer<S: Simd>(
    simd: S,
    narrow: Rows,
    wide: Rows,
    panels: &mut [f32],
    (sums, first): (&mut [f32], bool),
    (asked, ahead): (usize, &mut Ahead),
) {
    let most = tile_rows::<S>();
    match most {
        8 if narrow.len.is_multiple_of(8) => pack_rows::<8>(narrow, panels),
        MR if narrow.len.is_multiple_of(MR) => pack_rows::<MR>(narrow, panels),
        _ => pack_tiles(narrow, most, panels),
    }
    let columns = Columns::new(wide.len, S::F32_LANES);
    let vectors = columns.vectors();
    ahead.spread(asked, vectors.div_ceil(2) * narrow.len.div_ceil(most));
    for (vector, sums) in (0..vectors).step_by(2).zip(sums.chunks_mut(narrow.len * 2 * S::F32_LANES)) {
        let width = (vectors - vector).min(2);
        let starts = [columns.start(vector), columns.start(vector + width - 1)];
        for (at, len) in tiles(narrow.len, most) {
            let asked = ahead.step();
            let panel = &panels[at * narrow.count..][..len * narrow.count];
            let sums = &mut sums[at * width * S::F32_LANES..][..len * width * S::F32_LANES];
            let tile = Tile { panel, wide, starts, sums, first, asked };
            match (width, len) {
                (2, 8) => apart(simd, Of::<8, 2>(tile)),
                (2, 7) => apart(simd, Of::<7, 2>(tile)),
                (2, 6) => apart(simd, Of::<6, 2>(tile)),
                (2, 5) => apart(simd, Of::<5, 2>(tile)),
                (2, 4) => apart(simd, Of::<4, 2>(tile)),
                (2, 3) => apart(simd, Of::<3, 2>(tile)),
                (2, 2) => apart(simd, Of::<2, 2>(tile)),
                (2, _) => apart(simd, Of::<1, 2>(tile)),
                (_, 8) => apart(simd, Of::<8, 1>(tile)),
                (_, 7) => apart(simd, Of::<7, 1>(tile)),
                (_, 6) => apart(simd, Of::<6, 1>(tile)),
                (_, 5) => apart(simd, Of::<5, 1>(tile)),
                (_, 4) => apart(simd, Of::<4, 1>(tile)),
                (_, 3) => apart(simd, Of::<3, 1>(tile)),
                (_, 2) => apart(simd, Of::<2, 1>(tile)),
                _ => apart(simd, Of::<1, 1>(tile)),
            }
        }
    }
}

/// Where each tile begins and how many values it has, at most `most`: nearly as many as the others, for a small one would wait for its own sums.
#[inline(always)]
fn tiles(values: usize, most: usize) -> impl Iterator<Item = (usize, usize)> {
    let tiles = values.div_ceil(most).max(1);
    let (each, more) = (values / tiles, values % tiles);
    (0..tiles).map(
        #[inline(always)]
        move |tile| (tile * each + tile.min(more), each + usize::from(tile < more)),
    )
}

/// Packs tiles of `M` values each, row by row: each row is read once, from one end to the other.
#[inline(always)]
fn pack_rows<const M: usize>(narrow: Rows, panels: &mut [f32]) {
    for (i, row) in narrow.values.chunks(narrow.stride).take(narrow.count).enumerate() {
        let values = row[..narrow.len].as_chunks::<M>().0;
        for (values, panel) in values.iter().zip(panels.chunks_exact_mut(M * narrow.count)) {
            panel.as_chunks_mut::<M>().0[i] = *values;
        }
    }
}

/// Packs [`tiles`] of any size.
#[inline(always)]
fn pack_tiles(narrow: Rows, most: usize, panels: &mut [f32]) {
    // A few rows at a time, which L1 holds while all tiles take their values.
    for rows in (0..narrow.count).step_by(PACKED) {
        let range = rows..(rows + PACKED).min(narrow.count);
        for (at, len) in tiles(narrow.len, most) {
            let panel = &mut panels[at * narrow.count..][..len * narrow.count];
            match len {
                8 => pack::<8>(narrow, &range, at, panel),
                7 => pack::<7>(narrow, &range, at, panel),
                6 => pack::<6>(narrow, &range, at, panel),
                5 => pack::<5>(narrow, &range, at, panel),
                4 => pack::<4>(narrow, &range, at, panel),
                3 => pack::<3>(narrow, &range, at, panel),
                2 => pack::<2>(narrow, &range, at, panel),
                _ => pack::<1>(narrow, &range, at, panel),
            }
        }
    }
}

#[inline(always)]
fn pack<const M: usize>(narrow: Rows, range: &Range<usize>, at: usize, panel: &mut [f32]) {
    let rows = narrow.values[range.start * narrow.stride..].chunks(narrow.stride);
    for (out, row) in panel.as_chunks_mut::<M>().0[range.clone()].iter_mut().zip(rows) {
        if let Some(values) = row[at..].first_chunk::<M>() {
            *out = *values;
        }
    }
}

/// Packed values against one or two vectors.
struct Tile<'a> {
    panel: &'a [f32],
    wide: Rows<'a>,
    /// First channel of each vector.
    starts: [usize; 2],
    sums: &'a mut [f32],
    /// Whether nothing has been summed yet.
    first: bool,
    /// To ask for, row by row: many at once would wait for each other.
    asked: Lines<'a>,
}

/// [`Tile`] of `M` values and `NV` vectors; a function of its own to keep its sums in registers.
struct Of<'a, const M: usize, const NV: usize>(Tile<'a>);

impl<const M: usize, const NV: usize> WithSimd for Of<'_, M, NV> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Tile { panel, wide, starts: [start, second], sums, first, asked } = self.0;
        let (asked, mut at, stride) = asked.walk(wide.count, panel);
        let x = panel.as_chunks::<M>().0;
        let y = wide.values[..wide.count * wide.stride].chunks_exact(wide.stride);
        let mut acc = [[simd.splat_f32s(0.0); NV]; M];
        if wide.len < S::F32_LANES {
            for (x, y) in x.iter().zip(y) {
                add_outer(simd, &mut acc, x, [simd.partial_load_f32s(&y[..wide.len]); NV]);
            }
        } else if second == start + (NV - 1) * S::F32_LANES {
            for (x, y) in x.iter().zip(y) {
                ask(asked, at);
                at += stride;
                let y = S::as_simd_f32s(&y[start..][..NV * S::F32_LANES]).0;
                add_outer(simd, &mut acc, x, std::array::from_fn(|j| y[j]));
            }
        } else {
            // The second overlaps the first.
            for (x, y) in x.iter().zip(y) {
                let first = load(simd, &y[start..]);
                let second = load(simd, &y[second..]);
                add_outer(simd, &mut acc, x, std::array::from_fn(|j| if j == 0 { first } else { second }));
            }
        }
        let sums = S::as_mut_simd_f32s(sums).0.as_chunks_mut::<NV>().0;
        if first {
            for (sums, acc) in sums.iter_mut().zip(acc) {
                *sums = acc;
            }
            return;
        }
        for (sums, acc) in sums.iter_mut().zip(acc) {
            for j in 0..NV {
                sums[j] = simd.add_f32s(sums[j], acc[j]);
            }
        }
    }
}
