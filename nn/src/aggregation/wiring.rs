//! The links of one stage.

use super::Gather;
use crate::Error;
use std::collections::VecDeque;

/// Who reads whom in a stage of `n` layers: input 0, layers `1..=n`, exit `n + 1`.
#[derive(Clone, Debug, PartialEq)]
pub struct Wiring {
    /// Of layer `i`, at `i - 1`.
    sources: Vec<Vec<usize>>,
}

impl Wiring {
    /// The links of a stage of `layers` layers by the rule `gather`.
    ///
    /// # Errors
    /// If there are no layers, a layer reads nothing, reads what is not before it, or is read by nobody.
    pub fn new(gather: &Gather, layers: usize) -> Result<Wiring, Error> {
        gather.check()?;
        if !(1..=MOST_LAYERS).contains(&layers) {
            let rule = "a stage has at least one layer, and at most 1,000";
            return Err(Error::Setting { setting: "the number of layers", value: layers.to_string(), rule });
        }
        let exit = layers + 1;
        if let Gather::Edges(edges) = gather
            && edges.last() > exit
        {
            return Err(Error::Wiring(format!(
                "a link leads to {}, but with {layers} layers the last index is {exit}, the exit; remove it or add layers",
                edges.last()
            )));
        }
        let wiring = Wiring { sources: (1..=exit).map(|layer| gather.sources(layer)).collect() };
        wiring.check()?;
        Ok(wiring)
    }

    fn check(&self) -> Result<(), Error> {
        let mut read = vec![false; self.exit()];
        for (layer, sources) in (1..).zip(&self.sources) {
            let name = self.name(layer);
            if sources.is_empty() {
                return Err(Error::Wiring(format!("{name} reads nothing; add a link that leads to {layer}")));
            }
            for (i, &source) in sources.iter().enumerate() {
                if source >= layer || sources[..i].contains(&source) {
                    return Err(Error::Wiring(format!(
                        "{name} reads {source}; it can read each of 0 to {} once, what comes before it",
                        layer - 1
                    )));
                }
                read[source] = true;
            }
        }
        match read.iter().position(|read| !read) {
            Some(unread) => Err(Error::Wiring(format!(
                "{} is read by nobody, so it would learn nothing; add a link from {unread}",
                self.name(unread)
            ))),
            None => Ok(()),
        }
    }

    fn name(&self, index: usize) -> String {
        match index {
            0 => "the stage's input (0)".into(),
            i if i == self.exit() => format!("the exit ({i})"),
            i => format!("layer {i}"),
        }
    }

    /// Number of layers, without the exit.
    pub fn layers(&self) -> usize {
        self.sources.len() - 1
    }

    /// Index of the exit.
    pub fn exit(&self) -> usize {
        self.sources.len()
    }

    /// What layer `layer`, from 1 to the exit, reads.
    pub fn sources(&self, layer: usize) -> &[usize] {
        &self.sources[layer - 1]
    }

    /// Number of links, those to the exit included.
    pub fn links(&self) -> usize {
        self.sources.iter().map(Vec::len).sum()
    }

    /// The fewest links that a gradient passes from `from` back to each earlier index, by breadth-first search; `None` where it
    /// does not get.
    pub fn distances(&self, from: usize) -> Vec<Option<usize>> {
        let mut distances = vec![None; from + 1];
        distances[from] = Some(0);
        let mut queue = VecDeque::from([(from, 0)]);
        while let Some((layer, steps)) = queue.pop_front() {
            if layer == 0 {
                continue;
            }
            for &source in self.sources(layer) {
                if distances[source].is_none() {
                    distances[source] = Some(steps + 1);
                    queue.push_back((source, steps + 1));
                }
            }
        }
        distances
    }

    /// The fewest links that a gradient passes from `from` back to `to`; `None` if it does not get there, or if either is not in
    /// the stage.
    pub fn distance(&self, from: usize, to: usize) -> Option<usize> {
        if from > self.exit() {
            return None;
        }
        self.distances(from).get(to).copied().flatten()
    }

    /// A shortest way of the gradient from `from` back to `to`, both included.
    pub fn path(&self, from: usize, to: usize) -> Option<Vec<usize>> {
        if to > from || from > self.exit() {
            return None;
        }
        // Steps left from each index, and the source that the first of them leads to.
        let mut left: Vec<Option<(usize, usize)>> = vec![None; from + 1];
        left[to] = Some((0, to));
        for layer in to + 1..=from {
            let through = |&source: &usize| left[source].map(|(steps, _)| (steps + 1, source));
            left[layer] = self.sources(layer).iter().filter_map(through).min();
        }
        let mut path = vec![from];
        while let Some((steps, next)) = left[path[path.len() - 1]] {
            if steps == 0 {
                return Some(path);
            }
            path.push(next);
        }
        None
    }

    /// The largest [`distance`](Wiring::distance) between any two indices that are connected, input and exit included.
    pub fn longest_shortest_path(&self) -> usize {
        (1..=self.exit()).flat_map(|from| self.distances(from)).flatten().max().unwrap_or(0)
    }
}

/// Half a million links when every layer reads all: the search for paths still takes no time.
const MOST_LAYERS: usize = 1_000;

/// Sum of the digits of `n` in `base`, at least 2: the distance between layers `n` apart when offsets are powers of `base`.
///
/// ```
/// use nn::aggregation::digit_sum;
///
/// assert_eq!(digit_sum(23, 2), 4); // 10111: 16 + 4 + 2 + 1
/// assert_eq!(digit_sum(14, 2), 3); // 1110: 8 + 4 + 2
/// ```
///
/// # Panics
/// If `base` is below 2.
pub fn digit_sum(mut n: usize, base: usize) -> usize {
    assert!(base >= 2, "digit_sum: there are no digits in base {base}");
    let mut sum = 0;
    while n > 0 {
        sum += n % base;
        n /= base;
    }
    sum
}

/// `log_base(n!)`, for `base` at least 2: nearly the number of links when offsets are powers of `base`.
///
/// Layer `i` then reads as many outputs as `i` has digits, `floor(log_base i) + 1`. Layers 1 to `n` together have more links than
/// `log_base(n!)`, and at most `n` more. (With the exit, which reads as layer `n + 1` would, take `n + 1`.)
///
/// ```
/// use nn::aggregation::{Gather, Wiring, log_factorial};
///
/// let (links, estimate) = (Wiring::new(&Gather::Base(2), 32)?.links(), log_factorial(33, 2));
/// assert!((122.7..122.8).contains(&estimate) && links == 141); // between 122.7 and 122.7 + 33
/// # Ok::<(), nn::Error>(())
/// ```
///
/// # Panics
/// If `base` is below 2.
pub fn log_factorial(n: usize, base: usize) -> f64 {
    assert!(base >= 2, "log_factorial: there is no logarithm of base {base}");
    (2..=n).map(|i| libm::log(i as f64)).sum::<f64>() / libm::log(base as f64)
}

#[cfg(test)]
mod tests {
    use super::super::Edges;
    use super::*;

    fn wiring(gather: Gather, layers: usize) -> Wiring {
        Wiring::new(&gather, layers).unwrap_or_else(|e| panic!("{e}"))
    }

    /// The table of the SparseNet specification, derived there by formula.
    #[test]
    fn links_are_counted_with_those_of_the_exit() {
        for (layers, dense, base) in [
            (12, 91, [41, 29, 23]),
            (32, 561, [141, 96, 81]),
            (64, 2145, [335, 224, 179]),
            (128, 8385, [785, 529, 435]),
            (330, 54_946, [2477, 1628, 1319]),
        ] {
            assert_eq!(wiring(Gather::All, layers).links(), dense);
            assert_eq!([2, 3, 4].map(|c| wiring(Gather::Base(c), layers).links()), base, "{layers} layers");
            assert_eq!(wiring(Gather::Previous, layers).links(), layers + 1);
        }
    }

    /// `log_c(m!) < links <= log_c(m!) + m` over `m` readers: `x - 1 < floor(x) <= x` at `x = log_c i`, summed. Above the estimate lies
    /// one link a reader less the fractions that are rounded away, so that the quotient goes to 1 as stages grow.
    #[test]
    fn links_of_exponential_offsets_are_nearly_the_logarithm_of_a_factorial() {
        for base in [2, 3, 4] {
            let mut quotients = vec![];
            for layers in [1, 2, 3, 7, 12, 31, 32, 33, 63, 64, 128, 330, 1000] {
                let wiring = wiring(Gather::Base(base), layers);
                for readers in [layers, layers + 1] {
                    let links: usize = (1..=readers).map(|layer| wiring.sources(layer).len()).sum();
                    let (estimate, links) = (log_factorial(readers, base), links as f64);
                    assert!(estimate < links, "base {base}, {readers} readers: {links} for {estimate}");
                    assert!(
                        links <= estimate + readers as f64,
                        "base {base}, {readers} readers: {links} for {estimate}"
                    );
                }
                quotients.push(wiring.links() as f64 / log_factorial(layers + 1, base));
            }
            assert!(quotients[12] < 1.15 && quotients[12] < quotients[4], "base {base}: {quotients:?}");
        }
        assert_eq!([0, 1].map(|n| log_factorial(n, 2)), [0.0, 0.0]);
        assert!((log_factorial(5, 3) - 120f64.ln() / 3f64.ln()).abs() < 1e-12);
    }

    #[test]
    fn the_shortest_way_is_the_digit_sum() {
        for base in [2, 3, 4, 5] {
            let wiring = wiring(Gather::Base(base), 200);
            for from in 1..=wiring.exit() {
                for (to, steps) in wiring.distances(from).into_iter().enumerate() {
                    assert_eq!(steps, Some(digit_sum(from - to, base)), "base {base}, from {from} to {to}");
                }
            }
        }
        for (offset, base, steps) in
            [(23, 2, 4), (14, 2, 3), (31, 2, 5), (32, 2, 1), (23, 3, 5), (14, 3, 4), (23, 4, 5)]
        {
            assert_eq!(digit_sum(offset, base), steps, "{offset} in base {base}");
        }
    }

    #[test]
    fn the_longest_of_the_shortest_ways() {
        assert_eq!([2, 3, 4].map(|c| wiring(Gather::Base(c), 32).longest_shortest_path()), [5, 6, 7]);
        assert_eq!(wiring(Gather::Base(2), 12).longest_shortest_path(), 3);
        assert_eq!(wiring(Gather::All, 32).longest_shortest_path(), 1);
        assert_eq!(wiring(Gather::Previous, 32).longest_shortest_path(), 33);
    }

    #[test]
    fn a_path_is_as_long_as_it_must_be() {
        let wiring = wiring(Gather::Base(2), 32);
        let path = wiring.path(23, 0).expect("connected");
        assert_eq!((path.len(), path[0], path[4]), (5, 23, 0));
        assert!(path.windows(2).all(|step| wiring.sources(step[0]).contains(&step[1])));
        assert_eq!(wiring.path(7, 7), Some(vec![7]));
        assert_eq!(wiring.path(7, 8), None, "gradients go back");
        assert_eq!(wiring.path(99, 8), None);
    }

    #[test]
    fn a_wiring_that_cannot_be_is_named() {
        let message = |pairs: &[(usize, usize)], layers| {
            let edges = Gather::Edges(Edges::new(pairs).expect("forward"));
            Wiring::new(&edges, layers).expect_err("cannot be").to_string()
        };
        assert!(message(&[(0, 1), (1, 3)], 2).contains("layer 2 reads nothing"));
        assert!(message(&[(0, 1), (0, 2), (2, 3)], 2).contains("layer 1 is read by nobody"));
        assert!(message(&[(0, 1), (0, 2)], 2).contains("the exit (3) reads nothing"));
        assert!(message(&[(0, 1), (1, 2), (2, 5)], 2).contains("a link leads to 5"));
        for layers in [0, 1_001] {
            assert!(
                Wiring::new(&Gather::All, layers).expect_err("no stage").to_string().contains("at least one layer")
            );
        }
        assert!(Wiring::new(&Gather::Base(1), 3).is_err());
        let forward = super::super::Rule { name: "forward", sources: |layer| vec![layer] };
        assert!(Wiring::new(&Gather::Rule(forward), 3).expect_err("a loop").to_string().contains("layer 1 reads 1"));
    }
}
