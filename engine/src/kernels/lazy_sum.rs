//! The residual sum and its gradient: one pass each.
//!
//! ```text
//! y = activation(sum over terms of scale_k[c]*map_k + shift_k[c])
//! g = grad_output * activation'(y), in place;   per affine term: sum of g and sum of g*map_k, per channel
//! ```

use super::conv2d::columns::{Columns, Vector};
use super::conv2d::load::Activation;
use super::conv2d::mask::{relu as relu_grad, relu6 as relu6_grad};
use super::moments::{self, Partial};
use super::simd::{Level, run};
use crate::grad::channel_chunk;
use crate::kernels::channel_sums;
use crate::parallel::sweep;
use pulp::{Simd, WithSimd};

/// One term: its values, and its scales and shifts.
#[derive(Clone, Copy)]
pub struct Term<'a> {
    /// As many values as the output.
    pub map: &'a [f32],
    /// Scale and shift of each channel.
    pub affine: Option<(&'a [f32], &'a [f32])>,
}

impl Term<'_> {
    fn slice(&self, at: usize, len: usize) -> Term<'_> {
        Term { map: &self.map[at..at + len], affine: self.affine }
    }
}

/// Fills `out`; returns its moments if asked to measure.
pub fn forward(
    level: Level,
    terms: &[Term],
    channels: usize,
    activation: Activation,
    measure: bool,
    out: &mut [f32],
) -> Option<Vec<f32>> {
    struct Chunk<'a>(&'a [Term<'a>], usize, Activation, bool, &'a mut [f32]);
    impl WithSimd for Chunk<'_> {
        type Output = Option<Partial>;
        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) -> Option<Partial> {
            let Chunk(terms, channels, activation, measure, out) = self;
            let rows = block_rows(channels);
            for (block, out) in out.chunks_mut(rows * channels).enumerate() {
                for (i, term) in terms.iter().enumerate() {
                    let term = term.slice(block * rows * channels, out.len());
                    let activation = if i + 1 == terms.len() { activation } else { Activation::Identity };
                    add_term(simd, &term, channels, i == 0, activation, out);
                }
            }
            measure.then(|| moments::partial(simd, out, channels))
        }
    }
    let len = channel_chunk(channels);
    let pieces: Vec<Option<Partial>> = sweep(out.chunks_mut(len).collect(), |i, out, _| {
        let terms: Vec<Term> = terms.iter().map(|t| t.slice(i * len, out.len())).collect();
        run(level, Chunk(&terms, channels, activation, measure, out))
    });
    measure.then(|| moments::merge(&pieces.into_iter().flatten().collect::<Vec<_>>(), channels))
}

/// Rows of a block that stays in L1 from one term to the next: 16 KiB.
fn block_rows(channels: usize) -> usize {
    (4096 / channels.max(1)).max(1)
}

/// `out += term`, or `=` for the `first` one, then the activation.
#[inline(always)]
fn add_term<S: Simd>(simd: S, term: &Term, channels: usize, first: bool, activation: Activation, out: &mut [f32]) {
    let columns = Columns::new(channels, S::F32_LANES);
    let rows = out.len() / channels;
    for index in 0..columns.vectors() {
        let vector = Vector::new(simd, columns, index);
        let mut sum = Sum { simd, vector, term, channels, rows, out: &mut *out };
        // One loop for each, so that nothing is chosen anew at each value.
        match (term.affine.is_some(), first) {
            (false, false) => sum.activated::<false, false>(activation),
            (false, true) => sum.activated::<false, true>(activation),
            (true, false) => sum.activated::<true, false>(activation),
            (true, true) => sum.activated::<true, true>(activation),
        }
    }
}

/// One vector of a term's rows.
struct Sum<'a, S: Simd> {
    simd: S,
    vector: Vector<S>,
    term: &'a Term<'a>,
    channels: usize,
    rows: usize,
    out: &'a mut [f32],
}

impl<S: Simd> Sum<'_, S> {
    #[inline(always)]
    fn activated<const AFFINE: bool, const FIRST: bool>(&mut self, activation: Activation) {
        match activation {
            Activation::Identity => self.add::<AFFINE, FIRST>(
                #[inline(always)]
                |_, v| v,
            ),
            Activation::Relu => self.add::<AFFINE, FIRST>(relu),
            Activation::Relu6 => self.add::<AFFINE, FIRST>(relu6),
        }
    }

    #[inline(always)]
    fn add<const AFFINE: bool, const FIRST: bool>(&mut self, f: impl Fn(S, S::f32s) -> S::f32s) {
        let Sum { simd, vector, term, channels, rows, ref mut out } = *self;
        let (a, b) = match term.affine {
            Some((a, b)) => (vector.read(simd, a, 0), vector.read(simd, b, 0)),
            None => (simd.splat_f32s(1.0), simd.splat_f32s(0.0)),
        };
        for row in 0..rows {
            let at = row * channels;
            let mut v = vector.read(simd, term.map, at);
            if AFFINE {
                v = simd.mul_add_f32s(a, v, b);
            }
            if !FIRST {
                v = simd.add_f32s(vector.read(simd, out, at), v);
            }
            vector.write(simd, out, at, f(simd, v));
        }
    }
}

/// `max(v, 0)`; NaN stays NaN, and -0 becomes 0, as [`activate`](super::conv2d::load::activate) has it.
#[inline(always)]
pub(super) fn relu<S: Simd>(simd: S, v: S::f32s) -> S::f32s {
    let zero = simd.splat_f32s(0.0);
    simd.select_f32s(simd.less_than_or_equal_f32s(v, zero), zero, v)
}

/// `min(max(v, 0), 6)`, as [`relu`].
#[inline(always)]
pub(super) fn relu6<S: Simd>(simd: S, v: S::f32s) -> S::f32s {
    let (v, six) = (relu(simd, v), simd.splat_f32s(6.0));
    simd.select_f32s(simd.greater_than_f32s(v, six), six, v)
}

/// Sums over all rows of one affine term.
#[derive(Clone, Debug)]
pub struct TermSums {
    /// `sum g*map`
    pub scale: Vec<f32>,
    /// `sum g`
    pub shift: Vec<f32>,
}

/// A residual sum as its gradient sees it.
#[derive(Clone, Copy)]
pub struct Residual<'a> {
    /// Its terms; only maps with an affine are read.
    pub terms: &'a [Term<'a>],
    /// Of a row.
    pub channels: usize,
    /// Of the sum.
    pub activation: Activation,
    /// The output; may be empty if the activation is the identity, which does not need it.
    pub y: &'a [f32],
}

/// What some rows add to the sums of each term.
pub struct RowSums {
    /// Of `g`, the same for all.
    shift: Vec<f64>,
    /// Of `g*map`, for terms with an affine.
    scales: Vec<Option<Vec<f64>>>,
}

impl Residual<'_> {
    /// Of no rows.
    pub fn no_sums(&self) -> RowSums {
        let zeros = || vec![0.0; self.channels];
        RowSums { shift: zeros(), scales: self.terms.iter().map(|t| t.affine.map(|_| zeros())).collect() }
    }

    /// Masks `grad` in place, which are the rows of the gradient from value `at` on, and adds to `sums`.
    #[inline(always)]
    pub fn mask<S: Simd>(&self, simd: S, at: usize, grad: &mut [f32], sums: &mut RowSums) {
        let Residual { terms, channels, activation, y } = *self;
        if activation == Activation::Identity && terms.iter().all(|t| t.affine.is_none()) {
            return;
        }
        let rows = block_rows(channels);
        for (block, grad) in grad.chunks_mut(rows * channels).enumerate() {
            let at = at + block * rows * channels;
            let y = if activation == Activation::Identity { y } else { &y[at..at + grad.len()] };
            mask(simd, activation, y, channels, grad, &mut sums.shift);
            for (term, scale) in terms.iter().zip(&mut sums.scales) {
                if let Some(scale) = scale {
                    add_products(simd, &term.map[at..at + grad.len()], channels, grad, scale);
                }
            }
        }
    }

    /// The sums of all `pieces`, added in their order.
    pub fn total(&self, pieces: &[RowSums]) -> Vec<Option<TermSums>> {
        let total = |term: usize| TermSums {
            scale: channel_sums::total(self.channels, pieces.iter().filter_map(|p| p.scales[term].as_deref())),
            shift: channel_sums::total(self.channels, pieces.iter().map(|p| &p.shift[..])),
        };
        (0..self.terms.len()).map(|t| self.terms[t].affine.map(|_| total(t))).collect()
    }
}

/// Masks `grad` in place by the activation at `y`, and returns the sums of each term that has an affine.
pub fn backward(level: Level, residual: &Residual, grad: &mut [f32]) -> Vec<Option<TermSums>> {
    struct Chunk<'a>(&'a Residual<'a>, usize, &'a mut [f32]);
    impl WithSimd for Chunk<'_> {
        type Output = RowSums;
        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) -> RowSums {
            let Chunk(residual, at, grad) = self;
            let mut sums = residual.no_sums();
            residual.mask(simd, at, grad, &mut sums);
            sums
        }
    }
    let len = channel_chunk(residual.channels);
    let tasks = grad.chunks_mut(len).collect();
    residual.total(&sweep(tasks, |i, grad, _| run(level, Chunk(residual, i * len, grad))))
}

/// Masks rows of `grad` by the activation at `y` (which the identity does not need), and adds their sums to `shift`.
#[inline(always)]
fn mask<S: Simd>(simd: S, activation: Activation, y: &[f32], channels: usize, grad: &mut [f32], shift: &mut [f64]) {
    let columns = Columns::new(channels, S::F32_LANES);
    for index in 0..columns.vectors() {
        let vector = Vector::new(simd, columns, index);
        let mut sum = simd.splat_f32s(0.0);
        for at in (0..grad.len()).step_by(channels) {
            let mut g = vector.read(simd, grad, at);
            if activation != Activation::Identity {
                let y = vector.read(simd, y, at);
                g = if activation == Activation::Relu { relu_grad(simd, y, g) } else { relu6_grad(simd, y, g) };
                vector.write(simd, grad, at, g);
            }
            sum = simd.add_f32s(sum, g);
        }
        vector.add_to(sum, shift);
    }
}

/// `scale[c] += sum g*map`, over rows.
#[inline(always)]
fn add_products<S: Simd>(simd: S, map: &[f32], channels: usize, grad: &[f32], scale: &mut [f64]) {
    let columns = Columns::new(channels, S::F32_LANES);
    for index in 0..columns.vectors() {
        let vector = Vector::new(simd, columns, index);
        let mut sum = simd.splat_f32s(0.0);
        for at in (0..grad.len()).step_by(channels) {
            sum = simd.mul_add_f32s(vector.read(simd, grad, at), vector.read(simd, map, at), sum);
        }
        vector.add_to(sum, scale);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gradcheck::sample;

    /// Output, moments, masked gradient and sums of two terms, one of which has an affine.
    fn all(level: Level, channels: usize, activation: Activation) -> Vec<Vec<f32>> {
        let shape = [3, 5, 7, channels];
        let (branch, shortcut, affine) = (sample(shape), sample(shape).scale(0.5), sample([2, channels]));
        let (scale, shift) = affine.data().split_at(channels);
        let terms =
            [Term { map: branch.data(), affine: Some((scale, shift)) }, Term { map: shortcut.data(), affine: None }];
        // NaN shows an element that nobody wrote.
        let mut out = vec![f32::NAN; branch.elements()];
        let moments = forward(level, &terms, channels, activation, true, &mut out).expect("asked for");
        let mut grad = sample(shape).data().to_vec();
        let sums = backward(level, &Residual { terms: &terms, channels, activation, y: &out }, &mut grad);
        let [Some(TermSums { scale, shift }), None] = &sums[..] else { panic!("one term has an affine") };
        vec![out, moments, grad, scale.clone(), shift.clone()]
    }

    #[test]
    fn instruction_sets_agree_bit_for_bit() {
        for channels in [1, 5, 8, 11, 16, 24, 40] {
            for activation in [Activation::Identity, Activation::Relu, Activation::Relu6] {
                let bits = |level| {
                    let bits = |v: Vec<f32>| v.into_iter().map(f32::to_bits).collect::<Vec<_>>();
                    all(level, channels, activation).into_iter().map(bits).collect::<Vec<_>>()
                };
                let portable = bits(Level::Portable);
                for level in [Level::Native, Level::Avx2] {
                    assert!(bits(level) == portable, "{channels} channels, {activation:?}, {level:?}");
                }
            }
        }
    }

    #[test]
    fn sums_are_those_of_the_formula() {
        let (channels, shape) = (11, [3, 5, 7, 11]);
        let (branch, affine, grad) = (sample(shape), sample([2, channels]), sample(shape));
        let of = all(Level::Native, channels, Activation::Relu);
        let (mut scale, mut shift) = (vec![0.0f64; channels], vec![0.0f64; channels]);
        for (i, (&x, &g)) in branch.data().iter().zip(grad.data()).enumerate() {
            let c = i % channels;
            let v = affine.data()[c].mul_add(x, affine.data()[channels + c]) + 0.5 * branch.data()[i];
            let (y, g) = if v > 0.0 { (v, g) } else { (0.0, 0.0) };
            assert!((of[0][i] - y).abs() <= 1e-6, "output {i}: {} for {y}", of[0][i]);
            assert_eq!(of[2][i], g, "masked gradient {i}");
            scale[c] += f64::from(g) * f64::from(x);
            shift[c] += f64::from(g);
        }
        for c in 0..channels {
            // Sums of 105 values of size 1 in f32.
            assert!((f64::from(of[3][c]) - scale[c]).abs() < 1e-5, "scale {c}");
            assert!((f64::from(of[4][c]) - shift[c]).abs() < 1e-5, "shift {c}");
        }
    }
}
