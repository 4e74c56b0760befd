//! The one-dimensional transforms of F(4x4, 3x3) (`W` = 6 positions), F(2x2, 3x3) (`W` = 4, points 0, 1, -1, infinity), and of maps of two
//! pixels (`W` = 3).
//!
//! With nothing but zeros around two pixels `x0, x1`, three products are enough:
//! `y0 = w1 (x0 + x1) + (w2 - w1) x1`, `y1 = w1 (x0 + x1) + (w0 - w1) x0` (Karatsuba's way to multiply by a 2x2 Toeplitz matrix).

use pulp::Simd;

/// Rows of `G` for F(2x2).
const G2: [[f32; 3]; 4] = [[1.0, 0.0, 0.0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.0, 0.0, 1.0]];

/// Rows of `G` for maps of two pixels.
const G1: [[f32; 3]; 3] = [[0.0, 1.0, 0.0], [0.0, -1.0, 1.0], [1.0, -1.0, 0.0]];

/// Pixels that a tile with `positions` positions reads, each way.
pub const fn window(positions: usize) -> usize {
    if positions == 3 { 2 } else { positions }
}

/// `Bt` times the values of a [`window`].
#[inline(always)]
pub fn input<S: Simd, const W: usize>(simd: S, d: [S::f32s; W]) -> [S::f32s; W] {
    let mut out = d;
    if W == 6 {
        let d = [d[0], d[1], d[2], d[3 % W], d[4 % W], d[5 % W]];
        let all = super::transform::input_1d(simd, d);
        out.copy_from_slice(&all[..W]);
    } else if W == 3 {
        out = grad_output::<S, W, W>(simd, d);
        out.swap(1, 2);
    } else {
        out[0] = simd.sub_f32s(d[0], d[2]);
        out[1] = simd.add_f32s(d[1], d[2]);
        out[2] = simd.sub_f32s(d[2], d[1]);
        out[3 % W] = simd.sub_f32s(d[1], d[3 % W]);
    }
    out
}

/// `At` times `W` values.
#[inline(always)]
pub fn output<S: Simd, const T: usize, const W: usize>(simd: S, m: [S::f32s; W]) -> [S::f32s; T] {
    let mut out = [m[0]; T];
    if W == 6 {
        let m = [m[0], m[1], m[2], m[3 % W], m[4 % W], m[5 % W]];
        let all = super::transform::output_1d(simd, m);
        out.copy_from_slice(&all[..T]);
    } else if W == 3 {
        out[0] = simd.add_f32s(m[0], m[1]);
        out[1] = simd.add_f32s(m[0], m[2]);
    } else {
        out[0] = simd.add_f32s(m[0], simd.add_f32s(m[1], m[2]));
        out[1] = simd.sub_f32s(simd.sub_f32s(m[1], m[2]), m[3 % W]);
    }
    out
}

/// `A` times `T` values.
#[inline(always)]
pub fn grad_output<S: Simd, const T: usize, const W: usize>(simd: S, d: [S::f32s; T]) -> [S::f32s; W] {
    let mut out = [d[0]; W];
    if W == 6 {
        let all = super::transform::grad_output_1d(simd, [d[0], d[1], d[2 % T], d[3 % T]]);
        out.copy_from_slice(&all[..W]);
    } else if W == 3 {
        out[0] = simd.add_f32s(d[0], d[1]);
        out[1] = d[0];
        out[2] = d[1];
    } else {
        out[1] = simd.add_f32s(d[0], d[1]);
        out[2] = simd.sub_f32s(d[0], d[1]);
        out[3 % W] = simd.neg_f32s(d[1]);
    }
    out
}

/// `G` times three values.
#[inline(always)]
pub fn weight<S: Simd, const W: usize>(simd: S, w: [S::f32s; 3]) -> [S::f32s; W] {
    let mut out = [w[0]; W];
    let sum = simd.add_f32s(w[0], w[2]);
    if W == 6 {
        let (quarter, sixth) = (simd.splat_f32s(0.25), simd.splat_f32s(1.0 / 6.0));
        let (twelfth, small) = (simd.splat_f32s(1.0 / 12.0), simd.splat_f32s(1.0 / 24.0));
        let even = simd.mul_add_f32s(sixth, w[2], simd.mul_f32s(small, w[0]));
        out[0] = simd.mul_f32s(quarter, w[0]);
        out[1] = simd.mul_f32s(simd.neg_f32s(sixth), simd.add_f32s(sum, w[1]));
        out[2] = simd.mul_f32s(sixth, simd.sub_f32s(w[1], sum));
        out[3 % W] = simd.mul_add_f32s(twelfth, w[1], even);
        out[4 % W] = simd.negate_mul_add_f32s(twelfth, w[1], even);
        out[5 % W] = w[2];
    } else if W == 3 {
        out[0] = w[1];
        out[1] = simd.sub_f32s(w[2], w[1]);
        out[2] = simd.sub_f32s(w[0], w[1]);
    } else {
        let half = simd.splat_f32s(0.5);
        out[1] = simd.mul_f32s(half, simd.add_f32s(sum, w[1]));
        out[2] = simd.mul_f32s(half, simd.sub_f32s(sum, w[1]));
        out[3 % W] = w[2];
    }
    out
}

/// One value of [`weight`], up to rounding.
#[inline(always)]
pub fn weight_at<S: Simd, const W: usize>(simd: S, w: [S::f32s; 3], row: usize) -> S::f32s {
    let g = match W {
        6 => &super::transform::G[row],
        3 => &G1[row],
        _ => &G2[row],
    };
    super::weights::combine(simd, g, w)
}

/// `Gt` times `W` values.
#[inline(always)]
pub fn grad_weight<S: Simd, const W: usize>(simd: S, m: [S::f32s; W]) -> [S::f32s; 3] {
    let (p, q) = (simd.add_f32s(m[1], m[2]), simd.sub_f32s(m[2], m[1]));
    if W == 3 {
        [m[2], simd.sub_f32s(m[0], p), m[1]]
    } else if W == 6 {
        let (quarter, sixth) = (simd.splat_f32s(0.25), simd.splat_f32s(1.0 / 6.0));
        let (twelfth, small) = (simd.splat_f32s(1.0 / 12.0), simd.splat_f32s(1.0 / 24.0));
        let (r, s) = (simd.add_f32s(m[3 % W], m[4 % W]), simd.sub_f32s(m[3 % W], m[4 % W]));
        [
            simd.mul_add_f32s(small, r, simd.negate_mul_add_f32s(sixth, p, simd.mul_f32s(quarter, m[0]))),
            simd.mul_add_f32s(twelfth, s, simd.mul_f32s(sixth, q)),
            simd.mul_add_f32s(sixth, simd.sub_f32s(r, p), m[5 % W]),
        ]
    } else {
        let half = simd.splat_f32s(0.5);
        [
            simd.mul_add_f32s(half, p, m[0]),
            simd.negate_mul_add_f32s(half, q, simd.splat_f32s(0.0)),
            simd.mul_add_f32s(half, p, m[3 % W]),
        ]
    }
}
