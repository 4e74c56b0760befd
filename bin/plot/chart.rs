//! A chart of points and lines over two axes.

use super::escape;
use super::scale::Scale;
use std::fmt::Write as _;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 480.0;
/// Of the plotting area.
const PANEL: (f64, f64, f64, f64) = (72.0, 96.0, 472.0, 316.0);

/// Colours that people with any colour vision tell apart (Okabe and Ito), a set for each background.
const STYLE: &str = "\
svg { color-scheme: light dark; font: 13px system-ui, -apple-system, 'Segoe UI', sans-serif; }
.page { fill: #ffffff; } .ink { fill: #1f2328; } .soft { fill: #59636e; } .grid { stroke: #e4e7eb; } .axis { stroke: #8c959f; }
.c0 { stroke: #0072b2; } .c1 { stroke: #d55e00; } .c2 { stroke: #009e73; } .c3 { stroke: #cc79a7; } .c4 { stroke: #b8860b; }
.dot.c0 { fill: #0072b2; } .dot.c1 { fill: #d55e00; } .dot.c2 { fill: #009e73; } .dot.c3 { fill: #cc79a7; } .dot.c4 { fill: #b8860b; }
.dot { stroke: none; fill-opacity: .75; } .rule { stroke: #8c959f; stroke-dasharray: 5 4; } .faint { stroke-opacity: .35; }
.title { font-size: 17px; font-weight: 600; } .line { fill: none; stroke-width: 2; stroke-linejoin: round; }
@media (prefers-color-scheme: dark) {
.page { fill: #0d1117; } .ink { fill: #e6edf3; } .soft { fill: #9198a1; } .grid { stroke: #21262d; } .axis { stroke: #6e7681; }
.c0 { stroke: #56b4e9; } .c1 { stroke: #e69f00; } .c2 { stroke: #2fc99a; } .c3 { stroke: #e6a8c8; } .c4 { stroke: #f0e442; }
.dot.c0 { fill: #56b4e9; } .dot.c1 { fill: #e69f00; } .dot.c2 { fill: #2fc99a; } .dot.c3 { fill: #e6a8c8; } .dot.c4 { fill: #f0e442; }
.rule { stroke: #6e7681; }
}";

/// How the points of a series are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// A dot each.
    Dots,
    /// A line through all of them, in order, and a dot each.
    Line,
    /// A thin line between each two, to show that they belong together.
    Pairs,
}

/// Points that belong together.
#[derive(Clone, Debug)]
pub struct Series {
    /// In the legend; none if empty.
    pub name: String,
    /// How they are shown.
    pub mark: Mark,
    /// Which of five colours.
    pub colour: usize,
    /// Where they are, and what a pointer over each is told.
    pub points: Vec<(f64, f64, String)>,
}

/// A chart.
#[derive(Clone, Debug, Default)]
pub struct Chart {
    /// The heading.
    pub title: String,
    /// A line of text below it.
    pub subtitle: String,
    /// What is along the axis below.
    pub x: String,
    /// What is along the axis on the left.
    pub y: String,
    /// Both axes have one scale, and the line of equal values is drawn.
    pub diagonal: bool,
    /// The axes begin at 0.
    pub from_zero: bool,
    /// What is drawn, the first at the bottom.
    pub series: Vec<Series>,
}

impl Chart {
    /// The SVG.
    pub fn draw(&self) -> String {
        let mut svg = String::new();
        // Writing into a String cannot fail.
        let _ = write!(
            svg,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" \
             role=\"img\">\n<title>{0}</title>\n<style>{STYLE}</style>\n\
             <rect class=\"page\" width=\"{WIDTH}\" height=\"{HEIGHT}\" rx=\"8\"/>\n\
             <text class=\"ink title\" x=\"24\" y=\"36\">{0}</text>\n<text class=\"soft\" x=\"24\" y=\"58\">{1}</text>\n",
            escape(&self.title),
            escape(&self.subtitle),
        );
        let (left, top, width, height) = PANEL;
        let xs = || self.series.iter().flat_map(|s| s.points.iter().map(|p| p.0));
        let ys = || self.series.iter().flat_map(|s| s.points.iter().map(|p| p.1));
        let all: Vec<f64> = xs().chain(ys()).collect();
        let (x_values, y_values): (Vec<f64>, Vec<f64>) =
            if self.diagonal { (all.clone(), all) } else { (xs().collect(), ys().collect()) };
        let x = Scale::new(x_values.into_iter(), self.from_zero, left, width);
        let y = Scale::new(y_values.into_iter(), self.from_zero, top + height, -height);
        self.axes(&mut svg, &x, &y);
        if self.diagonal {
            let (low, high) = (x.low(), x.high());
            let _ = writeln!(
                svg,
                "<path class=\"rule\" d=\"M{:.1} {:.1}L{:.1} {:.1}\"/>",
                x.at(low),
                y.at(low),
                x.at(high),
                y.at(high)
            );
        }
        for series in &self.series {
            series.draw(&mut svg, &x, &y);
        }
        self.legend(&mut svg);
        svg.push_str("</svg>\n");
        svg
    }

    fn axes(&self, svg: &mut String, x: &Scale, y: &Scale) {
        let (left, top, width, height) = PANEL;
        for &tick in &y.ticks {
            let at = y.at(tick);
            let _ = writeln!(
                svg,
                "<path class=\"grid\" d=\"M{left:.1} {at:.1}h{width}\"/>\
                 <text class=\"soft\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                left - 8.0,
                at + 4.5,
                y.label(tick)
            );
        }
        let bottom = top + height;
        let _ = writeln!(svg, "<path class=\"axis\" d=\"M{left:.1} {bottom:.1}h{width}\"/>");
        for &tick in &x.ticks {
            let at = x.at(tick);
            let _ = writeln!(
                svg,
                "<path class=\"axis\" d=\"M{at:.1} {bottom:.1}v5\"/>\
                 <text class=\"soft\" x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                bottom + 20.0,
                x.label(tick)
            );
        }
        let _ = writeln!(
            svg,
            "<text class=\"soft\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\n\
             <text class=\"soft\" x=\"24\" y=\"{:.1}\">{}</text>",
            left + width / 2.0,
            bottom + 42.0,
            escape(&self.x),
            top - 14.0,
            escape(&self.y)
        );
    }

    fn legend(&self, svg: &mut String) {
        let (left, top, width, _) = PANEL;
        let named = self.series.iter().filter(|s| !s.name.is_empty());
        for (i, series) in named.enumerate() {
            let (at, y) = (left + width + 20.0, top + 22.0 * i as f64 + 6.0);
            let colour = series.colour % 5;
            let _ = match series.mark {
                Mark::Dots => writeln!(svg, "<circle class=\"dot c{colour}\" cx=\"{}\" cy=\"{y}\" r=\"4\"/>", at + 8.0),
                _ => writeln!(svg, "<path class=\"line c{colour}\" d=\"M{at} {y}h16\"/>"),
            };
            let _ = writeln!(
                svg,
                "<text class=\"ink\" x=\"{}\" y=\"{}\">{}</text>",
                at + 24.0,
                y + 4.5,
                escape(&series.name)
            );
        }
    }
}

impl Series {
    fn draw(&self, svg: &mut String, x: &Scale, y: &Scale) {
        let colour = self.colour % 5;
        let finite = || self.points.iter().filter(|p| p.0.is_finite() && p.1.is_finite());
        let places: Vec<String> = finite().map(|p| format!("{:.1} {:.1}", x.at(p.0), y.at(p.1))).collect();
        match self.mark {
            Mark::Dots => {}
            Mark::Line if places.len() < 2 => {}
            Mark::Line => {
                let _ = writeln!(svg, "<path class=\"line c{colour}\" d=\"M{}\"/>", places.join("L"));
            }
            Mark::Pairs => {
                for pair in places.chunks_exact(2) {
                    let _ = writeln!(svg, "<path class=\"line faint c{colour}\" d=\"M{}\"/>", pair.join("L"));
                }
            }
        }
        for (px, py, told) in finite() {
            let _ = writeln!(
                svg,
                "<circle class=\"dot c{colour}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"3.5\"><title>{}</title></circle>",
                x.at(*px),
                y.at(*py),
                escape(told)
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_finite_point_is_drawn_and_text_stays_text() {
        let point = |x: f64, y: f64| (x, y, "<b>".to_string());
        let series = |mark, points| Series { name: "a & b".into(), mark, colour: 7, points };
        for mark in [Mark::Dots, Mark::Line, Mark::Pairs] {
            let chart = Chart {
                title: "<script>".into(),
                diagonal: true,
                series: vec![series(mark, vec![point(1.0, 2.0), point(f64::NAN, 1.0), point(3.0, 2.5)])],
                ..Chart::default()
            };
            let svg = chart.draw();
            assert_eq!(svg.matches("r=\"3.5\"").count(), 2);
            assert!(svg.contains("&lt;script&gt;") && !svg.contains("<script") && !svg.contains("<b>"), "{svg}");
            assert!(svg.contains("a &amp; b") && !svg.contains("NaN"), "{svg}");
        }
        assert!(!Chart::default().draw().contains("NaN"));
    }
}
