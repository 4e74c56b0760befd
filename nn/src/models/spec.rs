//! Names of networks that are wired by data: depth, growths, options.

use crate::Error;

/// What follows the family in a name: `100-16-32-64-base3` is depth 100, growths 16, 32 and 64, and the option `base` of 3.
pub(super) struct Spec<'a> {
    name: &'a str,
    pub depth: usize,
    pub growths: Vec<usize>,
    options: Vec<(&'a str, usize)>,
}

impl<'a> Spec<'a> {
    /// `rest` is what follows the family in `name`. `None` if it has another form.
    pub fn parse(name: &'a str, rest: &'a str) -> Option<Spec<'a>> {
        let mut parts = rest.split(['-', ',', '{', '}']).filter(|part| !part.is_empty()).peekable();
        if !rest.starts_with(|c: char| c.is_ascii_digit()) {
            return None;
        }
        let depth = parts.next()?.parse().ok()?;
        let mut growths = vec![];
        while let Some(growth) = parts.peek().and_then(|part| part.parse().ok()) {
            growths.push(growth);
            parts.next();
        }
        let option = |part: &'a str| {
            let (key, value) = part.split_at(part.find(|c: char| c.is_ascii_digit())?);
            Some((key, value.parse().ok()?))
        };
        Some(Spec { name, depth, growths, options: parts.map(option).collect::<Option<_>>()? })
    }

    /// Takes the option `key`, if it is there.
    pub fn option(&mut self, key: &str) -> Option<usize> {
        let at = self.options.iter().position(|(name, _)| *name == key)?;
        Some(self.options.remove(at).1)
    }

    /// Whether every option was asked for.
    pub fn is_done(&self) -> bool {
        self.options.is_empty()
    }

    /// One growth for all stages or one each.
    pub fn growth_per_stage(&self) -> Result<[usize; 3], Error> {
        match self.growths[..] {
            [k] => Ok([k; 3]),
            [a, b, c] => Ok([a, b, c]),
            _ => Err(self
                .impossible("give one growth, as in 40-12, or one for each of the three stages, as in 100-16-32-64")),
        }
    }

    /// Layers per stage of a network of `layers * per_layer + others` layers.
    pub fn layers(&self, per_layer: usize, others: usize) -> Result<usize, Error> {
        let deepest = 1_000 * per_layer + others;
        let n = self.depth.saturating_sub(others) / per_layer;
        if n > 0 && n * per_layer + others == self.depth && self.depth <= deepest {
            return Ok(n);
        }
        let below = n.clamp(1, 999) * per_layer + others;
        Err(self.impossible(&format!(
            "the depth must be {per_layer}n + {others}, at most {deepest}; near it are {below} and {}",
            below + per_layer
        )))
    }

    pub fn impossible(&self, reason: &str) -> Error {
        Error::ImpossibleModel { name: self.name.into(), reason: reason.into() }
    }
}
