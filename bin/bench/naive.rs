//! The convolution and its gradients as their sums are written, in `f64`: what the fast ones are compared with. No dilation.

use super::kernel::{Operands, Pass};
use engine::kernels::conv2d::ConvSize;

/// Value `index` of the result of `pass`.
pub fn value(operands: &Operands, pass: Pass, index: usize) -> f64 {
    let Operands { size, x, weight, grad_output } = operands;
    let (x, weight, g) = (x.data(), weight.data(), grad_output.data());
    let ConvSize { n, h, w, c_in, c_out, k_h, k_w, groups, h_out, w_out, .. } = *size;
    let (in_group, out_group) = (c_in / groups, c_out / groups);
    let product = |a: f32, b: f32| f64::from(a) * f64::from(b);
    let taps = || (0..k_h * k_w).map(|tap| (tap / k_w, tap % k_w));
    match pass {
        Pass::Forward => {
            let [image, oy, ox, o] = split(index, [h_out, w_out, c_out]);
            let first = o / out_group * in_group;
            let of_tap = |(ky, kx)| {
                let (Some(iy), Some(ix)) = (read(size, oy, ky, h), read(size, ox, kx, w)) else { return 0.0 };
                let at = ((image * h + iy) * w + ix) * c_in + first;
                (0..in_group).map(|i| product(x[at + i], weight[((ky * k_w + kx) * in_group + i) * c_out + o])).sum()
            };
            taps().map(of_tap).sum()
        }
        Pass::GradInput => {
            let [image, iy, ix, c] = split(index, [h, w, c_in]);
            let (first, i) = (c / in_group * out_group, c % in_group);
            let of_tap = |(ky, kx)| {
                let (Some(oy), Some(ox)) = (reader(size, iy, ky, h_out), reader(size, ix, kx, w_out)) else {
                    return 0.0;
                };
                let at = ((image * h_out + oy) * w_out + ox) * c_out;
                let outputs = first..first + out_group;
                outputs.map(|o| product(g[at + o], weight[((ky * k_w + kx) * in_group + i) * c_out + o])).sum()
            };
            taps().map(of_tap).sum()
        }
        Pass::GradWeight => {
            let [ky, kx, i, o] = split(index, [k_w, in_group, c_out]);
            let c = o / out_group * in_group + i;
            let of_pixel = |pixel| {
                let [_, image, oy, ox] = split(pixel, [n, h_out, w_out]);
                let (Some(iy), Some(ix)) = (read(size, oy, ky, h), read(size, ox, kx, w)) else { return 0.0 };
                product(x[((image * h + iy) * w + ix) * c_in + c], g[pixel * c_out + o])
            };
            (0..n * h_out * w_out).map(of_pixel).sum()
        }
    }
}

/// The four indices of an element of an array with these sizes after its first.
fn split(index: usize, [a, b, c]: [usize; 3]) -> [usize; 4] {
    [index / (a * b * c), index / (b * c) % a, index / c % b, index % c]
}

/// The row (or column) of the input that row `out` of the output reads with `tap`, unless it is padding.
fn read(size: &ConvSize, out: usize, tap: usize, rows: usize) -> Option<usize> {
    (out * size.stride + tap).checked_sub(size.padding).filter(|&row| row < rows)
}

/// The row of the output that reads row `row` of the input with `tap`, if there is one.
fn reader(size: &ConvSize, row: usize, tap: usize, rows: usize) -> Option<usize> {
    let from = (row + size.padding).checked_sub(tap)?;
    (from % size.stride == 0).then_some(from / size.stride).filter(|&out| out < rows)
}
