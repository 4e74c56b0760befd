//! Winograd's F(4x4, 3x3): a 3x3 convolution with stride 1 in a quarter of the multiplications.
//!
//! ```text
//! y  = At [ (G w Gt) . (Bt x B) ] A          x: 6x6 tile of the padded input, y: 4x4 tile of the output
//! dx = the same with the weight flipped and its channels exchanged, on dy
//! dw = Gt [ (Bt x B) . (A dy At) ] G         summed over tiles
//! ```
//! where `.` is, for each of the 36 positions, a matrix product over channels (for dw: over tiles). (Lavin and Gray 2015; interpolation
//! points 0, 1, -1, 2, -2, infinity.)
//!
//! What makes it fast:
//! 1. Transforms run over channels, a vector at a time, straight from the padded scratch ([`transform`]).
//! 2. Tiles are transformed in blocks of about `BLOCK_TILES`; the products use the tile of the direct kernels or, with AVX-512,
//!    one of 8 rows, which divide the tiles of most maps ([`multiply`]). Sixteen channels are one of its vectors.
//! 3. Rows of six positions lie apart, and the tiles of a row together ([`Place`]); tiles lie `SKEW` floats further apart than they
//!    need, for at power-of-two distances the rows of a product would all fall into the same few cache sets.
//! 4. The usual numbers of channels are compiled with their loops unrolled and unchecked.
//! 5. Products ask for the next images and for the lines that results are stored to ([`Asked`]).
//!
//! Errors against `f64` stay below 2e-5 of the largest output (direct: 2e-6) up to some hundred channels: the transforms' constants add a few
//! bits of rounding. Long sums add theirs: 4.4e-5 with 2,032 channels.

mod form;
pub mod multiply;
pub mod narrow;
mod pairs;
pub mod transform;
pub mod wide;

use super::ConvSize;
use super::plan::Plan;
use super::tile::{Store, panel_width};
use crate::kernels::ahead::Ahead;
use crate::kernels::scratch::Scratch;
use crate::kernels::simd::apart;
use pulp::Simd;
use std::ops::Range;

/// Positions of a transformed tile.
pub const POSITIONS: usize = 36;
/// Output pixels of a tile, each way.
const TILE: usize = 4;
/// Pixels that a tile reads, each way.
const WINDOW: usize = 6;
/// Tiles of a block, at most, for forward and grad_input. (12 to 48 are equally fast.)
const BLOCK_TILES: usize = 48;
/// Tiles of a block, at most, for grad_weight. The more tiles, the less often are its sums read and written; but transformed tiles of 256 and
/// more channels in all then leave the second level of the cache before they are used.
fn grad_weight_tiles(c_in: usize, c_out: usize) -> usize {
    if c_in + c_out < 192 { 64 } else { 32 }
}

/// Extra floats between two tiles.
const SKEW: usize = 16;

/// Whether the algorithm can compute this convolution.
pub fn possible(size: &ConvSize) -> bool {
    (size.k_h, size.k_w, size.stride, size.dilation, size.groups, size.padding) == (3, 3, 1, 1, 1, 1)
}

/// Whether it is the faster choice: by shape alone, so that results do not depend on a timing run. Narrow inputs spend more on
/// transforms than they save, and small maps fill their tiles badly.
pub fn wins(size: &ConvSize) -> bool {
    let tiles = Tiles::new(size.h, size.w);
    let filled = size.h * size.w * 10 >= tiles.per_image() * TILE * TILE * 6;
    possible(size) && (wide::applies(size) || filled && size.c_in >= 8 && size.c_out >= 8)
}

/// Where transformed tiles lie: rows of six positions apart, the tiles of a row together.
///
/// A product reads one position of many tiles. If all 36 positions of a tile lay together, each would be on a page of its own, and the pages of a
/// block more than the processor keeps the addresses of.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Channels of a position.
    channels: usize,
    /// Floats between tiles.
    tile: usize,
    /// Floats between rows of positions.
    row: usize,
}

impl Place {
    /// For `tiles` tiles.
    fn new(channels: usize, tiles: usize) -> Place {
        let tile = WINDOW * channels + SKEW;
        Place { channels, tile, row: tiles * tile }
    }

    /// Floats of all tiles, and of one more: from any position of any tile on, there is as much as lies between two tiles.
    fn len(&self) -> usize {
        WINDOW * self.row + self.tile
    }

    /// Where position `(r, s)` of a tile begins.
    #[inline(always)]
    fn of(&self, tile: usize, r: usize, s: usize) -> usize {
        r * self.row + tile * self.tile + s * self.channels
    }

    /// Where a position of a tile begins.
    #[inline(always)]
    fn at(&self, tile: usize, position: usize) -> usize {
        self.of(tile, position / WINDOW, position % WINDOW)
    }
}

/// How a map is cut into tiles.
#[derive(Clone, Copy, Debug)]
pub struct Tiles {
    height: usize,
    width: usize,
    rows: usize,
    columns: usize,
}

impl Tiles {
    /// Tiles that cover `height` x `width` output pixels.
    pub fn new(height: usize, width: usize) -> Tiles {
        Tiles { height, width, rows: height.div_ceil(TILE), columns: width.div_ceil(TILE) }
    }

    /// Tiles of one image.
    pub fn per_image(&self) -> usize {
        self.rows * self.columns
    }

    /// Images whose tiles make a full block.
    pub fn images_per_task(&self) -> usize {
        (BLOCK_TILES / self.per_image().max(1)).max(1)
    }

    /// The same in the backward pass.
    pub fn images_per_backward_task(&self, c_in: usize, c_out: usize) -> usize {
        (grad_weight_tiles(c_in, c_out) / self.per_image().max(1)).max(1)
    }

    /// The padded image that the tiles read.
    pub fn plan(&self, channels: usize) -> Plan {
        Plan {
            rows: self.height,
            columns: self.width,
            channels,
            top: 1,
            left: 1,
            padded_rows: self.rows * TILE + 2,
            padded_columns: self.columns * TILE + 2,
            classes: vec![],
        }
    }

    /// Image, row and column of tile `t` of several images.
    #[inline(always)]
    fn place(&self, t: usize) -> (usize, usize, usize) {
        let (image, t) = (t / self.per_image(), t % self.per_image());
        (image, t / self.columns, t % self.columns)
    }

    /// The tiles of `images` images in blocks of nearly equal size, at most `most`.
    fn blocks(&self, images: usize, most: usize) -> impl Iterator<Item = Range<usize>> + use<> {
        let total = images * self.per_image();
        let blocks = total.div_ceil(most).max(1);
        let size = total.div_ceil(blocks).max(1);
        (0..blocks).map(move |b| b * size..((b + 1) * size).min(total))
    }

    /// Tiles of the largest block, in whole register tiles of `rows`.
    fn block_rows(&self, images: usize, most: usize, rows: usize) -> usize {
        let largest = self.blocks(images, most).map(|b| b.len()).max().unwrap_or(0);
        largest.next_multiple_of(rows)
    }
}

/// What to ask memory for while tiles are multiplied.
pub struct Asked<'a, 'b> {
    /// What the next task reads.
    pub next: &'a mut Ahead<'b>,
    /// What becomes of the results, and its channels; `None` if they stay where [`convolve`] stores them.
    pub results: Option<(&'b [f32], usize)>,
}

/// Forward or grad_input of `images` padded images: `weights` are [`transform::pack_weights`]ed in panels of `width`.
#[inline(always)]
pub fn convolve<S: Simd>(
    simd: S,
    (tiles, images): (&Tiles, usize),
    padded: &[f32],
    channels: usize,
    (weights, width): (&[f32], usize),
    mut store: Store,
    Asked { next, results }: Asked,
) {
    let columns = store.channels.next_multiple_of(width);
    let tile = multiply::tile_rows::<S>();
    let rows = tiles.block_rows(images, BLOCK_TILES, tile);
    let places @ [in_x, in_y] = [Place::new(channels, rows), Place::new(columns, rows)];
    let lengths = [in_x.len(), in_y.len()];
    let mut memory = Scratch::new(lengths);
    let [x, y] = memory.split(lengths);
    let blocks = tiles.blocks(images, BLOCK_TILES).count();
    let steps = POSITIONS * (rows / tile) * (columns / width);
    next.spread(next.left(), blocks * steps);
    let pixels = store.out.len() / store.channels;
    for (i, block) in tiles.blocks(images, BLOCK_TILES).enumerate() {
        let rows = block.len().next_multiple_of(tile);
        apart(simd, transform::Input { tiles, padded, channels, block: block.clone(), out: &mut *x, place: in_x });
        // About the pixels of the block.
        let own = pixels * i / blocks..pixels * (i + 1) / blocks;
        let results = results.unwrap_or((&*store.out, store.channels));
        let results = &mut Ahead::new([results, (&[], 1)], &[], own);
        results.spread(results.left(), steps);
        let (y, next) = (&mut *y, &mut *next);
        apart(simd, multiply::Multiply { x, weights, width, y, rows, channels, places, next, results });
        apart(simd, transform::Output { tiles, block, y, place: in_y, store: store.reborrow() });
    }
}

/// Adds the tiles of `images` images to the transformed grad_weight, `[position][c_in][c_out]`, or stores their sums if these are the
/// `first`; asks for `asked` lines of `ahead` meanwhile.
#[inline(always)]
pub fn grad_weight<S: Simd>(
    simd: S,
    tiles: &Tiles,
    images: usize,
    [x, dy]: [&[f32]; 2],
    [c_in, c_out]: [usize; 2],
    (sums, mut first): (&mut [f32], bool),
    (asked, ahead): (usize, &mut Ahead),
) {
    let most = grad_weight_tiles(c_in, c_out);
    let rows = tiles.block_rows(images, most, 1);
    let columns = c_out.next_multiple_of(panel_width(c_out, S::F32_LANES));
    let places @ [of_x, of_dy] = [Place::new(c_in, rows), Place::new(columns, rows)];
    let lengths = [of_x.len(), of_dy.len()];
    let mut memory = Scratch::new(lengths);
    let [x_tiles, dy_tiles] = memory.split(lengths);
    ahead.spread(asked, tiles.blocks(images, most).count() * POSITIONS * c_in.div_ceil(multiply::tile_rows::<S>()));
    for block in tiles.blocks(images, most) {
        let count = block.len();
        apart(
            simd,
            transform::Input {
                tiles,
                padded: x,
                channels: c_in,
                block: block.clone(),
                out: &mut *x_tiles,
                place: of_x,
            },
        );
        apart(
            simd,
            transform::GradOutput { tiles, padded: dy, channels: c_out, block, out: &mut *dy_tiles, place: of_dy },
        );
        let ahead = &mut *ahead;
        let (x, dy, sums) = (&*x_tiles, &*dy_tiles, &mut *sums);
        apart(simd, multiply::Outer { x, dy, sums, first, count, c_in, c_out, places, ahead });
        first = false;
    }
}
