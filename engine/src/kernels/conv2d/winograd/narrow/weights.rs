//! The weights' transforms, and the way back for their gradient, a vector of channels at a time.

use super::multiply::{BLENDED, PANEL, Panel};
use super::{Block, LANES, POSITIONS, WINDOW, inlined};
use crate::kernels::conv2d::ConvSize;
use crate::kernels::simd::{Level, run};
use crate::parallel;
use crate::tensor::Tensor;
use pulp::{Simd, WithSimd, bytemuck};

/// Taps of a window.
const TAPS: usize = 9;

/// `G` times three values.
#[inline(always)]
fn weight_1d<S: Simd>(simd: S, [w0, w1, w2]: [S::f32s; 3]) -> [S::f32s; WINDOW] {
    let [quarter, sixth, twelfth, small] = [1.0 / 4.0, 1.0 / 6.0, 1.0 / 12.0, 1.0 / 24.0].map(|v| simd.splat_f32s(v));
    let (outer, inner) = (simd.mul_f32s(simd.add_f32s(w0, w2), sixth), simd.mul_f32s(w1, sixth));
    let (even, odd) = (simd.mul_add_f32s(w2, sixth, simd.mul_f32s(w0, small)), simd.mul_f32s(w1, twelfth));
    let minus = simd.neg_f32s(outer);
    [
        simd.mul_f32s(w0, quarter),
        simd.sub_f32s(minus, inner),
        simd.sub_f32s(inner, outer),
        simd.add_f32s(even, odd),
        simd.sub_f32s(even, odd),
        w2,
    ]
}

/// `Gt` times six values.
#[inline(always)]
fn grad_weight_1d<S: Simd>(simd: S, g: [S::f32s; WINDOW]) -> [S::f32s; 3] {
    let [quarter, sixth, twelfth, small] = [1.0 / 4.0, 1.0 / 6.0, 1.0 / 12.0, 1.0 / 24.0].map(|v| simd.splat_f32s(v));
    let (near, far) = (simd.mul_f32s(simd.add_f32s(g[1], g[2]), sixth), simd.add_f32s(g[3], g[4]));
    [
        simd.mul_add_f32s(far, small, simd.sub_f32s(simd.mul_f32s(g[0], quarter), near)),
        simd.mul_add_f32s(simd.sub_f32s(g[3], g[4]), twelfth, simd.mul_f32s(simd.sub_f32s(g[2], g[1]), sixth)),
        simd.add_f32s(simd.sub_f32s(simd.mul_f32s(far, sixth), near), g[5]),
    ]
}

/// `rest` in pieces of these lengths.
pub fn split(mut rest: &mut [f32], lengths: impl Iterator<Item = usize>) -> Vec<&mut [f32]> {
    let piece = |len| {
        let (piece, tail) = std::mem::take(&mut rest).split_at_mut(len);
        rest = tail;
        piece
    };
    lengths.map(piece).collect()
}

/// Floats of a block's weights as [`pack_forward`] has them.
pub fn forward_len(block: &Block, panels: &[Panel]) -> usize {
    POSITIONS * panels.len() * block.channels * PANEL
}

/// `G w Gt` as `[block][position][panel][channel][16]`: a blended panel's last four columns lie twice beside each other.
pub fn pack_forward(level: Level, size: &ConvSize, blocks: &[Block], panels: &[Panel], weight: &[f32]) -> Tensor {
    struct Pack<'a> {
        size: &'a ConvSize,
        block: &'a Block,
        panels: &'a [Panel],
        weight: &'a [f32],
        out: &'a mut [f32],
    }
    impl WithSimd for Pack<'_> {
        type Output = ();
        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            let Pack { size, block, panels, weight, out } = self;
            let position_len = panels.len() * block.channels * PANEL;
            for k in 0..block.channels {
                for (p, panel) in panels.iter().enumerate() {
                    let mut taps = [[0.0f32; PANEL]; TAPS];
                    for (tap, lanes) in taps.iter_mut().enumerate() {
                        let at = (tap * size.c_in + block.first + k) * size.c_out + panel.start;
                        lanes[..panel.len].copy_from_slice(&weight[at..at + panel.len]);
                        if panel.width == BLENDED {
                            lanes.copy_within(LANES..BLENDED, BLENDED);
                        }
                    }
                    let at = (p * block.channels + k) * PANEL;
                    for half in [0, LANES] {
                        let tap = inlined(
                            #[inline(always)]
                            |tap: usize| S::as_simd_f32s(&taps[tap][half..half + LANES]).0[0],
                        );
                        transform(simd, tap, &mut out[at + half..], position_len);
                    }
                }
            }
        }
    }
    let lengths = || blocks.iter().map(|block| forward_len(block, panels));
    Tensor::build([lengths().sum()], |out| {
        let pieces: Vec<_> = split(out, lengths()).into_iter().zip(blocks).collect();
        parallel::each(pieces, |_, (out, block)| run(level, Pack { size, block, panels, weight, out }));
    })
}

/// `G w Gt` of a vector of channels, to `out[position * position_len..]`.
#[inline(always)]
fn transform<S: Simd>(simd: S, tap: impl Fn(usize) -> S::f32s, out: &mut [f32], position_len: usize) {
    let column = inlined(
        #[inline(always)]
        |x: usize| weight_1d(simd, [tap(x), tap(3 + x), tap(6 + x)]),
    );
    let columns = [column(0), column(1), column(2)];
    for r in 0..WINDOW {
        let row = weight_1d(simd, [columns[0][r], columns[1][r], columns[2][r]]);
        for (s, v) in row.into_iter().enumerate() {
            let at = (r * WINDOW + s) * position_len;
            S::as_mut_simd_f32s(&mut out[at..at + LANES]).0[0] = v;
        }
    }
}

/// Floats of a block's weights as [`pack_grad_input`] has them, and of its sums of grad_weight.
pub fn backward_len(block: &Block, c_out: usize) -> usize {
    POSITIONS * c_out * block.columns()
}

/// The flipped weight, as `[block][position][panel of 16][output channel][16]`; columns beyond the block are zeros.
pub fn pack_grad_input(level: Level, size: &ConvSize, blocks: &[Block], weight: &[f32]) -> Tensor {
    struct Pack<'a> {
        size: &'a ConvSize,
        block: &'a Block,
        weight: &'a [f32],
        out: &'a mut [f32],
    }
    impl WithSimd for Pack<'_> {
        type Output = ();
        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            let Pack { size, block, weight, out } = self;
            let ConvSize { c_in, c_out, .. } = *size;
            for start in (0..block.columns()).step_by(LANES) {
                let len = block.channels.saturating_sub(start).min(LANES);
                for o in 0..c_out {
                    let tap = inlined(
                        #[inline(always)]
                        |tap: usize| {
                            let at = ((TAPS - 1 - tap) * c_in + block.first + start) * c_out + o;
                            let lanes: [f32; LANES] =
                                std::array::from_fn(|i| if i < len { weight[at + i * c_out] } else { 0.0 });
                            S::as_simd_f32s(&lanes).0[0]
                        },
                    );
                    let at = (start / PANEL * c_out + o) * PANEL + start % PANEL;
                    transform(simd, tap, &mut out[at..], c_out * block.columns());
                }
            }
        }
    }
    let lengths = || blocks.iter().map(|block| backward_len(block, size.c_out));
    Tensor::build([lengths().sum()], |out| {
        let pieces: Vec<_> = split(out, lengths()).into_iter().zip(blocks).collect();
        parallel::each(pieces, |_, (out, block)| run(level, Pack { size, block, weight, out }));
    })
}

/// `Gt sums G`, `(3, 3, C_in, C_out)`, of sums laid out as [`pack_grad_input`]'s weights, one for each chunk and added in their order.
pub fn finish_grad_weight(level: Level, size: &ConvSize, blocks: &[Block], sums: &[f32]) -> Tensor {
    struct Finish<'a> {
        c_out: usize,
        block: &'a Block,
        /// Of the first chunk, this block and all behind it.
        sums: &'a [f32],
        chunk_len: usize,
        /// `[tap][channel][output channel]`
        out: &'a mut [f32],
    }
    impl WithSimd for Finish<'_> {
        type Output = ();
        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            let Finish { c_out, block, sums, chunk_len, out } = self;
            let position_len = c_out * block.columns();
            for start in (0..block.channels).step_by(LANES) {
                let len = (block.channels - start).min(LANES);
                for o in 0..c_out {
                    let at = (start / PANEL * c_out + o) * PANEL + start % PANEL;
                    let total = inlined(
                        #[inline(always)]
                        |r: usize, s: usize| {
                            let at = (r * WINDOW + s) * position_len + at;
                            let mut chunks = sums.chunks(chunk_len);
                            let mut total = simd.splat_f32s(0.0);
                            for chunk in chunks.by_ref() {
                                let Some(chunk) = chunk.get(at..at + LANES) else { break };
                                total = simd.add_f32s(total, S::as_simd_f32s(chunk).0[0]);
                            }
                            total
                        },
                    );
                    let row = inlined(
                        #[inline(always)]
                        |r: usize| {
                            let row = [total(r, 0), total(r, 1), total(r, 2), total(r, 3), total(r, 4), total(r, 5)];
                            grad_weight_1d(simd, row)
                        },
                    );
                    let rows = [row(0), row(1), row(2), row(3), row(4), row(5)];
                    for x in 0..3 {
                        let column = grad_weight_1d(
                            simd,
                            [rows[0][x], rows[1][x], rows[2][x], rows[3][x], rows[4][x], rows[5][x]],
                        );
                        for (y, v) in column.into_iter().enumerate() {
                            let v = [v];
                            let lanes: &[f32] = bytemuck::cast_slice(&v);
                            let at = ((y * 3 + x) * block.channels + start) * c_out + o;
                            for (i, v) in lanes[..len].iter().enumerate() {
                                out[at + i * c_out] = *v;
                            }
                        }
                    }
                }
            }
        }
    }
    let ConvSize { c_in, c_out, .. } = *size;
    let chunk_len = blocks.iter().map(|block| backward_len(block, c_out)).sum::<usize>();
    let mut parts = Tensor::build([TAPS * c_in * c_out], |_| {});
    let lengths = || blocks.iter().map(|block| TAPS * block.channels * c_out);
    let pieces: Vec<_> = split(parts.data_mut(), lengths()).into_iter().zip(blocks).collect();
    let mut first = 0;
    let pieces: Vec<_> = pieces
        .into_iter()
        .map(|(out, block)| {
            let sums = &sums[first..];
            first += backward_len(block, c_out);
            Finish { c_out, block, sums, chunk_len, out }
        })
        .collect();
    parallel::each(pieces, |_, finish| run(level, finish));
    Tensor::build([3, 3, c_in, c_out], |out| {
        let mut rest = parts.data();
        for block in blocks {
            let (part, tail) = rest.split_at(TAPS * block.channels * c_out);
            rest = tail;
            for (out, values) in out.chunks_exact_mut(c_in * c_out).zip(part.chunks_exact(block.channels * c_out)) {
                out[block.first * c_out..][..values.len()].copy_from_slice(values);
            }
        }
    })
}
