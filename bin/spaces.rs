//! From what a user names a search space or an architecture by to the thing itself.

use crate::failure::Failure;
use crate::nearest;
use nas::{Arch, Space};
use std::path::Path;

/// The space called `name`, or described in the file of that name if it ends in `.toml`; with the first `candidates` of each edge, if
/// given.
pub fn space(name: &str, candidates: Option<usize>) -> Result<Space, Failure> {
    let space = if name.ends_with(".toml") {
        let path = Path::new(name);
        let text = std::fs::read_to_string(path).map_err(|e| Failure::reading(path, &e))?;
        Space::from_toml(&text).map_err(|e| Failure::input(format!("{name}: {e}")))?
    } else if nas::space::NAMES.contains(&name) {
        Space::named(name)?
    } else {
        let names = nas::space::NAMES;
        let hint = nearest::hint(name, names.iter().copied());
        return Err(Failure::input(format!(
            "there is no search space '{name}'{hint} (there are {}, and files ending in .toml)",
            names.join(", ")
        )));
    };
    Ok(match candidates {
        Some(k) => space.with_candidates(k)?,
        None => space,
    })
}

/// The architecture in an `arch.json`.
pub fn arch(path: &Path) -> Result<Arch, Failure> {
    let text = std::fs::read_to_string(path).map_err(|e| Failure::reading(path, &e))?;
    Arch::from_json(&text).map_err(|e| Failure::input(format!("{}: {e}", path.display())))
}
