//! What the pooling ops share: their configuration, shape rules and the walk over windows.

use crate::reference::Array;
use crate::shape::window_output;
use crate::tensor::Tensor;
use std::ops::Range;

/// The square windows of a pooling op, in pixels. Padding surrounds the map on all four sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool2d {
    /// Height and width of a window.
    pub kernel_size: usize,
    /// Distance between windows, vertically and horizontally.
    pub stride: usize,
    /// At most half of `kernel_size`, so that no window lies in the padding alone.
    pub padding: usize,
}

/// Extents of a feature map, `(N, H, W, C)`. Panics unless the tensor has four dimensions.
#[track_caller]
pub(super) fn nhwc(op: &str, x: &Tensor) -> [usize; 4] {
    let dims: &[usize] = &x.shape();
    dims.try_into().unwrap_or_else(|_| panic!("{op}: x has shape {}, expected (N, H, W, C)", x.shape()))
}

/// A pooling op at work on maps of one shape.
#[derive(Clone, Copy)]
pub(super) struct Windows {
    config: Pool2d,
    pub input: [usize; 4],
    pub output: [usize; 4],
}

impl Windows {
    #[track_caller]
    pub fn new(op: &str, config: Pool2d, x: &Tensor) -> Windows {
        let input = nhwc(op, x);
        let [n, h, w, c] = input;
        let Pool2d { kernel_size, stride, padding } = config;
        assert!(
            padding <= kernel_size / 2,
            "{op}: padding {padding} is more than half of kernel_size {kernel_size}: a window could hold nothing else"
        );
        let extent = |e| window_output(e, kernel_size, stride, padding, 1);
        let (Some(h_out), Some(w_out)) = (extent(h), extent(w)) else {
            panic!(
                "{op}: kernel_size {kernel_size}, stride {stride}, padding {padding} do not fit x {}: \
                 stride and kernel_size must be at least 1, kernel_size at most the padded height and width",
                x.shape()
            )
        };
        Windows { config, input, output: [n, h_out, w_out, c] }
    }

    /// The windows as they were asked for.
    pub fn config(&self) -> Pool2d {
        self.config
    }

    /// The same for people.
    pub fn attributes(&self) -> Vec<(&'static str, String)> {
        let Pool2d { kernel_size, stride, padding } = self.config;
        [("kernel_size", kernel_size), ("stride", stride), ("padding", padding)]
            .map(|(k, v)| (k, v.to_string()))
            .to_vec()
    }

    /// Whether every pixel is in exactly one window.
    pub fn partition(&self) -> bool {
        let Pool2d { kernel_size, stride, padding } = self.config;
        let [_, h, w, _] = self.input;
        stride == kernel_size && padding == 0 && h.is_multiple_of(stride) && w.is_multiple_of(stride)
    }

    /// Elements of one image of the input.
    pub fn input_image(&self) -> usize {
        self.input[1..].iter().product()
    }

    /// Elements of one image of the output.
    pub fn output_image(&self) -> usize {
        self.output[1..].iter().product()
    }

    /// Elements of a window, padding included.
    pub fn area(&self) -> usize {
        self.config.kernel_size * self.config.kernel_size
    }

    /// The input rows (or columns) under window `i`, padding cut off.
    #[inline(always)]
    fn covered(&self, i: usize, extent: usize) -> Range<usize> {
        let Pool2d { kernel_size, stride, padding } = self.config;
        let start = i * stride;
        start.saturating_sub(padding)..(start + kernel_size - padding).min(extent)
    }

    /// Calls `f(o, rows, columns)` for each output pixel of an image: the offset of its channels, and the part of
    /// the input under its window.
    #[inline(always)]
    pub fn for_each(&self, mut f: impl FnMut(usize, Range<usize>, Range<usize>)) {
        let ([_, h, w, _], [_, h_out, w_out, c]) = (self.input, self.output);
        for i in 0..h_out {
            for j in 0..w_out {
                f((i * w_out + j) * c, self.covered(i, h), self.covered(j, w));
            }
        }
    }

    /// Naively: for each output, `f` of its flat index and the values under its window that are not padding, by definition instead of by
    /// clipping.
    pub fn reference(&self, x: &Array, f: impl Fn(usize, &[f64]) -> f64) -> Array {
        let Pool2d { kernel_size, stride, padding } = self.config;
        let [_, h, w, c] = self.input;
        let [_, h_out, w_out, _] = self.output;
        let inside = |i: usize, k: usize, extent: usize| {
            (i * stride + k).checked_sub(padding).filter(|&position| position < extent)
        };
        Array::from_fn(self.output, |at| {
            let (n, i, j, channel) = (at / c / w_out / h_out, at / c / w_out % h_out, at / c % w_out, at % c);
            let mut values = vec![];
            for k in 0..kernel_size * kernel_size {
                if let (Some(y), Some(x_)) = (inside(i, k / kernel_size, h), inside(j, k % kernel_size, w)) {
                    values.push(x.data[((n * h + y) * w + x_) * c + channel]);
                }
            }
            f(at, &values)
        })
    }
}
