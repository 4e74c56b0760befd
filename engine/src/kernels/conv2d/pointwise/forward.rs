//! The forward pass.

use super::tile::{Finish, Rows, multiply};
use super::{LoadBlock, ROWS_AHEAD, is_plain, level_for, row_stride};
use crate::kernels::ahead::{Ahead, LINE, ask};
use crate::kernels::conv2d::columns::{Columns, Vector};
use crate::kernels::conv2d::forward::Forward;
use crate::kernels::conv2d::tile::{MR, load};
use crate::kernels::moments::{self, Partial};
use crate::kernels::scratch::Scratch;
use crate::kernels::simd::{Level, apart, lanes, run};
use crate::parallel::{Pieces, sweep};
use crate::tensor::Tensor;
use pulp::{Simd, WithSimd};
use std::ops::Range;

/// Tiles of a task, at most.
const TASK: usize = 170;
/// At least this many tasks, so that a few cores find work on small maps with many channels.
const MIN_TASKS: usize = 8;
/// Multiply-adds from which on that pays.
const WORTH_SHARING: usize = 1 << 23;

/// As [`super::super::forward::forward`].
pub fn forward(level: Level, pass: &Forward, out: &mut [f32]) -> Option<Vec<f32>> {
    let size = &pass.size;
    let level = level_for(level, &[size.c_out]);
    let columns = Columns::new(size.c_out, lanes(level));
    let weights = Tensor::build([columns.padded() * size.c_in], |out| {
        columns.pack(out, size.c_in, |row, start, out| {
            out.copy_from_slice(&pass.weight[row * size.c_out + start..][..out.len()]);
        });
    });
    let weights = weights.data();
    let tiles = (out.len() / size.c_out.max(1)).div_ceil(MR);
    let least = if size.macs() < WORTH_SHARING { 1 } else { MIN_TASKS };
    let tiles = Pieces::even_of_at_most(tiles, TASK.min(tiles.div_ceil(least)));
    let pieces: Vec<Option<Partial>> = sweep(tiles.split(out, MR * size.c_out), |task, out, _| {
        let first = tiles.range(task).start * MR;
        let range = first..first + out.len() / size.c_out;
        run(level, Task { pass, columns, weights, range, out })
    });
    pass.measure.then(|| {
        let pieces: Vec<Partial> = pieces.into_iter().flatten().collect();
        moments::merge(&pieces, size.c_out)
    })
}

/// Rows of a block: as many as leave its copy in L1 or, of many channels, L2.
fn block_rows(c_in: usize) -> usize {
    let rows = 16 * 1024 / c_in.max(1);
    rows.clamp(2 * MR, 16 * MR) / MR * MR
}

struct Task<'a> {
    pass: &'a Forward<'a>,
    columns: Columns,
    weights: &'a [f32],
    range: Range<usize>,
    out: &'a mut [f32],
}

impl WithSimd for Task<'_> {
    type Output = Option<Partial>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Option<Partial> {
        let Task { pass, columns, weights, range, out } = self;
        let size = &pass.size;
        let plain = is_plain(size, &pass.input);
        let (stride, block) = (row_stride(size.c_in), block_rows(size.c_in));
        let count = range.len();
        let lengths = [if plain { 0 } else { block * stride }, 3 * columns.padded()];
        let mut memory = Scratch::new(lengths);
        let [scratch, sums] = memory.split(lengths);
        let mut finish = Store {
            out,
            channels: size.c_out,
            columns,
            bias: pass.bias,
            add: pass.add,
            measure: pass.measure,
            sums,
            done: 0,
            first: range.start,
        };
        for at in range.clone().step_by(block) {
            let rows = at..(at + block).min(range.end);
            finish.done = at - range.start;
            let rows = if plain {
                let values = &pass.input.maps[0].0[rows.start * size.c_in..rows.end * size.c_in];
                Rows { values, stride: size.c_in, len: size.c_in, count: rows.len() }
            } else {
                let load = LoadBlock { size, input: &pass.input, range: rows.clone(), stride, out: &mut *scratch };
                apart(simd, load);
                Rows { values: scratch, stride, len: size.c_in, count: rows.len() }
            };
            let next = (at + block).min(range.end)..(at + 2 * block).min(range.end);
            let mut ahead = match size.stride {
                1 => Ahead::new([(&[], 1); 2], pass.input.maps, next),
                _ => Ahead::NONE,
            };
            multiply(simd, rows, weights, columns, &mut finish, &mut ahead);
        }
        pass.measure.then(|| finish.moments(count, S::F32_LANES))
    }
}

/// Adds bias and `add`, stores, measures.
struct Store<'a> {
    out: &'a mut [f32],
    channels: usize,
    columns: Columns,
    bias: Option<&'a [f32]>,
    /// Of all pixels.
    add: Option<&'a [f32]>,
    measure: bool,
    /// Of each vector: a pivot, and the sums of differences to it and of their squares.
    sums: &'a mut [f32],
    /// Rows of the task before this block.
    done: usize,
    /// Rows of all tasks before this one.
    first: usize,
}

/// The moments of up to two vectors: pivot, sum, sum of squares.
#[derive(Clone, Copy)]
struct State<S: Simd> {
    vectors: [Vector<S>; 2],
    sums: [[S::f32s; 3]; 2],
}

impl<S: Simd> Finish<S> for Store<'_> {
    type State = State<S>;

    #[inline(always)]
    fn begin(&mut self, simd: S, vector: usize) -> State<S> {
        let mut sums = [[simd.splat_f32s(0.0); 3]; 2];
        if self.done > 0 {
            let (all, _) = S::as_simd_f32s(self.sums);
            for (sums, all) in sums.iter_mut().zip(all.as_chunks::<3>().0.iter().skip(vector)) {
                *sums = *all;
            }
        }
        let last = self.columns.vectors() - 1;
        let next = last.min(vector + 1);
        let vectors = [Vector::new(simd, self.columns, vector), Vector::new(simd, self.columns, next)];
        State { vectors, sums }
    }

    #[inline(always)]
    fn tile<const NV: usize>(
        &mut self,
        simd: S,
        state: &mut State<S>,
        first: usize,
        count: usize,
        mut tile: [[S::f32s; NV]; MR],
    ) {
        let row = self.done + first;
        if count < MR || !state.vectors[NV - 1].is_full() {
            return apart(simd, Ragged { simd, store: self, state, row, count, tile });
        }
        // One loop for each thing to do, so that each unrolls and the tile stays in registers. A vector that overlaps the one before stores
        // what that stored.
        let (start, channels) = (state.vectors[0].start, self.channels);
        let offset = [0, state.vectors[1].start - start];
        let len = (MR - 1) * channels + offset[NV - 1] + S::F32_LANES;
        if let Some(bias) = self.bias {
            for v in 0..NV {
                let bias = load(simd, &bias[start + offset[v]..]);
                for i in 0..MR {
                    tile[i][v] = simd.add_f32s(tile[i][v], bias);
                }
            }
        }
        if let Some(add) = self.add {
            let add = &add[(self.first + row) * channels + start..][..len];
            for i in 0..MR {
                for v in 0..NV {
                    tile[i][v] = simd.add_f32s(tile[i][v], load(simd, &add[i * channels + offset[v]..]));
                }
            }
        }
        if self.measure {
            for v in 0..NV {
                state.sums[v] = measure(simd, state.sums[v], &tile, v, MR, row == 0);
            }
        }
        for i in 0..MR {
            for line in (0..NV * S::F32_LANES).step_by(LINE) {
                ask(self.out, (row + ROWS_AHEAD + i) * channels + start + line);
            }
        }
        let out = &mut self.out[row * channels + start..][..len];
        for i in 0..MR {
            for v in 0..NV {
                S::as_mut_simd_f32s(&mut out[i * channels + offset[v]..][..S::F32_LANES]).0[0] = tile[i][v];
            }
        }
    }

    #[inline(always)]
    fn end(&mut self, _: S, vector: usize, state: State<S>) {
        if self.measure {
            let (all, _) = S::as_mut_simd_f32s(self.sums);
            for (all, sums) in all.as_chunks_mut::<3>().0.iter_mut().skip(vector).zip(state.sums) {
                *all = sums;
            }
        }
    }
}

/// Adds the first `count` rows of vector `v` to its sums. The pivot is the mean of a task's first tile, for with a single row, which can lie far
/// off, the variance loses a digit; and a tile is summed before it is added, for one chain over a thousand rows loses another.
#[inline(always)]
fn measure<S: Simd, const NV: usize>(
    simd: S,
    [mut pivot, s, q]: [S::f32s; 3],
    tile: &[[S::f32s; NV]; MR],
    v: usize,
    count: usize,
    is_first: bool,
) -> [S::f32s; 3] {
    if is_first {
        pivot = simd.splat_f32s(0.0);
        for i in 0..count {
            pivot = simd.add_f32s(pivot, tile[i][v]);
        }
        pivot = simd.mul_f32s(pivot, simd.splat_f32s(1.0 / count as f32));
    }
    let (mut of_tile, mut squares) = (simd.splat_f32s(0.0), simd.splat_f32s(0.0));
    for i in 0..count {
        let d = simd.sub_f32s(tile[i][v], pivot);
        of_tile = simd.add_f32s(of_tile, d);
        squares = simd.mul_add_f32s(d, d, squares);
    }
    [pivot, simd.add_f32s(s, of_tile), simd.add_f32s(q, squares)]
}

/// A tile with fewer rows, or of fewer channels than a vector has lanes; the same operations in the same order.
struct Ragged<'a, 'b, S: Simd, const NV: usize> {
    simd: S,
    store: &'a mut Store<'b>,
    state: &'a mut State<S>,
    row: usize,
    count: usize,
    tile: [[S::f32s; NV]; MR],
}

impl<S: Simd, const NV: usize> WithSimd for Ragged<'_, '_, S, NV> {
    type Output = ();

    #[inline(always)]
    fn with_simd<T: Simd>(self, _: T) {
        let Ragged { simd, store, state, row: first, count, mut tile } = self;
        for (vector, (sums, v)) in state.vectors.iter().zip(state.sums.iter_mut().zip(0..NV)) {
            for (row, tile) in (first..first + count).zip(&mut tile) {
                let mut value = tile[v];
                if let Some(bias) = store.bias {
                    value = simd.add_f32s(value, vector.read(simd, bias, 0));
                }
                if let Some(add) = store.add {
                    value = simd.add_f32s(value, vector.read(simd, add, (store.first + row) * store.channels));
                }
                tile[v] = value;
                vector.write(simd, store.out, row * store.channels, value);
            }
            if store.measure {
                *sums = measure(simd, *sums, &tile, v, count, first == 0);
            }
        }
    }
}

impl Store<'_> {
    /// Of the task's `rows`.
    fn moments(&self, rows: usize, lanes: usize) -> Partial {
        let columns = self.columns;
        let mut sums = [vec![0.0; self.channels], vec![0.0; self.channels], vec![0.0; self.channels]];
        for (vector, from) in self.sums.chunks_exact(3 * lanes).enumerate() {
            let (start, skip) = (columns.start(vector), columns.overlap(vector));
            for (sums, from) in sums.iter_mut().zip(from.chunks_exact(lanes)) {
                sums[start + skip..start + columns.len()].copy_from_slice(&from[skip..columns.len()]);
            }
        }
        let [pivot, s, q] = sums;
        Partial::from_sums(rows, pivot.len(), pivot, s, q)
    }
}
