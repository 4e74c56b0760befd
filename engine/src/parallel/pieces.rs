//! How a batch is cut.

use std::ops::Range;

/// `n` neighbours (images or pixels) in pieces that differ by at most one: so that halves, quarters and eighths of the pieces, which
/// threads take as their shares, are as much work as each other.
#[derive(Clone, Copy, Debug)]
pub struct Pieces {
    n: usize,
    count: usize,
}

impl Pieces {
    /// As few as have `most` each or less.
    pub fn of_at_most(n: usize, most: usize) -> Pieces {
        Pieces { n, count: n.div_ceil(most.max(1)) }
    }

    /// The same, but an even number of them, if there are two at all.
    pub fn even_of_at_most(n: usize, most: usize) -> Pieces {
        let Pieces { count, .. } = Pieces::of_at_most(n, most);
        Pieces { n, count: if count > 1 { count.next_multiple_of(2).min(n) } else { count } }
    }

    /// As many as the power of two at or below `count`, or `n` if that is less; at least one.
    pub fn power_of_two(n: usize, count: usize) -> Pieces {
        let below = 1 << count.max(1).ilog2();
        Pieces { n, count: below.min(n).max(1) }
    }

    /// How many pieces.
    pub fn count(&self) -> usize {
        self.count
    }

    /// What piece `i` has of the `n`; for `i` one more than the last, where they end.
    #[inline]
    pub fn range(&self, i: usize) -> Range<usize> {
        let start = |i: usize| i.min(self.count) * self.n / self.count.max(1);
        start(i)..start(i + 1)
    }

    /// `all`, of `each` values for each of the `n` (the last of which may have less), cut into the pieces.
    pub fn split<'a, T>(&self, mut all: &'a mut [T], each: usize) -> Vec<&'a mut [T]> {
        let mut cut = |i: usize| {
            let len = (self.range(i).len() * each).min(all.len());
            all.split_off_mut(..len).unwrap_or_default()
        };
        (0..self.count).map(&mut cut).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::Pieces;

    #[test]
    fn pieces_meet_and_differ_by_at_most_one() {
        for n in [0, 1, 2, 7, 64, 100, 1000] {
            for of in [1, 2, 3, 5, 7, 12, 64, 2000] {
                for pieces in [Pieces::of_at_most(n, of), Pieces::even_of_at_most(n, of), Pieces::power_of_two(n, of)] {
                    let ranges: Vec<_> = (0..pieces.count()).map(|i| pieces.range(i)).collect();
                    let mut at = 0;
                    for range in &ranges {
                        assert_eq!(range.start, at);
                        assert!((n / pieces.count()..=n.div_ceil(pieces.count())).contains(&range.len()));
                        at = range.end;
                    }
                    assert_eq!(at, n);
                    assert_eq!(pieces.range(pieces.count()), n..n);
                    let lengths: Vec<usize> = pieces.split(&mut vec![0; 3 * n], 3).iter().map(|p| p.len()).collect();
                    assert_eq!(lengths, ranges.iter().map(|range| 3 * range.len()).collect::<Vec<_>>());
                }
            }
        }
    }

    #[test]
    fn counts_are_what_they_are_asked_to_be() {
        let power = |n, count| Pieces::power_of_two(n, count).count();
        assert_eq!([power(64, 1), power(64, 7), power(64, 8), power(64, 9)], [1, 4, 8, 8]);
        assert_eq!([power(64, 0), power(0, 4), power(3, 28), power(128, 128)], [1, 1, 3, 128]);
        assert_eq!([1, 3, 40, 64].map(|most| Pieces::even_of_at_most(64, most).count()), [64, 22, 2, 1]);
        assert_eq!(Pieces::even_of_at_most(3, 1).count(), 3);
    }
}
