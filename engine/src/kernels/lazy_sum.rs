//! The residual sum and its gradient: one pass each.
//!
//! ```text
//! y = activation(sum over terms of scale_k[c]*map_k + shift_k[c])
//! g = grad_output * activation'(y), in place;   per affine term: sum of g and sum of g*map_k, per channel
//! ```

use super::conv2d::load::{Activation, activate};
use super::conv2d::mask::add_lanes;
use super::moments::{self, Partial};
use super::simd::{Level, run};
use crate::grad::channel_chunk;
use pulp::{Simd, WithSimd};
use rayon::prelude::*;

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
            let (last, before) = terms.split_last()?;
            for (i, term) in before.iter().enumerate() {
                add_term(term, channels, i == 0, Activation::Identity, out);
            }
            add_term(last, channels, before.is_empty(), activation, out);
            measure.then(|| moments::partial(simd, out, channels))
        }
    }
    let len = channel_chunk(channels);
    let pieces: Vec<Option<Partial>> = out
        .par_chunks_mut(len)
        .enumerate()
        .map(|(i, out)| {
            let terms: Vec<Term> = terms.iter().map(|t| t.slice(i * len, out.len())).collect();
            run(level, Chunk(&terms, channels, activation, measure, out))
        })
        .collect();
    measure.then(|| moments::merge(&pieces.into_iter().flatten().collect::<Vec<_>>(), channels))
}

#[inline(always)]
fn add_term(term: &Term, channels: usize, first: bool, activation: Activation, out: &mut [f32]) {
    // One loop for each activation, so that it vectorises.
    match activation {
        Activation::Identity => add_activated(
            term,
            channels,
            first,
            out,
            #[inline(always)]
            |v| v,
        ),
        Activation::Relu => add_activated(
            term,
            channels,
            first,
            out,
            #[inline(always)]
            |v| activate(Activation::Relu, v),
        ),
        Activation::Relu6 => add_activated(
            term,
            channels,
            first,
            out,
            #[inline(always)]
            |v| activate(Activation::Relu6, v),
        ),
    }
}

#[inline(always)]
fn add_activated(term: &Term, channels: usize, first: bool, out: &mut [f32], f: impl Fn(f32) -> f32 + Copy) {
    let Some((a, b)) = term.affine else {
        let pairs = out.iter_mut().zip(term.map);
        return if first { pairs.for_each(|(o, v)| *o = f(*v)) } else { pairs.for_each(|(o, v)| *o = f(*o + v)) };
    };
    for (out, map) in out.chunks_exact_mut(channels).zip(term.map.chunks_exact(channels)) {
        let values = out.iter_mut().zip(map).zip(a).zip(b);
        if first {
            values.for_each(|(((o, v), a), b)| *o = f(a.mul_add(*v, *b)));
        } else {
            values.for_each(|(((o, v), a), b)| *o = f(*o + a.mul_add(*v, *b)));
        }
    }
}

/// Sums over all rows of one affine term.
#[derive(Clone, Debug)]
pub struct TermSums {
    /// `sum g*map`
    pub scale: Vec<f32>,
    /// `sum g`
    pub shift: Vec<f32>,
}

/// Masks `grad` in place by the activation at `y`, and returns the sums of each term that has an affine.
pub fn backward(
    level: Level,
    terms: &[Term],
    channels: usize,
    activation: Activation,
    y: &[f32],
    grad: &mut [f32],
) -> Vec<Option<TermSums>> {
    struct Chunk<'a>(&'a [Term<'a>], usize, Activation, &'a [f32], &'a mut [f32]);
    impl WithSimd for Chunk<'_> {
        type Output = Vec<Option<[Vec<f64>; 2]>>;
        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) -> Self::Output {
            let Chunk(terms, channels, activation, y, grad) = self;
            match activation {
                Activation::Identity => {}
                Activation::Relu => {
                    grad.iter_mut().zip(y).for_each(|(g, &y)| *g = if y > 0.0 { *g } else { 0.0 });
                }
                Activation::Relu6 => {
                    grad.iter_mut().zip(y).for_each(|(g, &y)| *g = if y > 0.0 && y < 6.0 { *g } else { 0.0 });
                }
            }
            let mut all = Vec::with_capacity(terms.len());
            for term in terms {
                let mut sums = [vec![0.0; channels], vec![0.0; channels]];
                if term.affine.is_some() {
                    let [scale, shift] = &mut sums;
                    column_sums(simd, term.map, grad, channels, scale, shift);
                }
                all.push(term.affine.map(|_| sums));
            }
            all
        }
    }
    let len = channel_chunk(channels);
    let pieces: Vec<Vec<Option<[Vec<f64>; 2]>>> = grad
        .par_chunks_mut(len)
        .enumerate()
        .map(|(i, grad)| {
            let terms: Vec<Term> = terms.iter().map(|t| t.slice(i * len, grad.len())).collect();
            // The identity needs no y, and may have none.
            let y = if activation == Activation::Identity { y } else { &y[i * len..i * len + grad.len()] };
            run(level, Chunk(&terms, channels, activation, y, grad))
        })
        .collect();
    let total = |term: usize, which: usize| -> Vec<f32> {
        let parts = || pieces.iter().filter_map(|p| p[term].as_ref());
        (0..channels).map(|c| parts().map(|p| p[which][c]).sum::<f64>() as f32).collect()
    };
    (0..terms.len()).map(|t| terms[t].affine.map(|_| TermSums { scale: total(t, 0), shift: total(t, 1) })).collect()
}

/// `scale[c] += sum g*map`, `shift[c] += sum g`, over rows.
#[inline(always)]
fn column_sums<S: Simd>(simd: S, map: &[f32], grad: &[f32], channels: usize, scale: &mut [f64], shift: &mut [f64]) {
    let lanes = S::F32_LANES;
    let whole = channels / lanes * lanes;
    for c in (0..whole).step_by(lanes) {
        let zero = simd.splat_f32s(0.0);
        // Two chains, so that an addition need not wait for the one before.
        let mut sums = [[zero; 2]; 2];
        for (map, grad) in map.chunks(2 * channels).zip(grad.chunks(2 * channels)) {
            let rows = map.chunks_exact(channels).zip(grad.chunks_exact(channels));
            for ((map, grad), [a, b]) in rows.zip(&mut sums) {
                let g = S::as_simd_f32s(&grad[c..c + lanes]).0[0];
                *a = simd.mul_add_f32s(g, S::as_simd_f32s(&map[c..c + lanes]).0[0], *a);
                *b = simd.add_f32s(*b, g);
            }
        }
        add_lanes::<S>(simd.add_f32s(sums[0][0], sums[1][0]), &mut scale[c..c + lanes]);
        add_lanes::<S>(simd.add_f32s(sums[0][1], sums[1][1]), &mut shift[c..c + lanes]);
    }
    for c in whole..channels {
        let (mut a, mut b) = (0.0f32, 0.0f32);
        for (map, grad) in map.chunks_exact(channels).zip(grad.chunks_exact(channels)) {
            a = grad[c].mul_add(map[c], a);
            b += grad[c];
        }
        scale[c] += f64::from(a);
        shift[c] += f64::from(b);
    }
}
