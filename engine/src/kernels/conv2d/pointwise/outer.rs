//! grad_weight of a block of pixels: outer products of two operands' rows, summed over the rows.

use crate::kernels::conv2d::columns::{Columns, Vector};
use crate::kernels::simd::apart;
use pulp::{Simd, WithSimd};

use super::tile::{Rows, step};

/// Values of a tile against two vectors, at most.
const TWO: usize = 6;
/// Values of a tile against a single vector, at most.
const ONE: usize = 12;

/// `sums (narrow.len, wide.len) += narrow^T * wide`, rows of both taken in pairs. `wide` is read in vectors, `narrow` value by value.
#[inline(always)]
pub fn outer<S: Simd>(simd: S, narrow: Rows, wide: Rows, sums: &mut [f32]) {
    let columns = Columns::new(wide.len, S::F32_LANES);
    for vector in (0..columns.vectors()).step_by(2) {
        let pair = columns.vectors() - vector >= 2;
        let most = if pair { TWO } else { ONE };
        // Tiles of nearly equal size: a small one would wait for its own sums.
        let tiles = narrow.len.div_ceil(most);
        let mut at = 0;
        for tile in 0..tiles {
            let len = narrow.len / tiles + usize::from(tile < narrow.len % tiles);
            let tile = Tile { narrow, wide, at, columns, vector, sums: &mut *sums };
            match (pair, len) {
                (true, 6) => apart(simd, Of::<6, 2>(tile)),
                (true, 5) => apart(simd, Of::<5, 2>(tile)),
                (true, 4) => apart(simd, Of::<4, 2>(tile)),
                (true, 3) => apart(simd, Of::<3, 2>(tile)),
                (true, 2) => apart(simd, Of::<2, 2>(tile)),
                (true, _) => apart(simd, Of::<1, 2>(tile)),
                (false, 12) => apart(simd, Of::<12, 1>(tile)),
                (false, 11) => apart(simd, Of::<11, 1>(tile)),
                (false, 10) => apart(simd, Of::<10, 1>(tile)),
                (false, 9) => apart(simd, Of::<9, 1>(tile)),
                (false, 8) => apart(simd, Of::<8, 1>(tile)),
                (false, 7) => apart(simd, Of::<7, 1>(tile)),
                (false, 6) => apart(simd, Of::<6, 1>(tile)),
                (false, 5) => apart(simd, Of::<5, 1>(tile)),
                (false, 4) => apart(simd, Of::<4, 1>(tile)),
                (false, 3) => apart(simd, Of::<3, 1>(tile)),
                (false, 2) => apart(simd, Of::<2, 1>(tile)),
                (false, _) => apart(simd, Of::<1, 1>(tile)),
            }
            at += len;
        }
    }
}

/// Values from `at` on against one or two vectors from `vector` on.
struct Tile<'a> {
    narrow: Rows<'a>,
    wide: Rows<'a>,
    at: usize,
    columns: Columns,
    vector: usize,
    sums: &'a mut [f32],
}

/// [`Tile`] of `M` values and `NV` vectors; a function of its own to keep its sums in registers.
struct Of<'a, const M: usize, const NV: usize>(Tile<'a>);

impl<const M: usize, const NV: usize> WithSimd for Of<'_, M, NV> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Tile { narrow, wide, at, columns, vector, sums } = self.0;
        let lanes = S::F32_LANES;
        let mut acc = [[simd.splat_f32s(0.0); NV]; M];
        let rows = narrow.values[..narrow.count * narrow.stride].chunks_exact(narrow.stride);
        let pairs = rows.zip(wide.values[..wide.count * wide.stride].chunks_exact(wide.stride));
        let (start, vectors) = (columns.start(vector), columns.len() == lanes && columns.overlap(vector + NV - 1) == 0);
        if vectors {
            for (x, v) in pairs {
                let (x, (v, _)) = (&x[at..at + M], S::as_simd_f32s(&v[start..start + NV * lanes]));
                for i in 0..M {
                    acc[i] = step(simd, acc[i], x[i], std::array::from_fn(|j| v[j]));
                }
            }
        } else {
            let parts: [Vector<S>; NV] = std::array::from_fn(|j| Vector::new(simd, columns, vector + j));
            for (x, v) in pairs {
                for j in 0..NV {
                    let v = parts[j].read(simd, v, 0);
                    for i in 0..M {
                        acc[i][j] = simd.mul_add_f32s(simd.splat_f32s(x[at + i]), v, acc[i][j]);
                    }
                }
            }
        }
        for j in 0..NV {
            let part = Vector::new(simd, columns, vector + j);
            for i in 0..M {
                let row = (at + i) * wide.len;
                let sum = simd.add_f32s(part.read(simd, sums, row), acc[i][j]);
                part.write(simd, sums, row, sum);
            }
        }
    }
}
