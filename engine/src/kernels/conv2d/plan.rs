//! Where a tile finds its operands: the part of a convolution that depends on geometry alone.

use super::ConvSize;

/// A piece of a window that is contiguous both in the scratch and in the packed weights.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// Start in the scratch, from the pixel's base.
    pub at: usize,
    /// First row of the packed panel.
    pub row: usize,
    /// Rows (values per pixel).
    pub len: usize,
}

/// Pixels that see the same taps. A strided grad_input has one class per parity, everything else a single one.
#[derive(Debug)]
pub struct Class {
    /// Of each pixel of one image: base in the scratch, and index of the output pixel.
    pub pixels: Vec<(usize, usize)>,
    /// The window, in the order of the packed rows.
    pub runs: Vec<Run>,
    /// Taps `(ky, kx)` in the order of the packed rows.
    pub taps: Vec<(usize, usize)>,
}

/// Geometry of one pass over images of `(rows, columns, channels)`.
#[derive(Debug)]
pub struct Plan {
    /// Height of the image that is read, without padding.
    pub rows: usize,
    /// Width of the image that is read, without padding.
    pub columns: usize,
    /// Channels of the image that is read.
    pub channels: usize,
    /// Zero rows above.
    pub top: usize,
    /// Zero columns to the left.
    pub left: usize,
    /// Height of the scratch.
    pub padded_rows: usize,
    /// Width of the scratch.
    pub padded_columns: usize,
    /// The pixels to compute.
    pub classes: Vec<Class>,
}

impl Plan {
    /// Floats of one image's scratch.
    pub fn scratch_len(&self) -> usize {
        self.padded_rows * self.padded_columns * self.channels
    }

    /// Reads x, computes y.
    pub fn forward(size: &ConvSize) -> Plan {
        let ConvSize { h, w, k_h, k_w, stride, padding, dilation, h_out, w_out, .. } = *size;
        let columns = w + 2 * padding;
        let mut plan = Plan {
            rows: h,
            columns: w,
            channels: size.c_in,
            top: padding,
            left: padding,
            padded_rows: h + 2 * padding,
            padded_columns: columns,
            classes: vec![],
        };
        let taps = (0..k_h).flat_map(|ky| (0..k_w).map(move |kx| (ky, kx)));
        let offsets = taps.map(|(ky, kx)| ((ky * columns + kx) * dilation, (ky, kx))).collect();
        let pixels = (0..h_out)
            .flat_map(|y| (0..w_out).map(move |x| (y, x)))
            .map(|(y, x)| ((y * columns + x) * stride * size.c_in, y * w_out + x))
            .collect();
        plan.push_class(size.c_in / size.groups, size.groups, pixels, offsets);
        plan
    }

    /// Reads dy, computes grad_input. Per dimension, input position `i` takes tap `k` from output `q - j`, where
    /// `q = (i + padding) / stride`, and `j = k*dilation / stride`, for the taps with the remainder of `i + padding`.
    pub fn grad_input(size: &ConvSize) -> Plan {
        let ConvSize { h, w, k_h, k_w, stride, padding, dilation, h_out, w_out, .. } = *size;
        let reach = |k: usize| (k - 1) * dilation / stride;
        // Zeros before the first and after the last output, as far as the furthest tap reads.
        let before = |k: usize| reach(k).saturating_sub(padding / stride);
        let after = |extent: usize, out: usize| ((extent - 1 + padding) / stride + 1).saturating_sub(out);
        let (top, left) = (before(k_h), before(k_w));
        let padded_columns = left + w_out + after(w, w_out);
        let mut plan = Plan {
            rows: h_out,
            columns: w_out,
            channels: size.c_out,
            top,
            left,
            padded_rows: top + h_out + after(h, h_out),
            padded_columns,
            classes: vec![],
        };
        let taps_of = |k: usize, remainder: usize| -> Vec<usize> {
            (0..k).filter(|tap| tap * dilation % stride == remainder).collect()
        };
        for remainder_y in 0..stride {
            for remainder_x in 0..stride {
                let (taps_y, taps_x) = (taps_of(k_h, remainder_y), taps_of(k_w, remainder_x));
                // The base stands at the class's furthest tap, so that offsets are not negative.
                let furthest = |taps: &[usize]| taps.last().map_or(0, |tap| tap * dilation / stride);
                let (far_y, far_x) = (furthest(&taps_y), furthest(&taps_x));
                let mut offsets = vec![];
                for &ky in taps_y.iter().rev() {
                    for &kx in taps_x.iter().rev() {
                        let (back_y, back_x) = (far_y - ky * dilation / stride, far_x - kx * dilation / stride);
                        offsets.push((back_y * padded_columns + back_x, (ky, kx)));
                    }
                }
                let of_class =
                    |extent: usize, remainder: usize| (0..extent).filter(move |i| (i + padding) % stride == remainder);
                let pixels = of_class(h, remainder_y)
                    .flat_map(|y| of_class(w, remainder_x).map(move |x| (y, x)))
                    .map(|(y, x)| {
                        // Without taps nothing is read, and the base may be anywhere.
                        let row = ((y + padding) / stride + top).saturating_sub(far_y);
                        let column = ((x + padding) / stride + left).saturating_sub(far_x);
                        ((row * padded_columns + column) * size.c_out, y * w + x)
                    })
                    .collect();
                plan.push_class(size.c_out / size.groups, size.groups, pixels, offsets);
            }
        }
        plan
    }

    /// Adds a class whose taps stand `offset` pixels from the base, merging neighbours into longer runs.
    fn push_class(
        &mut self,
        per_group: usize,
        groups: usize,
        pixels: Vec<(usize, usize)>,
        offsets: Vec<(usize, (usize, usize))>,
    ) {
        let mut runs: Vec<Run> = vec![];
        for (i, &(offset, _)) in offsets.iter().enumerate() {
            let (at, row) = (offset * self.channels, i * per_group);
            match runs.last_mut() {
                Some(run) if groups == 1 && run.at + run.len == at => run.len += per_group,
                _ => runs.push(Run { at, row, len: per_group }),
            }
        }
        let taps = offsets.into_iter().map(|(_, tap)| tap).collect();
        if !pixels.is_empty() {
            self.classes.push(Class { pixels, runs, taps });
        }
    }
}
