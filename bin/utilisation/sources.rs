//! How strongly layers use earlier outputs: as a drawing, as CSV, as JSON and in the terminal.

use crate::plot::{Cell, Heat, Panel, character};
use nn::models::Use;

/// A layer and what it reads; a line of `--json`.
#[derive(serde::Serialize)]
pub struct Layer {
    stage: usize,
    /// From 1; the stage's exit comes after its last layer.
    layer: usize,
    sources: Vec<usize>,
    strengths: Vec<f64>,
}

/// Each layer with what it reads.
pub fn layers(uses: &[Use]) -> Vec<Layer> {
    let same = |a: &Use, b: &Use| (a.stage, a.layer) == (b.stage, b.layer);
    let layer = |group: &[Use]| Layer {
        stage: group[0].stage,
        layer: group[0].layer,
        sources: group.iter().map(|u| u.source).collect(),
        strengths: group.iter().map(|u| u.strength).collect(),
    };
    uses.chunk_by(same).map(layer).collect()
}

/// One row a link.
pub fn csv(uses: &[Use]) -> String {
    let row = |u: &Use| format!("{},{},{},{}\n", u.stage, u.layer, u.source, u.strength);
    std::iter::once("stage,layer,source,strength\n".to_string()).chain(uses.iter().map(row)).collect()
}

/// A panel for each stage, shaded up to the strongest of the stage.
fn panels(uses: &[Use]) -> Vec<Panel> {
    let stage = |group: &[Use]| {
        let strongest = group.iter().map(|u| u.strength).fold(f64::MIN_POSITIVE, f64::max);
        let exit = group.iter().map(|u| u.layer).max().unwrap_or(1);
        let first = group.iter().map(|u| u.layer).min().unwrap_or(1);
        let cell = |layer: usize, source: usize| {
            let found = group.iter().find(|u| (u.layer, u.source) == (layer, source))?;
            Some(Cell { shade: found.strength / strongest, value: found.strength })
        };
        let name = |layer: usize| if layer == exit { "exit".to_string() } else { layer.to_string() };
        Panel {
            title: format!("stage {}", group[0].stage),
            rows: (first..=exit).map(name).collect(),
            columns: (0..exit).map(|source| if source == 0 { "in".into() } else { source.to_string() }).collect(),
            cells: (first..=exit).map(|layer| (0..exit).map(|source| cell(layer, source)).collect()).collect(),
        }
    };
    uses.chunk_by(|a, b| a.stage == b.stage).map(stage).collect()
}

/// The heat maps as SVG.
pub fn draw(uses: &[Use], model: &str, what: &str) -> String {
    let title = format!("{model}: use of earlier outputs");
    let note = format!("{what}; each stage is shaded up to its strongest");
    Heat { title: &title, note: &note, across: "source", down: "layer", panels: &panels(uses) }.draw()
}

/// The heat maps in characters.
pub fn terminal(uses: &[Use]) -> Vec<String> {
    let mut lines = vec![];
    for panel in panels(uses) {
        lines.push(format!("{} (a row a layer, a column a source, from the stage's input on)", panel.title));
        for (name, cells) in panel.rows.iter().zip(&panel.cells) {
            let row: String = cells.iter().map(|cell| cell.map_or(' ', |cell| character(cell.shade))).collect();
            lines.push(format!("{name:>5} {}", row.trim_end()));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_has_every_link() {
        let of = |stage, layer, source, strength| Use { stage, layer, source, strength };
        let uses = [of(1, 1, 0, 0.2), of(1, 2, 1, 0.4), of(1, 2, 0, 0.0), of(2, 1, 0, 1.0)];
        assert_eq!(csv(&uses).lines().count(), 5);
        let layers = layers(&uses);
        assert_eq!((layers.len(), &layers[1].sources[..]), (3, &[1, 0][..]));
        let lines = terminal(&uses);
        assert_eq!(lines[1..3], ["    1 ▒", " exit ·█"]);
        assert_eq!(draw(&uses, "m", "w").matches("<rect class=\"dot").count(), 4);
    }
}
