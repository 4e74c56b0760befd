//! The one-dimensional transforms of F(4x4, 3x3) (`W` = 6) and F(2x2, 3x3) (`W` = 4, points 0, 1, -1, infinity).

use pulp::Simd;

/// Rows of `G` for F(2x2), the last two unused.
const G2: [[f32; 3]; 6] = [[1.0, 0.0, 0.0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.0, 0.0, 1.0], [0.0; 3], [0.0; 3]];

/// Rows of `G`.
#[inline(always)]
pub fn g<const W: usize>() -> &'static [[f32; 3]; 6] {
    if W == 6 { &super::super::transform::G } else { &G2 }
}

/// `Bt` times `W` values.
#[inline(always)]
pub fn input<S: Simd, const W: usize>(simd: S, d: [S::f32s; W]) -> [S::f32s; W] {
    let mut out = d;
    if W == 6 {
        let d = [d[0], d[1], d[2], d[3], d[4 % W], d[5 % W]];
        let all = super::super::transform::input_1d(simd, d);
        out.copy_from_slice(&all[..W]);
    } else {
        out[0] = simd.sub_f32s(d[0], d[2]);
        out[1] = simd.add_f32s(d[1], d[2]);
        out[2] = simd.sub_f32s(d[2], d[1]);
        out[3] = simd.sub_f32s(d[1], d[3]);
    }
    out
}

/// `At` times `W` values.
#[inline(always)]
pub fn output<S: Simd, const T: usize, const W: usize>(simd: S, m: [S::f32s; W]) -> [S::f32s; T] {
    let mut out = [m[0]; T];
    if W == 6 {
        let m = [m[0], m[1], m[2], m[3], m[4 % W], m[5 % W]];
        let all = super::super::transform::output_1d(simd, m);
        out.copy_from_slice(&all[..T]);
    } else {
        out[0] = simd.add_f32s(m[0], simd.add_f32s(m[1], m[2]));
        out[1] = simd.sub_f32s(simd.sub_f32s(m[1], m[2]), m[3]);
    }
    out
}

/// `A` times `T` values.
#[inline(always)]
pub fn grad_output<S: Simd, const T: usize, const W: usize>(simd: S, d: [S::f32s; T]) -> [S::f32s; W] {
    let mut out = [d[0]; W];
    if W == 6 {
        let all = super::super::transform::grad_output_1d(simd, [d[0], d[1], d[2 % T], d[3 % T]]);
        out.copy_from_slice(&all[..W]);
    } else {
        out[1] = simd.add_f32s(d[0], d[1]);
        out[2] = simd.sub_f32s(d[0], d[1]);
        out[3] = simd.neg_f32s(d[1]);
    }
    out
}
