//! The convolution and its gradients as their sums are written, in `f64`: what the fast ones are compared with. No dilation.

use super::kernel::Pass;
use engine::kernels::conv2d::ConvSize;

/// The result of `pass`. Of the three operands, the one it computes is not read.
///
/// # Shapes
/// - `x`: `(N, H, W, C_in)`, `weight`: `(K, K, C_in / groups, C_out)`, `g`: `(N, H_out, W_out, C_out)`
pub fn conv(size: &ConvSize, pass: Pass, x: &[f32], weight: &[f32], g: &[f32]) -> Vec<f64> {
    let ConvSize { n, h, w, c_in, c_out, k_h, k_w, stride, padding, groups, h_out, w_out, .. } = *size;
    let (in_group, out_group) = (c_in / groups, c_out / groups);
    let len = match pass {
        Pass::Forward => g.len(),
        Pass::GradInput => x.len(),
        Pass::GradWeight => weight.len(),
    };
    let mut out = vec![0.0; len];
    for (image, oy, ox) in (0..n * h_out * w_out).map(|i| (i / (h_out * w_out), i / w_out % h_out, i % w_out)) {
        let at_y = ((image * h_out + oy) * w_out + ox) * c_out;
        for (ky, kx) in (0..k_h * k_w).map(|tap| (tap / k_w, tap % k_w)) {
            let (iy, ix) = ((oy * stride + ky).checked_sub(padding), (ox * stride + kx).checked_sub(padding));
            let (Some(iy), Some(ix)) = (iy.filter(|&y| y < h), ix.filter(|&x| x < w)) else { continue };
            let at_x = ((image * h + iy) * w + ix) * c_in;
            for (i, o) in (0..in_group).flat_map(|i| (0..c_out).map(move |o| (i, o))) {
                let at_w = ((ky * k_w + kx) * in_group + i) * c_out + o;
                let (at_x, at_y) = (at_x + o / out_group * in_group + i, at_y + o);
                match pass {
                    Pass::Forward => out[at_y] += f64::from(x[at_x]) * f64::from(weight[at_w]),
                    Pass::GradInput => out[at_x] += f64::from(g[at_y]) * f64::from(weight[at_w]),
                    Pass::GradWeight => out[at_w] += f64::from(x[at_x]) * f64::from(g[at_y]),
                }
            }
        }
    }
    out
}
