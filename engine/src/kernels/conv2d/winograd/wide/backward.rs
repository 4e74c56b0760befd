//! grad_input and grad_weight.

use super::super::super::backward::{Backward, MapGrad, Small, Write};
use super::super::super::forward::load_inside;
use super::super::super::load::{grad_row, zero_border};
use super::super::super::mask;
use super::super::taps::Taps;
use super::forward::{Unite, clear_missing, images_of};
use super::pairs::{At, Place, pair};
use super::panels::Product;
use super::tiles::{Kind, Layout, Transform};
use super::{Grid, Tiling, tiling};
use crate::kernels::scratch::Scratch;
use crate::kernels::simd::{Level, lanes, run};
use crate::parallel;
use crate::tensor::Tensor;
use pulp::{Simd, WithSimd};
use std::ops::Range;

/// Input panels of a grad_weight task: each reads all of dy once.
const PANELS: usize = 2;
/// Images of a task of the last stage.
const IMAGES: usize = 4;

/// Writes the maps' gradients and returns the small ones.
pub fn backward(level: Level, pass: &Backward, mut grad_maps: Vec<MapGrad>) -> Small {
    let of = match tiling(&pass.size) {
        Tiling::Four => of::<4, 6>,
        Tiling::Two => of::<2, 4>,
        Tiling::Whole => of::<2, 3>,
    };
    of(level, pass, &mut grad_maps)
}

fn of<const T: usize, const W: usize>(level: Level, pass: &Backward, grad_maps: &mut [MapGrad]) -> Small {
    let size = &pass.size;
    let (grid, width) = (Grid::<T, W>::new(size), super::panel_width(size, lanes(level)));
    let needs_input = grad_maps.iter().any(Option::is_some);
    let tiles = grid.group_tiles();
    let layouts = Layouts {
        grad_input: Layout::rows(W * W, tiles, size.c_out, width),
        x: Layout::panels(W * W, tiles, size.c_in, width),
        dy: Layout::panels(W * W, tiles, size.c_out, width),
    };
    let mut bias = vec![0.0f64; if pass.needs_bias { size.c_out } else { 0 }];
    let mut affine = [vec![0.0f64; size.c_in], vec![0.0f64; size.c_in]];
    let mut weight = pass.needs_weight.then(|| Tensor::build([3, 3, size.c_in, size.c_out], |_| {}));
    for block in grid.blocks(size.n) {
        let groups = block.len().div_ceil(grid.group_images());
        let stage = Stage::<T, W> { level, pass, grid: &grid, block: block.clone(), groups, layouts: &layouts, width };
        let (rows, x, dy, biases) = stage.tiles(needs_input);
        for of_group in biases {
            bias.iter_mut().zip(of_group).for_each(|(b, g)| *b += g);
        }
        if let Some(weight) = &mut weight {
            stage.grad_weight(x.data(), dy.data(), weight.data_mut(), block.start > 0);
        }
        drop((x, dy));
        if needs_input {
            let panels = stage.products(rows.data());
            for [scale, shift] in stage.finish(panels.data(), grad_maps) {
                affine[0].iter_mut().zip(scale).for_each(|(a, s)| *a += s);
                affine[1].iter_mut().zip(shift).for_each(|(a, s)| *a += s);
            }
        }
    }
    let narrow = |v: &[f64]| v.iter().map(|&v| v as f32).collect::<Vec<f32>>();
    Small {
        weight,
        bias: pass.needs_bias.then(|| narrow(&bias)),
        affine: (needs_input && pass.input.affine.is_some()).then(|| (narrow(&affine[0]), narrow(&affine[1]))),
    }
}

struct Layouts {
    grad_input: Layout,
    x: Layout,
    dy: Layout,
}

/// The stages of one block of images.
struct Stage<'a, const T: usize, const W: usize> {
    level: Level,
    pass: &'a Backward<'a>,
    grid: &'a Grid<T, W>,
    block: Range<usize>,
    groups: usize,
    layouts: &'a Layouts,
    width: usize,
}

impl<const T: usize, const W: usize> Stage<'_, T, W> {
    /// Transformed tiles: of dy for grad_input, of x and dy for grad_weight; and each group's sums for the bias.
    fn tiles(&self, needs_input: bool) -> (Tensor, Tensor, Tensor, Vec<Vec<f64>>) {
        let Layouts { grad_input, x, dy } = self.layouts;
        let (needs_weight, groups) = (self.pass.needs_weight, self.groups);
        let room =
            |needed: bool, layout: &Layout| Tensor::build([if needed { groups * layout.group } else { 0 }], |_| {});
        let mut all = [room(needs_input, grad_input), room(needs_weight, x), room(needs_weight, dy)];
        let [rows, xs, dys] = &mut all;
        let mut rows = rows.data_mut().chunks_mut(grad_input.group);
        let mut xs = xs.data_mut().chunks_mut(x.group);
        let mut dys = dys.data_mut().chunks_mut(dy.group);
        let mut outs: Vec<_> = (0..groups).map(|_| [rows.next(), xs.next(), dys.next()]).collect();
        let biases = parallel::each(outs.iter_mut().collect(), |group, [rows, x, dy]| {
            let images = images_of(self.grid, &self.block, group);
            let out = [rows.as_deref_mut(), x.as_deref_mut(), dy.as_deref_mut()];
            run(self.level, Group { stage: self, images, out })
        });
        let [rows, x, dy] = all;
        (rows, x, dy, biases)
    }

    /// `(3, 3, c_in, c_out)`, by panels of input channels.
    fn grad_weight(&self, x: &[f32], dy: &[f32], out: &mut [f32], accumulate: bool) {
        let (c_in, c_out, width) = (self.pass.size.c_in, self.pass.size.c_out, self.width);
        let rows = PANELS * width;
        let mut taps: Vec<_> = out.chunks_mut(c_in * c_out).map(|tap| tap.chunks_mut(rows * c_out)).collect();
        let mut tasks: Vec<Vec<&mut [f32]>> =
            (0..c_in.div_ceil(rows)).map(|_| taps.iter_mut().filter_map(Iterator::next).collect()).collect();
        parallel::each(tasks.iter_mut().collect(), |task, out| {
            let panels = task * PANELS..((task + 1) * PANELS).min(c_in / width);
            run(self.level, Pairs { stage: self, panels, x, dy, out, accumulate });
        });
    }

    /// grad_input in panels of input channels.
    fn products(&self, x: &[f32]) -> Tensor {
        let Stage { level, pass, grid, width, .. } = *self;
        let (c_in, c_out) = (pass.size.c_in, pass.size.c_out);
        let images = self.block.len();
        let pixels = images * grid.pixels();
        Tensor::build([c_in * pixels], |panels| {
            parallel::chunks_mut(panels, pixels * width, |panel, out| {
                let taps = Taps::mirror(pass.weight, [c_in, c_out], panel * width, width);
                let layout = self.layouts.grad_input;
                run(level, Product::<T, W> { grid, images, x, layout, channels: c_out, taps, out });
            });
        })
    }

    /// Through mask and affine into the maps' gradients; each task's sums for the affine.
    fn finish(&self, panels: &[f32], grad_maps: &mut [MapGrad]) -> Vec<[Vec<f64>; 2]> {
        let Stage { level, pass, grid, ref block, width, .. } = *self;
        let pixels = grid.pixels();
        let mut tasks: Vec<Vec<MapGrad>> = (0..block.len().div_ceil(IMAGES)).map(|_| vec![]).collect();
        for (grad, &(_, c)) in grad_maps.iter_mut().zip(pass.input.maps) {
            let range = block.start * pixels * c..block.end * pixels * c;
            let mut rest = grad.as_mut().map(|(grad, write)| (grad[range].chunks_mut(IMAGES * pixels * c), *write));
            for task in &mut tasks {
                task.push(rest.as_mut().and_then(|(chunks, write)| Some((chunks.next()?, *write))));
            }
        }
        parallel::each(tasks, |task, grads| {
            let first = task * IMAGES;
            let images = first..(first + IMAGES).min(block.len());
            run(
                level,
                Finish { pass, pixels, total: block.len() * pixels, width, start: block.start, images, panels, grads },
            )
        })
    }
}

/// grad_weight of a few panels of input channels.
struct Pairs<'a, 'b, const T: usize, const W: usize> {
    stage: &'a Stage<'a, T, W>,
    panels: Range<usize>,
    x: &'a [f32],
    dy: &'a [f32],
    out: &'a mut [&'b mut [f32]],
    accumulate: bool,
}

impl<const T: usize, const W: usize> WithSimd for Pairs<'_, '_, T, W> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Pairs { stage, panels, x, dy, out, accumulate } = self;
        let Stage { grid, groups, width, layouts, .. } = *stage;
        let place = |layout: &Layout| Place { group: layout.group, position: layout.position, tile: layout.tile };
        for column in 0..stage.pass.size.c_out / width {
            for panel in panels.clone() {
                let at = At {
                    x: place(&layouts.x),
                    dy: place(&layouts.dy),
                    groups,
                    tiles: grid.group_tiles(),
                    row: (panel - panels.start) * width,
                    column: column * width,
                    c_out: stage.pass.size.c_out,
                    accumulate,
                };
                let (x, dy) = (&x[panel * layouts.x.panel..], &dy[column * layouts.dy.panel..]);
                pair::<S, W>(simd, x, dy, width, at, out);
            }
        }
    }
}

/// Transforms of one group's images.
struct Group<'a, 'b, const T: usize, const W: usize> {
    stage: &'a Stage<'a, T, W>,
    images: Range<usize>,
    /// dy as rows; x and dy as panels.
    out: [Option<&'b mut [f32]>; 3],
}

impl<const T: usize, const W: usize> WithSimd for Group<'_, '_, T, W> {
    type Output = Vec<f64>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Vec<f64> {
        let Group { stage, images, out: [rows, xs, dys] } = self;
        let Stage { pass, grid, layouts, .. } = stage;
        let (c_in, c_out) = (pass.size.c_in, pass.size.c_out);
        let (x_plan, dy_plan) = (grid.plan(c_in), grid.plan(c_out));
        let lengths = [dy_plan.scratch_len(), if xs.is_some() { x_plan.scratch_len() } else { 0 }];
        let mut memory = Scratch::new(lengths);
        let [dy, x] = memory.split(lengths);
        let mut bias = vec![0.0; if pass.needs_bias { c_out } else { 0 }];
        // Once: what is loaded stays inside.
        zero_border(&dy_plan, dy);
        let outs = [(rows, &layouts.grad_input), (xs, &layouts.x), (dys, &layouts.dy)];
        let [mut rows, mut xs, mut dys] = outs.map(|(out, layout)| {
            let out = out?;
            clear_missing(grid, images.len(), out, *layout);
            Some(out)
        });
        if xs.is_some() {
            zero_border(&x_plan, x);
        }
        for (i, image) in images.enumerate() {
            let first = i * grid.per_image();
            for y in 0..grid.height {
                let at = ((dy_plan.top + y) * dy_plan.padded_columns + dy_plan.left) * c_out;
                let row = &mut dy[at..at + grid.width * c_out];
                grad_row(simd, &pass.grad_output, c_out, (image * grid.height + y) * grid.width, row);
                if pass.needs_bias {
                    for pixel in row.chunks_exact(c_out) {
                        bias.iter_mut().zip(pixel).for_each(|(b, &g)| *b += f64::from(g));
                    }
                }
            }
            if let Some(out) = &mut rows {
                let layout = layouts.grad_input;
                let out = &mut out[first * layout.tile..];
                Transform::<T, W> { grid, kind: Kind::Input, padded: dy, channels: c_out, out, layout }.with_simd(simd);
            }
            if let Some(out) = &mut xs {
                load_inside(simd, &pass.input, &x_plan, image, x);
                let layout = layouts.x;
                let out = &mut out[first * layout.tile..];
                Transform::<T, W> { grid, kind: Kind::Input, padded: x, channels: c_in, out, layout }.with_simd(simd);
            }
            if let Some(out) = &mut dys {
                let layout = layouts.dy;
                let out = &mut out[first * layout.tile..];
                Transform::<T, W> { grid, kind: Kind::GradOutput, padded: dy, channels: c_out, out, layout }
                    .with_simd(simd);
            }
        }
        bias
    }
}

/// The last stage of grad_input for a few images.
struct Finish<'a, 'b> {
    pass: &'a Backward<'a>,
    /// Of an image, and of the block.
    pixels: usize,
    total: usize,
    width: usize,
    /// First image of the block.
    start: usize,
    /// Images of the block.
    images: Range<usize>,
    panels: &'a [f32],
    grads: Vec<MapGrad<'b>>,
}

impl WithSimd for Finish<'_, '_> {
    type Output = [Vec<f64>; 2];

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> [Vec<f64>; 2] {
        let Finish { pass, pixels, total, width, start, images, panels, mut grads } = self;
        let c_in = pass.size.c_in;
        let mut sums = [vec![0.0; c_in], vec![0.0; c_in]];
        let rows = images.start * pixels..images.end * pixels;
        let unite = |out| {
            Unite { panels, pixels: total, width, rows: rows.clone(), channels: c_in, out }.with_simd(simd);
        };
        if let (true, [Some((out, Write::Store))]) = (pass.input.is_plain(), &mut grads[..]) {
            unite(out);
            return sums;
        }
        let length = rows.len() * c_in;
        let mut memory = Scratch::new([length]);
        let [grad_input] = memory.split([length]);
        unite(&mut *grad_input);
        let mut first = 0;
        for (&(map, c), grad) in pass.input.maps.iter().zip(grads) {
            let channels = first..first + c;
            first += c;
            let Some((out, write)) = grad else { continue };
            let finish = mask::Finish {
                grad_input,
                stride: c_in,
                start: channels.start,
                map: &map[(start + images.start) * pixels * c..][..images.len() * pixels * c],
                affine: pass.input.affine.map(|(a, b)| (&a[channels.clone()], &b[channels.clone()])),
                activation: pass.input.activation,
                out,
                write,
            };
            let [scale, shift] = &mut sums;
            finish.run(simd, rows.len(), &mut scale[channels.clone()], &mut shift[channels]);
        }
        sums
    }
}
