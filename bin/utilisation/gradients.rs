//! Gradient norms over a training: as a drawing, as CSV and in the terminal.

use crate::plot::{Cell, Heat, Panel};
use crate::run::metrics::GradientLine;

/// Steps that a drawing shows at most; of more, evenly spaced ones.
const MOST_STEPS: usize = 60;

/// The names of the record in the order of the network.
fn names<'a>(records: &[GradientLine], order: &'a [String]) -> Vec<&'a str> {
    let known = |name: &&String| records.iter().any(|record| record.gradient_norms.contains_key(*name));
    order.iter().filter(known).map(String::as_str).collect()
}

/// One row a step, one column a weight.
pub fn csv(records: &[GradientLine], order: &[String]) -> String {
    let names = names(records, order);
    let mut text = format!("step,{}\n", names.join(","));
    for record in records {
        let norms: Vec<String> = names
            .iter()
            .map(|name| record.gradient_norms.get(*name).map_or_else(String::new, f64::to_string))
            .collect();
        text.push_str(&format!("{},{}\n", record.step, norms.join(",")));
    }
    text
}

/// The heat map as SVG: a row a weight, from the images down to the classes, a column a recorded step, shaded by the logarithm.
pub fn draw(records: &[GradientLine], order: &[String], model: &str) -> String {
    let every = records.len().div_ceil(MOST_STEPS).max(1);
    let shown: Vec<&GradientLine> = records.iter().step_by(every).collect();
    let names = names(records, order);
    let values = || shown.iter().flat_map(|r| r.gradient_norms.values().copied()).filter(|v| *v > 0.0 && v.is_finite());
    let (low, high) = values().fold((f64::INFINITY, 0.0f64), |(l, h), v| (l.min(v), h.max(v)));
    let span = (high / low).ln().max(1e-9);
    let cell = |record: &GradientLine, name: &str| {
        let value = *record.gradient_norms.get(name)?;
        let shade = if value > 0.0 { (value / low).ln() / span } else { 0.0 };
        Some(Cell { shade, value })
    };
    let panel = Panel {
        title: "L2 norm".into(),
        rows: names.iter().map(|name| name.trim_end_matches(".weight").to_string()).collect(),
        columns: shown.iter().map(|record| record.step.to_string()).collect(),
        cells: names.iter().map(|name| shown.iter().map(|record| cell(record, name)).collect()).collect(),
    };
    let title = format!("{model}: gradient norm of each layer's weights");
    let note = format!("logarithmic shades from {low:.2e} to {high:.2e}");
    Heat { title: &title, note: &note, across: "step", down: "from the images to the classes", panels: &[panel] }.draw()
}

/// A line on the first and one on the last recorded step.
pub fn terminal(records: &[GradientLine]) -> Vec<String> {
    let line = |record: &GradientLine| {
        let norms = || record.gradient_norms.values().copied();
        let (low, high) = norms().fold((f64::INFINITY, 0.0f64), |(l, h), v| (l.min(v), h.max(v)));
        format!("step {}: gradient norms of {} layers from {low:.2e} to {high:.2e}", record.step, norms().count())
    };
    let last = records.len().saturating_sub(1);
    records.iter().enumerate().filter(|(i, _)| *i == 0 || *i == last).map(|(_, record)| line(record)).collect()
}
