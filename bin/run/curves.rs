//! `curves.svg`: loss and accuracy over the epochs, for light and dark pages alike.

use super::metrics::EpochLine;
use crate::plot::{escape, label, ticks};
use std::fmt::Write as _;

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 400.0;
/// Of a panel's plotting area.
const PANEL: (f64, f64) = (372.0, 250.0);
const TOP: f64 = 88.0;
const LEFTS: [f64; 2] = [62.0, 540.0];

/// Colours that people with any colour vision tell apart (Okabe and Ito), a set for each background.
const STYLE: &str = "\
svg { color-scheme: light dark; font: 13px system-ui, -apple-system, 'Segoe UI', sans-serif; }
.page { fill: #ffffff; } .ink { fill: #1f2328; } .soft { fill: #59636e; } .grid { stroke: #e4e7eb; } .axis { stroke: #8c959f; }
.train { stroke: #d55e00; } .test { stroke: #0072b2; } .dot.train, .value.train { fill: #d55e00; } .dot.test, .value.test { fill: #0072b2; }
.title { font-size: 17px; font-weight: 600; } .name { font-size: 14px; font-weight: 600; } .value { font-weight: 600; stroke: none; }
.line { fill: none; stroke-width: 2; stroke-linejoin: round; stroke-linecap: round; } .line.train { stroke-width: 1.5; }
@media (prefers-color-scheme: dark) {
.page { fill: #0d1117; } .ink { fill: #e6edf3; } .soft { fill: #9198a1; } .grid { stroke: #21262d; } .axis { stroke: #6e7681; }
.train { stroke: #e69f00; } .test { stroke: #56b4e9; } .dot.train, .value.train { fill: #e69f00; } .dot.test, .value.test { fill: #56b4e9; }
}";

struct Curve<'a> {
    class: &'a str,
    points: Vec<(f64, f64)>,
}

/// The drawing. `title` may hold any text.
pub fn draw(title: &str, epochs: &[EpochLine]) -> String {
    let points = |value: fn(&EpochLine) -> Option<f64>| -> Vec<(f64, f64)> {
        epochs.iter().filter_map(|e| Some((e.epoch as f64, value(e).filter(|v| v.is_finite())?))).collect()
    };
    let loss = [
        Curve { class: "train", points: points(|e| Some(e.train_loss)) },
        Curve { class: "test", points: points(|e| e.test_loss) },
    ];
    let accuracy = [
        Curve { class: "train", points: points(|e| Some(100.0 * e.train_acc)) },
        Curve { class: "test", points: points(|e| e.test_acc.map(|a| 100.0 * a)) },
    ];
    let mut svg = String::new();
    // Writing into a String cannot fail.
    let _ = write!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" \
         role=\"img\">\n<title>{0}: loss and accuracy by epoch</title>\n<style>{STYLE}</style>\n\
         <rect class=\"page\" width=\"{WIDTH}\" height=\"{HEIGHT}\" rx=\"8\"/>\n\
         <text class=\"ink title\" x=\"{1}\" y=\"36\">{0}</text>\n",
        escape(title),
        LEFTS[0] - 36.0,
    );
    legend(&mut svg);
    let last = epochs.last().map_or(1.0, |e| e.epoch as f64);
    panel(&mut svg, LEFTS[0], "Loss (nats)", &loss, last, |v| format!("{v:.3}"));
    panel(&mut svg, LEFTS[1], "Accuracy (%)", &accuracy, last, |v| format!("{v:.1}"));
    svg.push_str("</svg>\n");
    svg
}

fn legend(svg: &mut String) {
    for (i, class) in ["train", "test"].into_iter().enumerate() {
        let x = WIDTH - 166.0 + 76.0 * i as f64;
        let _ = writeln!(
            svg,
            "<path class=\"line {class}\" d=\"M{x} 31h24\"/><text class=\"ink\" x=\"{}\" y=\"36\">{class}</text>",
            x + 30.0
        );
    }
}

fn panel(svg: &mut String, left: f64, name: &str, curves: &[Curve], last: f64, show: fn(f64) -> String) {
    let (width, height) = PANEL;
    let values = || curves.iter().flat_map(|c| c.points.iter().map(|p| p.1));
    let (low, high) = values().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
    let (low, high) = if low.is_finite() { (low, high) } else { (0.0, 1.0) };
    let y_ticks = ticks(low, high, 5);
    let (y_low, y_high) = (y_ticks[0], y_ticks[y_ticks.len() - 1]);
    // A single epoch has its point in the middle.
    let (x_low, x_high) = if last > 1.0 { (1.0, last) } else { (0.0, 2.0) };
    let x_of = |x: f64| left + (x - x_low) / (x_high - x_low) * width;
    let y_of = |y: f64| TOP + (1.0 - (y - y_low) / (y_high - y_low)) * height;

    let _ = writeln!(svg, "<text class=\"ink name\" x=\"{}\" y=\"{}\">{name}</text>", left - 36.0, TOP - 20.0);
    for &tick in &y_ticks {
        let y = y_of(tick);
        let _ = writeln!(
            svg,
            "<path class=\"grid\" d=\"M{left:.1} {y:.1}h{width}\"/>\
             <text class=\"soft\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            left - 8.0,
            y + 4.5,
            label(tick, &y_ticks)
        );
    }
    let bottom = TOP + height;
    let _ = writeln!(svg, "<path class=\"axis\" d=\"M{left:.1} {bottom:.1}h{width}\"/>");
    let whole = |t: &f64| t.fract() == 0.0 && *t >= 1.0 && *t <= last;
    let mut x_ticks: Vec<f64> = ticks(x_low, last.max(1.0), 6).into_iter().filter(whole).collect();
    if x_ticks.is_empty() {
        x_ticks.push(last);
    }
    for tick in x_ticks {
        let x = x_of(tick);
        let _ = writeln!(
            svg,
            "<path class=\"axis\" d=\"M{x:.1} {bottom:.1}v5\"/>\
             <text class=\"soft\" x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{tick}</text>",
            bottom + 20.0
        );
    }
    let _ = writeln!(
        svg,
        "<text class=\"soft\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">epoch</text>",
        left + width / 2.0,
        bottom + 40.0
    );
    for curve in curves {
        let path: Vec<String> = curve.points.iter().map(|&(x, y)| format!("{:.1} {:.1}", x_of(x), y_of(y))).collect();
        if path.len() > 1 {
            let _ = writeln!(svg, "<path class=\"line {}\" d=\"M{}\"/>", curve.class, path.join("L"));
        }
        if let Some(&(x, y)) = curve.points.last() {
            let _ = writeln!(
                svg,
                "<circle class=\"dot {}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"3.5\" stroke=\"none\"/>",
                curve.class,
                x_of(x),
                y_of(y)
            );
        }
    }
    final_values(svg, left + width, curves, show, y_of);
}

/// The last value of each curve beside its end, kept apart where the ends are close.
fn final_values(svg: &mut String, right: f64, curves: &[Curve], show: fn(f64) -> String, y_of: impl Fn(f64) -> f64) {
    let end = |curve: &Curve| curve.points.last().map(|&(_, value)| (y_of(value), value));
    let mut ends: Vec<_> = curves.iter().filter_map(|curve| Some((end(curve)?, curve.class))).collect();
    ends.sort_by(|(a, _), (b, _)| a.0.total_cmp(&b.0));
    if let [(upper, _), (lower, _)] = &mut ends[..]
        && lower.0 - upper.0 < 15.0
    {
        let middle = (upper.0 + lower.0) / 2.0;
        (upper.0, lower.0) = (middle - 7.5, middle + 7.5);
    }
    for ((y, value), class) in ends {
        let (x, y, shown) = (right + 9.0, y + 4.5, show(value));
        let _ = writeln!(svg, "<text class=\"value {class}\" x=\"{x:.1}\" y=\"{y:.1}\">{shown}</text>");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_title_stays_text_and_missing_or_infinite_values_leave_no_trace() {
        let line = |epoch: usize, test: Option<f64>| EpochLine {
            epoch,
            step: 1,
            train_loss: f64::INFINITY,
            train_acc: 0.5,
            test_loss: test,
            test_acc: test,
            lr: 0.1,
            seconds: 1.0,
            images_per_s: 1.0,
            peak_bytes: 0,
            partial: false,
        };
        for epochs in [vec![], vec![line(1, None)], vec![line(1, Some(0.5)), line(2, None), line(3, Some(0.75))]] {
            let svg = draw("<script>alert(1)</script>&", &epochs);
            assert!(svg.contains("&lt;script&gt;") && !svg.contains("<script"), "{svg}");
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        }
    }
}
