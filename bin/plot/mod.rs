//! Figures as SVG, for light and dark pages alike.

mod chart;
mod heat;
mod scale;
mod scatter;

pub use chart::{Chart, Mark, Series};
pub use heat::{Cell, Heat, Panel, character};
pub use scatter::{Point, Scatter};

/// Colours that people with any colour vision tell apart (Okabe and Ito), a set for each background.
pub const STYLE: &str = "\
svg { color-scheme: light dark; font: 13px system-ui, -apple-system, 'Segoe UI', sans-serif; }
.page { fill: #ffffff; } .ink { fill: #1f2328; } .soft { fill: #59636e; } .grid { stroke: #e4e7eb; } .axis { stroke: #8c959f; }
.one { stroke: #0072b2; } .two { stroke: #d55e00; } .dot.one { fill: #0072b2; } .dot.two { fill: #d55e00; }
.title { font-size: 17px; font-weight: 600; } .name { font-size: 14px; font-weight: 600; } .strong { font-weight: 600; }
.line { fill: none; stroke-width: 2; stroke-linejoin: round; } .bar { stroke-width: 1.5; } .hollow { fill: #ffffff; stroke-width: 2; }
@media (prefers-color-scheme: dark) {
.page { fill: #0d1117; } .ink { fill: #e6edf3; } .soft { fill: #9198a1; } .grid { stroke: #21262d; } .axis { stroke: #6e7681; }
.one { stroke: #56b4e9; } .two { stroke: #e69f00; } .dot.one { fill: #56b4e9; } .dot.two { fill: #e69f00; } .hollow { fill: #0d1117; }
}";

/// Round numbers that cover `low..=high`, about `count` of them.
pub fn ticks(low: f64, high: f64, count: usize) -> Vec<f64> {
    let high = if high > low { high } else { low + low.abs().max(1.0) * 0.1 };
    let rough = (high - low) / count as f64;
    let power = 10f64.powf(rough.log10().floor());
    let step =
        [1.0, 2.0, 5.0, 10.0].map(|m| m * power).into_iter().find(|&s| s >= rough * 0.999).unwrap_or(10.0 * power);
    let (first, last) = ((low / step + 1e-9).floor() as i64, (high / step - 1e-9).ceil() as i64);
    (first..=last).map(|i| i as f64 * step).collect()
}

/// A tick's number with just the decimals that the distance of the ticks needs.
pub fn label(tick: f64, ticks: &[f64]) -> String {
    let step = ticks.get(1).map_or(1.0, |second| second - ticks[0]);
    let decimals = (-step.log10().floor()).max(0.0) as usize;
    format!("{tick:.decimals$}")
}

/// 1, 2 and 5 times the powers of ten in `low..=high`; both above 0.
pub fn log_ticks(low: f64, high: f64) -> Vec<f64> {
    let (first, last) = (low.log10().floor() as i32, high.log10().ceil() as i32);
    let all = (first..=last).flat_map(|power| [1.0, 2.0, 5.0].map(|m| m * 10f64.powi(power)));
    all.filter(|tick| (low * 0.999..=high * 1.001).contains(tick)).collect()
}

/// A number with its thousands, millions or billions as a letter: 1.5M.
pub fn short(value: f64) -> String {
    let (divisor, letter) = match value.abs() {
        v if v >= 1e9 => (1e9, "G"),
        v if v >= 1e6 => (1e6, "M"),
        v if v >= 1e3 => (1e3, "k"),
        _ => (1.0, ""),
    };
    let digits = format!("{:.2}", value / divisor);
    let digits = digits.trim_end_matches('0').trim_end_matches('.');
    format!("{digits}{letter}")
}

/// Any text as text of an SVG or HTML page.
pub fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            c if c.is_control() => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_cover_the_values() {
        assert_eq!(ticks(0.0, 10.0, 5), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        let near = ticks(0.83, 2.31, 5);
        assert!(near[0] <= 0.83 && near[near.len() - 1] >= 2.31 && near.len() <= 8, "{near:?}");
        assert!(ticks(3.0, 3.0, 5).len() >= 2);
        assert_eq!(label(0.5, &[0.0, 0.5]), "0.5");
        assert_eq!(label(40.0, &[20.0, 40.0]), "40");
    }

    #[test]
    fn ticks_of_a_logarithm_are_round_too() {
        let close =
            |a: &[f64], b: &[f64]| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a / b - 1.0).abs() < 1e-9);
        assert!(close(&log_ticks(1.5e5, 3e6), &[2e5, 5e5, 1e6, 2e6]));
        assert!(close(&log_ticks(1.0, 1.0), &[1.0]));
    }

    #[test]
    fn numbers_are_short_and_text_stays_text() {
        let shown = [1_019_722.0, 269_722.0, 40.0, 0.5, 0.0].map(short);
        assert_eq!(shown, ["1.02M", "269.72k", "40", "0.5", "0"]);
        assert_eq!(escape("<a href=\"x\">&\n"), "&lt;a href=&quot;x&quot;&gt;&amp; ");
    }
}
