//! A wiring as SVG: (a) the stage as a chain with an arc for each link, (b) its exploded view, in which each layer has the outputs
//! that it gathers beside it.

use super::draw::takes;
use nn::aggregation::Wiring;
use std::fmt::Write;

/// Beyond, arcs are a blur.
pub const MOST_LAYERS: usize = 200;

/// Distance of neighbouring layers, in pixels.
const CELL: usize = 28;
const MARGIN: usize = 40;

const LINK: &str = "#5b7db1";
const TAKEN: &str = "#c8321e";
const INK: &str = "#222";

/// Both views, one above the other; links that `path` takes are red.
pub fn draw(wiring: &Wiring, title: &str, path: &[usize]) -> String {
    let exit = wiring.exit();
    let longest = (1..=exit).flat_map(|to| wiring.sources(to).iter().map(move |&from| to - from)).max().unwrap_or(1);
    let width = 2 * MARGIN + exit * CELL + 60;
    // An arc over d layers is half an ellipse, flattened where it would be higher than the page is wide.
    let rise = |d: usize| (d * CELL) as f64 * 0.5 * (24.0 / (24.0 + d as f64));
    let top = MARGIN + 40;
    let axis = top + rise(longest) as usize + 10;
    let grid = axis + 80;
    let height = grid + exit * CELL + 2 * MARGIN;
    let x = |index: usize| MARGIN + index * CELL;
    let name = |index: usize| if index == exit { "out".into() } else { index.to_string() };
    let mut out = String::new();
    // Writing to a String cannot fail.
    let mut put = |line: String| writeln!(out, "{line}").expect("memory");
    put(format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" font-family="sans-serif" font-size="11" fill="{INK}">"##
    ));
    put(format!(r##"<rect width="{width}" height="{height}" fill="#fff"/>"##));
    put(format!(
        r##"<text x="{MARGIN}" y="24" font-size="14">{title}: {} links in {} layers</text>"##,
        wiring.links(),
        wiring.layers()
    ));
    put(format!(r##"<text x="{MARGIN}" y="{}">(a) wiring</text>"##, top - 16));
    for to in 1..=exit {
        for &from in wiring.sources(to) {
            let taken = takes(path, from, to);
            let (colour, stroke) = if taken { (TAKEN, "2.5") } else { (LINK, "1.2") };
            let (x1, x2) = (x(from), x(to));
            put(if to - from == 1 {
                format!(r##"<path d="M{x1} {axis}H{x2}" stroke="{colour}" stroke-width="{stroke}" fill="none"/>"##)
            } else {
                let (rx, ry) = ((to - from) * CELL / 2, rise(to - from));
                format!(
                    r##"<path d="M{x1} {axis}A{rx} {ry:.1} 0 0 1 {x2} {axis}" stroke="{colour}" stroke-width="{stroke}" fill="none"/>"##
                )
            });
        }
    }
    for index in 0..=exit {
        let (x, fill) = (x(index), if path.contains(&index) { TAKEN } else { INK });
        put(format!(r##"<circle cx="{x}" cy="{axis}" r="5" fill="{fill}"/>"##));
        put(format!(r##"<text x="{x}" y="{}" text-anchor="middle">{}</text>"##, axis + 20, name(index)));
    }
    put(format!(
        r##"<text x="{MARGIN}" y="{}">(b) exploded: each layer (F) gathers what its line meets</text>"##,
        grid - 28
    ));
    for layer in 1..=exit {
        let (y, end) = (grid + layer * CELL - CELL / 2, x(layer));
        let first = wiring.sources(layer).iter().min().map_or(end, |&source| x(source));
        put(format!(r##"<path d="M{first} {y}H{end}" stroke="{LINK}" stroke-width="1" fill="none"/>"##));
        for &source in wiring.sources(layer) {
            // The output comes down from where it was made.
            let (x, from) = (x(source), if source == 0 { grid - 10 } else { grid + source * CELL - CELL / 2 + 7 });
            let taken = takes(path, source, layer);
            let (colour, stroke) = if taken { (TAKEN, "2.5") } else { (LINK, "0.6") };
            if taken {
                put(format!(r##"<path d="M{x} {y}H{end}" stroke="{colour}" stroke-width="2.4" fill="none"/>"##));
            }
            put(format!(r##"<path d="M{x} {from}V{y}" stroke="{colour}" stroke-width="{stroke}" fill="none"/>"##));
            put(format!(r##"<circle cx="{x}" cy="{y}" r="3.5" fill="{colour}"/>"##));
        }
        put(format!(r##"<circle cx="{end}" cy="{y}" r="7" fill="#fff" stroke="{INK}"/>"##));
        let mark = if layer == exit { "+" } else { "F" };
        put(format!(r##"<text x="{end}" y="{}" text-anchor="middle">{mark}</text>"##, y + 4));
        put(format!(r##"<text x="{}" y="{}">{}</text>"##, end + 12, y + 4, name(layer)));
    }
    put(format!(r##"<text x="{}" y="{}" text-anchor="middle">0</text>"##, x(0), grid - 14));
    put("</svg>".into());
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use nn::aggregation::Gather;

    #[test]
    fn every_link_is_in_both_views() {
        let wiring = Wiring::new(&Gather::Base(2), 12).unwrap_or_else(|e| panic!("{e}"));
        let path = wiring.path(13, 0).expect("connected");
        let text = draw(&wiring, "base:2, concat", &path);
        assert!(text.starts_with("<svg") && text.ends_with("</svg>\n") && !text.contains("NaN"));
        let count = |what: &str| text.matches(what).count();
        assert_eq!(count(r#"r="3.5""#), wiring.links(), "a dot for each link in the exploded view");
        assert_eq!(count(r##"stroke-width="1.2""##) + count(r#"stroke-width="2.5""#), wiring.links() + path.len() - 1);
    }
}
