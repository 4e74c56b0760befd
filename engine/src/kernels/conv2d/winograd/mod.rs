//! Winograd's F(4x4, 3x3): a 3x3 convolution with stride 1 in a quarter of the multiplications. (With stride 2, in two thirds: `strided`.)
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
mod strided;
mod taps;
pub mod transform;
mod weights;
pub mod wide;

use super::ConvSize;
use super::plan::Plan;
use super::tile::{Store, panel_width, tile_rows};
use crate::kernels::ahead::Ahead;
use crate::kernels::scratch::Scratch;
use crate::kernels::simd::apart;
use pulp::Simd;
use std::ops::Range;

/// Positions of a transformed tile.
const POSITIONS: usize = WINDOW * WINDOW;
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

/// Whether the algorithm can compute this convolution. With stride 2, only whole vectors of channels.
pub fn possible(size: &ConvSize) -> bool {
    let whole = |c: usize| c.is_multiple_of(16);
    (size.k_h, size.k_w, size.dilation, size.groups, size.padding) == (3, 3, 1, 1, 1)
        && (size.stride == 1 || size.stride == 2 && whole(size.c_in) && whole(size.c_out))
}

/// Whether it is the faster choice: by shape alone, so that results do not depend on a timing run. Narrow inputs spend more on
/// transforms than they save, and small maps fill their tiles badly.
pub fn wins(size: &ConvSize) -> bool {
    if !possible(size) {
        return false;
    }
    let filled = size.h_out * size.w_out * 10 >= Tiles::new(size).room() * 6;
    let wide_enough = size.c_in >= 8 && size.c_out >= 8;
    match size.stride {
        1 => wide::applies(size) || filled && wide_enough,
        _ => filled,
    }
}

/// As reports name what computes this convolution.
pub fn name(size: &ConvSize) -> &'static str {
    match size.stride {
        1 if wide::applies(size) => wide::name(size),
        1 => "winograd-f4x4-3x3",
        _ => "winograd-f2x2-3x3-stride-2",
    }
}

/// What is computed: the output from the input, or the input's gradient from the output's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// The output.
    Forward,
    /// The input's gradient.
    GradInput,
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
    /// Positions of a row, and rows.
    side: usize,
    /// Those of them with weights of their own; others have those of the last.
    distinct: usize,
}

impl Place {
    /// For `count` of such `tiles`.
    fn new(tiles: &Tiles, channels: usize, count: usize) -> Place {
        let [side, distinct] = tiles.sides();
        let tile = side * channels + SKEW;
        Place { channels, tile, row: count * tile, side, distinct }
    }

    /// Floats of all tiles, and of one more: from any position of any tile on, there is as much as lies between two tiles.
    fn len(&self) -> usize {
        self.side * self.row + self.tile
    }

    /// Where position `(r, s)` of a tile begins.
    #[inline(always)]
    fn of(&self, tile: usize, r: usize, s: usize) -> usize {
        r * self.row + tile * self.tile + s * self.channels
    }

    /// Rows and columns of all positions.
    #[inline(always)]
    fn positions(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let side = self.side;
        (0..side).flat_map(
            #[inline(always)]
            move |r| {
                (0..side).map(
                    #[inline(always)]
                    move |s| (r, s),
                )
            },
        )
    }

    /// Which weights a position is multiplied by, and whether it is the first of those that are.
    #[inline(always)]
    fn weights(&self, r: usize, s: usize) -> (usize, bool) {
        let last = self.distinct - 1;
        (r.min(last) * self.distinct + s.min(last), r <= last && s <= last)
    }
}

/// How a map is cut into tiles.
#[derive(Clone, Copy, Debug)]
pub struct Tiles {
    stride: usize,
    /// Height and width of the input.
    input: [usize; 2],
    /// Of the output.
    height: usize,
    width: usize,
    rows: usize,
    columns: usize,
}

impl Tiles {
    /// Tiles that cover the output.
    pub fn new(size: &ConvSize) -> Tiles {
        let ConvSize { stride, h, w, h_out: height, w_out: width, .. } = *size;
        let tile = if stride == 1 { TILE } else { strided::TILE };
        Tiles { stride, input: [h, w], height, width, rows: height.div_ceil(tile), columns: width.div_ceil(tile) }
    }

    /// Output pixels that the tiles have room for.
    fn room(&self) -> usize {
        let tile = if self.stride == 1 { TILE } else { strided::TILE };
        self.per_image() * tile * tile
    }

    /// Positions of a transformed tile each way, and those of them with weights of their own.
    fn sides(&self) -> [usize; 2] {
        if self.stride == 1 { [WINDOW; 2] } else { [strided::SIDE, strided::G.len()] }
    }

    /// Rows of `G`.
    pub fn weight_rows(&self) -> &'static [[f32; 3]] {
        if self.stride == 1 { &transform::G } else { &strided::G }
    }

    /// Transformed values of a pair of an input and an output channel.
    pub fn transformed(&self) -> usize {
        let [_, distinct] = self.sides();
        distinct * distinct
    }

    /// Height and width of what a pass computes.
    fn writes(&self, pass: Pass) -> [usize; 2] {
        match pass {
            Pass::Forward => [self.height, self.width],
            Pass::GradInput => self.input,
        }
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

    /// The padded image that the tiles of a pass read.
    pub fn plan(&self, pass: Pass, channels: usize) -> Plan {
        let ([rows, columns], border, tile, more) = match (self.stride, pass) {
            (1, _) => (self.input, 1, TILE, 2),
            (_, Pass::Forward) => (self.input, 1, 2 * strided::TILE, 1),
            (_, Pass::GradInput) => ([self.height, self.width], 0, strided::TILE, 1),
        };
        Plan {
            rows,
            columns,
            channels,
            top: border,
            left: border,
            padded_rows: self.rows * tile + more,
            padded_columns: self.columns * tile + more,
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

/// A pass over `images` padded images: `weights` are [packed](Tiles::pack_weights) in panels of `width`.
#[inline(always)]
pub fn convolve<S: Simd>(
    simd: S,
    (tiles, images, pass): (&Tiles, usize, Pass),
    padded: &[f32],
    channels: usize,
    (weights, width): (&[f32], usize),
    mut store: Store,
    Asked { next, results }: Asked,
) {
    let columns = store.channels.next_multiple_of(width);
    let tile = tile_rows::<S>();
    let rows = tiles.block_rows(images, BLOCK_TILES, tile);
    let places @ [in_x, in_y] = [Place::new(tiles, channels, rows), Place::new(tiles, columns, rows)];
    let lengths = [in_x.len(), in_y.len()];
    let mut memory = Scratch::new(lengths);
    let [x, y] = memory.split(lengths);
    let blocks = tiles.blocks(images, BLOCK_TILES).count();
    let steps = in_x.side * in_x.side * (rows / tile) * (columns / width);
    next.spread(next.left(), blocks * steps);
    let pixels = store.out.len() / store.channels;
    for (i, block) in tiles.blocks(images, BLOCK_TILES).enumerate() {
        let rows = block.len().next_multiple_of(tile);
        input(simd, pass, Block { tiles, padded, channels, block: block.clone(), out: x, place: in_x });
        // About the pixels of the block.
        let own = pixels * i / blocks..pixels * (i + 1) / blocks;
        let results = results.unwrap_or((&*store.out, store.channels));
        let results = &mut Ahead::new([results, (&[], 1)], &[], own);
        results.spread(results.left(), steps);
        let (y, next) = (&mut *y, &mut *next);
        apart(simd, multiply::Multiply { x, weights, width, y, rows, channels, places, next, results });
        let store = store.reborrow();
        match tiles.stride {
            1 => apart(simd, transform::Output { tiles, block, y, place: in_y, store }),
            _ => apart(simd, strided::Output { tiles, pass, block, y, place: in_y, store }),
        }
    }
}

/// A block of tiles of padded images, and where their transforms go.
pub struct Block<'a> {
    /// The cut of the images.
    pub tiles: &'a Tiles,
    /// The padded images.
    pub padded: &'a [f32],
    /// Channels of a pixel.
    pub channels: usize,
    /// Which tiles.
    pub block: Range<usize>,
    /// Where to.
    pub out: &'a mut [f32],
    /// Where transformed tiles lie.
    pub place: Place,
}

/// Transforms what a pass reads.
#[inline(always)]
fn input<S: Simd>(simd: S, pass: Pass, block: Block) {
    match block.tiles.stride {
        1 => apart(simd, transform::Input(block)),
        _ => apart(simd, strided::Input(pass, block)),
    }
}

/// Adds the tiles of `images` images to the transformed grad_weight, of each position in `multiply::panels`, or stores their sums if these are the
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
    let places @ [of_x, of_dy] = [Place::new(tiles, c_in, rows), Place::new(tiles, columns, rows)];
    let lengths = [of_x.len(), of_dy.len()];
    let mut memory = Scratch::new(lengths);
    let [x_tiles, dy_tiles] = memory.split(lengths);
    ahead.spread(
        asked,
        tiles.blocks(images, most).count()
            * of_x.side
            * of_x.side
            * c_in.div_ceil(tile_rows::<S>())
            * multiply::panels(c_out).count(),
    );
    for block in tiles.blocks(images, most) {
        let count = block.len();
        let of_x = Block { tiles, padded: x, channels: c_in, block: block.clone(), out: x_tiles, place: of_x };
        input(simd, Pass::Forward, of_x);
        let of_dy = Block { tiles, padded: dy, channels: c_out, block, out: dy_tiles, place: of_dy };
        match tiles.stride {
            1 => apart(simd, transform::GradOutput(of_dy)),
            _ => apart(simd, strided::GradOutput(of_dy)),
        }
        let ahead = &mut *ahead;
        let (x, dy, sums) = (&*x_tiles, &*dy_tiles, &mut *sums);
        apart(simd, multiply::Outer { x, dy, sums, first, count, c_in, c_out, places, ahead });
        first = false;
    }
}
