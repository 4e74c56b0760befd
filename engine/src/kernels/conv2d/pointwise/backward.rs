//! grad_input, grad_weight and the sums that go with them, in one pass over blocks of pixels.

use super::outer::{self, outer};
use super::tile::{Finish, Rows, multiply};
use super::{LoadBlock, LoadGrad, ROWS_AHEAD, is_plain, level_for, row_stride, source};
use crate::kernels::ahead::{Ahead, LINE, ask};
use crate::kernels::channel_sums;
use crate::kernels::conv2d::ConvSize;
use crate::kernels::conv2d::backward::{
    Backward, MapGrad, Small, Write, add_partials, chunk_count, split_maps, split_partials,
};
use crate::kernels::conv2d::columns::{Columns, Vector};
use crate::kernels::conv2d::load::Activation;
use crate::kernels::conv2d::mask;
use crate::kernels::conv2d::tile::MR;
use crate::kernels::scratch::Scratch;
use crate::kernels::simd::{Level, apart, lanes, run};
use crate::parallel::{self, Pieces};
use crate::tensor::Tensor;
use pulp::{Simd, WithSimd};
use std::ops::Range;

/// Rows of grad_weight that are put in their places together.
const ROWS: usize = 32;

/// As [`super::super::backward::backward`].
pub fn backward(level: Level, pass: &Backward, mut grad_maps: Vec<MapGrad>) -> Small {
    let size = &pass.size;
    let level = level_for(level, &[size.c_in, size.c_out]);
    let needs_input = grad_maps.iter().any(Option::is_some);
    let columns = Columns::new(size.c_in, lanes(level));
    let weights = Tensor::build([if needs_input { columns.padded() * size.c_out } else { 0 }], |out| {
        if needs_input {
            columns.pack(out, size.c_out, |row, start, out| {
                let column = pass.weight[start * size.c_out + row..].iter().step_by(size.c_out);
                out.iter_mut().zip(column).for_each(|(out, &w)| *out = w);
            });
        }
    });
    let sums = SumsOf::new(size, lanes(level));
    let weight_len = if pass.needs_weight { sums.len() } else { 0 };

    // Chunks of whole images, or at stride 1 of any pixels, each with partial sums of its own.
    let (unit, units) =
        if size.stride == 1 { (1, size.n * size.h_out * size.w_out) } else { (size.h_out * size.w_out, size.n) };
    let pieces = Pieces::power_of_two(units, chunk_count(size.macs(), weight_len));
    let chunks = pieces.count();
    let mut partials = Tensor::build([chunks, weight_len], |_| {});
    let inputs_per_unit = if size.stride == 1 { 1 } else { size.h * size.w };
    let mut map_chunks = split_maps(&mut grad_maps, pass.input.maps, pieces, inputs_per_unit);
    let mut partial_slices = split_partials(partials.data_mut(), chunks, weight_len);
    let shared = Shared { pass, columns, weights: weights.data(), needs_input, transposed: sums.transposed };
    let tasks = map_chunks.iter_mut().zip(partial_slices.iter_mut()).collect();
    let chunk_sums: Vec<Sums> = parallel::sweep(tasks, |chunk, (grad_maps, partial), _| {
        let range = pieces.range(chunk);
        let range = range.start * unit..range.end * unit;
        run(level, Chunk { shared: &shared, range, grad_maps, partial })
    });

    let total = |f: fn(&Sums) -> &[f64], channels| channel_sums::total(channels, chunk_sums.iter().map(f));
    Small {
        weight: pass.needs_weight.then(|| sums.weight(size, &add_partials(&partials))),
        bias: pass.needs_bias.then(|| total(|s| &s.bias, size.c_out)),
        affine: (needs_input && pass.input.affine.is_some())
            .then(|| (total(|s| &s.scale, size.c_in), total(|s| &s.shift, size.c_in))),
    }
}

/// How grad_weight is summed.
struct SumsOf {
    /// As `(c_out, c_in)`: where that costs less.
    transposed: bool,
    /// Of the operand that is taken value by value.
    narrow: usize,
    /// Of the other.
    columns: Columns,
}

impl SumsOf {
    fn new(size: &ConvSize, lanes: usize) -> SumsOf {
        // In thirds of a multiply-add of vectors, for each pixel. A vector without a second one waits for its own sums; packing a
        // narrow value takes about as long as one.
        let cost = |narrow: usize, wide: usize| {
            let vectors = wide.div_ceil(lanes);
            narrow * (3 * vectors + vectors % 2 + 3)
        };
        let transposed = cost(size.c_out, size.c_in) < cost(size.c_in, size.c_out);
        let (narrow, wide) = if transposed { (size.c_out, size.c_in) } else { (size.c_in, size.c_out) };
        SumsOf { transposed, narrow, columns: Columns::new(wide, lanes) }
    }

    fn len(&self) -> usize {
        outer::sums_len(self.narrow, self.columns)
    }

    /// `(1, 1, c_in, c_out)`
    fn weight(&self, size: &ConvSize, sums: &Tensor) -> Tensor {
        let (sums, columns) = (sums.data(), self.columns);
        Tensor::build([1, 1, size.c_in, size.c_out], |out| {
            parallel::chunks_mut(out, ROWS * size.c_out, |chunk, out| {
                if self.transposed {
                    for (i, row) in (chunk * ROWS..).zip(out.chunks_exact_mut(size.c_out)) {
                        let vector = i / columns.lanes();
                        let (at, apart) = outer::sums_at(self.narrow, columns, vector);
                        let lane = i - columns.start(vector);
                        row.iter_mut().zip(sums[at + lane..].iter().step_by(apart)).for_each(|(out, &sum)| *out = sum);
                    }
                    return;
                }
                for (i, row) in out.chunks_exact_mut(size.c_out).enumerate() {
                    for vector in 0..columns.vectors() {
                        let (at, apart) = outer::sums_at(self.narrow, columns, vector);
                        let sums = &sums[at + (chunk * ROWS + i) * apart..][..columns.len()];
                        row[columns.start(vector)..][..sums.len()].copy_from_slice(sums);
                    }
                }
            });
        })
    }
}

/// Rows of a block: few enough that L1 or near it holds what a tile reads of both operands, and enough for the sums, which each block
/// reads and writes.
const BLOCK: usize = 12 * MR;

/// What all chunks share.
struct Shared<'a> {
    pass: &'a Backward<'a>,
    columns: Columns,
    weights: &'a [f32],
    needs_input: bool,
    transposed: bool,
}

/// Sums of one chunk.
struct Sums {
    bias: Vec<f64>,
    scale: Vec<f64>,
    shift: Vec<f64>,
}

struct Chunk<'a, 'b> {
    shared: &'a Shared<'a>,
    /// Output pixels.
    range: Range<usize>,
    grad_maps: &'a mut Vec<MapGrad<'b>>,
    partial: &'a mut [f32],
}

impl WithSimd for Chunk<'_, '_> {
    type Output = Sums;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Sums {
        let Chunk { shared, range, grad_maps, partial } = self;
        let pass = shared.pass;
        let size = &pass.size;
        let mut sums = Sums {
            bias: vec![0.0; if pass.needs_bias { size.c_out } else { 0 }],
            scale: vec![0.0; size.c_in],
            shift: vec![0.0; size.c_in],
        };
        if size.stride > 1 {
            // Pixels that no window reads.
            for (grad, write) in grad_maps.iter_mut().flatten() {
                if *write == Write::Store {
                    grad.fill(0.0);
                }
            }
        }
        let plain = is_plain(size, &pass.input);
        // A plain map is multiplied where it lies, unless it is what grad_weight reads in vectors and its rows would share a few sets of L1.
        let plain_dy = pass.grad_output.scale.is_none() && pass.grad_output.affine_of.is_none();
        let shares = |channels: usize, wide: bool| pass.needs_weight && wide && channels.is_multiple_of(64);
        let copies_dy = !plain_dy || shares(size.c_out, !shared.transposed);
        let copies_x = pass.needs_weight && (!plain || shares(size.c_in, shared.transposed));
        let fused = shared.needs_input && size.stride == 1 && pass.input.maps.len() == 1;
        let (x_stride, dy_stride) = (row_stride(size.c_in), row_stride(size.c_out));
        let lengths = [
            if copies_dy { BLOCK * dy_stride } else { 0 },
            if copies_x { BLOCK * x_stride } else { 0 },
            if shared.needs_input && !fused { BLOCK * x_stride } else { 0 },
            if pass.needs_weight { BLOCK * size.c_in.max(size.c_out) } else { 0 },
        ];
        let mut memory = Scratch::new(lengths);
        let [dy, x, grad_input, panels] = memory.split(lengths);
        for at in range.clone().step_by(BLOCK) {
            let rows = at..(at + BLOCK).min(range.end);
            let count = rows.len();
            let terms = &pass.grad_output;
            let next = (at + BLOCK).min(range.end)..(at + 2 * BLOCK).min(range.end);
            let mut ahead = match size.stride {
                1 => {
                    let map = terms.affine_of.map_or((&[][..], 1), |(map, ..)| (map, size.c_out));
                    Ahead::new([(terms.grad, size.c_out), map], pass.input.maps, next)
                }
                _ => Ahead::NONE,
            };
            let dy = if copies_dy {
                let load =
                    LoadGrad { terms, channels: size.c_out, range: rows.clone(), stride: dy_stride, out: &mut *dy };
                apart(simd, load);
                Rows { values: dy, stride: dy_stride, len: size.c_out, count }
            } else {
                let values = &terms.grad[rows.start * size.c_out..rows.end * size.c_out];
                Rows { values, stride: size.c_out, len: size.c_out, count }
            };
            if pass.needs_bias {
                for dy in dy.values.chunks_exact(dy.stride).take(count) {
                    sums.bias.iter_mut().zip(dy).for_each(|(s, &g)| *s += f64::from(g));
                }
            }
            if pass.needs_weight {
                let x = if copies_x {
                    let load =
                        LoadBlock { size, input: &pass.input, range: rows.clone(), stride: x_stride, out: &mut *x };
                    apart(simd, load);
                    Rows { values: x, stride: x_stride, len: size.c_in, count }
                } else {
                    let values = &pass.input.maps[0].0[rows.start * size.c_in..rows.end * size.c_in];
                    Rows { values, stride: size.c_in, len: size.c_in, count }
                };
                // The other half while the rows' gradients are computed.
                let asked = ahead.left() / if shared.needs_input { 2 } else { 1 };
                let first = at == range.start;
                if shared.transposed {
                    outer(simd, dy, x, panels, (partial, first), (asked, &mut ahead));
                } else {
                    outer(simd, x, dy, panels, (partial, first), (asked, &mut ahead));
                }
            }
            let done = at - range.start;
            if fused {
                if let Some(Some((grad, write))) = grad_maps.first_mut() {
                    let c = size.c_in;
                    let mut finish = Mask {
                        columns: shared.columns,
                        channels: c,
                        map: (!plain).then(|| &pass.input.maps[0].0[at * c..(at + count) * c]),
                        affine: pass.input.affine,
                        activation: pass.input.activation,
                        out: &mut grad[done * c..(done + count) * c],
                        write: *write,
                        scale: &mut sums.scale,
                        shift: &mut sums.shift,
                    };
                    multiply(simd, dy, shared.weights, shared.columns, &mut finish, &mut ahead);
                }
            } else if shared.needs_input {
                let mut finish = Mask {
                    columns: shared.columns,
                    channels: x_stride,
                    map: None,
                    affine: None,
                    activation: Activation::Identity,
                    out: &mut *grad_input,
                    write: Write::Store,
                    scale: &mut [],
                    shift: &mut [],
                };
                multiply(simd, dy, shared.weights, shared.columns, &mut finish, &mut ahead);
                shared.spread(simd, rows, range.start, (grad_input, x_stride), grad_maps, &mut sums);
            }
        }
        sums
    }
}

impl Shared<'_> {
    /// The gradient of a block of the concatenation into the gradients of its maps.
    #[inline(always)]
    fn spread<S: Simd>(
        &self,
        simd: S,
        rows: Range<usize>,
        chunk: usize,
        (grad_input, stride): (&[f32], usize),
        grad_maps: &mut [MapGrad],
        sums: &mut Sums,
    ) {
        let size = &self.pass.size;
        let input = &self.pass.input;
        // Input pixels of the chunk begin here.
        let first = source(size, chunk);
        let mut start = 0;
        for (&(map, c), grad) in input.maps.iter().zip(grad_maps) {
            let channels = start..start + c;
            start += c;
            let Some((grad, write)) = grad else { continue };
            let finish = mask::Finish {
                grad_input,
                stride,
                start: channels.start,
                map: &map[first * c..][..grad.len()],
                affine: input.affine.map(|(a, b)| (&a[channels.clone()], &b[channels.clone()])),
                activation: input.activation,
                out: grad,
                write: *write,
            };
            finish.run_at(
                simd,
                rows.len(),
                #[inline(always)]
                |i| source(size, rows.start + i) - first,
                &mut sums.scale[channels.clone()],
                &mut sums.shift[channels],
            );
        }
    }
}

/// Stores or adds a gradient, through the activation and the affine of the map it belongs to.
struct Mask<'a> {
    columns: Columns,
    /// Distance of two rows of `out` and of `map`.
    channels: usize,
    /// If anything stands between it and what the convolution read.
    map: Option<&'a [f32]>,
    affine: Option<(&'a [f32], &'a [f32])>,
    activation: Activation,
    out: &'a mut [f32],
    write: Write,
    scale: &'a mut [f64],
    shift: &'a mut [f64],
}

/// Of up to two vectors: scale, shift, and the sums that are their gradients.
#[derive(Clone, Copy)]
struct State<S: Simd> {
    vectors: [Vector<S>; 2],
    values: [[S::f32s; 4]; 2],
}

impl<S: Simd> Finish<S> for Mask<'_> {
    type State = State<S>;

    #[inline(always)]
    fn begin(&mut self, simd: S, vector: usize) -> State<S> {
        let next = (vector + 1).min(self.columns.vectors() - 1);
        let vectors = [Vector::new(simd, self.columns, vector), Vector::new(simd, self.columns, next)];
        let (one, zero) = (simd.splat_f32s(1.0), simd.splat_f32s(0.0));
        let mut values = [[one, zero, zero, zero]; 2];
        if let Some((scale, shift)) = self.affine {
            for v in 0..2 {
                values[v][0] = vectors[v].read(simd, scale, 0);
                values[v][1] = vectors[v].read(simd, shift, 0);
            }
        }
        State { vectors, values }
    }

    #[inline(always)]
    fn tile<const NV: usize>(
        &mut self,
        simd: S,
        state: &mut State<S>,
        first: usize,
        count: usize,
        tile: [[S::f32s; NV]; MR],
    ) {
        // A vector that overlaps the one before stores what that stored, but would add it once more.
        let last = state.vectors[NV - 1];
        if count < MR || !(last.is_whole() || last.is_full() && self.write == Write::Store) {
            return apart(simd, Ragged { simd, mask: self, state, first, count, tile });
        }
        let (start, channels) = (state.vectors[0].start, self.channels);
        let offset = [0, state.vectors[1].start - start];
        let at = first * channels + start;
        let len = (MR - 1) * channels + offset[NV - 1] + S::F32_LANES;
        for i in 0..MR {
            for line in (0..NV * S::F32_LANES).step_by(LINE) {
                ask(self.out, at + (ROWS_AHEAD + i) * channels + line);
            }
        }
        let out = &mut self.out[at..][..len];
        let Some(map) = self.map else {
            for i in 0..MR {
                for v in 0..NV {
                    let out = &mut S::as_mut_simd_f32s(&mut out[i * channels + offset[v]..][..S::F32_LANES]).0[0];
                    let (scale, t) = (state.values[v][0], tile[i][v]);
                    *out = match self.write {
                        Write::Store => simd.mul_f32s(scale, t),
                        Write::Add => simd.mul_add_f32s(scale, t, *out),
                    };
                }
            }
            return;
        };
        let masked = Masked { simd, state, tile: &tile, map: &map[at..][..len], out, channels, offset };
        match (self.activation, self.write) {
            (Activation::Identity, Write::Store) => masked.run::<false>(
                #[inline(always)]
                |_, _, g| g,
            ),
            (Activation::Identity, Write::Add) => masked.run::<true>(
                #[inline(always)]
                |_, _, g| g,
            ),
            (Activation::Relu, Write::Store) => masked.run::<false>(mask::relu),
            (Activation::Relu, Write::Add) => masked.run::<true>(mask::relu),
            (Activation::Relu6, Write::Store) => masked.run::<false>(mask::relu6),
            (Activation::Relu6, Write::Add) => masked.run::<true>(mask::relu6),
        }
    }

    #[inline(always)]
    fn end(&mut self, _: S, vector: usize, state: State<S>) {
        if self.affine.is_some() {
            let own = (self.columns.vectors() - vector).min(2);
            for (part, [_, _, scale, shift]) in state.vectors.iter().zip(state.values).take(own) {
                part.add_to(scale, self.scale);
                part.add_to(shift, self.shift);
            }
        }
    }
}

/// A whole tile on its way through the activation.
struct Masked<'a, S: Simd, const NV: usize> {
    simd: S,
    state: &'a mut State<S>,
    tile: &'a [[S::f32s; NV]; MR],
    map: &'a [f32],
    out: &'a mut [f32],
    channels: usize,
    /// Of the second vector from the first.
    offset: [usize; 2],
}

impl<S: Simd, const NV: usize> Masked<'_, S, NV> {
    /// Masks, adds to the sums and stores vector by vector: a tile waiting to be stored would leave the sums no registers.
    #[inline(always)]
    fn run<const ADD: bool>(self, mask: impl Fn(S, S::f32s, S::f32s) -> S::f32s) {
        let Masked { simd, state, tile, map, out, channels, offset } = self;
        for v in 0..NV {
            let [scale, shift, mut sum_scale, mut sum_shift] = state.values[v];
            for i in 0..MR {
                let at = i * channels + offset[v];
                let z = S::as_simd_f32s(&map[at..][..S::F32_LANES]).0[0];
                let t = mask(simd, simd.mul_add_f32s(scale, z, shift), tile[i][v]);
                sum_shift = simd.add_f32s(sum_shift, t);
                sum_scale = simd.mul_add_f32s(t, z, sum_scale);
                let out = &mut S::as_mut_simd_f32s(&mut out[at..][..S::F32_LANES]).0[0];
                *out = if ADD { simd.mul_add_f32s(scale, t, *out) } else { simd.mul_f32s(scale, t) };
            }
            state.values[v] = [scale, shift, sum_scale, sum_shift];
        }
    }
}

/// A tile with fewer rows, or whose last vector is not whole where it matters; the same operations in the same order.
struct Ragged<'a, 'b, S: Simd, const NV: usize> {
    simd: S,
    mask: &'a mut Mask<'b>,
    state: &'a mut State<S>,
    first: usize,
    count: usize,
    tile: [[S::f32s; NV]; MR],
}

impl<S: Simd, const NV: usize> WithSimd for Ragged<'_, '_, S, NV> {
    type Output = ();

    #[inline(always)]
    fn with_simd<T: Simd>(self, _: T) {
        let Ragged { simd, mask, state, first, count, tile } = self;
        for v in 0..NV {
            let (vector, [scale, shift, sum_scale, sum_shift]) = (state.vectors[v], &mut state.values[v]);
            for (row, tile) in (first..first + count).zip(&tile) {
                let at = row * mask.channels;
                let mut t = tile[v];
                if let Some(map) = mask.map {
                    let z = vector.read(simd, map, at);
                    let pre = simd.mul_add_f32s(*scale, z, *shift);
                    t = match mask.activation {
                        Activation::Identity => t,
                        Activation::Relu => mask::relu(simd, pre, t),
                        Activation::Relu6 => mask::relu6(simd, pre, t),
                    };
                    *sum_shift = simd.add_f32s(*sum_shift, t);
                    *sum_scale = simd.mul_add_f32s(t, z, *sum_scale);
                }
                let g = match mask.write {
                    Write::Store => simd.mul_f32s(*scale, t),
                    Write::Add => simd.mul_add_f32s(*scale, t, vector.read(simd, mask.out, at)),
                };
                vector.write(simd, mask.out, at, g);
            }
        }
    }
}
