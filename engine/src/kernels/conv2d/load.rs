//! The copy of an image into zero-padded scratch, with everything applied that neighbours left to whoever reads.

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

/// Writes `pixels` consecutive pixels of the concatenation, from pixel `first`, to `out`: `pixels` x `channels`.
#[inline(always)]
pub fn maps_row<S: Simd>(simd: S, source: &Maps, channels: usize, first: usize, out: &mut [f32]) {
    let mut start = 0;
    for &(map, c) in source.maps {
        let pixels = out.len() / channels;
        let map = &map[first * c..][..pixels * c];
        let affine = source.affine.map(|(scale, shift)| (&scale[start..start + c], &shift[start..start + c]));
        if c == channels {
            apply(simd, map, affine, source.activation, c, out);
        } else {
            for (map, out) in map.chunks_exact(c).zip(out.chunks_exact_mut(channels)) {
                apply(simd, map, affine, source.activation, c, &mut out[start..start + c]);
            }
        }
        start += c;
    }
}

#[inline(always)]
fn apply<S: Simd>(
    simd: S,
    map: &[f32],
    affine: Option<(&[f32], &[f32])>,
    activation: Activation,
    c: usize,
    out: &mut [f32],
) {
    match (affine, activation) {
        (None, Activation::Identity) => out.copy_from_slice(map),
        (None, activation) => {
            for (out, &v) in out.iter_mut().zip(map) {
                *out = activate(activation, v);
            }
        }
        // One loop per activation, so that it is not chosen anew at each element.
        (Some(affine), Activation::Identity) => affine_rows(
            simd,
            map,
            affine,
            c,
            out,
            #[inline(always)]
            |_, v| v,
            |v| v,
        ),
        (Some(affine), Activation::Relu) => {
            let zero = simd.splat_f32s(0.0);
            affine_rows(
                simd,
                map,
                affine,
                c,
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
                map,
                affine,
                c,
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
    map: &[f32],
    (scale, shift): (&[f32], &[f32]),
    c: usize,
    out: &mut [f32],
    wide: impl Fn(S, S::f32s) -> S::f32s,
    narrow: impl Fn(f32) -> f32,
) {
    let (scales, scale_tail) = S::as_simd_f32s(scale);
    let (shifts, shift_tail) = S::as_simd_f32s(shift);
    for (map, out) in map.chunks_exact(c).zip(out.chunks_exact_mut(c)) {
        let (maps, map_tail) = S::as_simd_f32s(map);
        let (outs, out_tail) = S::as_mut_simd_f32s(out);
        for (((out, &v), &a), &b) in outs.iter_mut().zip(maps).zip(scales).zip(shifts) {
            *out = wide(simd, simd.mul_add_f32s(a, v, b));
        }
        for (((out, &v), &a), &b) in out_tail.iter_mut().zip(map_tail).zip(scale_tail).zip(shift_tail) {
            *out = narrow(a.mul_add(v, b));
        }
    }
}

/// Writes `out.len() / channels` consecutive pixels of a gradient, from pixel `first`, to `out`.
#[inline(always)]
pub fn grad_row<S: Simd>(simd: S, terms: &GradTerms, channels: usize, first: usize, out: &mut [f32]) {
    let grad = &terms.grad[first * channels..][..out.len()];
    let pixels = grad.chunks_exact(channels).zip(out.chunks_exact_mut(channels));
    match (terms.scale, terms.affine_of) {
        (None, None) => out.copy_from_slice(grad),
        (Some(scale), None) => {
            for (grad, out) in pixels {
                out.iter_mut().zip(grad).zip(scale).for_each(|((o, g), s)| *o = g * s);
            }
        }
        (None, Some((map, slope, offset))) => {
            for ((grad, out), map) in pixels.zip(map[first * channels..].chunks_exact(channels)) {
                add_affine_of(
                    simd,
                    out,
                    grad,
                    (map, slope, offset),
                    #[inline(always)]
                    |_, g, _| g,
                    #[inline(always)]
                    |g, _| g,
                );
            }
        }
        (Some(scale), Some((map, slope, offset))) => {
            let (scales, scale_tail) = S::as_simd_f32s(scale);
            for ((grad, out), map) in pixels.zip(map[first * channels..].chunks_exact(channels)) {
                add_affine_of(
                    simd,
                    out,
                    grad,
                    (map, slope, offset),
                    #[inline(always)]
                    |simd, g, i| simd.mul_f32s(g, scales[i]),
                    #[inline(always)]
                    |g, i| g * scale_tail[i],
                );
            }
        }
    }
}

/// `out = scaled(grad) + slope*map + offset` for one pixel; the closures scale a vector and a tail element by their index.
#[inline(always)]
fn add_affine_of<S: Simd>(
    simd: S,
    out: &mut [f32],
    grad: &[f32],
    (map, slope, offset): (&[f32], &[f32], &[f32]),
    wide: impl Fn(S, S::f32s, usize) -> S::f32s,
    narrow: impl Fn(f32, usize) -> f32,
) {
    let (o, o_tail) = S::as_mut_simd_f32s(out);
    let (g, g_tail) = S::as_simd_f32s(grad);
    let (m, m_tail) = S::as_simd_f32s(map);
    let (a, a_tail) = S::as_simd_f32s(slope);
    let (b, b_tail) = S::as_simd_f32s(offset);
    for (i, ((((o, &g), &m), &a), &b)) in o.iter_mut().zip(g).zip(m).zip(a).zip(b).enumerate() {
        *o = simd.add_f32s(wide(simd, g, i), simd.mul_add_f32s(a, m, b));
    }
    for (i, ((((o, &g), &m), &a), &b)) in o_tail.iter_mut().zip(g_tail).zip(m_tail).zip(a_tail).zip(b_tail).enumerate()
    {
        *o = narrow(g, i) + a.mul_add(m, b);
    }
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
