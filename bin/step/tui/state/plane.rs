//! A tensor of any rank as rows and columns: two of its dimensions, the others fixed at the place of the cursor.

use crate::step::record::Role;
use crate::step::trace::index;
use engine::Shape;

/// Columns of a vector, which is shown as several rows.
const WRAP: usize = 8;

/// Which dimensions are seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    /// Rank 0 or 1: in rows of [`WRAP`].
    Wrapped,
    /// Rows and columns.
    Axes(usize, usize),
}

/// A view of a tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct Plane {
    shape: Shape,
    seen: Seen,
}

impl Plane {
    /// The usual one: height and width of maps and kernels, else the last two dimensions.
    pub fn of(shape: Shape, role: Role) -> Plane {
        let seen = match (&*shape, role) {
            ([] | [_], _) => Seen::Wrapped,
            // A 1x1 kernel is a matrix, and so is a map that was pooled to a point.
            ([1, 1, _, _], Role::Parameter) => Seen::Axes(2, 3),
            ([_, _, _, _], Role::Parameter) => Seen::Axes(0, 1),
            ([_, 1, 1, _], _) => Seen::Axes(0, 3),
            ([_, _, _, _], _) => Seen::Axes(1, 2),
            (dims, _) => Seen::Axes(dims.len() - 2, dims.len() - 1),
        };
        Plane { shape, seen }
    }

    /// Another pair of dimensions, until all were seen.
    pub fn turn(&mut self) {
        let Seen::Axes(rows, cols) = self.seen else { return };
        let rank = self.shape.len();
        self.seen = match (rows, cols) {
            (r, c) if c + 1 < rank => Seen::Axes(r, c + 1),
            (r, _) if r + 2 < rank => Seen::Axes(r + 1, r + 2),
            _ => Seen::Axes(0, 1),
        };
    }

    /// Rows and columns. Cells beyond the end of a wrapped vector hold nothing.
    pub fn size(&self) -> (usize, usize) {
        match self.seen {
            Seen::Wrapped => {
                let n = self.shape.elements();
                (n.div_ceil(WRAP), n.min(WRAP))
            }
            Seen::Axes(rows, cols) => (self.shape[rows], self.shape[cols]),
        }
    }

    /// Row and column of an entry.
    pub fn cell(&self, entry: usize) -> (usize, usize) {
        match self.seen {
            Seen::Wrapped => (entry / WRAP, entry % WRAP),
            Seen::Axes(rows, cols) => {
                let at = index(&self.shape, entry);
                (at[rows], at[cols])
            }
        }
    }

    /// The entry in a cell of the plane that `cursor` lies in.
    pub fn entry(&self, cursor: usize, row: usize, col: usize) -> Option<usize> {
        let (rows, cols) = self.size();
        if row >= rows || col >= cols {
            return None;
        }
        match self.seen {
            Seen::Wrapped => Some(row * WRAP + col).filter(|&entry| entry < self.shape.elements()),
            Seen::Axes(row_axis, col_axis) => {
                let (at_row, at_col) = self.cell(cursor);
                let base = cursor - at_row * self.stride(row_axis) - at_col * self.stride(col_axis);
                Some(base + row * self.stride(row_axis) + col * self.stride(col_axis))
            }
        }
    }

    /// The entry some rows down and columns right, as far as the plane goes.
    pub fn moved(&self, cursor: usize, down: isize, right: isize) -> usize {
        let ((row, col), (rows, cols)) = (self.cell(cursor), self.size());
        let step = |at: usize, by: isize, extent: usize| at.saturating_add_signed(by).min(extent.saturating_sub(1));
        self.entry(cursor, step(row, down, rows), step(col, right, cols)).unwrap_or(cursor)
    }

    /// The dimensions that are not seen.
    pub fn fixed(&self) -> Vec<usize> {
        match self.seen {
            Seen::Wrapped => vec![],
            Seen::Axes(rows, cols) => (0..self.shape.len()).filter(|&axis| axis != rows && axis != cols).collect(),
        }
    }

    /// The dimensions that are seen, rows first.
    pub fn seen(&self) -> Option<(usize, usize)> {
        match self.seen {
            Seen::Wrapped => None,
            Seen::Axes(rows, cols) => Some((rows, cols)),
        }
    }

    /// The same cell of the next or previous slice: the last fixed dimension (channels), or with `outer` the first (images). Goes
    /// round at the ends.
    pub fn sliced(&self, cursor: usize, outer: bool, by: isize) -> usize {
        let fixed = self.fixed();
        let Some(&axis) = (if outer { fixed.first() } else { fixed.last() }) else { return cursor };
        let extent = self.shape[axis] as isize;
        let at = index(&self.shape, cursor)[axis] as isize;
        let to = (at + by).rem_euclid(extent.max(1));
        cursor.saturating_add_signed((to - at) * self.stride(axis) as isize)
    }

    /// Elements between neighbours along a dimension.
    fn stride(&self, axis: usize) -> usize {
        self.shape[axis + 1..].iter().product()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_are_seen_by_height_and_width() {
        let mut plane = Plane::of(Shape::from([2, 3, 4, 5]), Role::Activation);
        assert_eq!((plane.size(), plane.fixed()), ((3, 4), vec![0, 3]));
        // Image 1, row 2, column 3, channel 4.
        let last = 2 * 3 * 4 * 5 - 1;
        assert_eq!(plane.cell(last), (2, 3));
        assert_eq!(plane.entry(last, 0, 0), Some(60 + 4));
        assert_eq!(plane.moved(last, 1, 1), last, "there is nothing beyond the corner");
        assert_eq!(plane.moved(last, -1, 0), last - 20);
        assert_eq!(plane.sliced(last, false, 1), last - 4, "channels go round");
        assert_eq!(plane.sliced(last, true, -1), last - 60, "and so do images");
        let mut pairs = vec![plane.seen()];
        for _ in 0..5 {
            plane.turn();
            pairs.push(plane.seen());
        }
        pairs.sort();
        assert_eq!(pairs, [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)].map(Some));
    }

    #[test]
    fn kernels_vectors_and_scalars_have_planes() {
        let plane = |dims: &[usize], role| Plane::of(Shape::new(dims), role);
        assert_eq!(plane(&[3, 3, 16, 32], Role::Parameter).size(), (3, 3));
        assert_eq!(plane(&[1, 1, 16, 32], Role::Parameter).size(), (16, 32));
        assert_eq!(plane(&[2, 10], Role::Activation).size(), (2, 10));
        assert_eq!(plane(&[], Role::Scalar).size(), (1, 1));
        let vector = plane(&[19], Role::Parameter);
        assert_eq!((vector.size(), vector.cell(18), vector.entry(0, 2, 3)), ((3, 8), (2, 2), None));
        assert_eq!(vector.moved(18, 0, 1), 18, "nothing beyond the end");
    }
}
