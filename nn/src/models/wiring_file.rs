//! A network of one's own in a TOML file.

use super::{Aggregation, Crossing};
use crate::aggregation::{Edges, Gather, How};
use crate::error::Error;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use std::path::Path;

/// What a wiring file says; all but the number of layers and the channels has a default.
///
/// A model name that ends in `.toml` is the path of such a file. The wiring is that of each of three stages: an edge is `[from, to]`,
/// where 0 is the stage's input and the number after the last layer's its exit.
///
/// ```
/// use nn::models::WiringFile;
/// use nn::{Builder, Model};
///
/// let file = WiringFile::parse(
///     r#"
///     layers = 4
///     edges = [[0, 1], [1, 2], [0, 2], [2, 3], [3, 4], [1, 4], [4, 5], [2, 5]]
///     how = "concat" # the default
///     growth = 12
///     "#,
/// )?;
/// let network = file.aggregation()?.build(&mut Builder::new(0), 10)?;
/// assert_eq!(Model::of("mine", 10, network).layers(), 16);
/// # Ok::<(), nn::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct WiringFile {
    /// Layers in each stage.
    pub layers: Option<usize>,
    /// `all`, `previous`, `base:2`, `learned`, or the name of a rule. Either this or `edges`.
    pub gather: Option<String>,
    /// Links `[from, to]`.
    #[serde(default, deserialize_with = "pairs")]
    pub edges: Option<Vec<(usize, usize)>>,
    /// `concat` (the default), `sum`, `mixed` or `dual`.
    pub how: Option<String>,
    /// Channels that a layer appends, in all stages or in each. With `concat`, `mixed`, `dual`.
    pub growth: Option<PerStage>,
    /// Channels that a layer adds. With `sum` (default 16, 32, 64), `mixed`, `dual` (default: as many as it appends).
    pub added: Option<PerStage>,
    /// Channels of the first convolution (default: twice the growth, or as many as are added if that is more).
    pub stem: Option<usize>,
    /// Whether layers that concatenate have a 1x1 convolution in front (default: no).
    pub bottleneck: Option<bool>,
    /// Whether transitions halve the channels (default: where there are bottlenecks).
    pub halve: Option<bool>,
    /// `convolution` or `padding` between stages (default: padding for sums).
    pub crossing: Option<String>,
}

/// A number for all stages, or one for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(untagged)]
pub enum PerStage {
    /// The same in all three.
    Same(usize),
    /// One each.
    Each([usize; 3]),
}

impl PerStage {
    fn each(self) -> [usize; 3] {
        match self {
            PerStage::Same(n) => [n; 3],
            PerStage::Each(n) => n,
        }
    }
}

/// Links, each of exactly two indices: read as tuples, longer lists would lose their ends.
fn pairs<'de, D: Deserializer<'de>>(value: D) -> Result<Option<Vec<(usize, usize)>>, D::Error> {
    let pair = |list: &Vec<usize>| match list[..] {
        [from, to] => Ok((from, to)),
        _ => Err(D::Error::custom(format!("a link is [from, to], not {list:?}"))),
    };
    Vec::<Vec<usize>>::deserialize(value)?.iter().map(pair).collect::<Result<_, _>>().map(Some)
}

impl WiringFile {
    /// # Errors
    /// If the text is no TOML, or has other keys or values than these.
    pub fn parse(text: &str) -> Result<WiringFile, Error> {
        toml::from_str(text).map_err(|e| {
            let line = e.span().map_or(1, |span| 1 + text.bytes().take(span.start).filter(|&b| b == b'\n').count());
            Error::Wiring(format!("line {line}: {}", e.message().lines().collect::<Vec<_>>().join(" ")))
        })
    }

    /// # Errors
    /// If the file cannot be read, or as [`WiringFile::parse`].
    pub fn read(path: &Path) -> Result<WiringFile, Error> {
        WiringFile::parse(&read(path)?).map_err(|e| in_file(path, &e))
    }

    /// The file of a network: reads back as the same.
    pub fn of(of: &Aggregation) -> WiringFile {
        let some = |widths: [usize; 3]| (widths != [0; 3]).then_some(PerStage::Each(widths));
        let (gather, edges) = match &of.gather {
            Gather::Edges(edges) => (None, Some(edges.pairs())),
            gather => (Some(gather.to_string()), None),
        };
        WiringFile {
            layers: Some(of.layers),
            gather,
            edges,
            how: Some(of.how.to_string()),
            growth: some(of.appended),
            added: some(of.added),
            stem: Some(of.stem),
            bottleneck: (of.how == How::Concat).then_some(of.bottleneck),
            halve: Some(of.halve),
            crossing: Some(if of.crossing == Crossing::Padding { "padding" } else { "convolution" }.into()),
        }
    }

    /// As the text of a file.
    ///
    /// # Errors
    /// If TOML cannot hold it, which would be a bug.
    pub fn to_toml(&self) -> Result<String, Error> {
        toml::to_string(self).map_err(|e| Error::Wiring(format!("wiring file: {e}")))
    }

    /// The network it describes.
    ///
    /// # Errors
    /// If something is missing or does not go together. (Whether links and widths do shows when it is built.)
    pub fn aggregation(&self) -> Result<Aggregation, Error> {
        let wrong = |reason: &str| Err(Error::Wiring(reason.into()));
        let Some(layers) = self.layers else { return wrong("`layers` is missing: the number of layers in each stage") };
        let gather = match (&self.gather, &self.edges) {
            (Some(gather), None) => gather.parse()?,
            (None, Some(edges)) => Gather::Edges(Edges::new(edges)?),
            (None, None) => return wrong("say what a layer reads: `edges`, or `gather`"),
            (Some(_), Some(_)) => return wrong("`edges` and `gather` both say what a layer reads; remove one"),
        };
        let how: How = self.how.as_deref().unwrap_or("concat").parse()?;
        if how != How::Concat && self.bottleneck.is_some() {
            return wrong("`bottleneck` is for `concat` alone: what layers are made of is fixed with the others");
        }
        let mut of = match (how, self.growth) {
            (How::Sum, None) => {
                let crossing = match self.crossing.as_deref() {
                    None | Some("padding") => Crossing::Padding,
                    _ => Crossing::Convolution,
                };
                let mut of = Aggregation::sum(gather, layers, crossing);
                of.added = self.added.map_or(of.added, PerStage::each);
                of.stem = of.added[0];
                of
            }
            (How::Sum, Some(_)) => return wrong("a sum appends nothing: remove `growth`, or set `added`"),
            (_, None) => return wrong("`growth` is missing: the channels that a layer appends"),
            (How::Concat, Some(_)) if self.added.is_some() => {
                return wrong("concatenation adds nothing: remove `added`, or choose another `how`");
            }
            (How::Concat, Some(growth)) => {
                Aggregation::concat(gather, layers, growth.each(), self.bottleneck.unwrap_or(false))
            }
            (_, Some(growth)) => {
                let (added, appended) = (self.added.unwrap_or(growth).each(), growth.each());
                let mut of = Aggregation::mixed(gather, how, layers, added[0], appended[0]);
                (of.added, of.appended) = (added, appended);
                of
            }
        };
        match self.crossing.as_deref() {
            None | Some("convolution") => {}
            Some("padding") => of.crossing = Crossing::Padding,
            Some(_) => return wrong("`crossing` is \"convolution\" or \"padding\""),
        }
        of.stem = self.stem.unwrap_or(of.stem);
        of.halve = self.halve.unwrap_or(of.halve);
        Ok(of)
    }
}

/// Whether a model name is the path of a wiring file.
pub(super) fn is_path(name: &str) -> bool {
    name.ends_with(".toml") || name.contains(".toml#")
}

/// The network of a file, whose name may end in `#` and the mark that [`anchored`] put there.
pub(super) fn build(name: &str, classes: usize, b: &mut crate::Builder) -> super::Built {
    let (path, mark) =
        name.split_once(".toml#").map_or((name.into(), None), |(stem, mark)| (format!("{stem}.toml"), Some(mark)));
    let path = Path::new(&path);
    let text = read(path)?;
    if mark.is_some_and(|mark| mark != mark_of(&text)) {
        return Err(Error::Wiring(format!(
            "{} has changed since its network was built; restore it, or start anew with the new one",
            path.display()
        )));
    }
    let network = WiringFile::parse(&text).and_then(|file| file.aggregation()?.build(b, classes));
    network.map_err(|e| in_file(path, &e))
}

/// A model name that means the same in any folder and at any time: the path of a wiring file is made absolute and marked with the
/// file's contents, so that a network whose file has changed is refused; other names stay.
///
/// # Errors
/// If the file cannot be read.
pub fn anchored(name: &str) -> Result<String, Error> {
    if !name.ends_with(".toml") {
        return Ok(name.into());
    }
    let path = Path::new(name);
    let text = read(path)?;
    let absolute = std::path::absolute(path).map_err(|e| in_file(path, &e))?;
    Ok(format!("{}#{}", absolute.display(), mark_of(&text)))
}

/// FNV-1a, 32 bits.
fn mark_of(text: &str) -> String {
    let hash = text.bytes().fold(0x811c_9dc5u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    format!("{hash:08x}")
}

fn read(path: &Path) -> Result<String, Error> {
    std::fs::read_to_string(path)
        .map_err(|e| Error::Wiring(format!("cannot read the wiring file {}: {e}; check the path", path.display())))
}

fn in_file(path: &Path, error: &dyn std::fmt::Display) -> Error {
    Error::Wiring(format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Builder;
    use crate::model::Model;

    fn params(text: &str) -> Result<usize, Error> {
        let network = WiringFile::parse(text)?.aggregation()?.build(&mut Builder::outline(), 10)?;
        Ok(Model::of("mine", 10, network).num_params())
    }

    #[test]
    fn a_file_can_say_what_a_name_can() {
        for (text, count) in [
            ("layers = 12\ngather = 'base:2'\ngrowth = 12", 189_514),
            ("layers = 12\ngather = 'all'\ngrowth = 12\nstem = 16", 1_019_722),
            ("layers = 32\ngather = 'base:2'\ngrowth = [16, 32, 64]", 7_183_498),
            ("layers = 16\ngather = 'all'\ngrowth = 12\nbottleneck = true", 769_162),
            ("layers = 16\ngather = 'all'\ngrowth = 12\nhow = 'mixed'", 1_464_202),
            ("layers = 3\ngather = 'all'\nhow = 'sum'", 269_722),
            ("layers = 3\ngather = 'all'\nhow = 'sum'\ncrossing = 'convolution'", 295_514),
        ] {
            assert_eq!(params(text), Ok(count), "{text}");
        }
    }

    #[test]
    fn what_was_written_reads_back_as_the_same() {
        for text in [
            "layers = 3\ngrowth = 12\nedges = [[0, 1], [1, 2], [0, 2], [2, 3], [3, 4]]",
            "layers = 16\ngather = 'all'\ngrowth = [4, 8, 16]\nbottleneck = true\nstem = 7",
            "layers = 3\ngather = 'base:3'\nhow = 'sum'",
            "layers = 3\ngather = 'learned'\nhow = 'sum'\ncrossing = 'convolution'",
            "layers = 3\ngather = 'all'\nhow = 'mixed'\ngrowth = 6\nadded = 4\nhalve = false",
        ] {
            let of = WiringFile::parse(text).and_then(|file| file.aggregation()).unwrap_or_else(|e| panic!("{e}"));
            let again = WiringFile::of(&of).to_toml().unwrap_or_else(|e| panic!("{e}"));
            let read = WiringFile::parse(&again).and_then(|file| file.aggregation());
            assert_eq!(read, Ok(of), "{again}");
        }
    }

    #[test]
    fn edges_are_the_rule_they_spell_out() {
        let pairs: Vec<String> = (1..=13)
            .flat_map(|to| Gather::Base(2).sources(to).into_iter().map(move |from| format!("[{from}, {to}]")))
            .collect();
        assert_eq!(params(&format!("layers = 12\ngrowth = 12\nedges = [{}]", pairs.join(", "))), Ok(189_514));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let message = |text: &str| params(text).expect_err("cannot be").to_string();
        assert!(message("layers = 2\ngather = 'all'\ngrowth = 12\nwidth = 3").contains("unknown field `width`"));
        assert!(message("layers = ").contains("line 1"));
        assert!(message("layers = 2\ngrowth = 12").contains("`edges`, or `gather`"));
        assert!(message("gather = 'all'\ngrowth = 12").contains("`layers` is missing"));
        assert!(message("layers = 2\ngather = 'all'").contains("`growth` is missing"));
        assert!(message("layers = 2\ngather = 'all'\ngrowth = 2\nedges = [[0, 1]]").contains("remove one"));
        assert!(message("layers = 2\ngrowth = 2\nedges = [[1, 1]]").contains("cycle"));
        for list in ["[1, 2, 3]", "[1]", "[]"] {
            let told = message(&format!("layers = 2\ngrowth = 2\nedges = [[0, 1], {list}]"));
            assert!(told.contains("line 3") && told.contains(&format!("a link is [from, to], not {list}")), "{told}");
        }
        assert!(message("layers = 2\ngrowth = 2\nedges = [[0, 1], [1, 2]]").contains("the exit (3) reads nothing"));
        assert!(message("layers = 0\ngather = 'all'\ngrowth = 2").contains("at least one layer"));
        assert!(
            message("layers = 2\ngather = 'learned'\ngrowth = 2\nhow = 'mixed'").contains("goes with sum or concat")
        );
        assert!(message("layers = 2\ngather = 'base:1'\ngrowth = 2").contains("from base 2 on"));
        assert!(message("layers = 2\ngather = 'all'\nhow = 'sum'\nstem = 24").contains("cannot be summed"));
        assert!(message("layers = 2\ngather = 'all'\nhow = 'sum'\nadded = [16, 8, 8]").contains("become fewer"));
        assert!(message("layers = 2\ngather = 'all'\nhow = 'sum'\ngrowth = 2").contains("remove `growth`"));
        assert!(message("layers = 2\ngather = 'all'\ngrowth = 2\ncrossing = 'padding'").contains("only sums"));
        assert!(message("layers = 2\ngather = 'all'\ngrowth = 2\ncrossing = 'leap'").contains("\"padding\""));
        assert!(message("layers = 2\ngather = 'all'\ngrowth = 2\nadded = 2").contains("adds nothing"));
        assert!(
            message("layers = 2\ngather = 'all'\nhow = 'mixed'\ngrowth = 2\nbottleneck = true")
                .contains("`concat` alone")
        );
    }

    #[test]
    fn a_marked_path_refuses_a_changed_file() {
        let path = std::env::temp_dir().join(format!("pleach-wiring-{}.toml", std::process::id()));
        let name = path.to_str().expect("Unicode");
        std::fs::write(&path, "layers = 2\ngather = 'all'\ngrowth = 2").expect("writable");
        let marked = anchored(name).expect("readable");
        assert_eq!(anchored(&marked), Ok(marked.clone()), "once is enough");
        assert!(Model::outline(name, 10).is_ok() && Model::outline(&marked, 10).is_ok());
        std::fs::write(&path, "layers = 2\ngather = 'previous'\ngrowth = 2").expect("writable");
        assert!(Model::outline(name, 10).is_ok());
        assert!(Model::outline(&marked, 10).err().expect("changed").to_string().contains("has changed since"));
        std::fs::remove_file(&path).expect("removable");
        assert!(Model::outline(name, 10).err().expect("gone").to_string().contains("cannot read the wiring file"));
        assert_eq!(anchored("resnet20"), Ok("resnet20".into()));
    }
}
