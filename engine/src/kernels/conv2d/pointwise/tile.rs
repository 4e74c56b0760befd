//! The register tile: six rows times one or two vectors of columns, and what happens to it before it is stored.

use crate::kernels::ahead::{Ahead, Lines, ask};
use crate::kernels::conv2d::columns::Columns;
use crate::kernels::conv2d::tile::{MR, load, outer};
use crate::kernels::simd::{Eight, apart, half};
use pulp::{Simd, WithSimd};

/// Rows to multiply: `count` of `len` values, `stride` apart.
#[derive(Clone, Copy)]
pub struct Rows<'a> {
    /// At least `count * stride`.
    pub values: &'a [f32],
    /// At least `len`.
    pub stride: usize,
    /// Of a row.
    pub len: usize,
    /// Of rows.
    pub count: usize,
}

impl<'a> Rows<'a> {
    /// `M` rows from `first` on; those that do not exist are the last, again.
    #[inline(always)]
    fn tile<const M: usize>(&self, first: usize) -> [&'a [f32]; M] {
        std::array::from_fn(
            #[inline(always)]
            |i| &self.values[(first + i).min(self.count - 1) * self.stride..][..self.len],
        )
    }
}

/// What is done with a tile.
pub trait Finish<S: Simd> {
    /// Kept in registers, or near, while one panel's tiles are computed.
    type State: Copy;

    /// Before the tiles of the panel that begins with `vector`.
    fn begin(&mut self, simd: S, vector: usize) -> Self::State;

    /// Rows `first..first + count` of the panel.
    fn tile<const NV: usize>(
        &mut self,
        simd: S,
        state: &mut Self::State,
        first: usize,
        count: usize,
        sums: [[S::f32s; NV]; MR],
    );

    /// After them.
    fn end(&mut self, simd: S, vector: usize, state: Self::State);
}

/// Floats of weights, at most, that rows go through at once: half of L2.
const WEIGHTS: usize = 64 * 1024;

/// `rows` times packed `weights`, tile by tile into `finish`; asks for `ahead` meanwhile.
///
/// Where results are wider than rows, six rows are multiplied with all columns, then the next: memory then sees whole rows one after the
/// other, and panel by panel a line here and there. Otherwise, or where L2 does not hold the weights, all rows are multiplied with one
/// panel, then with the next.
#[inline(always)]
pub fn multiply<S: Simd, F: Finish<S>>(
    simd: S,
    rows: Rows,
    weights: &[f32],
    columns: Columns,
    finish: &mut F,
    ahead: &mut Ahead,
) {
    if rows.count == 0 {
        return;
    }
    // A single vector goes through twelve rows at a time.
    let (pairs, single) = (columns.vectors() / 2, columns.vectors() % 2);
    ahead.spread(ahead.left(), pairs * rows.count.div_ceil(MR) + single * rows.count.div_ceil(2 * MR));
    if rows.len < columns.padded() && weights.len() <= WEIGHTS {
        return apart(simd, Across { simd, rows, weights, columns, finish, ahead });
    }
    for (panel, weights) in weights.chunks(rows.len.max(1) * 2 * S::F32_LANES).enumerate() {
        let vector = 2 * panel;
        let own = (columns.vectors() - vector).min(2);
        if let (2, true, Some(eight)) = (own, columns.is_half(vector + 1), half(simd)) {
            let (finish, ahead) = (&mut *finish, &mut *ahead);
            apart(simd, PanelOfHalves::<S, F> { eight, panel: Panel { simd, rows, weights, vector, finish, ahead } });
        } else if own == 2 {
            apart(simd, Panel::<S, F, 2> { simd, rows, weights, vector, finish: &mut *finish, ahead: &mut *ahead });
        } else {
            apart(simd, Panel::<S, F, 1> { simd, rows, weights, vector, finish: &mut *finish, ahead: &mut *ahead });
        }
    }
}

/// All rows times one panel; a function of its own to keep its sums in registers.
struct Panel<'a, 'b, S: Simd, F: Finish<S>, const NV: usize> {
    simd: S,
    rows: Rows<'a>,
    weights: &'a [f32],
    vector: usize,
    finish: &'a mut F,
    ahead: &'a mut Ahead<'b>,
}

impl<S: Simd, F: Finish<S>, const NV: usize> WithSimd for Panel<'_, '_, S, F, NV> {
    type Output = ();

    #[inline(always)]
    fn with_simd<T: Simd>(self, _: T) {
        let Panel { simd, rows, weights, vector, finish, ahead } = self;
        let weights = &S::as_simd_f32s(weights).0.as_chunks::<NV>().0[..rows.len];
        let mut state = finish.begin(simd, vector);
        let mut first = 0;
        if NV == 1 {
            while first + 2 * MR <= rows.count {
                let sums = product(simd, rows.tile::<{ 2 * MR }>(first), weights, ahead.step());
                let (upper, lower) = halves(sums);
                finish.tile(simd, &mut state, first, MR, upper);
                finish.tile(simd, &mut state, first + MR, MR, lower);
                first += 2 * MR;
            }
        }
        while first < rows.count {
            let sums = product(simd, rows.tile::<MR>(first), weights, ahead.step());
            finish.tile(simd, &mut state, first, MR.min(rows.count - first), sums);
            first += MR;
        }
        finish.end(simd, vector, state);
    }
}

/// A panel of two vectors of sixteen lanes of which the second overlaps the first by half: three vectors of eight lanes, instead of four.
struct PanelOfHalves<'a, 'b, S: Simd, F: Finish<S>> {
    eight: Eight,
    panel: Panel<'a, 'b, S, F, 2>,
}

impl<S: Simd, F: Finish<S>> WithSimd for PanelOfHalves<'_, '_, S, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<T: Simd>(self, _: T) {
        let PanelOfHalves { eight, panel: Panel { simd, rows, weights, vector, finish, ahead } } = self;
        let weights = &Eight::as_simd_f32s(weights).0.as_chunks::<4>().0[..rows.len];
        let mut state = finish.begin(simd, vector);
        for first in (0..rows.count).step_by(MR) {
            // The third is what the second vector begins with, again.
            let sums = product_with(eight, rows.tile::<MR>(first), weights, [0, 1, 3], ahead.step());
            let mut whole = [[simd.splat_f32s(0.0); 2]; MR];
            for i in 0..MR {
                let [a, b, c] = sums[i];
                whole[i] = [join(simd, [a, b]), join(simd, [b, c])];
            }
            finish.tile(simd, &mut state, first, MR.min(rows.count - first), whole);
        }
        finish.end(simd, vector, state);
    }
}

/// Two vectors of eight lanes as one of sixteen.
#[inline(always)]
fn join<S: Simd>(simd: S, halves: [<Eight as Simd>::f32s; 2]) -> S::f32s {
    load(simd, pulp::bytemuck::cast_slice(&halves))
}

/// Six rows times all panels, then the next six.
struct Across<'a, 'b, S: Simd, F: Finish<S>> {
    simd: S,
    rows: Rows<'a>,
    weights: &'a [f32],
    columns: Columns,
    finish: &'a mut F,
    ahead: &'a mut Ahead<'b>,
}

impl<S: Simd, F: Finish<S>> WithSimd for Across<'_, '_, S, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<T: Simd>(self, _: T) {
        let Across { simd, rows, weights, columns, finish, ahead } = self;
        let (pairs, odd) = (columns.vectors() / 2, columns.vectors() % 2);
        let (paired, single) = S::as_simd_f32s(weights).0.split_at(pairs * 2 * rows.len);
        let paired = paired.as_chunks::<2>().0;
        let single = single.as_chunks::<1>().0;
        let mut states = Vec::with_capacity(pairs + odd);
        for panel in 0..pairs + odd {
            states.push(finish.begin(simd, 2 * panel));
        }
        for first in (0..rows.count).step_by(2 * MR) {
            for first in (first..rows.count.min(first + 2 * MR)).step_by(MR) {
                let six = rows.tile::<MR>(first);
                for (panel, weights) in paired.chunks_exact(rows.len.max(1)).enumerate() {
                    let sums = product(simd, six, weights, ahead.step());
                    finish.tile(simd, &mut states[panel], first, MR.min(rows.count - first), sums);
                }
            }
            if odd > 0 {
                let sums = product(simd, rows.tile::<{ 2 * MR }>(first), single, ahead.step());
                let (upper, lower) = halves(sums);
                let count = rows.count - first;
                finish.tile(simd, &mut states[pairs], first, count.min(MR), upper);
                if count > MR {
                    finish.tile(simd, &mut states[pairs], first + MR, (count - MR).min(MR), lower);
                }
            }
        }
        for panel in 0..pairs + odd {
            finish.end(simd, 2 * panel, states[panel]);
        }
    }
}

/// Lines that are asked for at once, at most: more would wait for each other.
const AT_ONCE: usize = 4;

/// `M` rows times `weights`, asking for `lines` meanwhile. A single vector needs twelve rows: six sums would wait for each other.
#[inline(always)]
fn product<S: Simd, const M: usize, const NV: usize>(
    simd: S,
    rows: [&[f32]; M],
    weights: &[[S::f32s; NV]],
    lines: Lines,
) -> [[S::f32s; NV]; M] {
    product_with(
        simd,
        rows,
        weights,
        std::array::from_fn(
            #[inline(always)]
            |v| v,
        ),
        lines,
    )
}

/// [`product`] with some of the vectors of `weights`, asking for a few lines before, for many step by step.
#[inline(always)]
fn product_with<S: Simd, const M: usize, const NV: usize, const W: usize>(
    simd: S,
    rows: [&[f32]; M],
    weights: &[[S::f32s; W]],
    vectors: [usize; NV],
    lines: Lines,
) -> [[S::f32s; NV]; M] {
    if lines.count > AT_ONCE {
        return product_of::<S, M, NV, W, true>(simd, rows, weights, vectors, lines);
    }
    lines.ask();
    product_of::<S, M, NV, W, false>(simd, rows, weights, vectors, lines)
}

/// [`product_with`], asking for lines or not.
#[inline(always)]
fn product_of<S: Simd, const M: usize, const NV: usize, const W: usize, const ASK: bool>(
    simd: S,
    rows: [&[f32]; M],
    weights: &[[S::f32s; W]],
    vectors: [usize; NV],
    lines: Lines,
) -> [[S::f32s; NV]; M] {
    let (asked, mut at, stride) = lines.walk(weights.len(), rows[0]);
    let len = weights.len();
    // Cut to one length here, so that the loop has no checks.
    let mut cut = rows;
    for i in 0..M {
        cut[i] = &rows[i][..len];
    }
    let mut sums = [[simd.splat_f32s(0.0); NV]; M];
    for k in 0..len {
        if ASK {
            ask(asked, at);
            at += stride;
        }
        let mut w = [weights[k][0]; NV];
        for v in 1..NV {
            w[v] = weights[k][vectors[v]];
        }
        for i in 0..M {
            sums[i] = outer(simd, sums[i], cut[i][k], w);
        }
    }
    sums
}

/// The first and the last [`MR`] rows.
#[inline(always)]
fn halves<T: Copy>(sums: [T; 2 * MR]) -> ([T; MR], [T; MR]) {
    let [a, b, c, d, e, f, g, h, i, j, k, l] = sums;
    ([a, b, c, d, e, f], [g, h, i, j, k, l])
}
