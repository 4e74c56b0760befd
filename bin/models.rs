//! `pleach models`

use crate::failure::Failure;
use crate::{networks, output};
use nn::Model;

/// List the networks, or show one
///
/// With a name: its size, its paper, and the page of its family, which says what the paper leaves open and what we chose. Any network
/// can be shown, also one that is not listed: another depth, a wired-... name, a wiring file.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Show this one
    name: Option<String>,
    /// Number of classes, which the counts depend on
    #[arg(long, value_name = "N", default_value_t = 10)]
    classes: usize,
    /// Print one JSON object a line, and nothing else
    #[arg(long)]
    json: bool,
}

#[derive(serde::Serialize)]
struct Line {
    name: String,
    params: usize,
    macs: u64,
    layers: usize,
    reference: Option<&'static str>,
    published_error: Option<f32>,
}

/// Beginnings of names, and the page of the family. The first that fits counts.
const PAGES: &[(&str, &str)] = &[
    ("resnet", include_str!("../docs/models/resnet.md")),
    ("preact-resnet", include_str!("../docs/models/resnet.md")),
    ("wrn", include_str!("../docs/models/resnet.md")),
    ("densenet", include_str!("../docs/models/densenet.md")),
    ("sparsenet", include_str!("../docs/models/sparsenet.md")),
    ("mixnet", include_str!("../docs/models/mixnet.md")),
    ("dpn", include_str!("../docs/models/dpn.md")),
    ("wired", include_str!("../docs/models/wired.md")),
    ("vgg", include_str!("../docs/models/others.md")),
    ("googlenet", include_str!("../docs/models/others.md")),
    ("mobilenet", include_str!("../docs/models/others.md")),
    ("shufflenet", include_str!("../docs/models/others.md")),
];

/// Runs the command.
pub fn run(args: &Args) -> Result<(), Failure> {
    if let Some(name) = &args.name {
        return show(name, args);
    }
    if !args.json {
        output::line(&format!(
            "{:<28} {:>11} {:>9} {:>6} {:>7}  reference",
            "name", "parameters", "MMAC", "layers", "error"
        ))?;
    }
    for info in nn::zoo() {
        let line = line(info.name, args.classes)?;
        if args.json {
            output::print(&line)?;
            continue;
        }
        let error = line.published_error.map_or_else(String::new, |e| format!("{e:.2} %"));
        let mmacs = line.macs as f64 / 1e6;
        let Line { name, params, layers, reference, .. } = line;
        let reference = reference.unwrap_or_default();
        output::line(&format!("{name:<28} {params:>11} {mmacs:>9.1} {layers:>6} {error:>7}  {reference}"))?;
    }
    if !args.json {
        output::line("error: published, on CIFAR-10 with standard augmentation")?;
        output::line("`pleach models NAME` shows one, and what we chose where its paper leaves something open")?;
    }
    Ok(())
}

fn line(name: String, classes: usize) -> Result<Line, Failure> {
    let model: Model = networks::outline(&name, classes)?;
    let info = nn::zoo().into_iter().find(|info| info.name == name);
    Ok(Line {
        params: model.num_params(),
        macs: model.macs(),
        layers: model.layers(),
        name,
        reference: info.as_ref().map(|info| info.reference),
        published_error: info.and_then(|info| info.published_error),
    })
}

fn show(name: &str, args: &Args) -> Result<(), Failure> {
    let line = line(name.to_string(), args.classes)?;
    if args.json {
        return output::print(&line);
    }
    let macs = line.macs as f64 / 1e6;
    output::line(&format!(
        "{name}: {} parameters, {macs:.1} million multiply-adds an image, {} layers with weights",
        line.params, line.layers
    ))?;
    if let Some(info) = nn::zoo().into_iter().find(|info| info.name == name) {
        let error = info.published_error.map_or_else(|| "none".into(), |e| format!("{e:.2} %"));
        output::line(&format!("paper {}, follows {}; published error: {error}", info.page, info.reference))?;
    }
    let is_file = name.ends_with(".toml");
    let page = PAGES.iter().find(|(start, _)| name.starts_with(start) || (is_file && *start == "wired"));
    page.map_or(Ok(()), |(_, page)| output::line(&format!("\n{}", page.trim_end())))
}

#[cfg(test)]
mod tests {
    use super::PAGES;

    #[test]
    fn every_listed_network_has_a_page_that_names_its_family() {
        for info in nn::zoo() {
            let (start, page) =
                PAGES.iter().find(|(start, _)| info.name.starts_with(start)).unwrap_or_else(|| panic!("{}", info.name));
            assert!(page.contains(&format!("`{start}")), "{start}");
            assert!(page.lines().all(|line| line.len() < 200), "{start}: a terminal is not that wide");
        }
    }
}
