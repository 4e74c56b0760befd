//! Matrix multiplication, `C = A * B`, each factor optionally stored transposed.
//!
//! ```text
//! for i in 0..m, j in 0..n:  c[i][j] = sum over l in 0..k of a[i][l] * b[l][j]
//! ```
//!
//! What makes it fast (the names are those of BLIS, which the scheme is taken from):
//!
//! 1. **Register tile.** `MR = 6` rows by `nr` = two vectors of columns are summed in 12 registers; each step of `l` loads two
//!    vectors of B and broadcasts 6 values of A for 12 fused multiply-adds. A tile that needs all 16 vector registers spills.
//! 2. **Packing.** `pack` copies A into panels of `MR` rows and B into panels of `nr` columns, each in the order in which the tile
//!    reads it, so that the inner loop walks two arrays. Transposition is a matter of packing alone, and panels
//!    that stick out of a matrix are filled up with zeros, so that there is one inner loop.
//! 3. **Blocks.** `KC` steps of `l` at a time: a panel of B (`KC * nr` floats, 16 KiB) stays in L1 while all row panels of a block of
//!    A, `mc` rows, stream past it from L2. Columns go in stripes of `NC`, which bounds the scratch.
//! 4. **Threads.** The blocks of rows are the tasks. A long `k` over a small C (the gradient of a weight) would leave one task:
//!    there `k` is cut into slabs, whose products are added in order. Both cuts depend on the sizes alone, and the sum
//!    over `l` runs upwards within them, so the bits are the same on any number of threads.

use crate::memory::Buffer;
use crate::parallel::{self, CHUNK, chunks_mut};
use pulp::{Arch, Simd, WithSimd};
use std::ops::Range;

/// Rows of the register tile.
const MR: usize = 6;
/// Vectors in a row of the register tile.
const NV: usize = 2;
/// Steps of `l` between two visits to C.
const KC: usize = 256;
/// Most rows in a block of A: `192 * KC` floats are 192 KiB, under half of a typical L2.
const MC: usize = 192;
/// Most columns in a stripe of B: `KC * 4096` floats of scratch are 4 MiB, in L3.
const NC: usize = 4096;
/// Multiply-adds that make a task worth handing out: about 5 µs.
const TASK: usize = 1 << 18;
/// Most tasks in a row of blocks: plenty for balance, and blocks stay tall enough to reuse a panel of B from L1.
const TASKS: usize = 16;

/// Sizes and storage of one product of matrices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gemm {
    /// Rows of `C` and of `A`.
    pub m: usize,
    /// Columns of `C` and of `B`.
    pub n: usize,
    /// Columns of `A` and rows of `B`.
    pub k: usize,
    /// Whether `a` holds the transpose of `A`: `(K, M)` instead of `(M, K)`, row-major.
    pub transpose_a: bool,
    /// Whether `b` holds the transpose of `B`: `(N, K)` instead of `(K, N)`, row-major.
    pub transpose_b: bool,
    /// Whether the product is added to `c` instead of replacing it.
    pub accumulate: bool,
}

/// `C = A * B`, or `C += A * B`; see [`Gemm`]. Parallel; the bits do not depend on the number of threads.
///
/// # Shapes
/// - `a`: `(M, K)`, or `(K, M)` if `transpose_a`
/// - `b`: `(K, N)`, or `(N, K)` if `transpose_b`
/// - `c`: `(M, N)`; unless accumulating, its contents before do not matter
///
/// # Panics
/// If a slice is not as long as its shape says.
#[track_caller]
pub fn gemm(size: Gemm, a: &[f32], b: &[f32], c: &mut [f32]) {
    let Gemm { m, n, k, .. } = size;
    assert_eq!(a.len(), m * k, "gemm: A is not m * k = {m} * {k} long");
    assert_eq!(b.len(), k * n, "gemm: B is not k * n = {k} * {n} long");
    assert_eq!(c.len(), m * n, "gemm: C is not m * n = {m} * {n} long");
    struct Product<'a>(Gemm, &'a [f32], &'a [f32], &'a mut [f32]);
    impl WithSimd for Product<'_> {
        type Output = ();
        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            product(simd, self.0, self.1, self.2, self.3);
        }
    }
    Arch::new().dispatch(Product(size, a, b, c));
}

/// [`gemm`] on one instruction set.
fn product<S: Simd>(simd: S, size: Gemm, a: &[f32], b: &[f32], c: &mut [f32]) {
    let Gemm { m, n, k, .. } = size;
    if c.is_empty() {
        return;
    }
    if !size.accumulate && k == 0 {
        return c.fill(0.0);
    }
    let a = Panels { values: a, stride: if size.transpose_a { m } else { k }, count: m, contiguous: size.transpose_a };
    let b = Panels { values: b, stride: if size.transpose_b { k } else { n }, count: n, contiguous: !size.transpose_b };
    let slab = slab_length(size);
    if slab >= k {
        return slab_product(simd, a, b, 0..k, size.accumulate, c);
    }
    let slabs = parallel::map(k.div_ceil(slab), |i| {
        let mut partial = Buffer::uninit(m * n);
        slab_product(simd, a, b, i * slab..((i + 1) * slab).min(k), false, partial.as_mut_slice());
        partial
    });
    if !size.accumulate {
        c.fill(0.0);
    }
    for partial in slabs {
        c.iter_mut().zip(partial.as_slice()).for_each(|(c, p)| *c += p);
    }
}

/// Steps of `l` in a slab; all of `k` unless C is so small beside it that its rows make few tasks.
fn slab_length(size: Gemm) -> usize {
    let Gemm { m, n, k, .. } = size;
    // The partial products hold at most 32 * 128 * 128 floats, 2 MiB.
    let slabs = if m * n <= 128 * 128 { (k / (4 * KC)).clamp(1, 32) } else { 1 };
    let slabs = slabs.min((m * n * k / TASK).max(1));
    k.div_ceil(slabs).next_multiple_of(KC)
}

/// Rows of a task: a multiple of `MR`.
fn block_rows(m: usize, n: usize, k: usize) -> usize {
    let tasks = (m * n.min(NC) * k.min(KC) / TASK).clamp(1, TASKS);
    m.div_ceil(tasks).next_multiple_of(MR).min(MC)
}

/// The product over the steps `slab` of `l`, stored to `c` or added to it.
fn slab_product<S: Simd>(simd: S, a: Panels, b: Panels, slab: Range<usize>, accumulate: bool, c: &mut [f32]) {
    let (n, nr) = (b.count, NV * S::F32_LANES);
    let mc = block_rows(a.count, n, slab.len());
    for columns in blocks(0..n, NC) {
        for steps in blocks(slab.clone(), KC) {
            let panel = steps.len() * nr;
            let mut packed_b = Buffer::uninit(columns.len().div_ceil(nr) * panel);
            let per_task = (CHUNK / panel).max(1);
            chunks_mut(packed_b.as_mut_slice(), per_task * panel, |task, out| {
                simd.vectorize(Pack {
                    from: b,
                    first: columns.start + task * per_task * nr,
                    steps: steps.clone(),
                    tile: Side::Columns,
                    out,
                });
            });
            let packed_b = packed_b.as_slice();
            let accumulate = accumulate || steps.start > slab.start;
            chunks_mut(c, mc * n, |task, c| {
                let rows = c.len() / n;
                let mut packed_a = Buffer::uninit(rows.div_ceil(MR) * MR * steps.len());
                let out = packed_a.as_mut_slice();
                simd.vectorize(Pack { from: a, first: task * mc, steps: steps.clone(), tile: Side::Rows, out });
                simd.vectorize(Block {
                    a: packed_a.as_slice(),
                    b: packed_b,
                    steps: steps.len(),
                    c,
                    n,
                    columns: columns.clone(),
                    accumulate,
                });
            });
        }
    }
}

/// Consecutive pieces of at most `len` of a range.
fn blocks(range: Range<usize>, len: usize) -> impl Iterator<Item = Range<usize>> {
    range.clone().step_by(len).map(move |start| start..(start + len).min(range.end))
}

/// A factor as packing sees it: `count` lines (rows of A, columns of B), each `k` long.
#[derive(Clone, Copy)]
struct Panels<'a> {
    values: &'a [f32],
    /// Floats from one row of the storage to the next.
    stride: usize,
    count: usize,
    /// Whether neighbouring lines are neighbours in memory, rather than neighbouring steps.
    contiguous: bool,
}

/// Which extent of the tile is a panel's width.
#[derive(Clone, Copy)]
enum Side {
    /// `MR`, for A.
    Rows,
    /// `nr`, for B.
    Columns,
}

/// `out[panel][l][line] = from[first + panel * width + line][l]`, zero beyond the last line.
struct Pack<'a, 'b> {
    from: Panels<'a>,
    first: usize,
    steps: Range<usize>,
    tile: Side,
    out: &'b mut [f32],
}

impl WithSimd for Pack<'_, '_> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) {
        // A constant to the compiler in either call: short copies of a known length become vector moves.
        match self.tile {
            Side::Rows => pack(MR, self),
            Side::Columns => pack(NV * S::F32_LANES, self),
        }
    }
}

#[inline(always)]
fn pack(width: usize, Pack { from, first, steps, out, .. }: Pack) {
    for (i, panel) in out.chunks_exact_mut(steps.len() * width).enumerate() {
        let first = first + i * width;
        let lines = width.min(from.count - first);
        if lines < width {
            panel.fill(0.0);
        }
        if from.contiguous {
            let rows = from.values[steps.start * from.stride..].chunks(from.stride);
            for (out, row) in panel.chunks_exact_mut(width).zip(rows) {
                if lines == width {
                    out.copy_from_slice(&row[first..first + width]);
                } else {
                    out[..lines].copy_from_slice(&row[first..first + lines]);
                }
            }
        } else {
            for line in 0..lines {
                let values = &from.values[(first + line) * from.stride..][steps.clone()];
                panel.chunks_exact_mut(width).zip(values).for_each(|(out, v)| out[line] = *v);
            }
        }
    }
}

/// The product of a packed block of A and a packed stripe of B, into whole rows of C.
struct Block<'a, 'b> {
    a: &'a [f32],
    b: &'a [f32],
    steps: usize,
    c: &'b mut [f32],
    /// Columns of C, of which this block writes `columns`.
    n: usize,
    columns: Range<usize>,
    accumulate: bool,
}

impl WithSimd for Block<'_, '_> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let nr = NV * S::F32_LANES;
        let panels = self.b.chunks_exact(self.steps * nr);
        for (j, b) in self.columns.clone().step_by(nr).zip(panels) {
            let width = nr.min(self.columns.end - j);
            let row_panels = self.a.chunks_exact(self.steps * MR);
            for (c, a) in self.c.chunks_mut(MR * self.n).zip(row_panels) {
                let sums = tile(simd, a, b);
                for (c, sums) in c.chunks_exact_mut(self.n).zip(sums) {
                    store(simd, &mut c[j..j + width], sums, self.accumulate);
                }
            }
        }
    }
}

/// The register tile: `sums[i][j] = sum over l of a[l][i] * b[l][j]`.
#[inline(always)]
fn tile<S: Simd>(simd: S, a: &[f32], b: &[f32]) -> [[S::f32s; NV]; MR] {
    let (a, _) = a.as_chunks::<MR>();
    let (b, _) = S::as_simd_f32s(b).0.as_chunks::<NV>();
    let mut sums = [[simd.splat_f32s(0.0); NV]; MR];
    for (a, b) in a.iter().zip(b) {
        for i in 0..MR {
            let a = simd.splat_f32s(a[i]);
            for j in 0..NV {
                sums[i][j] = simd.mul_add_f32s(a, b[j], sums[i][j]);
            }
        }
    }
    sums
}

/// Stores a row of a tile, or what of it lies inside C.
#[inline(always)]
fn store<S: Simd>(simd: S, c: &mut [f32], sums: [S::f32s; NV], accumulate: bool) {
    if c.len() == NV * S::F32_LANES {
        for (c, sum) in S::as_mut_simd_f32s(c).0.iter_mut().zip(sums) {
            *c = if accumulate { simd.add_f32s(*c, sum) } else { sum };
        }
    } else {
        for (c, sum) in c.chunks_mut(S::F32_LANES).zip(sums) {
            let sum = if accumulate { simd.add_f32s(simd.partial_load_f32s(c), sum) } else { sum };
            simd.partial_store_f32s(c, sum);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gradcheck::sample;

    /// `C` in `f64`, and for each element the sum of `|a * b|` that scales its rounding error.
    fn naive(size: Gemm, a: &[f32], b: &[f32]) -> Vec<(f64, f64)> {
        let Gemm { m, n, k, transpose_a, transpose_b, .. } = size;
        let mut c = vec![(0.0, 0.0); m * n];
        for i in 0..m {
            for j in 0..n {
                for l in 0..k {
                    let a = f64::from(a[if transpose_a { l * m + i } else { i * k + l }]);
                    let b = f64::from(b[if transpose_b { j * k + l } else { l * n + j }]);
                    c[i * n + j].0 += a * b;
                    c[i * n + j].1 += (a * b).abs();
                }
            }
        }
        c
    }

    fn check(m: usize, n: usize, k: usize) {
        let (a, b) = (sample([m, k, 1]), sample([1, k, n]));
        for storage in 0..4 {
            let size =
                Gemm { m, n, k, transpose_a: storage % 2 == 1, transpose_b: storage / 2 == 1, accumulate: false };
            let mut fast = vec![f32::NAN; m * n];
            gemm(size, a.data(), b.data(), &mut fast);
            for (i, (c, (exact, scale))) in fast.iter().zip(naive(size, a.data(), b.data())).enumerate() {
                // k products and sums, each rounded to half an ulp: the textbook bound.
                let bound = (k + 1) as f64 * f64::from(f32::EPSILON) * scale;
                assert!((f64::from(*c) - exact).abs() <= bound, "{size:?}, element {i}: {c} instead of {exact}");
            }
            let mut portable = vec![f32::NAN; m * n];
            product(pulp::Scalar::new(), size, a.data(), b.data(), &mut portable);
            // Both fuse multiply and add and sum in the same order.
            assert_eq!(portable, fast, "{size:?}: the portable level differs");

            let mut twice = fast.clone();
            gemm(Gemm { accumulate: true, ..size }, a.data(), b.data(), &mut twice);
            for (twice, once) in twice.iter().zip(&fast) {
                let bound = (k + 1) as f32 * 8.0 * f32::EPSILON;
                assert!((twice - 2.0 * once).abs() <= bound * (1.0 + once.abs()), "{size:?}: accumulating");
            }
        }
    }

    #[test]
    fn agrees_with_the_naive_product_around_the_tile() {
        const SIZES: [usize; 9] = [0, 1, 5, 6, 7, 15, 16, 17, 33];
        for m in SIZES {
            for n in SIZES {
                for k in SIZES {
                    check(m, n, k);
                }
            }
        }
    }

    #[test]
    fn agrees_with_the_naive_product_over_several_blocks() {
        check(2 * MC + 7, 19, KC + 1); // blocks of rows, and a second visit to C
        check(5, NC + 3, 9); // two stripes of columns
        check(13, 11, 13 * KC + 5); // slabs of k
    }

    #[test]
    fn bits_do_not_depend_on_the_number_of_threads() {
        for (m, n, k) in [(300, 70, 300), (40, 50, 20_000)] {
            let (a, b) = (sample([m, k]), sample([k, n]));
            let run = |threads: usize| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
                let mut c = vec![f32::NAN; m * n];
                pool.install(|| gemm(Gemm { m, n, k, ..Gemm::default() }, a.data(), b.data(), &mut c));
                c
            };
            assert_eq!(run(1), run(3));
        }
    }

    #[test]
    #[should_panic(expected = "gemm: B is not k * n = 3 * 2 long")]
    fn a_wrong_length_names_the_factor() {
        gemm(Gemm { m: 1, n: 2, k: 3, ..Gemm::default() }, &[0.0; 3], &[0.0; 5], &mut [0.0; 2]);
    }
}
