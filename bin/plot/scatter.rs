//! Points in a plane: one quantity to keep low against another, with the front of the best.

use super::{STYLE, escape, label, log_ticks, short, ticks};
use std::fmt::Write as _;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 480.0;
/// Left, right, top and bottom of the plotting area.
const AREA: (f64, f64, f64, f64) = (70.0, 730.0, 84.0, 410.0);
/// Of a letter of a label, on average.
const LETTER: f64 = 6.9;
const LINE: f64 = 15.0;

/// A point.
#[derive(Clone, Debug)]
pub struct Point {
    /// Beside it.
    pub label: String,
    /// Across, on a logarithmic axis; above 0.
    pub x: f64,
    /// Up.
    pub y: f64,
    /// Half the length of its error bar.
    pub spread: Option<f64>,
    /// Whether no other point has less of both.
    pub front: bool,
}

/// A figure of points.
pub struct Scatter<'a> {
    /// Above.
    pub title: &'a str,
    /// Below the axis across.
    pub across: &'a str,
    /// Above the axis up.
    pub up: &'a str,
    /// What is shown; those that are not finite are left out.
    pub points: &'a [Point],
}

/// A rectangle that is taken: left, top, right, bottom.
type Box4 = (f64, f64, f64, f64);

impl Scatter<'_> {
    /// The drawing. Titles and labels may hold any text.
    pub fn draw(&self) -> String {
        let shown = |p: &&Point| p.x.is_finite() && p.x > 0.0 && p.y.is_finite();
        let points: Vec<&Point> = self.points.iter().filter(shown).collect();
        let (left, right, top, bottom) = AREA;
        let range = |values: &mut dyn Iterator<Item = f64>| {
            values.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)))
        };
        let (x_low, x_high) = range(&mut points.iter().map(|p| p.x));
        let (x_low, x_high) = if points.is_empty() { (1.0, 10.0) } else { (x_low / 1.35, x_high * 1.6) };
        let bars = |p: &&Point| [p.y - p.spread.unwrap_or(0.0), p.y + p.spread.unwrap_or(0.0)];
        let (y_low, y_high) = range(&mut points.iter().flat_map(bars));
        let y_ticks = if points.is_empty() { ticks(0.0, 1.0, 5) } else { ticks(y_low, y_high, 6) };
        let (y_low, y_high) = (y_ticks[0], y_ticks[y_ticks.len() - 1]);
        let x_of = |x: f64| left + (x / x_low).ln() / (x_high / x_low).ln() * (right - left);
        let y_of = |y: f64| bottom - (y - y_low) / (y_high - y_low) * (bottom - top);

        let mut svg = self.page();
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
        let mut x_ticks = log_ticks(x_low, x_high);
        if x_ticks.len() < 3 {
            // Less than a decade: equal steps tell more.
            x_ticks = ticks(x_low, x_high, 5).into_iter().filter(|tick| (x_low..=x_high).contains(tick)).collect();
        }
        for tick in x_ticks {
            let x = x_of(tick);
            let _ = writeln!(
                svg,
                "<path class=\"axis\" d=\"M{x:.1} {bottom}v5\"/><text class=\"soft\" x=\"{x:.1}\" y=\"{}\" \
                 text-anchor=\"middle\">{}</text>",
                bottom + 20.0,
                short(tick)
            );
        }
        let placed: Vec<(f64, f64, &Point)> = points.iter().map(|&p| (x_of(p.x), y_of(p.y), p)).collect();
        let mut taken = front(&mut svg, &placed, right, top);
        for &(x, y, point) in &placed {
            let half = point.spread.map_or(0.0, |s| (y_of(point.y - s) - y).abs());
            taken.push((x - 7.0, y - half.max(7.0), x + 7.0, y + half.max(7.0)));
            if half > 0.0 {
                let _ = writeln!(
                    svg,
                    "<path class=\"one bar\" d=\"M{x:.1} {:.1}V{:.1}M{:.1} {:.1}h8M{:.1} {:.1}h8\"/>",
                    y - half,
                    y + half,
                    x - 4.0,
                    y - half,
                    x - 4.0,
                    y + half
                );
            }
            let class = if point.front { "dot one" } else { "one hollow" };
            let _ = writeln!(svg, "<circle class=\"{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"5\"/>");
        }
        for &(x, y, point) in &placed {
            name(&mut svg, &mut taken, x, y, point);
        }
        svg.push_str("</svg>\n");
        svg
    }

    fn page(&self) -> String {
        let (left, right, _, bottom) = AREA;
        let mut svg = String::new();
        let (title, across, up) = (escape(self.title), escape(self.across), escape(self.up));
        // Writing into a String cannot fail.
        let _ = write!(
            svg,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" \
             role=\"img\" aria-label=\"{title}\">\n<title>{title}</title>\n<style>{STYLE}</style>\n\
             <rect class=\"page\" width=\"{WIDTH}\" height=\"{HEIGHT}\" rx=\"8\"/>\n\
             <text class=\"ink title\" x=\"26\" y=\"36\">{title}</text>\n\
             <text class=\"ink name\" x=\"26\" y=\"66\">{up}</text>\n\
             <text class=\"soft\" x=\"{}\" y=\"{}\" text-anchor=\"middle\">{across}</text>\n\
             <path class=\"two line\" d=\"M{} 61h24\"/><text class=\"soft\" x=\"{right}\" y=\"66\" text-anchor=\"end\">Pareto front</text>\n",
            (left + right) / 2.0,
            bottom + 44.0,
            right - 112.0,
        );
        svg
    }
}

/// The staircase under which nothing lies, and what room it takes.
fn front(svg: &mut String, placed: &[(f64, f64, &Point)], right: f64, top: f64) -> Vec<Box4> {
    let mut corners: Vec<(f64, f64)> = placed.iter().filter(|(_, _, p)| p.front).map(|&(x, y, _)| (x, y)).collect();
    corners.sort_by(|a, b| a.0.total_cmp(&b.0));
    let Some(&(x, _)) = corners.first() else { return vec![] };
    let (mut path, mut taken, mut at) = (format!("M{x:.1} {top:.1}"), vec![], (x, top));
    for (x, y) in corners {
        let _ = write!(path, "H{x:.1}V{y:.1}");
        taken.extend([line((at.0, at.1), (x, at.1)), line((x, at.1), (x, y))]);
        at = (x, y);
    }
    let _ = writeln!(svg, "<path class=\"two line\" d=\"{path}H{right:.1}\"/>");
    taken.push(line(at, (right, at.1)));
    taken
}

/// The room of a line along one of the axes.
fn line(a: (f64, f64), b: (f64, f64)) -> Box4 {
    (a.0.min(b.0) - 2.0, a.1.min(b.1) - 2.0, a.0.max(b.0) + 2.0, a.1.max(b.1) + 2.0)
}

/// A point's label, where it covers the least of what is there.
fn name(svg: &mut String, taken: &mut Vec<Box4>, x: f64, y: f64, point: &Point) {
    let bold = if point.front { 1.15 } else { 1.0 };
    let width = LETTER * bold * point.label.chars().count() as f64;
    let (left, right, top, bottom) = AREA;
    let places = [
        (x + 10.0, y - 4.0),
        (x - 10.0 - width, y - 4.0),
        (x + 10.0, y + LINE),
        (x - 10.0 - width, y + LINE),
        (x - width / 2.0, y - 12.0),
        (x - width / 2.0, y + LINE + 8.0),
        (x + 10.0, y - 4.0 - LINE),
        (x + 10.0, y + 2.0 * LINE),
    ];
    let covered = |&(x, y): &(f64, f64)| {
        let (l, t, r, b) = (x, y - LINE + 3.0, x + width, y + 3.0);
        let overlap = |&(tl, tt, tr, tb): &Box4| (r.min(tr) - l.max(tl)).max(0.0) * (b.min(tb) - t.max(tt)).max(0.0);
        let outside = (left - l).max(0.0) + (r - right - 24.0).max(0.0) + (top - t).max(0.0) + (b - bottom).max(0.0);
        taken.iter().map(overlap).sum::<f64>() + 50.0 * outside
    };
    let best = places.iter().min_by(|a, b| covered(a).total_cmp(&covered(b)));
    let &(x, y) = best.unwrap_or(&places[0]);
    taken.push((x, y - LINE + 3.0, x + width, y + 3.0));
    let class = if point.front { "ink strong" } else { "ink" };
    let _ = writeln!(svg, "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">{}</text>", escape(&point.label));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_points_make_a_sound_drawing() {
        let point = |label: &str, x: f64, y: f64, spread| Point { label: label.into(), x, y, spread, front: y < 6.0 };
        let many: Vec<Point> = (0..12).map(|i| point("densenet-bc100-12", 1e6, f64::from(i), Some(0.3))).collect();
        for points in [
            vec![],
            vec![point("<one>", 3.0, 5.0, None)],
            many,
            vec![point("x", f64::NAN, 1.0, None), point("y", 1.0, f64::INFINITY, None)],
        ] {
            let svg = Scatter { title: "a & b", across: "<x>", up: "y", points: &points }.draw();
            assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n"));
            assert!(!svg.contains("NaN") && !svg.contains("inf") && !svg.contains("<one>"), "{svg}");
        }
    }
}
