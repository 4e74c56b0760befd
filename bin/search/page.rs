//! `report.html`: everything that a search says for itself, on one page that opens from disk.

use super::trust::Report;
use crate::failure::Failure;
use crate::plot::{Chart, Mark, Series, escape};
use std::fmt::Write as _;
use std::path::Path;

const STYLE: &str = "\
body { font: 15px/1.5 system-ui, -apple-system, 'Segoe UI', sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color-scheme: light dark; }
table { border-collapse: collapse; } td, th { padding: .25rem .8rem .25rem 0; text-align: right; } td:first-child, th:first-child, td:last-child, th:last-child { text-align: left; }
th { border-bottom: 1px solid #8c959f; } .alarm { border-left: 4px solid #d55e00; padding-left: .8rem; } code { font-size: 12px; overflow-wrap: anywhere; } svg { max-width: 100%; height: auto; }";

/// Accuracy against measured latency: the found network and the random ones, each training a point.
pub fn chart(report: &Report) -> Option<String> {
    let points = |found: bool| {
        let of = report.networks.iter().enumerate().filter(|(i, _)| (*i == 0) == found).map(|(_, c)| c);
        of.flat_map(|c| {
            let ms = c.latency.map_or(f64::NAN, |t| t.ms);
            c.accuracies.iter().map(move |a| (ms, 100.0 * a, format!("{}: {:.2} %, {ms:.3} ms", c.name, 100.0 * a)))
        })
        .collect::<Vec<_>>()
    };
    let series =
        |name: &str, colour, found| Series { name: name.into(), mark: Mark::Dots, colour, points: points(found) };
    report.networks.first().and_then(|c| c.latency)?;
    let (batch, threads) = report.latency_of;
    Some(
        Chart {
            title: "Found and random networks".into(),
            subtitle: format!(
                "each training a point, {}; latency of batch {batch}, threads {threads}",
                report.budget()
            ),
            x: "measured latency (ms)".into(),
            y: "test accuracy (%)".into(),
            series: vec![series("random", 0, false), series("found", 1, true)],
            ..Chart::default()
        }
        .draw(),
    )
}

/// The table for people: a line a network.
pub fn table(report: &Report) -> String {
    let mut text = format!("{:<10} {:>9} {:>8} {:>9}  accuracy (%)\n", "network", "ms", "MMAC", "params");
    for c in &report.networks {
        let ms = c.latency.map_or_else(|| "-".into(), |t| format!("{:.3}", t.ms));
        let accuracies: Vec<String> = c.accuracies.iter().map(|a| format!("{:.2}", 100.0 * a)).collect();
        // Writing into a String cannot fail.
        let _ = writeln!(
            text,
            "{:<10} {ms:>9} {:>8.2} {:>9}  {:.2} ({})",
            c.name,
            c.macs as f64 / 1e6,
            c.params,
            100.0 * c.mean(),
            accuracies.join(", ")
        );
    }
    text
}

/// The page. Drawings that lie in `folder` are put into it.
pub fn html(
    title: &str,
    arch: &str,
    alarms: &[String],
    report: Option<&Report>,
    folder: &Path,
) -> Result<String, Failure> {
    let title = escape(title);
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title><style>{STYLE}</style></head><body>\n\
         <h1>{title}</h1>\n<p><code>{}</code></p>\n",
        escape(arch)
    );
    for alarm in alarms {
        let _ = writeln!(page, "<p class=\"alarm\">{}</p>", escape(alarm));
    }
    if let Some(report) = report {
        let _ = writeln!(page, "<h2>Can it be trusted?</h2>\n<p>{}.</p>", escape(&report.verdict));
        let _ = writeln!(
            page,
            "<p>Random networks: {}. Each training: {}.</p>",
            escape(&report.random_are),
            report.budget()
        );
        page.push_str("<table><tr><th>network</th><th>latency (ms)</th><th>MMAC</th><th>parameters</th><th>accuracy (%)</th><th>of each seed</th></tr>\n");
        for c in &report.networks {
            let ms = c.latency.map_or_else(|| "-".into(), |t| format!("{:.3}", t.ms));
            let seeds: Vec<String> = c.accuracies.iter().map(|a| format!("{:.2}", 100.0 * a)).collect();
            let _ = writeln!(
                page,
                "<tr><td title=\"{}\">{}</td><td>{ms}</td><td>{:.2}</td><td>{}</td><td>{:.2}</td><td>{}</td></tr>",
                escape(&c.arch),
                escape(&c.name),
                c.macs as f64 / 1e6,
                c.params,
                100.0 * c.mean(),
                seeds.join(", ")
            );
        }
        page.push_str("</table>\n");
    }
    for (heading, file) in
        [("", "trust.svg"), ("The network", "arch.svg"), ("How the probabilities went", "probabilities.svg")]
    {
        let path = folder.join(file);
        if file == "trust.svg" && report.is_none() || !path.exists() {
            continue;
        }
        let svg = std::fs::read_to_string(&path).map_err(|e| Failure::reading(&path, &e))?;
        if !heading.is_empty() {
            let _ = writeln!(page, "<h2>{heading}</h2>");
        }
        // As an image, so that the styles of one drawing do not reach another.
        let _ = writeln!(
            page,
            "<p><img alt=\"{}\" src=\"data:image/svg+xml,{}\"></p>",
            heading.to_lowercase(),
            percent(&svg)
        );
    }
    page.push_str("</body></html>\n");
    Ok(page)
}

/// Percent encoding, of all but letters, digits and a few marks.
fn percent(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~ ()/:;,=@".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::percent;

    #[test]
    fn markup_is_encoded() {
        assert_eq!(percent("<a b=\"é\">"), "%3Ca b=%22%C3%A9%22%3E");
    }
}
