//! grad_input, grad_weight and the sums that go with them, in one pass over the images; see the [module's page](super).

use super::forward::{images_per_task, load_image};
use super::load::{GradTerms, Maps, grad_row, zero_border};
use super::plan::Plan;
use super::tile::{MR, Store, pack_panels, panel_width, run_panels, spread};
use super::winograd::{self, Asked, Pass, Tiles};
use super::{Algorithm, ConvSize, depthwise, mask, pointwise};
use crate::kernels::ahead::Ahead;
use crate::kernels::channel_sums;
use crate::kernels::lazy_sum::{Residual, RowSums, TermSums};
use crate::kernels::scratch::Scratch;
use crate::kernels::simd::{Level, apart, lanes, run};
use crate::parallel::{self, Pieces};
use crate::tensor::Tensor;
use pulp::{Simd, WithSimd};
use std::ops::Range;

/// What a backward pass reads, and which gradients it computes.
#[derive(Clone, Copy)]
pub struct Backward<'a> {
    /// Sizes.
    pub size: ConvSize,
    /// How to compute it.
    pub algorithm: Algorithm,
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

/// The maps' gradients in pieces, each of which has those of every map; `pixels` of the map for each of what the pieces are cut from.
pub fn split_maps<'a>(
    grads: &'a mut [MapGrad],
    maps: &[(&[f32], usize)],
    pieces: Pieces,
    pixels: usize,
) -> Vec<Vec<MapGrad<'a>>> {
    let mut all: Vec<Vec<MapGrad>> = (0..pieces.count()).map(|_| Vec::with_capacity(maps.len())).collect();
    for (grad, &(_, c)) in grads.iter_mut().zip(maps) {
        let mut of_map = grad.as_mut().map(|(grad, write)| (pieces.split(grad, pixels * c).into_iter(), *write));
        for piece in &mut all {
            piece.push(of_map.as_mut().and_then(|(grads, write)| Some((grads.next()?, *write))));
        }
    }
    all
}

/// `chunks` slices of `len` values, empty ones of nothing.
pub fn split_partials(partials: &mut [f32], chunks: usize, len: usize) -> Vec<&mut [f32]> {
    match len {
        0 => (0..chunks).map(|_| Default::default()).collect(),
        len => partials.chunks_mut(len).collect(),
    }
}

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
/// Multiply-adds of a chunk, at least: some hundred microseconds. Each chunk begins with memory that nobody asked for, and has sums of
/// its own, which cost a few of them.
const CHUNK_MACS: usize = 1 << 24;

/// How many chunks a backward pass has, each with `len` partial sums of grad_weight, if its forward pass takes as long as `macs` multiply-adds.
pub fn chunk_count(macs: usize, len: usize) -> usize {
    (macs / CHUNK_MACS).min(PARTIAL_FLOATS / len.max(1)).max(MIN_CHUNKS)
}

/// Whether [`backward`] masks the gradient of a residual sum.
pub fn takes_residual(pass: &Backward) -> bool {
    let size = &pass.size;
    let by_others = size.is_depthwise()
        || pointwise::applies(size)
        || pass.algorithm.is_winograd(size) && (winograd::wide::applies(size) || winograd::narrow::wins(size));
    pass.input.is_plain() && !by_others
}

/// As [`backward`], and then the gradient of the one map, which is complete with this, through the residual sum that made the map: image by
/// image, while it is in the cache. Only where [it can](takes_residual).
pub fn backward_residual(
    level: Level,
    pass: &Backward,
    grad_maps: Vec<MapGrad>,
    residual: &Residual,
) -> (Small, Vec<Option<TermSums>>) {
    let (small, sums) = in_chunks(level, pass, grad_maps, Some(residual));
    (small, residual.total(&sums))
}

/// Writes the maps' gradients and returns the small ones.
pub fn backward(level: Level, pass: &Backward, grad_maps: Vec<MapGrad>) -> Small {
    let size = &pass.size;
    if pass.algorithm.is_winograd(size) && winograd::wide::applies(size) {
        return winograd::wide::backward(level, pass, grad_maps);
    }
    if size.is_depthwise() {
        return depthwise::backward(level, pass, grad_maps);
    }
    if pass.algorithm.is_winograd(size) && winograd::narrow::wins(size) {
        return winograd::narrow::backward(level, pass, grad_maps);
    }
    if pointwise::applies(size) {
        return pointwise::backward::backward(level, pass, grad_maps);
    }
    in_chunks(level, pass, grad_maps, None).0
}

/// The kernels of this file.
fn in_chunks(
    level: Level,
    pass: &Backward,
    mut grad_maps: Vec<MapGrad>,
    residual: Option<&Residual>,
) -> (Small, Vec<RowSums>) {
    let size = &pass.size;
    let needs_input = grad_maps.iter().any(Option::is_some);
    let lanes = lanes(level);
    // Of grad_input's weights, and of dy for grad_weight.
    let (width, dy_width) = (panel_width(size.c_in / size.groups, lanes), panel_width(size.c_out / size.groups, lanes));
    let tiles = pass.algorithm.is_winograd(size).then(|| Tiles::new(size));
    let (x_plan, dy_plan) = match &tiles {
        Some(tiles) => (tiles.plan(Pass::Forward, size.c_in), tiles.plan(Pass::GradInput, size.c_out)),
        None => (Plan::forward(size), Plan::grad_input(size)),
    };
    let weights = match &tiles {
        _ if !needs_input => vec![],
        Some(tiles) => vec![transform_weights(level, pass, tiles, width)],
        None => pack_grad_input(pass, &dy_plan, width),
    };

    // Chunks of whole groups of images, each with partial sums of its own.
    let images = match &tiles {
        Some(tiles) => tiles.images_per_backward_task(size.c_in, size.c_out),
        None => {
            let forward = images_per_task(&x_plan, size.h_out * size.w_out);
            forward.min(images_per_task(&dy_plan, size.h * size.w))
        }
    };
    let weight_len = tiles.map_or(size.weight_len(), |tiles| tiles.transformed() * size.c_in * size.c_out);
    let pieces = Pieces::power_of_two(size.n.div_ceil(images), chunk_count(size.macs(), weight_len));
    let chunks = pieces.count();

    let partial_len = if pass.needs_weight { weight_len } else { 0 };
    let mut partials = Tensor::build([chunks, partial_len], |_| {});
    let mut map_chunks = split_maps(&mut grad_maps, pass.input.maps, pieces, images * size.h * size.w);
    let mut partial_slices = split_partials(partials.data_mut(), chunks, partial_len);
    let shared = Shared {
        pass,
        x_plan: &x_plan,
        dy_plan: &dy_plan,
        tiles,
        weights: &weights,
        width,
        dy_width,
        images,
        needs_input,
        is_plain: pass.input.is_plain(),
        residual,
    };
    let tasks = map_chunks.iter_mut().zip(partial_slices.iter_mut()).collect();
    let mut sums: Vec<Sums> = parallel::sweep(tasks, |chunk, (grad_maps, partial), next| {
        let next = next.map_or(size.n, |next| pieces.range(next).start * images);
        let groups = pieces.range(chunk);
        let range = groups.start * images..(groups.end * images).min(size.n);
        run(level, Chunk { shared: &shared, range, next, grad_maps, partial })
    });

    let total = |f: fn(&Sums) -> &[f64], channels| channel_sums::total(channels, sums.iter().map(f));
    let small = Small {
        weight: pass.needs_weight.then(|| finish_weight(level, add_partials(&partials), size, tiles.as_ref())),
        bias: pass.needs_bias.then(|| total(|s| &s.bias, size.c_out)),
        affine: (needs_input && pass.input.affine.is_some())
            .then(|| (total(|s| &s.scale, size.c_in), total(|s| &s.shift, size.c_in))),
    };
    (small, sums.iter_mut().filter_map(|sums| sums.residual.take()).collect())
}

/// The chunks' partial sums, `(chunks, len)`, added in order.
pub(super) fn add_partials(partials: &Tensor) -> Tensor {
    let [chunks, len] = partials.dims();
    if chunks == 1 {
        return partials.view([len].into());
    }
    let all = partials.data();
    Tensor::build([len], |out| {
        parallel::chunks_mut(out, parallel::CHUNK / 4, |i, out| {
            let at = i * (parallel::CHUNK / 4);
            out.copy_from_slice(&all[at..at + out.len()]);
            for partial in all.chunks_exact(len).skip(1) {
                crate::kernels::elementwise::add_assign(out, &partial[at..at + out.len()]);
            }
        });
    })
}

/// grad_weight from the sums, which may be those of Winograd's transform.
fn finish_weight(level: Level, sums: Tensor, size: &ConvSize, winograd: Option<&Tiles>) -> Tensor {
    let shape = [size.k_h, size.k_w, size.c_in / size.groups, size.c_out];
    if let Some(tiles) = winograd {
        let channels = [size.c_in, size.c_out];
        return Tensor::build(shape, |out| tiles.finish_grad_weight(level, sums.data(), channels, out));
    }
    sums.view(shape.into())
}

/// The flipped weight, transformed; rows are output channels, columns input channels.
fn transform_weights(level: Level, pass: &Backward, tiles: &Tiles, width: usize) -> Tensor {
    let ConvSize { c_in, c_out, .. } = pass.size;
    Tensor::build([c_in.div_ceil(width) * tiles.transformed() * c_out * width], |out| {
        tiles.pack_weights(level, Pass::GradInput, pass.weight, [c_in, c_out], width, out);
    })
}

/// For each class of grad_input, its weights in panels; rows are output channels, columns input channels.
fn pack_grad_input(pass: &Backward, plan: &Plan, width: usize) -> Vec<Tensor> {
    let size = &pass.size;
    let (rows, columns) = (size.c_out / size.groups, size.c_in / size.groups);
    let pack = |class| {
        let class: &super::plan::Class = class;
        Tensor::build([size.groups * columns.div_ceil(width) * class.taps.len() * rows * width], |out| {
            pack_panels(out, width, (rows, columns), class, |(ky, kx), group, row, range: Range<usize>, out| {
                let tap = (ky * size.k_w + kx) * columns;
                for (out, column) in out.iter_mut().zip(range) {
                    *out = pass.weight[(tap + column) * size.c_out + group * rows + row];
                }
            });
        })
    };
    plan.classes.iter().map(pack).collect()
}

/// What all chunks share.
pub(super) struct Shared<'a> {
    pub(super) pass: &'a Backward<'a>,
    pub(super) x_plan: &'a Plan,
    pub(super) dy_plan: &'a Plan,
    /// If the algorithm is Winograd's.
    tiles: Option<Tiles>,
    /// Packed for grad_input, one for each class of its plan; transformed if the algorithm is Winograd's.
    weights: &'a [Tensor],
    /// Of a panel of `weights`.
    width: usize,
    /// Of a panel of dy, for grad_weight.
    pub(super) dy_width: usize,
    images: usize,
    needs_input: bool,
    /// One map, read as it is.
    is_plain: bool,
    /// The sum that made that map, if its gradient is masked here.
    residual: Option<&'a Residual<'a>>,
}

/// Sums of one chunk.
struct Sums {
    bias: Vec<f64>,
    scale: Vec<f64>,
    shift: Vec<f64>,
    residual: Option<RowSums>,
}

struct Chunk<'a, 'b> {
    shared: &'a Shared<'a>,
    range: Range<usize>,
    /// First image of the chunk that is likely to follow.
    next: usize,
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
            residual: self.shared.residual.map(Residual::no_sums),
        };
        let image = size.h * size.w * size.c_in;
        for first in self.range.clone().step_by(images) {
            let (done, last) = (first - self.range.start, (first + images).min(self.range.end));
            let next = if last < self.range.end { last } else { self.next };
            self.shared.images(simd, first..last, (done, next), self.grad_maps, self.partial, &mut sums);
            if let (Some(residual), Some(of_rows), [Some((grad, _))]) =
                (self.shared.residual, &mut sums.residual, &mut self.grad_maps[..])
            {
                let grad = &mut grad[done * image..][..(last - first) * image];
                apart(simd, Mask { residual, at: first * image, grad, sums: of_rows });
            }
        }
        sums
    }
}

/// Some images' gradient through the residual sum that made the map.
struct Mask<'a, 'b> {
    residual: &'a Residual<'a>,
    /// Where they begin.
    at: usize,
    grad: &'b mut [f32],
    sums: &'b mut RowSums,
}

impl WithSimd for Mask<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        self.residual.mask(simd, self.at, self.grad, self.sums);
    }
}

impl Shared<'_> {
    /// One group of images. `done` is the number of the chunk's images before it, `next` the first image that is likely to follow.
    #[inline(always)]
    fn images<S: Simd>(
        &self,
        simd: S,
        range: Range<usize>,
        (done, next): (usize, usize),
        grad_maps: &mut [MapGrad],
        partial: &mut [f32],
        sums: &mut Sums,
    ) {
        let Shared { pass, x_plan, dy_plan, .. } = *self;
        let size = &pass.size;
        let images = range.len();
        let (pixels, columns) = (size.h_out * size.w_out, size.c_out / size.groups);
        let dy_panels = size.groups * columns.div_ceil(self.dy_width);
        let winograd = self.tiles.is_some();
        let needs_panels = pass.needs_weight && !winograd;
        let needs_padded = self.needs_input || winograd;
        let needs_dy = pass.needs_bias || needs_panels;
        let lengths = [
            if needs_dy { images * pixels * size.c_out } else { 0 },
            if needs_padded { images * dy_plan.scratch_len() } else { 0 },
            if needs_panels { images * pixels * dy_panels * self.dy_width } else { 0 },
            if pass.needs_weight { images * x_plan.scratch_len() } else { 0 },
            if self.needs_input && !self.is_plain { images * size.h * size.w * size.c_in } else { 0 },
        ];
        let mut memory = Scratch::new(lengths);
        let [dy, padded, panels, x, grad_input] = memory.split(lengths);
        if needs_dy {
            grad_row(simd, &pass.grad_output, size.c_out, range.start * pixels, dy);
        }
        if pass.needs_bias {
            for dy in dy.chunks_exact(size.c_out) {
                sums.bias.iter_mut().zip(dy).for_each(|(s, &g)| *s += f64::from(g));
            }
        }
        if needs_padded {
            let row_len = size.w_out * size.c_out;
            for (i, padded) in padded.chunks_exact_mut(dy_plan.scratch_len()).enumerate() {
                zero_border(dy_plan, padded);
                for y in 0..size.h_out {
                    let at = ((dy_plan.top + y) * dy_plan.padded_columns + dy_plan.left) * size.c_out;
                    let (row, out) = (i * size.h_out + y, &mut padded[at..at + row_len]);
                    if needs_dy {
                        out.copy_from_slice(&dy[row * row_len..][..row_len]);
                    } else {
                        let first = range.start * pixels + row * size.w_out;
                        grad_row(simd, &pass.grad_output, size.c_out, first, out);
                    }
                }
            }
        }
        if pass.needs_weight && winograd {
            for (i, x) in x.chunks_exact_mut(x_plan.scratch_len()).enumerate() {
                load_image(simd, &pass.input, x_plan, range.start + i, x);
            }
        }
        let mut ahead = self.next(next, images);
        match &self.tiles {
            _ if !pass.needs_weight => {}
            Some(tiles) => {
                // The other half in grad_input.
                let asked = ahead.left() / if self.needs_input { 2 } else { 1 };
                let sums = (partial, done == 0);
                let channels = [size.c_in, size.c_out];
                winograd::grad_weight(simd, tiles, images, [x, padded], channels, sums, (asked, &mut ahead));
            }
            None => {
                self.pack_dy(dy, images * pixels, panels);
                self.pack_x(simd, range.clone(), x);
                self.grad_weight(simd, images, x, panels, (partial, done == 0));
            }
        }
        if self.is_plain {
            // Nothing stands between the convolution and its one map: straight into the map's gradient.
            if let Some(Some((grad, write))) = grad_maps.first_mut() {
                let per_map = size.h * size.w * size.c_in;
                let out = &mut grad[done * per_map..][..images * per_map];
                let asked = Asked { next: &mut ahead, results: None };
                self.grad_input(simd, images, padded, out, *write == Write::Add, asked);
            }
        } else if self.needs_input {
            // The first map's gradient, which is stored to last.
            let own = done * size.h * size.w..(done + images) * size.h * size.w;
            let results = match (grad_maps.first(), pass.input.maps.first()) {
                (Some(Some((grad, _))), Some(&(_, c))) => (&grad[own.start * c..own.end * c], c),
                _ => (&[][..], 1),
            };
            let asked = Asked { next: &mut ahead, results: Some(results) };
            self.grad_input(simd, images, padded, grad_input, false, asked);
            let mut start = 0;
            for (&(map, c), grad) in pass.input.maps.iter().zip(grad_maps) {
                let channels = start..start + c;
                start += c;
                let Some((grad, write)) = grad else { continue };
                let per_map = size.h * size.w * c;
                let at = done * per_map;
                let finish = mask::Finish {
                    grad_input,
                    stride: size.c_in,
                    start: channels.start,
                    map: &map[range.start * per_map..][..images * per_map],
                    affine: pass.input.affine.map(|(a, b)| (&a[channels.clone()], &b[channels.clone()])),
                    activation: pass.input.activation,
                    out: &mut grad[at..at + images * per_map],
                    write: *write,
                };
                let pixels = images * size.h * size.w;
                finish.run(simd, pixels, &mut sums.scale[channels.clone()], &mut sums.shift[channels]);
            }
        }
    }

    /// What the `images` images from `first` on read.
    #[inline(always)]
    fn next(&self, first: usize, images: usize) -> Ahead<'_> {
        let GradTerms { grad, affine_of, .. } = self.pass.grad_output;
        let size = &self.pass.size;
        let of = |pixels: usize| first.min(size.n) * pixels..(first + images).min(size.n) * pixels;
        let map = affine_of.map_or(&[][..], |(map, ..)| map);
        let maps = if self.pass.needs_weight { self.pass.input.maps } else { &[] };
        let grads = [(grad, size.c_out), (map, size.c_out)];
        Ahead::of(grads, of(size.h_out * size.w_out), maps, of(size.h * size.w))
    }

    /// `grad_input` of all channels, as the convolution sees its input.
    #[inline(always)]
    fn grad_input<S: Simd>(
        &self,
        simd: S,
        images: usize,
        padded: &[f32],
        out: &mut [f32],
        accumulate: bool,
        asked: Asked,
    ) {
        let Shared { pass, dy_plan: plan, width, .. } = *self;
        let size = &pass.size;
        let (rows, columns) = (size.c_out / size.groups, size.c_in / size.groups);
        let mut store = Store { out, channels: size.c_in, start: 0, len: 0, bias: None, add: None, accumulate };
        if let Some(tiles) = &self.tiles {
            let weights = (self.weights[0].data(), width);
            return winograd::convolve(
                simd,
                (tiles, images, Pass::GradInput),
                padded,
                size.c_out,
                weights,
                store,
                asked,
            );
        }
        let next = asked.next;
        let tiles = (images * size.h * size.w).div_ceil(MR) * size.groups * columns.div_ceil(width);
        next.spread(next.left(), tiles);
        for (class, weights) in plan.classes.iter().zip(self.weights) {
            let all = spread(&class.pixels, images, plan.scratch_len(), size.h * size.w);
            let sizes = (rows, columns, width);
            run_panels(simd, (padded, &all), class, weights.data(), sizes, store.reborrow(), next);
        }
    }
}
