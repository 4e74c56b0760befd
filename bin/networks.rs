//! Networks by what the command line calls them. Every command finds its network here.
//!
//! A name is one of the zoo (`resnet20`), a wiring (`wired-...`), the path of a wiring file (`.toml`), or that of an architecture which a
//! search has found (`.json`). Paths may end in `#` and a mark of what the file holds, which [`anchored`] puts there: a network that was
//! trained is only built again from the same file.

use crate::failure::Failure;
use crate::{images, spaces};
use nn::{Builder, Model};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

/// The network called `name`. Its weights are drawn from `seed`, or left at zero without one: to count, or to load weights into.
pub fn build(name: &str, classes: usize, seed: Option<u64>) -> Result<Model, Failure> {
    if let Some((path, mark)) = arch_file(name) {
        let mut builder = seed.map_or_else(Builder::outline, Builder::new);
        return Ok(found(&path, mark, classes, &mut builder)?.named(name));
    }
    Ok(match seed {
        Some(seed) => Model::new(name, classes, seed)?,
        None => Model::outline(name, classes)?,
    })
}

/// A network with its weights left at zero.
pub fn outline(name: &str, classes: usize) -> Result<Model, Failure> {
    build(name, classes, None)
}

/// A name that means the same network in any folder and at any time: the path of a file is made absolute and marked with what it holds.
pub fn anchored(name: &str) -> Result<String, Failure> {
    if !name.ends_with(".json") {
        return Ok(nn::models::anchored(name)?);
    }
    let path = Path::new(name);
    let mark = mark(&read(path)?);
    Ok(format!("{}#{mark}", images::anchored_path(path)?))
}

/// Path and mark of an architecture file; `None` if `name` is of something else.
fn arch_file(name: &str) -> Option<(PathBuf, Option<&str>)> {
    match name.rsplit_once('#') {
        Some((path, mark)) if path.ends_with(".json") => Some((path.into(), Some(mark))),
        _ => name.ends_with(".json").then(|| (name.into(), None)),
    }
}

/// The network of an architecture file.
fn found(path: &Path, expected: Option<&str>, classes: usize, builder: &mut Builder) -> Result<Model, Failure> {
    if let Some(expected) = expected
        && mark(&read(path)?) != expected
    {
        return Err(Failure::input(format!(
            "{} has changed since its network was built; restore it, or start anew with the new one",
            path.display()
        )));
    }
    let arch = spaces::arch(path)?;
    Ok(arch.space().build(&arch, classes, builder)?)
}

fn read(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path).map_err(|e| Failure::reading(path, &e))
}

/// Eight hexadecimal digits of the content's hash.
fn mark(text: &str) -> String {
    Sha256::digest(text)[..4].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What a table calls the network: its name; of a file, that of the file alone.
pub fn label(name: &str) -> String {
    let path = name.split('#').next().unwrap_or(name);
    let is_file = [".toml", ".json"].iter().any(|end| path.ends_with(end));
    let stem = std::path::Path::new(path).file_stem().filter(|_| is_file);
    stem.map_or_else(|| name.to_string(), |stem| stem.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::label;

    #[test]
    fn files_are_called_by_their_names() {
        assert_eq!(label("resnet20"), "resnet20");
        assert_eq!(label("sparsenet100-{16,32,64}"), "sparsenet100-{16,32,64}");
        assert_eq!(label("/a/b.c/mine.toml#0123abcd"), "mine");
        assert_eq!(label("found/arch.json"), "arch");
    }
}
