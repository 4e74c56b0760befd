//! Channels in vectors, where they are not a multiple of the lanes.

use super::tile::load;
use pulp::Simd;

/// How channels are cut into vectors. If the last vector does not fit, it is moved back until it does and overlaps the one before:
/// two vectors cost less than one and a partial store. Fewer channels than a vector has lanes are one partial vector.
#[derive(Clone, Copy, Debug)]
pub struct Columns {
    channels: usize,
    lanes: usize,
}

impl Columns {
    /// `channels` in vectors of `lanes`.
    pub fn new(channels: usize, lanes: usize) -> Columns {
        Columns { channels, lanes }
    }

    /// Floats of a vector.
    pub fn lanes(self) -> usize {
        self.lanes
    }

    /// Number of vectors.
    pub fn vectors(self) -> usize {
        self.channels.div_ceil(self.lanes)
    }

    /// Floats of all vectors.
    pub fn padded(self) -> usize {
        self.vectors() * self.lanes
    }

    /// First channel of a vector.
    pub fn start(self, vector: usize) -> usize {
        (vector * self.lanes).min(self.channels.saturating_sub(self.lanes))
    }

    /// Lanes of a vector that the one before has, too.
    pub fn overlap(self, vector: usize) -> usize {
        vector * self.lanes - self.start(vector)
    }

    /// Lanes of a vector that are channels.
    pub fn len(self) -> usize {
        self.lanes.min(self.channels)
    }

    /// Whether exactly half of vector `index` belongs to the one before.
    pub fn is_half(self, index: usize) -> bool {
        2 * self.overlap(index) == self.lanes
    }

    /// Packs `weight (rows, channels)` as `[panel][row][up to two vectors]`: `fill(row, start, out)` writes one vector's weights.
    pub fn pack(self, out: &mut [f32], rows: usize, fill: impl Fn(usize, usize, &mut [f32]) + Send + Sync) {
        crate::parallel::chunks_mut(out, rows * 2 * self.lanes, |panel, out| {
            let width = out.len() / rows;
            for (row, out) in out.chunks_exact_mut(width).enumerate() {
                for (i, out) in out.chunks_exact_mut(self.lanes).enumerate() {
                    out[self.len()..].fill(0.0);
                    fill(row, self.start(2 * panel + i), &mut out[..self.len()]);
                }
            }
        });
    }
}

/// One vector of a row: reads and writes the channels that are its own.
#[derive(Clone, Copy)]
pub struct Vector<S: Simd> {
    /// First channel.
    pub start: usize,
    len: usize,
    /// Number of lanes that belong to the vector before.
    overlap: usize,
    /// Which these are, if there are any.
    kept: Option<S::m32s>,
}

impl<S: Simd> Vector<S> {
    /// Vector `index` of `columns`.
    #[inline(always)]
    pub fn new(simd: S, columns: Columns, index: usize) -> Vector<S> {
        let overlap = columns.overlap(index);
        let kept = (overlap > 0).then(|| {
            let mut iota = [simd.splat_f32s(0.0)];
            let lanes: &mut [f32] = pulp::bytemuck::cast_slice_mut(&mut iota);
            lanes.iter_mut().enumerate().for_each(|(i, lane)| *lane = i as f32);
            simd.less_than_f32s(iota[0], simd.splat_f32s(overlap as f32))
        });
        Vector { start: columns.start(index), len: columns.len(), overlap, kept }
    }

    /// One whose lanes are all channels of its own, from `start` on.
    #[inline(always)]
    pub fn whole(start: usize) -> Vector<S> {
        Vector { start, len: S::F32_LANES, overlap: 0, kept: None }
    }

    /// Whether all lanes are channels of its own.
    #[inline(always)]
    pub fn is_whole(&self) -> bool {
        self.len == S::F32_LANES && self.kept.is_none()
    }

    /// Whether all lanes are channels, though some may be those of the vector before.
    #[inline(always)]
    pub fn is_full(&self) -> bool {
        self.len == S::F32_LANES
    }

    /// From a row that begins at `at`.
    #[inline(always)]
    pub fn read(&self, simd: S, values: &[f32], at: usize) -> S::f32s {
        let at = at + self.start;
        if self.len == S::F32_LANES {
            load(simd, &values[at..][..S::F32_LANES])
        } else {
            simd.partial_load_f32s(&values[at..][..self.len])
        }
    }

    /// To a row that begins at `at`; lanes that belong to the vector before stay.
    #[inline(always)]
    pub fn write(&self, simd: S, values: &mut [f32], at: usize, v: S::f32s) {
        let at = at + self.start;
        if self.len == S::F32_LANES {
            let out = &mut S::as_mut_simd_f32s(&mut values[at..][..S::F32_LANES]).0[0];
            *out = match self.kept {
                None => v,
                Some(kept) => simd.select_f32s(kept, *out, v),
            };
        } else {
            simd.partial_store_f32s(&mut values[at..][..self.len], v);
        }
    }

    /// Adds the lanes that are channels of its own to their totals.
    #[inline(always)]
    pub fn add_to(&self, v: S::f32s, totals: &mut [f64]) {
        let v = [v];
        let lanes: &[f32] = pulp::bytemuck::cast_slice(&v);
        let own = self.start + self.overlap..self.start + self.len;
        totals[own].iter_mut().zip(&lanes[self.overlap..]).for_each(|(total, &v)| *total += f64::from(v));
    }
}
