//! The convolution and its gradients as their sums are written, in `f64`: what the fast ones are compared with.

use super::conv::{Pass, Sizes};

/// The result of `pass`. Of the three operands, the one it computes is not read.
///
/// # Shapes
/// - `x`: `(N, H, W, C_in)`, `weight`: `(K, K, C_in, C_out)`, `g`: `(N, H_out, W_out, C_out)`
pub fn conv(s: &Sizes, pass: Pass, x: &[f32], weight: &[f32], g: &[f32]) -> Vec<f64> {
    let (h_out, w_out) = (s.h_out(), s.w_out());
    let mut out = vec![
        0.0;
        match pass {
            Pass::Forward => s.n * h_out * w_out * s.c_out,
            Pass::GradInput => s.n * s.h * s.w * s.c_in,
            Pass::GradWeight => s.k * s.k * s.c_in * s.c_out,
        }
    ];
    for n in 0..s.n {
        for (oy, ox) in (0..h_out).flat_map(|oy| (0..w_out).map(move |ox| (oy, ox))) {
            let at_y = ((n * h_out + oy) * w_out + ox) * s.c_out;
            for (ky, kx) in (0..s.k).flat_map(|ky| (0..s.k).map(move |kx| (ky, kx))) {
                let (iy, ix) = (oy * s.stride + ky, ox * s.stride + kx);
                let (Some(iy), Some(ix)) = (iy.checked_sub(s.padding()), ix.checked_sub(s.padding())) else { continue };
                if iy >= s.h || ix >= s.w {
                    continue;
                }
                let at_x = ((n * s.h + iy) * s.w + ix) * s.c_in;
                for i in 0..s.c_in {
                    let at_w = ((ky * s.k + kx) * s.c_in + i) * s.c_out;
                    for o in 0..s.c_out {
                        match pass {
                            Pass::Forward => out[at_y + o] += f64::from(x[at_x + i]) * f64::from(weight[at_w + o]),
                            Pass::GradInput => out[at_x + i] += f64::from(g[at_y + o]) * f64::from(weight[at_w + o]),
                            Pass::GradWeight => out[at_w + o] += f64::from(x[at_x + i]) * f64::from(g[at_y + o]),
                        }
                    }
                }
            }
        }
    }
    out
}
