//! Lines through points: a quantity against a size.

use super::{STYLE, escape, label, ticks};
use std::fmt::Write as _;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 460.0;
/// Left, right, top and bottom of the plotting area.
const AREA: (f64, f64, f64, f64) = (76.0, 730.0, 100.0, 392.0);

/// One line.
#[derive(Clone, Debug)]
pub struct Line {
    /// In the legend.
    pub name: String,
    /// Its points, and whether each was measured (else it was extrapolated, and is hollow).
    pub points: Vec<(f64, f64, bool)>,
}

/// A figure of at most two lines.
pub struct Lines<'a> {
    /// Above.
    pub title: &'a str,
    /// Below the axis across.
    pub across: &'a str,
    /// Above the axis up.
    pub up: &'a str,
    /// The lines.
    pub lines: &'a [Line],
}

impl Lines<'_> {
    /// The drawing. Both axes begin at 0, so that a straight line through it is proportional.
    pub fn draw(&self) -> String {
        let (left, right, top, bottom) = AREA;
        let all = || self.lines.iter().flat_map(|line| &line.points);
        let most = |value: fn(&(f64, f64, bool)) -> f64| all().map(value).fold(0.0, f64::max);
        let (x_ticks, y_ticks) = (ticks(0.0, most(|p| p.0).max(1.0), 6), ticks(0.0, most(|p| p.1).max(1e-9), 6));
        let (x_high, y_high) = (x_ticks[x_ticks.len() - 1], y_ticks[y_ticks.len() - 1]);
        let x_of = |x: f64| left + x / x_high * (right - left);
        let y_of = |y: f64| bottom - y / y_high * (bottom - top);
        let (title, across, up) = (escape(self.title), escape(self.across), escape(self.up));
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" \
             role=\"img\" aria-label=\"{title}\">\n<title>{title}</title>\n<style>{STYLE}</style>\n\
             <rect class=\"page\" width=\"{WIDTH}\" height=\"{HEIGHT}\" rx=\"8\"/>\n\
             <text class=\"ink title\" x=\"26\" y=\"36\">{title}</text>\n<text class=\"ink name\" x=\"26\" y=\"84\">{up}</text>\n\
             <text class=\"soft\" x=\"{}\" y=\"{}\" text-anchor=\"middle\">{across}</text>\n",
            (left + right) / 2.0,
            bottom + 44.0,
        );
        // Writing into a String cannot fail.
        for &tick in &y_ticks {
            let (y, text) = (y_of(tick), label(tick, &y_ticks));
            let _ = writeln!(
                svg,
                "<path class=\"grid\" d=\"M{left} {y:.1}H{right}\"/><text class=\"soft\" x=\"{}\" y=\"{:.1}\" \
                 text-anchor=\"end\">{text}</text>",
                left - 8.0,
                y + 4.5
            );
        }
        let _ = writeln!(svg, "<path class=\"axis\" d=\"M{left} {bottom}H{right}\"/>");
        for &tick in &x_ticks {
            let (x, text) = (x_of(tick), label(tick, &x_ticks));
            let _ = writeln!(
                svg,
                "<path class=\"axis\" d=\"M{x:.1} {bottom}v5\"/><text class=\"soft\" x=\"{x:.1}\" y=\"{}\" \
                 text-anchor=\"middle\">{text}</text>",
                bottom + 20.0
            );
        }
        for (i, line) in self.lines.iter().enumerate() {
            let class = if i == 0 { "one" } else { "two" };
            let at = 26.0 + 340.0 * i as f64;
            let _ = writeln!(
                svg,
                "<path class=\"{class} line\" d=\"M{at} 57h24\"/><text class=\"ink\" x=\"{}\" y=\"62\">{}</text>",
                at + 30.0,
                escape(&line.name)
            );
            let path: Vec<String> = line.points.iter().map(|p| format!("{:.1} {:.1}", x_of(p.0), y_of(p.1))).collect();
            if path.len() > 1 {
                let _ = writeln!(svg, "<path class=\"{class} line\" d=\"M{}\"/>", path.join("L"));
            }
            for &(x, y, measured) in &line.points {
                let fill = if measured { "dot" } else { "hollow" };
                let _ = writeln!(
                    svg,
                    "<circle class=\"{class} {fill}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"4.5\"/>",
                    x_of(x),
                    y_of(y)
                );
            }
        }
        svg.push_str("</svg>\n");
        svg
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_lines_make_a_sound_drawing() {
        let line = |points: &[(f64, f64, bool)]| Line { name: "<a>".into(), points: points.to_vec() };
        let two = [line(&[(40.0, 0.1, true), (200.0, 7.5, false)]), line(&[(40.0, 0.0, true)])];
        for lines in [&[][..], &two[..], &[line(&[])][..]] {
            let svg = Lines { title: "t", across: "x", up: "y", lines }.draw();
            assert!(svg.ends_with("</svg>\n") && !svg.contains("NaN") && !svg.contains("inf") && !svg.contains("<a>"));
        }
    }
}
