//! The backward pass; see the [module's page](super).

use super::super::ConvSize;
use super::super::backward::{Backward, MapGrad, Small, Write, add_partials, chunk_count, split_maps, split_partials};
use super::super::load::{Activation, maps_row};
use super::super::mask::Finish;
use super::pixels::{Band, Sources, Target};
use super::rows::{Gradient, Input, Ring, RingShape};
use super::{Class, Taps, band_rows, images_per_task, is_empty, pack_weights};
use crate::kernels::channel_sums;
use crate::kernels::scratch::Scratch;
use crate::kernels::simd::{Level, lanes, run};
use crate::parallel::{Pieces, sweep};
use crate::tensor::Tensor;
use pulp::{Simd, WithSimd};
use std::ops::Range;

/// A multiply-add here, which memory bounds, takes as long as so many elsewhere.
const COST: usize = 8;

/// Writes the maps' gradients and returns the small ones.
pub fn backward(level: Level, pass: &Backward, mut grad_maps: Vec<MapGrad>) -> Small {
    let size = &pass.size;
    let (channels, lanes) = (size.c_in, lanes(level));
    let needs_input = grad_maps.iter().any(Option::is_some);
    let window = Window::new(size);
    let taps: Vec<usize> = window.classes.iter().flat_map(|class| class.taps.iter().copied()).collect();
    let shared = Shared {
        pass,
        ring: window.ring(size, lanes),
        window,
        input: Input::new(pass.input, channels, lanes),
        gradient: Gradient::new(pass.grad_output, channels, lanes),
        weights: pack_weights(pass.weight, &taps, channels, lanes),
        needs_input,
    };

    // Chunks of whole tasks, each with sums of its own.
    let weight_len = if pass.needs_weight { shared.weights.len() } else { 0 };
    let images = images_per_task(size.h * size.w);
    let tasks = if is_empty(size) { 0 } else { size.n.div_ceil(images) };
    let pieces = Pieces::power_of_two(tasks, chunk_count(COST * size.macs(), weight_len));
    let chunks = pieces.count();
    let mut partials = Tensor::build([chunks, weight_len], |_| {});
    let mut map_chunks = split_maps(&mut grad_maps, pass.input.maps, pieces, images * size.h * size.w);
    let mut partial_slices = split_partials(partials.data_mut(), chunks, weight_len);
    let tasks = map_chunks.iter_mut().zip(partial_slices.iter_mut()).collect();
    let sums: Vec<Sums> = sweep(tasks, |chunk, (grad_maps, partial), _| {
        let tasks = pieces.range(chunk);
        let range = tasks.start * images..(tasks.end * images).min(size.n);
        run(level, Chunk { shared: &shared, range, images, grad_maps, partial })
    });

    let total = |f: fn(&Sums) -> &[f64]| channel_sums::total(channels, sums.iter().map(f));
    Small {
        weight: pass.needs_weight.then(|| unpack(add_partials(&partials).data(), &taps, size, lanes)),
        bias: pass.needs_bias.then(|| total(|s| &s.bias)),
        affine: (needs_input && pass.input.affine.is_some()).then(|| (total(|s| &s.scale), total(|s| &s.shift))),
    }
}

/// `[vector of channels][tap]` as `(k_h, k_w, 1, C)`.
fn unpack(packed: &[f32], taps: &[usize], size: &ConvSize, lanes: usize) -> Tensor {
    Tensor::build([size.k_h, size.k_w, 1, size.c_out], |out| {
        for (v, packed) in packed.chunks_exact((taps.len() * lanes).max(1)).enumerate() {
            let range = v * lanes..size.c_out.min((v + 1) * lanes);
            for (&tap, packed) in taps.iter().zip(packed.chunks_exact(lanes)) {
                out[tap * size.c_out..][range.clone()].copy_from_slice(&packed[..range.len()]);
            }
        }
    })
}

/// Which taps see an input pixel: one class for each remainder of its row and column by the stride.
struct Window {
    /// Remainder of the row, then of the column.
    classes: Vec<Class>,
}

impl Window {
    fn new(size: &ConvSize) -> Window {
        let ConvSize { k_h, k_w, dilation, stride, .. } = *size;
        let taps = |k, remainder| Taps::backward(k, dilation, stride, remainder);
        let class = |y, x| Class::new(&taps(k_h, y), &taps(k_w, x), k_w, &[1, 2, 3, 4, 5, 7]);
        Window { classes: remainders(stride).map(|(y, x)| class(y, x)).collect() }
    }

    /// The ring of dy.
    fn ring(&self, size: &ConvSize, lanes: usize) -> RingShape {
        let reach = |of: fn(&Class) -> usize| self.classes.iter().map(of).max().unwrap_or(0);
        let left = reach(|class| class.reach_x).saturating_sub(size.padding / size.stride);
        RingShape {
            height: size.h_out,
            width: size.w_out,
            channels: size.c_out,
            kept: reach(|class| class.reach_y) + 1 + (band_rows(size.w, size.c_in) - 1).div_ceil(size.stride),
            left,
            columns: left + size.w_out.max((size.w - 1 + size.padding) / size.stride + 1),
            lanes,
        }
    }
}

/// The remainders of row and column, class by class.
fn remainders(stride: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..stride).flat_map(move |y| (0..stride).map(move |x| (y, x)))
}

/// The first row or column from `from` on with this remainder.
fn first_of(size: &ConvSize, from: usize, remainder: usize) -> usize {
    from + (remainder + size.stride - (from + size.padding) % size.stride) % size.stride
}

struct Shared<'a> {
    pass: &'a Backward<'a>,
    window: Window,
    ring: RingShape,
    input: Input<'a>,
    gradient: Gradient<'a>,
    /// `[vector of channels][tap]`, class by class.
    weights: Vec<f32>,
    needs_input: bool,
}

/// Sums of one chunk.
struct Sums {
    bias: Vec<f64>,
    scale: Vec<f64>,
    shift: Vec<f64>,
}

struct Chunk<'a, 'b> {
    shared: &'a Shared<'a>,
    range: Range<usize>,
    /// Images after which sums go from `f32` to `f64`.
    images: usize,
    grad_maps: &'a mut Vec<MapGrad<'b>>,
    partial: &'a mut [f32],
}

impl WithSimd for Chunk<'_, '_> {
    type Output = Sums;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Sums {
        let Chunk { shared, range, images, grad_maps, partial } = self;
        let Shared { pass, window, ring, input, gradient, weights, needs_input } = shared;
        let size = &pass.size;
        partial.fill(0.0);
        let channels = size.c_in;
        let padded = channels.div_ceil(S::F32_LANES) * S::F32_LANES;
        let mut sums = Sums {
            bias: vec![0.0; if pass.needs_bias { channels } else { 0 }],
            scale: vec![0.0; channels],
            shift: vec![0.0; channels],
        };
        // A single map is read and its gradient written where they are; several meet in rows of their own.
        let single = input.single();
        let row_len = size.w * channels;
        let lines_len = if single.is_some() { 0 } else { band_rows(size.w, size.c_in) * row_len };
        let lengths = [ring.len(), lines_len, lines_len, padded, padded];
        let mut memory = Scratch::new(lengths);
        let [ring_values, x_lines, grad_lines, scale_sums, shift_sums] = memory.split(lengths);
        let mut rows = Ring::new(*ring, ring_values);
        scale_sums.fill(0.0);
        shift_sums.fill(0.0);
        let mut starts = vec![];
        for image in range.clone() {
            let done = image - range.start;
            rows.restart();
            let mut entered = 0;
            for y in (0..size.h).step_by(band_rows(size.w, size.c_in)) {
                let band = y..(y + band_rows(size.w, size.c_in)).min(size.h);
                while let Some((row, values)) = rows.enter((band.end - 1 + size.padding) / size.stride + 1) {
                    entered = row + 1;
                    gradient.enter(simd, ring, (image * size.h_out + row) * size.w_out, values);
                    if pass.needs_bias {
                        add_row(simd, values, ring, &mut sums.bias);
                    }
                }
                let first = (image * size.h + y) * size.w;
                let at = (done * size.h + y) * row_len;
                let map = match single {
                    Some(map) => &map[first * channels..],
                    None => {
                        maps_row(simd, &pass.input, channels, first, &mut x_lines[..band.len() * row_len]);
                        &*x_lines
                    }
                };
                // Each class asks for a share of what follows: for as many pixels as it has.
                let mut shares = 0;
                for ((of_y, of_x), class) in remainders(size.stride).zip(&window.classes) {
                    let tap = window.classes[..of_y * size.stride + of_x].iter().map(|c| c.taps.len()).sum();
                    // Rows and columns of its pixels.
                    let first_y = first_of(size, band.start, of_y);
                    let (first_x, of_rows) = (first_of(size, 0, of_x), (first_y..band.end).step_by(size.stride));
                    if of_rows.len() == 0 {
                        continue;
                    }
                    let left = ring.left + (first_x + size.padding) / size.stride - class.reach_x;
                    starts.clear();
                    for y in of_rows.clone() {
                        let q = (y + size.padding) / size.stride;
                        let start = |&(row, column): &(usize, usize)| {
                            rows.start((q + row).wrapping_sub(class.reach_y)) + left + column
                        };
                        starts.extend(class.runs.iter().map(start));
                    }
                    let row = (first_y - band.start) * row_len;
                    let pixels = size.w.saturating_sub(first_x).div_ceil(size.stride);
                    let share = shares;
                    shares += of_rows.len() * pixels * channels;
                    // What enters the ring with the next band.
                    let entering = |map| (map, (image * size.h_out + entered) * size.w_out * channels);
                    let affine_of = pass.grad_output.affine_of.map(|(map, ..)| map);
                    let sources = Sources {
                        map: &map[row..],
                        next: [
                            single.map(|_| (map, band.len() * row_len + share)),
                            (share == 0).then_some(entering(pass.grad_output.grad)),
                            affine_of.filter(|_| share == 0).map(entering),
                        ],
                        affine: if single.is_some() { input.affine.as_ref() } else { None },
                        activation: if single.is_some() { pass.input.activation } else { Activation::Identity },
                        ring: rows.values(),
                        columns: ring.columns,
                        starts: &starts,
                        weights,
                        taps: size.k_h * size.k_w,
                        first_tap: tap,
                    };
                    let target = match (single, &mut grad_maps[..]) {
                        (None, _) => needs_input.then_some((&mut *grad_lines, Write::Store)),
                        (_, [Some((grad, write))]) => Some((&mut grad[at..], *write)),
                        _ => None,
                    };
                    let of_class = Band {
                        sources,
                        channels,
                        first: first_x,
                        stride: size.stride,
                        pixels,
                        rows: of_rows.len(),
                        row_stride: size.stride * row_len,
                        target: target.map(|(out, write)| Target {
                            out: &mut out[row..],
                            next: band.len() * row_len - row + share,
                            write,
                            scale_sums,
                            shift_sums,
                        }),
                        grad_weight: pass.needs_weight.then_some(&mut *partial),
                        asked: 0,
                    };
                    of_class.dispatch(simd, class.run_len);
                }
                if single.is_none() && *needs_input {
                    let mut start = 0;
                    for (&(map, c), grad) in pass.input.maps.iter().zip(&mut *grad_maps) {
                        let of_map = start..start + c;
                        start += c;
                        let Some((grad, write)) = grad else { continue };
                        let pixels = band.len() * size.w;
                        let finish = Finish {
                            grad_input: grad_lines,
                            stride: channels,
                            start: of_map.start,
                            map: &map[first * c..][..pixels * c],
                            affine: pass.input.affine.map(|(a, b)| (&a[of_map.clone()], &b[of_map.clone()])),
                            activation: pass.input.activation,
                            out: &mut grad[(done * size.h + y) * size.w * c..][..pixels * c],
                            write: *write,
                        };
                        finish.run(simd, pixels, &mut sums.scale[of_map.clone()], &mut sums.shift[of_map]);
                    }
                }
            }
            // The bias has a share in outputs that see nothing but padding, too.
            while let Some((row, values)) = rows.enter(if pass.needs_bias { size.h_out } else { 0 }) {
                gradient.enter(simd, ring, (image * size.h_out + row) * size.w_out, values);
                add_row(simd, values, ring, &mut sums.bias);
            }
            if (done + 1).is_multiple_of(images) || image + 1 == range.end {
                for (total, sum) in [(&mut sums.scale, &mut *scale_sums), (&mut sums.shift, &mut *shift_sums)] {
                    total.iter_mut().zip(&*sum).for_each(|(total, &s)| *total += f64::from(s));
                    sum.fill(0.0);
                }
            }
        }
        sums
    }
}

/// Adds a row of a ring to the sums of its channels.
#[inline(always)]
fn add_row<S: Simd>(simd: S, row: &[f32], shape: &RingShape, sums: &mut [f64]) {
    let (row, _) = S::as_simd_f32s(row);
    for (row, sums) in row.chunks_exact(shape.columns).zip(sums.chunks_mut(S::F32_LANES)) {
        let sum = row.iter().fold(simd.splat_f32s(0.0), |sum, &v| simd.add_f32s(sum, v));
        super::super::mask::add_lanes::<S>(sum, sums);
    }
}
