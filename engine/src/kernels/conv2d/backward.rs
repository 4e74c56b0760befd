//! grad_input, grad_weight and the sums that go with them, in one pass over the images; see the [module's page](super).

use super::forward::{images_per_task, load_image};
use super::load::{GradTerms, Maps, grad_row, maps_row, zero_border};
use super::plan::Plan;
use super::tile::{Panel, Store, pack_panels, spread};
use super::{ConvSize, depthwise, mask};
use crate::kernels::scratch::Scratch;
use crate::kernels::simd::{Level, lanes, run};
use crate::parallel;
use crate::tensor::Tensor;
use pulp::{Simd, WithSimd};
use rayon::prelude::*;
use std::ops::Range;

/// What a backward pass reads, and which gradients it computes.
#[derive(Clone, Copy)]
pub struct Backward<'a> {
    /// Sizes.
    pub size: ConvSize,
    /// Input maps, as in the forward pass.
    pub input: Maps<'a>,
    /// `(k_h, k_w, c_in/groups, c_out)`
    pub weight: &'a [f32],
    /// Gradient of the output.
    pub grad_output: GradTerms<'a>,
    /// Whether to compute grad_weight.
    pub needs_weight: bool,
    /// Whether to compute grad_bias.
    pub needs_bias: bool,
}

/// Where the gradient of one input map goes; `None` if it is not wanted.
pub type MapGrad<'a> = Option<(&'a mut [f32], Write)>;

/// Whether to store a gradient or to add it to what is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write {
    /// Overwrite.
    Store,
    /// Add.
    Add,
}

/// Gradients of the small inputs.
pub struct Small {
    /// Of the weight, if asked for.
    pub weight: Option<Tensor>,
    /// Of the bias, if asked for.
    pub bias: Option<Vec<f32>>,
    /// Of the affine's scales and shifts, if there is an affine and a map's gradient was asked for.
    pub affine: Option<(Vec<f32>, Vec<f32>)>,
}

/// Partial sums of grad_weight may take this many floats in all (but there are at least [`MIN_CHUNKS`] of them).
const PARTIAL_FLOATS: usize = 1 << 20;
/// At least this many chunks, so that a few cores find work even with the largest weights.
const MIN_CHUNKS: usize = 4;
/// Input channels of a grad_weight tile.
const MR: usize = 6;

/// Writes the maps' gradients and returns the small ones.
pub fn backward(level: Level, pass: &Backward, mut grad_maps: Vec<MapGrad>) -> Small {
    let size = &pass.size;
    let needs_input = grad_maps.iter().any(Option::is_some);
    let width = 2 * lanes(level);
    let (x_plan, dy_plan) = (Plan::forward(size), Plan::grad_input(size));
    let weights = if needs_input { pack_grad_input(pass, &dy_plan, width) } else { vec![] };

    // Chunks of whole tasks, each with partial sums of its own.
    let images = images_per_task(&x_plan, size.h_out * size.w_out).min(images_per_task(&dy_plan, size.h * size.w));
    let tasks = size.n.div_ceil(images);
    let chunks = (PARTIAL_FLOATS / size.weight_len().max(1)).max(MIN_CHUNKS).min(tasks.max(1));
    let chunk_images = tasks.div_ceil(chunks) * images;
    let chunks = size.n.div_ceil(chunk_images);

    let partial_len = if pass.needs_weight { size.weight_len() } else { 0 };
    let mut partials = Tensor::zeros([chunks, partial_len]);
    let mut map_chunks: Vec<Vec<MapGrad>> = (0..chunks).map(|_| vec![]).collect();
    for (grad, &(_, c)) in grad_maps.iter_mut().zip(pass.input.maps) {
        let mut rest = grad.as_mut().map(|(grad, write)| (grad.chunks_mut(chunk_images * size.h * size.w * c), *write));
        for chunk in &mut map_chunks {
            chunk.push(rest.as_mut().and_then(|(chunks, write)| Some((chunks.next()?, *write))));
        }
    }
    let mut partial_slices: Vec<&mut [f32]> = if partial_len > 0 {
        partials.data_mut().chunks_mut(partial_len).collect()
    } else {
        (0..chunks).map(|_| Default::default()).collect()
    };
    let shared = Shared { pass, x_plan: &x_plan, dy_plan: &dy_plan, weights: &weights, width, images, needs_input };
    let sums: Vec<Sums> = map_chunks
        .par_iter_mut()
        .zip(partial_slices.par_iter_mut())
        .enumerate()
        .map(|(chunk, (grad_maps, partial))| {
            let first = chunk * chunk_images;
            let range = first..(first + chunk_images).min(size.n);
            run(level, Chunk { shared: &shared, range, grad_maps, partial })
        })
        .collect();

    let total = |f: fn(&Sums) -> &[f64], len: usize| -> Vec<f32> {
        (0..len).map(|c| sums.iter().map(|s| f(s)[c]).sum::<f64>() as f32).collect()
    };
    Small {
        weight: pass.needs_weight.then(|| add_partials(&partials, size)),
        bias: pass.needs_bias.then(|| total(|s| &s.bias, size.c_out)),
        affine: (needs_input && pass.input.affine.is_some())
            .then(|| (total(|s| &s.scale, size.c_in), total(|s| &s.shift, size.c_in))),
    }
}

/// The chunks' partial sums, added in order.
fn add_partials(partials: &Tensor, size: &ConvSize) -> Tensor {
    let len = size.weight_len();
    let shape = [size.k_h, size.k_w, size.c_in / size.groups, size.c_out];
    if partials.shape()[0] == 1 {
        return partials.view(shape.into());
    }
    let all = partials.data();
    Tensor::build(shape, |out| {
        parallel::chunks_mut(out, parallel::CHUNK / 4, |i, out| {
            let at = i * (parallel::CHUNK / 4);
            out.copy_from_slice(&all[at..at + out.len()]);
            for partial in all.chunks_exact(len).skip(1) {
                crate::kernels::elementwise::add_assign(out, &partial[at..at + out.len()]);
            }
        });
    })
}

/// For each class of grad_input, its weights in panels; rows are output channels, columns input channels.
fn pack_grad_input(pass: &Backward, plan: &Plan, width: usize) -> Vec<Vec<f32>> {
    let size = &pass.size;
    if size.is_depthwise() {
        return plan.classes.iter().map(|_| pass.weight.to_vec()).collect();
    }
    let (rows, columns) = (size.c_out / size.groups, size.c_in / size.groups);
    let pack = |class| {
        let class: &super::plan::Class = class;
        let mut packed = vec![0.0; size.groups * columns.div_ceil(width) * class.taps.len() * rows * width];
        pack_panels(&mut packed, width, (rows, columns), class, |(ky, kx), group, row, range: Range<usize>, out| {
            let tap = (ky * size.k_w + kx) * columns;
            for (out, column) in out.iter_mut().zip(range) {
                *out = pass.weight[(tap + column) * size.c_out + group * rows + row];
            }
        });
        packed
    };
    plan.classes.iter().map(pack).collect()
}

struct Shared<'a> {
    pass: &'a Backward<'a>,
    x_plan: &'a Plan,
    dy_plan: &'a Plan,
    weights: &'a [Vec<f32>],
    width: usize,
    images: usize,
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
    grad_maps: &'a mut Vec<MapGrad<'b>>,
    partial: &'a mut [f32],
}

impl WithSimd for Chunk<'_, '_> {
    type Output = Sums;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Sums {
        let Shared { pass, images, .. } = *self.shared;
        let size = &pass.size;
        let mut sums = Sums {
            bias: vec![0.0; if pass.needs_bias { size.c_out } else { 0 }],
            scale: vec![0.0; size.c_in],
            shift: vec![0.0; size.c_in],
        };
        let mut first = self.range.start;
        while first < self.range.end {
            let last = (first + images).min(self.range.end);
            let mut done = first - self.range.start;
            self.shared.images(simd, first..last, &mut done, self.grad_maps, self.partial, &mut sums);
            first = last;
        }
        sums
    }
}

impl Shared<'_> {
    /// One group of images. `done` is the number of the chunk's images before it.
    #[inline(always)]
    fn images<S: Simd>(
        &self,
        simd: S,
        range: Range<usize>,
        done: &mut usize,
        grad_maps: &mut [MapGrad],
        partial: &mut [f32],
        sums: &mut Sums,
    ) {
        let Shared { pass, x_plan, dy_plan, .. } = *self;
        let size = &pass.size;
        let images = range.len();
        let (pixels, columns) = (size.h_out * size.w_out, size.c_out / size.groups);
        let dy_panels = size.groups * columns.div_ceil(self.width);
        let depthwise = size.is_depthwise();
        let lengths = [
            images * pixels * size.c_out,
            if self.needs_input { images * dy_plan.scratch_len() } else { 0 },
            if pass.needs_weight && !depthwise { images * pixels * dy_panels * self.width } else { 0 },
            if pass.needs_weight { images * x_plan.scratch_len() } else { 0 },
            if self.needs_input { images * size.h * size.w * size.c_in } else { 0 },
        ];
        let mut memory = Scratch::new(lengths);
        let [dy, padded, panels, x, grad_input] = memory.split(lengths);
        {
            grad_row(simd, &pass.grad_output, size.c_out, range.start * pixels, dy);
            if pass.needs_bias {
                for dy in dy.chunks_exact(size.c_out) {
                    sums.bias.iter_mut().zip(dy).for_each(|(s, &g)| *s += f64::from(g));
                }
            }
            if pass.needs_weight && depthwise {
                for (i, x) in x.chunks_exact_mut(x_plan.scratch_len()).enumerate() {
                    load_image(simd, &pass.input, x_plan, range.start + i, x);
                }
                let class = &x_plan.classes[0];
                let all = spread(&class.pixels, images, x_plan.scratch_len(), pixels);
                depthwise::grad_weight(simd, x, &all, &class.runs, dy, size.c_out, partial);
            } else if pass.needs_weight {
                self.pack_dy(dy, images * pixels, panels);
                self.pack_x(simd, range.clone(), x);
                self.grad_weight(simd, images, x, panels, partial);
            }
            if self.needs_input {
                let row_len = size.w_out * size.c_out;
                for (i, padded) in padded.chunks_exact_mut(dy_plan.scratch_len()).enumerate() {
                    zero_border(dy_plan, padded);
                    for y in 0..size.h_out {
                        let at = ((dy_plan.top + y) * dy_plan.padded_columns + dy_plan.left) * size.c_out;
                        let from = (i * size.h_out + y) * row_len;
                        padded[at..at + row_len].copy_from_slice(&dy[from..from + row_len]);
                    }
                }
                self.grad_input(simd, images, padded, grad_input);
                let mut start = 0;
                for (&(map, c), grad) in pass.input.maps.iter().zip(grad_maps) {
                    let Some((grad, write)) = grad else {
                        start += c;
                        continue;
                    };
                    let per_map = size.h * size.w * c;
                    let at = *done * per_map;
                    let finish = mask::Finish {
                        grad_input,
                        channels: size.c_in,
                        start,
                        map: &map[range.start * per_map..][..images * per_map],
                        affine: pass.input.affine.map(|(a, b)| (&a[start..start + c], &b[start..start + c])),
                        activation: pass.input.activation,
                        out: &mut grad[at..at + images * per_map],
                        write: *write,
                    };
                    finish.run(simd, &mut sums.scale[start..start + c], &mut sums.shift[start..start + c]);
                    start += c;
                }
            }
        }
        *done += images;
    }

    /// `dy` as `[group][panel][pixel][width]`, the last panel of a group padded with zeros.
    #[inline(always)]
    fn pack_dy(&self, dy: &[f32], pixels: usize, panels: &mut [f32]) {
        let size = &self.pass.size;
        let columns = size.c_out / size.groups;
        let per_group = columns.div_ceil(self.width);
        for (p, panel) in panels.chunks_exact_mut(pixels * self.width).enumerate() {
            let start = p % per_group * self.width;
            let len = (columns - start).min(self.width);
            let at = p / per_group * columns + start;
            for (out, dy) in panel.chunks_exact_mut(self.width).zip(dy.chunks_exact(size.c_out)) {
                if len == 16 && self.width == 16 {
                    // A fixed length is two vector moves instead of a call.
                    out[..16].copy_from_slice(&dy[at..at + 16]);
                } else {
                    out[..len].copy_from_slice(&dy[at..at + len]);
                    out[len..].fill(0.0);
                }
            }
        }
    }

    /// x as `[group][panel][image][padded pixel][up to MR]`: panels of [`MR`] channels, the last of a group narrower.
    #[inline(always)]
    fn pack_x<S: Simd>(&self, simd: S, range: Range<usize>, x: &mut [f32]) {
        let Shared { pass, x_plan: plan, .. } = *self;
        let size = &pass.size;
        let per_group = size.c_in / size.groups;
        let pixels = range.len() * plan.padded_rows * plan.padded_columns;
        let row_len = [plan.padded_columns * size.c_in];
        let mut memory = Scratch::new(row_len);
        let [row] = memory.split(row_len);
        row.fill(0.0);
        {
            for y in 0..range.len() * plan.padded_rows {
                let (image, y_in) = (y / plan.padded_rows, (y % plan.padded_rows).wrapping_sub(plan.top));
                let inside = y_in < plan.rows;
                if inside {
                    let out = &mut row[plan.left * size.c_in..][..plan.columns * size.c_in];
                    let first = ((range.start + image) * plan.rows + y_in) * plan.columns;
                    maps_row(simd, &pass.input, size.c_in, first, out);
                }
                for group in 0..size.groups {
                    let mut c = 0;
                    while c < per_group {
                        let mr = MR.min(per_group - c);
                        let channel = group * per_group + c;
                        // A panel of `mr` channels starts after all earlier channels of every pixel.
                        let at = channel * pixels + y * plan.padded_columns * mr;
                        let out = &mut x[at..at + plan.padded_columns * mr];
                        if !inside {
                            out.fill(0.0);
                        } else if mr == MR {
                            let (out, _) = out.as_chunks_mut::<MR>();
                            for (out, row) in out.iter_mut().zip(row.chunks_exact(size.c_in)) {
                                out.copy_from_slice(&row[channel..channel + MR]);
                            }
                        } else {
                            for (out, row) in out.chunks_exact_mut(mr).zip(row.chunks_exact(size.c_in)) {
                                out.copy_from_slice(&row[channel..channel + mr]);
                            }
                        }
                        c += mr;
                    }
                }
            }
        }
    }

    /// Adds `x` times `dy`, both in panels, to the partial grad_weight.
    #[inline(always)]
    fn grad_weight<S: Simd>(&self, simd: S, images: usize, x: &[f32], dy: &[f32], partial: &mut [f32]) {
        let Shared { pass, x_plan: plan, .. } = *self;
        let size = &pass.size;
        let (per_group, columns) = (size.c_in / size.groups, size.c_out / size.groups);
        let padded = plan.padded_rows * plan.padded_columns;
        let pixels = size.h_out * size.w_out;
        let dy_panels = columns.div_ceil(self.width);
        for group in 0..size.groups {
            let mut c = 0;
            while c < per_group {
                let mr = MR.min(per_group - c);
                let x = &x[(group * per_group + c) * images * padded..][..images * padded * mr];
                for panel in 0..dy_panels {
                    let dy = &dy[(group * dy_panels + panel) * images * pixels * self.width..]
                        [..images * pixels * self.width];
                    let start = panel * self.width;
                    let outer = Outer {
                        size,
                        plan,
                        x,
                        dy,
                        images,
                        c,
                        column: group * columns + start,
                        columns: (columns - start).min(self.width),
                        per_group,
                        partial: &mut *partial,
                    };
                    match mr {
                        6 => simd.vectorize(OuterOf::<6>(outer)),
                        5 => simd.vectorize(OuterOf::<5>(outer)),
                        4 => simd.vectorize(OuterOf::<4>(outer)),
                        3 => simd.vectorize(OuterOf::<3>(outer)),
                        2 => simd.vectorize(OuterOf::<2>(outer)),
                        _ => simd.vectorize(OuterOf::<1>(outer)),
                    }
                }
                c += mr;
            }
        }
    }

    /// `grad_input` of all channels, as the convolution sees its input.
    #[inline(always)]
    fn grad_input<S: Simd>(&self, simd: S, images: usize, padded: &[f32], grad_input: &mut [f32]) {
        let Shared { pass, dy_plan: plan, width, .. } = *self;
        let size = &pass.size;
        let (rows, columns) = (size.c_out / size.groups, size.c_in / size.groups);
        for (class, weights) in plan.classes.iter().zip(self.weights) {
            let all = spread(&class.pixels, images, plan.scratch_len(), size.h * size.w);
            if size.is_depthwise() {
                let mut store = Store { out: grad_input, channels: size.c_in, start: 0, len: 0, bias: None, add: None };
                depthwise::run(simd, padded, &all, class, weights, size.k_w, &mut store);
                continue;
            }
            let panels = columns.div_ceil(width);
            let panel_len = class.taps.len() * rows * width;
            for p in 0..size.groups * panels {
                let (group, start) = (p / panels, p % panels * width);
                let panel = &weights[p * panel_len..(p + 1) * panel_len];
                let store = Store {
                    out: &mut *grad_input,
                    channels: size.c_in,
                    start: group * columns + start,
                    len: (columns - start).min(width),
                    bias: None,
                    add: None,
                };
                simd.vectorize(Panel {
                    scratch: &padded[group * rows..],
                    pixels: &all,
                    runs: &class.runs,
                    weights: panel,
                    store,
                });
            }
        }
    }
}

/// One panel of x against one panel of dy, for every tap.
struct Outer<'a> {
    size: &'a ConvSize,
    plan: &'a Plan,
    x: &'a [f32],
    dy: &'a [f32],
    images: usize,
    c: usize,
    column: usize,
    columns: usize,
    per_group: usize,
    partial: &'a mut [f32],
}

/// [`Outer`] for panels of `M` input channels; a function of its own for the same reason as [`Panel`].
struct OuterOf<'a, const M: usize>(Outer<'a>);

impl<const M: usize> WithSimd for OuterOf<'_, M> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        self.0.run::<S, M>(simd);
    }
}

impl Outer<'_> {
    #[inline(always)]
    fn run<S: Simd, const M: usize>(self, simd: S) {
        let size = self.size;
        let lanes = S::F32_LANES;
        for tap in 0..size.k_h * size.k_w {
            let (ky, kx) = (tap / size.k_w, tap % size.k_w);
            let acc = self.tap::<S, M>(simd, ky, kx);
            for (i, acc) in acc.into_iter().enumerate() {
                let at = (tap * self.per_group + self.c + i) * size.c_out + self.column;
                let mut rest = &mut self.partial[at..at + self.columns];
                for v in acc {
                    let len = rest.len().min(lanes);
                    let (out, tail) = rest.split_at_mut(len);
                    rest = tail;
                    if len == lanes {
                        let out = &mut S::as_mut_simd_f32s(out).0[0];
                        *out = simd.add_f32s(*out, v);
                    } else if len > 0 {
                        let sum = simd.add_f32s(simd.partial_load_f32s(out), v);
                        simd.partial_store_f32s(out, sum);
                    }
                }
            }
        }
    }

    #[inline(always)]
    fn tap<S: Simd, const M: usize>(&self, simd: S, ky: usize, kx: usize) -> [[S::f32s; 2]; M] {
        let Outer { size, plan, .. } = *self;
        let (x, _) = self.x.as_chunks::<M>();
        let (dy, _) = S::as_simd_f32s(self.dy);
        let (dy, _) = dy.as_chunks::<2>();
        let mut sum = [[simd.splat_f32s(0.0); 2]; M];
        for image in 0..self.images {
            for y in 0..size.h_out {
                let row = image * plan.padded_rows + y * size.stride + ky * size.dilation;
                let x = &x[row * plan.padded_columns + kx * size.dilation..];
                let dy = &dy[(image * size.h_out + y) * size.w_out..][..size.w_out];
                if size.stride == 1 {
                    for (x, dy) in x[..size.w_out].iter().zip(dy) {
                        add_outer(simd, &mut sum, x, dy);
                    }
                } else {
                    for (x, dy) in x.iter().step_by(size.stride).zip(dy) {
                        add_outer(simd, &mut sum, x, dy);
                    }
                }
            }
        }
        sum
    }
}

#[inline(always)]
fn add_outer<S: Simd, const M: usize>(simd: S, sum: &mut [[S::f32s; 2]; M], x: &[f32; M], dy: &[S::f32s; 2]) {
    for i in 0..M {
        let v = simd.splat_f32s(x[i]);
        sum[i][0] = simd.mul_add_f32s(v, dy[0], sum[i][0]);
        sum[i][1] = simd.mul_add_f32s(v, dy[1], sum[i][1]);
    }
}
