//! The register tile: six rows times one or two vectors of columns, and what happens to it before it is stored.

use crate::kernels::ahead::{Ahead, Lines, ask};
use crate::kernels::conv2d::columns::Columns;
use crate::kernels::conv2d::tile::MR;
use crate::kernels::simd::apart;
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
    let tiles = rows.count.div_ceil(MR) * columns.vectors().div_ceil(2);
    ahead.spread(ahead.left(), tiles);
    if rows.len < columns.padded() && weights.len() <= WEIGHTS {
        return apart(simd, Across { simd, rows, weights, columns, finish, ahead });
    }
    for (panel, weights) in weights.chunks(rows.len.max(1) * 2 * S::F32_LANES).enumerate() {
        let vector = 2 * panel;
        if columns.vectors() - vector >= 2 {
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
        let whole = rows.count / MR * MR;
        let mut each = rows.values[..whole * rows.stride].chunks_exact(rows.stride);
        let mut first = 0;
        while let (Some(x0), Some(x1), Some(x2), Some(x3), Some(x4), Some(x5)) =
            (each.next(), each.next(), each.next(), each.next(), each.next(), each.next())
        {
            let sums = product(simd, [x0, x1, x2, x3, x4, x5], weights, ahead.step());
            finish.tile(simd, &mut state, first, MR, sums);
            first += MR;
        }
        if whole < rows.count {
            // A short tile repeats its last row and stores it once.
            let row = |i: usize| &rows.values[(whole + i).min(rows.count - 1) * rows.stride..][..rows.len];
            let six = [row(0), row(1), row(2), row(3), row(4), row(5)];
            let sums = product(simd, six, weights, ahead.step());
            finish.tile(simd, &mut state, whole, rows.count - whole, sums);
        }
        finish.end(simd, vector, state);
    }
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
        for first in (0..rows.count).step_by(MR) {
            let count = (rows.count - first).min(MR);
            // A short tile repeats its last row and stores it once.
            let row = |i: usize| &rows.values[(first + i.min(count - 1)) * rows.stride..][..rows.len];
            let six = [row(0), row(1), row(2), row(3), row(4), row(5)];
            for (panel, weights) in paired.chunks_exact(rows.len.max(1)).enumerate() {
                let sums = product(simd, six, weights, ahead.step());
                finish.tile(simd, &mut states[panel], first, count, sums);
            }
            if odd > 0 {
                let sums = product(simd, six, single, ahead.step());
                finish.tile(simd, &mut states[pairs], first, count, sums);
            }
        }
        for panel in 0..pairs + odd {
            finish.end(simd, 2 * panel, states[panel]);
        }
    }
}

/// Lines that are asked for at once, at most: more would wait for each other.
const AT_ONCE: usize = 4;

/// Six rows times `weights`, asking for `lines` meanwhile: a few before, many step by step.
#[inline(always)]
fn product<S: Simd, const NV: usize>(
    simd: S,
    rows: [&[f32]; MR],
    weights: &[[S::f32s; NV]],
    lines: Lines,
) -> [[S::f32s; NV]; MR] {
    if lines.count > AT_ONCE {
        return product_of::<S, NV, true>(simd, rows, weights, lines);
    }
    lines.ask();
    product_of::<S, NV, false>(simd, rows, weights, lines)
}

/// [`product`], asking for lines or not.
#[inline(always)]
fn product_of<S: Simd, const NV: usize, const ASK: bool>(
    simd: S,
    rows: [&[f32]; MR],
    weights: &[[S::f32s; NV]],
    lines: Lines,
) -> [[S::f32s; NV]; MR] {
    let (asked, mut at, stride) = lines.walk(weights.len(), rows[0]);
    // Separate variables, not an array of slices: the latter keeps its bounds checks, and with them spills. Rows that are chunks of
    // equal length are cut here without a check for each tile.
    let len = weights.len();
    let [x0, x1, x2, x3, x4, x5] = rows;
    let (x0, x1, x2, x3, x4, x5) = (&x0[..len], &x1[..len], &x2[..len], &x3[..len], &x4[..len], &x5[..len]);
    let zero = [simd.splat_f32s(0.0); NV];
    let [mut a0, mut a1, mut a2, mut a3, mut a4, mut a5] = [zero; MR];
    if NV == 1 {
        // Six sums would wait for each other: twelve, of even and of odd steps.
        let [mut b0, mut b1, mut b2, mut b3, mut b4, mut b5] = [zero; MR];
        let pairs = weights.as_chunks::<2>().0;
        let two = pairs.len();
        let (p0, p1, p2) = (pairs_of(x0, two), pairs_of(x1, two), pairs_of(x2, two));
        let (p3, p4, p5) = (pairs_of(x3, two), pairs_of(x4, two), pairs_of(x5, two));
        for k in 0..two {
            if ASK {
                ask(asked, at);
                at += 2 * stride;
            }
            let [w, v] = pairs[k];
            a0 = step(simd, a0, p0[k][0], w);
            a1 = step(simd, a1, p1[k][0], w);
            a2 = step(simd, a2, p2[k][0], w);
            a3 = step(simd, a3, p3[k][0], w);
            a4 = step(simd, a4, p4[k][0], w);
            a5 = step(simd, a5, p5[k][0], w);
            b0 = step(simd, b0, p0[k][1], v);
            b1 = step(simd, b1, p1[k][1], v);
            b2 = step(simd, b2, p2[k][1], v);
            b3 = step(simd, b3, p3[k][1], v);
            b4 = step(simd, b4, p4[k][1], v);
            b5 = step(simd, b5, p5[k][1], v);
        }
        if len % 2 == 1 {
            let (k, w) = (len - 1, weights[len - 1]);
            a0 = step(simd, a0, x0[k], w);
            a1 = step(simd, a1, x1[k], w);
            a2 = step(simd, a2, x2[k], w);
            a3 = step(simd, a3, x3[k], w);
            a4 = step(simd, a4, x4[k], w);
            a5 = step(simd, a5, x5[k], w);
        }
        return [
            add(simd, a0, b0),
            add(simd, a1, b1),
            add(simd, a2, b2),
            add(simd, a3, b3),
            add(simd, a4, b4),
            add(simd, a5, b5),
        ];
    }
    for k in 0..len {
        if ASK {
            ask(asked, at);
            at += stride;
        }
        // Loads stand where they are used, so that one register serves all six values.
        let w = weights[k];
        a0 = step(simd, a0, x0[k], w);
        a1 = step(simd, a1, x1[k], w);
        a2 = step(simd, a2, x2[k], w);
        a3 = step(simd, a3, x3[k], w);
        a4 = step(simd, a4, x4[k], w);
        a5 = step(simd, a5, x5[k], w);
    }
    [a0, a1, a2, a3, a4, a5]
}

/// `sums + x * w`
#[inline(always)]
pub fn step<S: Simd, const NV: usize>(simd: S, sums: [S::f32s; NV], x: f32, w: [S::f32s; NV]) -> [S::f32s; NV] {
    let (x, mut sums) = (simd.splat_f32s(x), sums);
    for i in 0..NV {
        sums[i] = simd.mul_add_f32s(x, w[i], sums[i]);
    }
    sums
}

#[inline(always)]
fn add<S: Simd, const NV: usize>(simd: S, mut a: [S::f32s; NV], b: [S::f32s; NV]) -> [S::f32s; NV] {
    for i in 0..NV {
        a[i] = simd.add_f32s(a[i], b[i]);
    }
    a
}

#[inline(always)]
fn pairs_of(x: &[f32], count: usize) -> &[[f32; 2]] {
    &x.as_chunks::<2>().0[..count]
}
