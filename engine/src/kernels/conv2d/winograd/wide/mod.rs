//! Winograd for layers with many channels and few pixels, such as the last stages of VGG: cut by channels instead of by images.
//!
//! There the transformed weight is the largest operand (512 x 512 channels: 38 MB) and would be written to memory, read once for each
//! group of images, and in grad_weight summed and added up once for each chunk of images. Here it never exists as a whole:
//!
//! ```text
//! 1. by images:   transform all tiles of a block of images
//! 2. by channels: of one panel, transform the weight, multiply, transform the output back     (forward, grad_input)
//!                 of one panel pair, multiply, transform the sums back into nine taps         (grad_weight)
//! 3. by images:   put the panels together; bias, residual, moments (forward), mask and sums (grad_input)
//! ```
//!
//! Maps of which F(4x4) would fill less than 60 % of its tiles are cut into the tiles of F(2x2, 3x3), with 16 positions. On a map of 2x2 pixels
//! these would be just as many products as there are pairs of an input and an output pixel; there 9 are enough (`form`).

mod backward;
mod forward;
mod pairs;
mod panels;
mod tiles;

pub use backward::backward;
pub use forward::forward;

use super::super::ConvSize;
use super::super::plan::Plan;
use super::super::tile::MR;
use super::form;
use std::ops::Range;

/// Channels from which the weight, not the tiles, is the larger operand. Both sides must have them, in whole panels.
const MIN_CHANNELS: usize = 256;
/// Floats of transformed tiles that are in memory at a time, about: 5 MB, 72 tiles of 36 positions of 512 channels.
const BLOCK: usize = 72 * 36 * 512;
/// Extra floats between two rows of tiles, against cache sets at power-of-two distances.
const SKEW: usize = 16;

/// Whether a 3x3 convolution with stride 1 and padding 1 is computed this way, by shape alone.
pub fn applies(size: &ConvSize) -> bool {
    let wide = |c: usize| c >= MIN_CHANNELS && c.is_multiple_of(16);
    size.stride == 1 && wide(size.c_in) && wide(size.c_out) && size.h * size.w <= 256
}

/// Channels of a panel: two vectors, or one where two do not divide the channels.
fn panel_width(size: &ConvSize, lanes: usize) -> usize {
    let divides = |width: usize| size.c_in.is_multiple_of(width) && size.c_out.is_multiple_of(width);
    if divides(2 * lanes) { 2 * lanes } else { lanes }
}

/// Which tiles a map is cut into.
enum Tiling {
    /// Those of F(4x4).
    Four,
    /// Those of F(2x2), where F(4x4) would fill its tiles badly.
    Two,
    /// One of 2x2 pixels, the whole map.
    Whole,
}

/// As [`super::name`].
pub(super) fn name(size: &ConvSize) -> &'static str {
    match tiling(size) {
        Tiling::Four => "winograd-f4x4-3x3",
        Tiling::Two => "winograd-f2x2-3x3",
        Tiling::Whole => "winograd-2x2-map",
    }
}

fn tiling(size: &ConvSize) -> Tiling {
    let tiles = Grid::<4, 6>::new(size).per_image();
    match (size.h, size.w) {
        (2, 2) => Tiling::Whole,
        (h, w) if h * w * 10 < tiles * 16 * 6 => Tiling::Two,
        _ => Tiling::Four,
    }
}

/// How maps are cut into tiles of `T` x `T` output pixels and `W` x `W` positions.
#[derive(Clone, Copy, Debug)]
struct Grid<const T: usize, const W: usize> {
    height: usize,
    width: usize,
    rows: usize,
    columns: usize,
    /// Channels of the wider side.
    channels: usize,
}

impl<const T: usize, const W: usize> Grid<T, W> {
    /// Pixels around an image.
    const BORDER: usize = (form::window(W) - T) / 2;

    fn new(size: &ConvSize) -> Grid<T, W> {
        let (rows, columns) = (size.h.div_ceil(T), size.w.div_ceil(T));
        Grid { height: size.h, width: size.w, rows, columns, channels: size.c_in.max(size.c_out) }
    }

    fn per_image(&self) -> usize {
        self.rows * self.columns
    }

    fn pixels(&self) -> usize {
        self.height * self.width
    }

    /// A group is the fewest whole images whose tiles fill whole register tiles.
    fn group_images(&self) -> usize {
        (1..=MR).find(|images| (images * self.per_image()).is_multiple_of(MR)).unwrap_or(MR)
    }

    fn group_tiles(&self) -> usize {
        self.group_images() * self.per_image()
    }

    /// The images in blocks of whole groups.
    fn blocks(&self, images: usize) -> impl Iterator<Item = Range<usize>> + use<T, W> {
        let size = (BLOCK / (W * W * self.channels * self.group_tiles())).max(1) * self.group_images();
        (0..images.div_ceil(size)).map(move |b| b * size..((b + 1) * size).min(images))
    }

    /// The padded image that the tiles read.
    fn plan(&self, channels: usize) -> Plan {
        Plan {
            rows: self.height,
            columns: self.width,
            channels,
            top: Self::BORDER,
            left: Self::BORDER,
            padded_rows: self.rows * T + 2 * Self::BORDER,
            padded_columns: self.columns * T + 2 * Self::BORDER,
            classes: vec![],
        }
    }
}
