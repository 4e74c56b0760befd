//! The weight into what tiles are multiplied by, and the products' sums into its gradient.

use super::super::tile::load;
use super::multiply::{PANEL, panels};
use super::taps::Taps;
use super::transform::{put, some};
use super::{Pass, Tiles};
use crate::kernels::scratch::Scratch;
use crate::kernels::simd::{Level, run};
use crate::parallel;
use pulp::{Simd, WithSimd};

impl Tiles {
    /// `G w Gt` of the weight `(3, 3, c_in, c_out)`, mirrored for grad_input, as `[panel][position][row][width]`: rows are the channels that
    /// are read; columns beyond those that are computed are zeros.
    pub fn pack_weights(
        &self,
        level: Level,
        pass: Pass,
        weight: &[f32],
        [c_in, c_out]: [usize; 2],
        width: usize,
        out: &mut [f32],
    ) {
        let rows = match pass {
            Pass::Forward => c_in,
            Pass::GradInput => c_out,
        };
        parallel::chunks_mut(out, (self.transformed() * rows * width).max(1), |panel, out| {
            let mut taps = match pass {
                Pass::Forward => Taps::copy(weight, [c_in, c_out], panel * width, width),
                Pass::GradInput => Taps::mirror(weight, [c_in, c_out], panel * width, width),
            };
            run(level, Panel { g: self.weight_rows(), taps: taps.each(), out });
        });
    }

    /// `Gt sums G`: the gradient of the weight, `[tap][c_in][c_out]`, from its transform, of each position in `multiply::panels`.
    pub fn finish_grad_weight(&self, level: Level, sums: &[f32], [c_in, c_out]: [usize; 2], out: &mut [f32]) {
        /// Input channels of a task.
        const ROWS: usize = 8;
        let mut taps: Vec<_> = out.chunks_mut(c_in * c_out).map(|tap| tap.chunks_mut(ROWS * c_out)).collect();
        let tasks: Vec<Vec<&mut [f32]>> =
            (0..c_in.div_ceil(ROWS)).map(|_| taps.iter_mut().filter_map(Iterator::next).collect()).collect();
        parallel::each(tasks, |task, mut out| {
            let rows = task * ROWS..((task + 1) * ROWS).min(c_in);
            let lengths = [9 * rows.len() * c_out.min(PANEL)];
            let mut memory = Scratch::new(lengths);
            let [taps] = memory.split(lengths);
            for (start, columns) in panels(c_out) {
                let len = rows.len() * columns;
                let (sums, taps) = (&sums[start * c_in + rows.start * columns..], &mut taps[..9 * len]);
                run(level, Sums { g: self.weight_rows(), sums, position: c_in * c_out, taps: &mut *taps });
                for (out, taps) in out.iter_mut().zip(taps.chunks_exact(len)) {
                    for (out, row) in out.chunks_exact_mut(c_out).zip(taps.chunks_exact(columns)) {
                        out[start..start + columns].copy_from_slice(row);
                    }
                }
            }
        });
    }
}

/// `factors` times three values.
#[inline(always)]
pub(super) fn combine<S: Simd>(simd: S, factors: &[f32; 3], [a, b, c]: [S::f32s; 3]) -> S::f32s {
    let sum = simd.mul_f32s(simd.splat_f32s(factors[0]), a);
    simd.mul_add_f32s(simd.splat_f32s(factors[2]), c, simd.mul_add_f32s(simd.splat_f32s(factors[1]), b, sum))
}

/// One panel's transform, `[position][row][width]`.
struct Panel<'a> {
    /// The rows of `G`.
    g: &'a [[f32; 3]],
    /// Each `[row][width]`.
    taps: [&'a [f32]; 9],
    out: &'a mut [f32],
}

impl WithSimd for Panel<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Panel { g, taps: [t0, t1, t2, t3, t4, t5, t6, t7, t8], out } = self;
        let len = t0.len();
        // A row of positions at a time: the vectors of all would not fit into the registers.
        for (g_row, out) in g.iter().zip(out.chunks_exact_mut(g.len() * len)) {
            for at in (0..len).step_by(S::F32_LANES) {
                let columns = [
                    combine(simd, g_row, [load(simd, &t0[at..]), load(simd, &t3[at..]), load(simd, &t6[at..])]),
                    combine(simd, g_row, [load(simd, &t1[at..]), load(simd, &t4[at..]), load(simd, &t7[at..])]),
                    combine(simd, g_row, [load(simd, &t2[at..]), load(simd, &t5[at..]), load(simd, &t8[at..])]),
                ];
                for (g, out) in g.iter().zip(out.chunks_exact_mut(len)) {
                    S::as_mut_simd_f32s(&mut out[at..][..S::F32_LANES]).0[0] = combine(simd, g, columns);
                }
            }
        }
    }
}

/// Neighbouring sums of all positions, into nine taps.
struct Sums<'a> {
    /// The rows of `G`.
    g: &'a [[f32; 3]],
    /// Of the first position, and from there on.
    sums: &'a [f32],
    /// Floats between positions.
    position: usize,
    taps: &'a mut [f32],
}

impl WithSimd for Sums<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Sums { g, sums, position, taps } = self;
        let len = taps.len() / 9;
        for at in (0..len).step_by(S::F32_LANES) {
            let lanes = (len - at).min(S::F32_LANES);
            let mut all = [[simd.splat_f32s(0.0); 3]; 3];
            for (r, row) in g.iter().enumerate() {
                let mut of_row = [simd.splat_f32s(0.0); 3];
                for (s, column) in g.iter().enumerate() {
                    let sum = some(simd, &sums[(r * g.len() + s) * position + at..], lanes);
                    for x in 0..3 {
                        of_row[x] = simd.mul_add_f32s(simd.splat_f32s(column[x]), sum, of_row[x]);
                    }
                }
                for y in 0..3 {
                    for x in 0..3 {
                        all[y][x] = simd.mul_add_f32s(simd.splat_f32s(row[y]), of_row[x], all[y][x]);
                    }
                }
            }
            for (tap, out) in taps.chunks_exact_mut(len).enumerate() {
                put(simd, &mut out[at..], lanes, all[tap / 3][tap % 3]);
            }
        }
    }
}
