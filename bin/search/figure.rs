//! `probabilities.svg`: how the probability of each candidate went, a panel for each edge.

use crate::plot::escape;
use std::fmt::Write as _;

/// Of a panel's plotting area.
const PANEL: (f64, f64) = (150.0, 84.0);
const GAP: (f64, f64) = (26.0, 44.0);
const COLUMNS: usize = 5;
const LEFT: f64 = 40.0;
const TOP: f64 = 104.0;
/// More points would lie on top of each other.
const POINTS: usize = 120;

/// Nine fills that people with any colour vision tell apart by hue or by lightness (Okabe and Ito, and two greys), light and dark
/// pages alike.
pub const FILLS: [&str; 9] =
    ["#0072b2", "#56b4e9", "#009e73", "#f0e442", "#e69f00", "#d55e00", "#cc79a7", "#999999", "#5c5c66"];

const STYLE: &str = "\
svg { color-scheme: light dark; font: 12px system-ui, -apple-system, 'Segoe UI', sans-serif; }
.page { fill: #ffffff; } .ink { fill: #1f2328; } .soft { fill: #59636e; } .axis { stroke: #8c959f; fill: none; }
.title { font-size: 17px; font-weight: 600; } .band { stroke: none; fill-opacity: .85; }
@media (prefers-color-scheme: dark) { .page { fill: #0d1117; } .ink { fill: #e6edf3; } .soft { fill: #9198a1; } .axis { stroke: #6e7681; } }";

/// One edge.
pub struct Edge {
    /// Its name.
    pub name: String,
    /// Names of its candidates.
    pub candidates: Vec<String>,
}

/// The drawing. `history` holds a step and, for each edge, the probabilities of its candidates.
pub fn draw(title: &str, edges: &[Edge], history: &[(u64, Vec<Vec<f32>>)]) -> String {
    let mut names: Vec<&str> = vec![];
    for name in edges.iter().flat_map(|edge| &edge.candidates) {
        if !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    let fill = |name: &str| FILLS[names.iter().position(|n| *n == name).unwrap_or(0) % FILLS.len()];
    let columns = COLUMNS.min(edges.len().max(1));
    let rows = edges.len().div_ceil(columns);
    let width = (2.0 * LEFT + columns as f64 * (PANEL.0 + GAP.0)).max(560.0);
    let height = TOP + rows as f64 * (PANEL.1 + GAP.1) + 16.0;
    let mut svg = String::new();
    // Writing into a String cannot fail.
    let _ = write!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" role=\"img\">\n\
         <title>{0}</title>\n<style>{STYLE}</style>\n<rect class=\"page\" width=\"{width}\" height=\"{height}\" rx=\"8\"/>\n\
         <text class=\"ink title\" x=\"{LEFT}\" y=\"34\">{0}</text>\n",
        escape(title)
    );
    let mut x = LEFT;
    for name in &names {
        let _ = writeln!(
            svg,
            "<rect x=\"{x}\" y=\"52\" width=\"12\" height=\"12\" fill=\"{}\"/><text class=\"ink\" x=\"{}\" y=\"62\">{}</text>",
            fill(name),
            x + 17.0,
            escape(name)
        );
        x += 34.0 + 7.2 * name.len() as f64;
    }
    let every = history.len().div_ceil(POINTS).max(1);
    let last = history.len().saturating_sub(1);
    let shown: Vec<&(u64, Vec<Vec<f32>>)> =
        history.iter().enumerate().filter(|(i, _)| i % every == 0 || *i == last).map(|(_, point)| point).collect();
    for (i, edge) in edges.iter().enumerate() {
        let left = LEFT + (i % columns) as f64 * (PANEL.0 + GAP.0);
        let top = TOP + (i / columns) as f64 * (PANEL.1 + GAP.1);
        let _ = writeln!(svg, "<text class=\"ink\" x=\"{left}\" y=\"{}\">{}</text>", top - 6.0, escape(&edge.name));
        panel(&mut svg, (left, top), edge, i, &shown, fill);
    }
    svg.push_str("</svg>\n");
    svg
}

/// Bands that add up to 1, the first candidate at the bottom.
fn panel<'a>(
    svg: &mut String,
    (left, top): (f64, f64),
    edge: &Edge,
    number: usize,
    shown: &[&(u64, Vec<Vec<f32>>)],
    fill: impl Fn(&str) -> &'a str,
) {
    let (width, height) = PANEL;
    let (first, last) = match (shown.first(), shown.last()) {
        (Some(first), Some(last)) => (first.0, last.0),
        _ => return,
    };
    let x = |step: u64| left + (step - first) as f64 / (last - first).max(1) as f64 * width;
    let y = |share: f64| top + (1.0 - share.clamp(0.0, 1.0)) * height;
    let mut below = vec![0.0; shown.len()];
    for (candidate, name) in edge.candidates.iter().enumerate() {
        let share = |point: &(u64, Vec<Vec<f32>>)| {
            point.1.get(number).and_then(|p| p.get(candidate)).map_or(0.0, |&p| f64::from(p))
        };
        let above: Vec<f64> = shown.iter().zip(&below).map(|(point, below)| below + share(point)).collect();
        let corner = |step: u64, share: f64| format!("{:.1} {:.1}", x(step), y(share));
        let up = shown.iter().zip(&above).map(|(point, share)| corner(point.0, *share));
        let down = shown.iter().zip(&below).rev().map(|(point, share)| corner(point.0, *share));
        let outline: Vec<String> = up.chain(down).collect();
        let _ = writeln!(
            svg,
            "<path class=\"band\" fill=\"{}\" d=\"M{}Z\"><title>{}</title></path>",
            fill(name),
            outline.join("L"),
            escape(name)
        );
        below = above;
    }
    let _ = writeln!(
        svg,
        "<rect class=\"axis\" x=\"{left}\" y=\"{top}\" width=\"{width}\" height=\"{height}\"/>\
         <text class=\"soft\" x=\"{left}\" y=\"{0}\">{first}</text>\
         <text class=\"soft\" x=\"{1}\" y=\"{0}\" text-anchor=\"end\">step {last}</text>",
        top + height + 15.0,
        left + width
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_edge_has_a_panel_with_a_band_for_each_candidate() {
        let edge =
            |name: &str, n: usize| Edge { name: name.into(), candidates: (0..n).map(|i| format!("<op{i}>")).collect() };
        let edges = [edge("block1", 3), edge("block2", 2)];
        let point = |step| (step, vec![vec![0.5, 0.25, 0.25], vec![0.1, 0.9]]);
        for history in [vec![point(7)], (0..500).map(point).collect()] {
            let svg = draw("a & b", &edges, &history);
            assert_eq!(svg.matches("class=\"band\"").count(), 5);
            assert!(svg.contains("a &amp; b") && svg.contains("&lt;op0&gt;") && !svg.contains("NaN"));
            assert!(svg.len() < 100_000, "{}", svg.len());
        }
        assert!(!draw("", &edges, &[]).contains("NaN"));
    }
}
