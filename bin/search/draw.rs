//! An architecture drawn: on the terminal a line a block, as SVG a row of boxes.

use super::figure::FILLS;
use crate::plot::escape;
use nas::search::ExpectedLatency;
use nas::{Arch, Op};
use std::fmt::Write as _;

const STYLE: &str = "\
svg { color-scheme: light dark; font: 11px system-ui, -apple-system, 'Segoe UI', sans-serif; }
.page { fill: #ffffff; } .ink { fill: #1f2328; } .soft { fill: #59636e; } .link { stroke: #8c959f; fill: none; stroke-width: 1.5; }
.title { font-size: 17px; font-weight: 600; } .none { fill: none; stroke: #8c959f; stroke-dasharray: 4 3; }
@media (prefers-color-scheme: dark) { .page { fill: #0d1117; } .ink { fill: #e6edf3; } .soft { fill: #9198a1; } .link, .none { stroke: #6e7681; } }";

/// Boxes in a row of the drawing, at most.
const COLUMNS: usize = 8;
const CELL: (f64, f64) = (104.0, 148.0);
const LEFT: f64 = 28.0;
const TOP: f64 = 84.0;

/// One choice.
struct Choice {
    edge: String,
    op: Op,
    /// Height, width and channels of its output.
    output: Option<[usize; 3]>,
    ms: Option<f64>,
}

fn choices(arch: &Arch, classes: usize, latency: Option<&ExpectedLatency>) -> Vec<Choice> {
    let blocks = arch.space().blocks_of(arch, classes);
    let edges = arch.space().edges();
    arch.choices()
        .iter()
        .zip(arch.indices())
        .enumerate()
        .map(|(i, (op, index))| Choice {
            edge: edges[i].name.clone(),
            op: op.clone(),
            output: blocks.iter().find(|b| b.candidate == Some((i, index))).map(|b| b.key.output),
            ms: latency.map(|latency| latency.candidates(i)[index]),
        })
        .collect()
}

/// For the terminal: a line a choice, with a bar as long as the window and as dense as the expansion.
pub fn text(arch: &Arch, classes: usize, latency: Option<&ExpectedLatency>) -> String {
    let choices = choices(arch, classes, latency);
    let width = choices.iter().map(|c| c.edge.len()).max().unwrap_or(0);
    let mut text = String::new();
    for choice in &choices {
        let ms = choice.ms.map_or_else(String::new, |ms| format!("{ms:>9.4} ms"));
        let shape = choice.output.map_or_else(String::new, |[h, w, c]| format!("{h}x{w}x{c}"));
        // Writing into a String cannot fail.
        let _ = writeln!(
            text,
            "{:<width$}  {:<9} {:<14} {shape:>11}{ms}",
            choice.edge,
            bar(&choice.op),
            choice.op.to_string()
        );
    }
    text
}

fn bar(op: &Op) -> String {
    let (length, mark) = match op {
        Op::MbConv { kernel, expansion } => (*kernel, if *expansion > 3 { "█" } else { "▒" }),
        Op::Conv { kernel } => (*kernel, "█"),
        Op::Separable { kernel } => (*kernel, "▒"),
        Op::Gather(offsets) => (offsets.len(), "◆"),
        Op::Zero => (1, "·"),
        Op::Skip => (1, "│"),
        _ => (3, "○"),
    };
    mark.repeat(length.min(9))
}

/// As SVG: a box a choice, wide as its window, high as its expansion, coloured by its operation.
pub fn svg(title: &str, arch: &Arch, classes: usize, latency: Option<&ExpectedLatency>) -> String {
    let choices = choices(arch, classes, latency);
    let rows = choices.len().div_ceil(COLUMNS).max(1);
    // Rows of nearly equal length.
    let columns = choices.len().div_ceil(rows).max(1);
    // The title needs the room.
    let width = (2.0 * LEFT + columns as f64 * CELL.0).max(760.0);
    let height = TOP + rows as f64 * CELL.1 + 8.0;
    let mut names: Vec<String> = vec![];
    for edge in arch.space().edges() {
        for op in edge.candidates {
            if !names.contains(&op.to_string()) {
                names.push(op.to_string());
            }
        }
    }
    let mut svg = String::new();
    // Writing into a String cannot fail.
    let _ = write!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" role=\"img\">\n\
         <title>{0}</title>\n<style>{STYLE}</style>\n<rect class=\"page\" width=\"{width}\" height=\"{height}\" rx=\"8\"/>\n\
         <text class=\"ink title\" x=\"{LEFT}\" y=\"34\">{0}</text>\n\
         <text class=\"soft\" x=\"{LEFT}\" y=\"54\">a box is as wide as its window and as high as its expansion</text>\n",
        escape(title)
    );
    for (i, choice) in choices.iter().enumerate() {
        let (x, y) = (LEFT + (i % columns) as f64 * CELL.0, TOP + (i / columns) as f64 * CELL.1);
        let (cx, cy) = (x + CELL.0 / 2.0, y + 44.0);
        let name = choice.op.to_string();
        let _ = writeln!(svg, "<path class=\"link\" d=\"M{x} {cy}h{}\"/>", CELL.0);
        let (w, h) = size(&choice.op);
        let fill = FILLS[names.iter().position(|n| *n == name).unwrap_or(0) % FILLS.len()];
        let class = if matches!(choice.op, Op::Zero) { "class=\"none\"".into() } else { format!("fill=\"{fill}\"") };
        let _ = writeln!(
            svg,
            "<rect {class} x=\"{:.1}\" y=\"{:.1}\" width=\"{w:.1}\" height=\"{h:.1}\" rx=\"3\"/>\
             <text class=\"ink\" x=\"{cx}\" y=\"{}\" text-anchor=\"middle\">{}</text>\
             <text class=\"soft\" x=\"{cx}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            cx - w / 2.0,
            cy - h / 2.0,
            y + 92.0,
            escape(&name),
            y - 2.0,
            escape(&choice.edge)
        );
        let shape = choice.output.map_or_else(String::new, |[h, w, c]| format!("{h}x{w}x{c}"));
        let ms = choice.ms.map_or_else(String::new, |ms| format!("{ms:.3} ms"));
        for (text, y) in [(shape, y + 106.0), (ms, y + 119.0)] {
            let _ = writeln!(svg, "<text class=\"soft\" x=\"{cx}\" y=\"{y}\" text-anchor=\"middle\">{text}</text>");
        }
    }
    svg.push_str("</svg>\n");
    svg
}

/// Width and height of a box, in pixels.
fn size(op: &Op) -> (f64, f64) {
    let of_window = |kernel: usize| 8.0 * kernel.min(9) as f64 + 8.0;
    match op {
        Op::MbConv { kernel, expansion } => (of_window(*kernel), 10.0 * (*expansion).min(7) as f64),
        Op::Conv { kernel } => (of_window(*kernel), 40.0),
        Op::Separable { kernel } => (of_window(*kernel), 24.0),
        Op::Gather(offsets) => (of_window(offsets.len()), 40.0),
        Op::Zero => (16.0, 16.0),
        Op::Skip => (10.0, 6.0),
        _ => (of_window(3), 14.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nas::Space;

    #[test]
    fn every_choice_is_drawn() {
        for name in nas::space::NAMES {
            let space = Space::named(name).expect("built in");
            let arch = space.random(0, 0);
            let text = text(&arch, 10, None);
            assert_eq!(text.lines().count(), arch.choices().len());
            let svg = svg("a < b", &arch, 10, None);
            assert_eq!(svg.matches("<rect").count(), 1 + arch.choices().len());
            assert!(svg.contains("a &lt; b") && !svg.contains("NaN"));
        }
    }
}
