//! Networks by what the command line calls them. Every command finds its network here.

use crate::failure::Failure;
use nn::Model;

/// The network called `name`: a name of the zoo, a wiring (`wired-...`), or the path of a wiring file. Its weights are drawn from `seed`, or
/// left at zero without one: to count, or to load weights into.
pub fn build(name: &str, classes: usize, seed: Option<u64>) -> Result<Model, Failure> {
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
    Ok(nn::models::anchored(name)?)
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
