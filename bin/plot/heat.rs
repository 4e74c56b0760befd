//! Heat maps: a value for each pair of a row and a column.

use super::{STYLE, escape};
use std::fmt::Write as _;

/// Longest side of a panel's cells, in pixels.
const SIDE: f64 = 340.0;
const LETTER: f64 = 6.4;
/// Of a letter of the title, on average.
const TITLE_LETTER: f64 = 10.4;

/// One cell.
#[derive(Clone, Copy, Debug)]
pub struct Cell {
    /// How strongly it is coloured, in 0..=1.
    pub shade: f64,
    /// What it stands for.
    pub value: f64,
}

/// One heat map.
#[derive(Clone, Debug)]
pub struct Panel {
    /// Above it.
    pub title: String,
    /// Names of the rows, from above.
    pub rows: Vec<String>,
    /// Names of the columns.
    pub columns: Vec<String>,
    /// By row and column; `None` where there is nothing.
    pub cells: Vec<Vec<Option<Cell>>>,
}

/// Heat maps side by side.
pub struct Heat<'a> {
    /// Above all.
    pub title: &'a str,
    /// What the colour means.
    pub note: &'a str,
    /// What the columns are.
    pub across: &'a str,
    /// What the rows are.
    pub down: &'a str,
    /// From left to right.
    pub panels: &'a [Panel],
}

impl Heat<'_> {
    /// The drawing. Each cell tells its value where the pointer rests.
    pub fn draw(&self) -> String {
        let names = self.panels.iter().flat_map(|panel| &panel.rows).map(|name| name.chars().count());
        let margin = LETTER * names.max().unwrap_or(0) as f64 + 34.0;
        let most = |count: fn(&Panel) -> usize| self.panels.iter().map(count).max().unwrap_or(1).max(1);
        let (rows, columns) = (most(|panel| panel.rows.len()), most(|panel| panel.columns.len()));
        let (high, wide) = ((SIDE / rows as f64).clamp(5.0, 22.0), (SIDE / columns as f64).clamp(3.0, 22.0));
        let pitch = margin + columns as f64 * wide + 14.0;
        let heading = 40.0 + TITLE_LETTER * self.title.chars().count() as f64;
        let width = (20.0 + pitch * self.panels.len().max(1) as f64).max(440.0).max(heading);
        let height = 112.0 + rows as f64 * high + 54.0;
        let title = escape(self.title);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" width=\"{width:.0}\" height=\"{height:.0}\" \
             role=\"img\" aria-label=\"{title}\">\n<title>{title}</title>\n<style>{STYLE}</style>\n\
             <rect class=\"page\" width=\"{width:.0}\" height=\"{height:.0}\" rx=\"8\"/>\n\
             <text class=\"ink title\" x=\"20\" y=\"34\">{title}</text>\n<text class=\"soft\" x=\"20\" y=\"56\">{}</text>\n",
            escape(self.note)
        );
        for (i, panel) in self.panels.iter().enumerate() {
            self.panel(&mut svg, panel, (20.0 + pitch * i as f64, margin), (wide, high));
        }
        svg.push_str("</svg>\n");
        svg
    }

    fn panel(&self, svg: &mut String, panel: &Panel, (x, margin): (f64, f64), (wide, high): (f64, f64)) {
        let (left, top) = (x + margin, 112.0);
        // Writing into a String cannot fail.
        let _ = writeln!(
            svg,
            "<text class=\"ink name\" x=\"{left:.1}\" y=\"88\">{}</text><text class=\"soft\" x=\"{:.1}\" y=\"{:.1}\">{} →</text>\
             <text class=\"soft\" transform=\"translate({:.1} {top}) rotate(90)\">{} →</text>",
            escape(&panel.title),
            left,
            top + panel.rows.len() as f64 * high + 36.0,
            escape(self.across),
            x + 2.0,
            escape(self.down)
        );
        let every = |size: f64, room: f64| (room / size).ceil().max(1.0) as usize;
        for (r, name) in panel.rows.iter().enumerate().step_by(every(high, 13.0)) {
            let y = top + (r as f64 + 0.5) * high + 4.5;
            let name = escape(name);
            let _ = writeln!(
                svg,
                "<text class=\"soft\" x=\"{:.1}\" y=\"{y:.1}\" text-anchor=\"end\">{name}</text>",
                left - 6.0
            );
        }
        let longest = panel.columns.iter().map(|name| name.chars().count()).max().unwrap_or(1) as f64;
        for (c, name) in panel.columns.iter().enumerate().step_by(every(wide, LETTER * longest + 8.0)) {
            let (x, y) = (left + (c as f64 + 0.5) * wide, top + panel.rows.len() as f64 * high + 16.0);
            let _ = writeln!(
                svg,
                "<text class=\"soft\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"middle\">{}</text>",
                escape(name)
            );
        }
        for (r, row) in panel.cells.iter().enumerate() {
            for (c, cell) in row.iter().enumerate() {
                let Some(cell) = cell else { continue };
                let (x, y) = (left + c as f64 * wide, top + r as f64 * high);
                let name = |names: &[String], i: usize| escape(names.get(i).map_or("", String::as_str));
                let _ = writeln!(
                    svg,
                    "<rect class=\"dot two\" x=\"{x:.2}\" y=\"{y:.2}\" width=\"{wide:.2}\" height=\"{high:.2}\" fill-opacity=\"{:.3}\" \
                     stroke-opacity=\"0.15\" stroke-width=\"0.5\"><title>{}, {}: {:.4}</title></rect>",
                    cell.shade.clamp(0.0, 1.0),
                    name(&panel.rows, r),
                    name(&panel.columns, c),
                    cell.value
                );
            }
        }
    }
}

/// A shade as a character, for the terminal.
pub fn character(shade: f64) -> char {
    const RAMP: [char; 5] = ['·', '░', '▒', '▓', '█'];
    RAMP[(shade.clamp(0.0, 1.0) * (RAMP.len() - 1) as f64).round() as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_panel_makes_a_sound_drawing() {
        let cell = |shade| Some(Cell { shade, value: 1.5 });
        let panel = Panel {
            title: "<one>".into(),
            rows: vec!["a".into(), "b".into()],
            columns: vec!["0".into()],
            cells: vec![vec![cell(0.5)], vec![None]],
        };
        for panels in [vec![], vec![panel.clone()], vec![panel.clone(), panel]] {
            let svg = Heat { title: "t & t", note: "n", across: "x", down: "y", panels: &panels }.draw();
            assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n") && !svg.contains("<one>"), "{svg}");
            assert_eq!(svg.matches("<rect class=\"dot").count(), panels.len());
        }
        assert_eq!([0.0, 0.5, 1.0, 7.0].map(character), ['·', '▒', '█', '█']);
    }
}
