//! grad_weight of a block of pixels: outer products of two operands' rows, summed over the rows.

use super::tile::{Rows, step};
use crate::kernels::conv2d::columns::{Columns, Vector};
use crate::kernels::simd::apart;
use pulp::{Simd, WithSimd};
use std::ops::Range;

/// Values of a tile, at most.
const TILE: usize = 6;

/// `sums (narrow.len, wide.len) += narrow^T * wide`, rows of both taken in pairs. `wide` is read in vectors, `narrow` value by value.
///
/// `narrow` is packed first, into `panels` of as many floats: a tile's values row after row. Read where they lie, each row's few
/// values would cost a cache line, and a block more lines than L1 has.
#[inline(always)]
pub fn outer<S: Simd>(simd: S, narrow: Rows, wide: Rows, panels: &mut [f32], sums: &mut [f32]) {
    for (at, len) in tiles(narrow.len) {
        let panel = &mut panels[at * narrow.count..][..len * narrow.count];
        match len {
            6 => pack::<6>(narrow, at, panel),
            5 => pack::<5>(narrow, at, panel),
            4 => pack::<4>(narrow, at, panel),
            3 => pack::<3>(narrow, at, panel),
            2 => pack::<2>(narrow, at, panel),
            _ => pack::<1>(narrow, at, panel),
        }
    }
    let columns = Columns::new(wide.len, S::F32_LANES);
    for vector in (0..columns.vectors()).step_by(2) {
        let vectors = vector..columns.vectors().min(vector + 2);
        for (at, len) in tiles(narrow.len) {
            let panel = &panels[at * narrow.count..][..len * narrow.count];
            let tile = Tile { panel, wide, at, columns, vectors: vectors.clone(), sums: &mut *sums };
            match (vectors.len(), len) {
                (2, 6) => apart(simd, Of::<6, 2>(tile)),
                (2, 5) => apart(simd, Of::<5, 2>(tile)),
                (2, 4) => apart(simd, Of::<4, 2>(tile)),
                (2, 3) => apart(simd, Of::<3, 2>(tile)),
                (2, 2) => apart(simd, Of::<2, 2>(tile)),
                (2, _) => apart(simd, Of::<1, 2>(tile)),
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

/// Where each tile begins and how many values it has: nearly as many as the others, for a small one would wait for its own sums.
#[inline(always)]
fn tiles(values: usize) -> impl Iterator<Item = (usize, usize)> {
    let tiles = values.div_ceil(TILE).max(1);
    let (each, more) = (values / tiles, values % tiles);
    (0..tiles).map(
        #[inline(always)]
        move |tile| (tile * each + tile.min(more), each + usize::from(tile < more)),
    )
}

#[inline(always)]
fn pack<const M: usize>(rows: Rows, at: usize, panel: &mut [f32]) {
    for (out, row) in panel.as_chunks_mut::<M>().0.iter_mut().zip(rows.values.chunks(rows.stride)) {
        if let Some(values) = row[at..].first_chunk::<M>() {
            *out = *values;
        }
    }
}

/// Values from `at` on, packed, against one or two vectors.
struct Tile<'a> {
    panel: &'a [f32],
    wide: Rows<'a>,
    at: usize,
    columns: Columns,
    vectors: Range<usize>,
    sums: &'a mut [f32],
}

/// [`Tile`] of `M` values and `NV` vectors; a function of its own to keep its sums in registers.
struct Of<'a, const M: usize, const NV: usize>(Tile<'a>);

impl<const M: usize, const NV: usize> WithSimd for Of<'_, M, NV> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Tile { panel, wide, at, columns, vectors, sums } = self.0;
        let (vector, start) = (vectors.start, columns.start(vectors.start));
        let x = panel.as_chunks::<M>().0;
        let y = &wide.values[..wide.count * wide.stride];
        let parts: [Vector<S>; NV] = std::array::from_fn(|j| Vector::new(simd, columns, vector + j));
        let mut acc = [[simd.splat_f32s(0.0); NV]; M];
        if !parts[NV - 1].is_whole() {
            for (x, y) in x.iter().zip(y.chunks_exact(wide.stride)) {
                for j in 0..NV {
                    let v = parts[j].read(simd, y, 0);
                    for i in 0..M {
                        acc[i][j] = simd.mul_add_f32s(simd.splat_f32s(x[i]), v, acc[i][j]);
                    }
                }
            }
        } else {
            for (x, y) in x.iter().zip(y.chunks_exact(wide.stride)) {
                add_row(simd, &mut acc, x, &y[start..]);
            }
        }
        for j in 0..NV {
            for i in 0..M {
                let row = (at + i) * wide.len;
                let sum = simd.add_f32s(parts[j].read(simd, sums, row), acc[i][j]);
                parts[j].write(simd, sums, row, sum);
            }
        }
    }
}

#[inline(always)]
fn add_row<S: Simd, const M: usize, const NV: usize>(simd: S, acc: &mut [[S::f32s; NV]; M], x: &[f32; M], y: &[f32]) {
    let y = S::as_simd_f32s(&y[..NV * S::F32_LANES]).0;
    for i in 0..M {
        acc[i] = step(simd, acc[i], x[i], std::array::from_fn(|j| y[j]));
    }
}
