//! The copy of an image into zero-padded scratch, with everything applied that neighbours left to whoever reads.

use super::tile::load;
use pulp::Simd;

/// What to apply to a value after its affine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Activation {
    /// Nothing.
    #[default]
    Identity,
    /// `max(v, 0)`
    Relu,
    /// `min(max(v, 0), 6)`
    Relu6,
}

/// What values an activation is confined to, if any.
pub fn bounds(activation: Activation) -> Option<(f32, f32)> {
    match activation {
        Activation::Identity => None,
        Activation::Relu => Some((0.0, f32::INFINITY)),
        Activation::Relu6 => Some((0.0, 6.0)),
    }
}

/// Feature maps that are read as their concatenation, each value `v` of channel `c` as
/// `activation(scale[c]*v + shift[c])`.
#[derive(Clone, Copy)]
pub struct Maps<'a> {
    /// Values and channels of each map.
    pub maps: &'a [(&'a [f32], usize)],
    /// Scales and shifts over the channels of all maps.
    pub affine: Option<(&'a [f32], &'a [f32])>,
    /// Applied after the affine.
    pub activation: Activation,
}

impl Maps<'_> {
    /// Whether this is one map, read as it is.
    pub fn is_plain(&self) -> bool {
        self.maps.len() == 1 && self.affine.is_none() && self.activation == Activation::Identity
    }
}

/// The terms of an output's gradient: `scale[c]*grad + slope[c]*map + offset[c]`.
#[derive(Clone, Copy)]
pub struct GradTerms<'a> {
    /// The explicit part.
    pub grad: &'a [f32],
    /// Factor of `grad`.
    pub scale: Option<&'a [f32]>,
    /// `(map, slope, offset)`
    pub affine_of: Option<(&'a [f32], &'a [f32], &'a [f32])>,
}

/// Writes `out.len() / channels` consecutive pixels of the concatenation, from pixel `first`, to `out`.
#[inline(always)]
pub fn maps_row<S: Simd>(simd: S, source: &Maps, channels: usize, first: usize, out: &mut [f32]) {
    maps_rows(simd, source, (first, out.len() / channels), channels, out);
}

/// Writes `pixels` consecutive pixels of the concatenation, from pixel `first`, to `out`, each `stride` after the one before.
#[inline(always)]
pub fn maps_rows<S: Simd>(simd: S, source: &Maps, (first, pixels): (usize, usize), stride: usize, out: &mut [f32]) {
    let mut start = 0;
    for &(map, c) in source.maps {
        let rows = Rows { map: &map[first * c..][..pixels * c], c, stride };
        let affine = source.affine.map(|(scale, shift)| (&scale[start..start + c], &shift[start..start + c]));
        if let Some(out) = out.get_mut(start..) {
            apply(simd, rows, affine, source.activation, out);
        }
        start += c;
    }
}

/// Pixels of one map, `c` values each, and the distance between two of them where they are written to.
#[derive(Clone, Copy)]
struct Rows<'a> {
    map: &'a [f32],
    c: usize,
    stride: usize,
}

#[inline(always)]
fn apply<S: Simd>(simd: S, rows: Rows, affine: Option<(&[f32], &[f32])>, activation: Activation, out: &mut [f32]) {
    let Rows { map, c, stride } = rows;
    match (affine, activation) {
        (None, Activation::Identity) if c == stride => out[..map.len()].copy_from_slice(map),
        (None, activation) => {
            for (out, map) in out.chunks_mut(stride).zip(map.chunks_exact(c)) {
                let out = &mut out[..c];
                match activation {
                    Activation::Identity => out.copy_from_slice(map),
                    activation => out.iter_mut().zip(map).for_each(|(out, &v)| *out = activate(activation, v)),
                }
            }
        }
        // One loop per activation, so that it is not chosen anew at each element.
        (Some(affine), Activation::Identity) => affine_rows(
            simd,
            rows,
            affine,
            out,
            #[inline(always)]
            |_, v| v,
            |v| v,
        ),
        (Some(affine), Activation::Relu) => {
            let zero = simd.splat_f32s(0.0);
            affine_rows(
                simd,
                rows,
                affine,
                out,
                #[inline(always)]
                |simd, v| simd.max_f32s(zero, v),
                |v| activate(Activation::Relu, v),
            );
        }
        (Some(affine), Activation::Relu6) => {
            let (zero, six) = (simd.splat_f32s(0.0), simd.splat_f32s(6.0));
            affine_rows(
                simd,
                rows,
                affine,
                out,
                #[inline(always)]
                |simd, v| simd.min_f32s(six, simd.max_f32s(zero, v)),
                #[inline(always)]
                |v| activate(Activation::Relu6, v),
            );
        }
    }
}

/// One value. NaN stays NaN, as in PyTorch.
#[inline(always)]
pub fn activate(activation: Activation, v: f32) -> f32 {
    match activation {
        Activation::Identity => v,
        Activation::Relu => {
            if v <= 0.0 {
                0.0
            } else {
                v
            }
        }
        Activation::Relu6 => v.clamp(0.0, 6.0),
    }
}

#[inline(always)]
fn affine_rows<S: Simd>(
    simd: S,
    Rows { map, c, stride }: Rows,
    affine: (&[f32], &[f32]),
    out: &mut [f32],
    wide: impl Fn(S, S::f32s) -> S::f32s + Copy,
    narrow: impl Fn(f32) -> f32 + Copy,
) {
    let mut pairs = map.chunks_exact(c).zip(out.chunks_mut(stride));
    if c < S::F32_LANES {
        for (map, out) in pairs {
            for (((out, &v), &a), &b) in out.iter_mut().zip(map).zip(affine.0).zip(affine.1) {
                *out = narrow(a.mul_add(v, b));
            }
        }
        return;
    }
    // Four pixels at a time share one read of their scales and shifts.
    while pairs.len() >= 4 {
        let (Some((m0, o0)), Some((m1, o1)), Some((m2, o2)), Some((m3, o3))) =
            (pairs.next(), pairs.next(), pairs.next(), pairs.next())
        else {
            break;
        };
        let (n, scale, shift) = (c / S::F32_LANES, S::as_simd_f32s(affine.0).0, S::as_simd_f32s(affine.1).0);
        {
            let (m0, m1, m2, m3) = (whole::<S>(m0, n), whole::<S>(m1, n), whole::<S>(m2, n), whole::<S>(m3, n));
            let (o0, o1) = (whole_mut::<S>(o0, n), whole_mut::<S>(o1, n));
            let (o2, o3) = (whole_mut::<S>(o2, n), whole_mut::<S>(o3, n));
            let (scale, shift) = (&scale[..n], &shift[..n]);
            for i in 0..n {
                let (a, b) = (scale[i], shift[i]);
                o0[i] = wide(simd, simd.mul_add_f32s(a, m0[i], b));
                o1[i] = wide(simd, simd.mul_add_f32s(a, m1[i], b));
                o2[i] = wide(simd, simd.mul_add_f32s(a, m2[i], b));
                o3[i] = wide(simd, simd.mul_add_f32s(a, m3[i], b));
            }
        }
        if n * S::F32_LANES < c {
            affine_last(simd, m0, affine, o0, wide);
            affine_last(simd, m1, affine, o1, wide);
            affine_last(simd, m2, affine, o2, wide);
            affine_last(simd, m3, affine, o3, wide);
        }
    }
    for (map, out) in pairs {
        let (n, scale, shift) = (c / S::F32_LANES, S::as_simd_f32s(affine.0).0, S::as_simd_f32s(affine.1).0);
        let (m, o) = (whole::<S>(map, n), whole_mut::<S>(out, n));
        for (((o, &m), &a), &b) in o.iter_mut().zip(m).zip(scale).zip(shift) {
            *o = wide(simd, simd.mul_add_f32s(a, m, b));
        }
        if n * S::F32_LANES < c {
            affine_last(simd, map, affine, out, wide);
        }
    }
}

/// The last vector of a pixel whose channels do not fill it: it ends with the last channel and overlaps the one before.
#[inline(always)]
fn affine_last<S: Simd>(
    simd: S,
    map: &[f32],
    (scale, shift): (&[f32], &[f32]),
    out: &mut [f32],
    wide: impl Fn(S, S::f32s) -> S::f32s,
) {
    let last = map.len() - S::F32_LANES..map.len();
    let (a, b) = (load(simd, &scale[last.clone()]), load(simd, &shift[last.clone()]));
    let v = wide(simd, simd.mul_add_f32s(a, load(simd, &map[last.clone()]), b));
    S::as_mut_simd_f32s(&mut out[last]).0[0] = v;
}

/// The first `n` vectors.
#[inline(always)]
fn whole<S: Simd>(values: &[f32], n: usize) -> &[S::f32s] {
    &S::as_simd_f32s(values).0[..n]
}

#[inline(always)]
fn whole_mut<S: Simd>(values: &mut [f32], n: usize) -> &mut [S::f32s] {
    &mut S::as_mut_simd_f32s(values).0[..n]
}

/// Writes `out.len() / channels` consecutive pixels of a gradient, from pixel `first`, to `out`.
#[inline(always)]
pub fn grad_row<S: Simd>(simd: S, terms: &GradTerms, channels: usize, first: usize, out: &mut [f32]) {
    grad_rows(simd, terms, channels, (first, out.len() / channels), channels, out);
}

/// Writes `pixels` consecutive pixels of a gradient, from pixel `first`, to `out`, each `stride` after the one before.
#[inline(always)]
pub fn grad_rows<S: Simd>(
    simd: S,
    terms: &GradTerms,
    channels: usize,
    (first, pixels): (usize, usize),
    stride: usize,
    out: &mut [f32],
) {
    let range = first * channels..(first + pixels) * channels;
    let grad = &terms.grad[range.clone()];
    let rows = grad.chunks_exact(channels).zip(out.chunks_mut(stride));
    match (terms.scale, terms.affine_of) {
        (None, None) if channels == stride => out[..grad.len()].copy_from_slice(grad),
        (None, None) => rows.for_each(|(grad, out)| out[..channels].copy_from_slice(grad)),
        (Some(scale), None) => {
            for (grad, out) in rows {
                out.iter_mut().zip(grad).zip(scale).for_each(|((o, g), s)| *o = g * s);
            }
        }
        (scale, Some((map, slope, offset))) => {
            let map = &map[range];
            if channels < S::F32_LANES {
                for ((grad, out), map) in rows.zip(map.chunks_exact(channels)) {
                    for c in 0..channels {
                        let g = scale.map_or(grad[c], |s| grad[c] * s[c]);
                        out[c] = g + slope[c].mul_add(map[c], offset[c]);
                    }
                }
                return;
            }
            let rows = grad.chunks_exact(channels).zip(map.chunks_exact(channels)).zip(out.chunks_mut(stride));
            match scale {
                Some(scale) => affine_terms::<S, true>(simd, rows, [scale, slope, offset]),
                None => affine_terms::<S, false>(simd, rows, [slope, slope, offset]),
            }
        }
    }
}

/// `out = scale*grad + slope*map + offset` for pixels of at least a vector of channels; without `SCALED`, `scale` is taken as 1.
#[inline(always)]
fn affine_terms<'a, S: Simd, const SCALED: bool>(
    simd: S,
    mut rows: impl ExactSizeIterator<Item = ((&'a [f32], &'a [f32]), &'a mut [f32])>,
    factors: [&[f32]; 3],
) {
    let [scale, slope, offset] = factors;
    let (channels, lanes) = (slope.len(), S::F32_LANES);
    let n = channels / lanes;
    let (s, a, b) = (whole::<S>(scale, n), whole::<S>(slope, n), whole::<S>(offset, n));
    // Two pixels at a time share one read of their factors.
    while rows.len() >= 2 {
        let (Some(((g0, m0), o0)), Some(((g1, m1), o1))) = (rows.next(), rows.next()) else { break };
        {
            let (g0, m0, o0) = (whole::<S>(g0, n), whole::<S>(m0, n), whole_mut::<S>(o0, n));
            let (g1, m1, o1) = (whole::<S>(g1, n), whole::<S>(m1, n), whole_mut::<S>(o1, n));
            for i in 0..n {
                o0[i] = term::<S, SCALED>(simd, [g0[i], m0[i]], [s[i], a[i], b[i]]);
                o1[i] = term::<S, SCALED>(simd, [g1[i], m1[i]], [s[i], a[i], b[i]]);
            }
        }
        if n * lanes < channels {
            last_terms::<S, SCALED>(simd, [g0, m0], factors, o0);
            last_terms::<S, SCALED>(simd, [g1, m1], factors, o1);
        }
    }
    for ((g0, m0), o0) in rows {
        {
            let (g0, m0, o0) = (whole::<S>(g0, n), whole::<S>(m0, n), whole_mut::<S>(o0, n));
            for i in 0..n {
                o0[i] = term::<S, SCALED>(simd, [g0[i], m0[i]], [s[i], a[i], b[i]]);
            }
        }
        if n * lanes < channels {
            last_terms::<S, SCALED>(simd, [g0, m0], factors, o0);
        }
    }
}

#[inline(always)]
fn term<S: Simd, const SCALED: bool>(simd: S, [g, m]: [S::f32s; 2], [scale, slope, offset]: [S::f32s; 3]) -> S::f32s {
    let g = if SCALED { simd.mul_f32s(g, scale) } else { g };
    simd.add_f32s(g, simd.mul_add_f32s(slope, m, offset))
}

/// As [`affine_last`].
#[inline(always)]
fn last_terms<S: Simd, const SCALED: bool>(simd: S, [g, m]: [&[f32]; 2], [s, a, b]: [&[f32]; 3], out: &mut [f32]) {
    let last = a.len() - S::F32_LANES..a.len();
    let at = last.start;
    let factors = [load(simd, &s[at..]), load(simd, &a[at..]), load(simd, &b[at..])];
    let v = term::<S, SCALED>(simd, [load(simd, &g[at..]), load(simd, &m[at..])], factors);
    S::as_mut_simd_f32s(&mut out[last]).0[0] = v;
}

/// Fills the border of a padded image with zeros: all but `rows` x `columns` pixels at `(top, left)`.
#[inline(always)]
pub fn zero_border(plan: &super::plan::Plan, scratch: &mut [f32]) {
    let row_len = plan.padded_columns * plan.channels;
    for (y, row) in scratch.chunks_exact_mut(row_len).enumerate() {
        if y < plan.top || y >= plan.top + plan.rows {
            row.fill(0.0);
        } else {
            row[..plan.left * plan.channels].fill(0.0);
            row[(plan.left + plan.columns) * plan.channels..].fill(0.0);
        }
    }
}
