//! The table of a comparison: for the terminal, and as CSV.

use super::results::Row;

/// What the columns of the CSV file are called.
const COLUMNS: &str = "model,params,macs,images_per_s,step_ms,timed_alone,peak_bytes,runs,error,error_spread,train_error,published_error,\
                       front_params,front_macs,front_step_time";

/// The error of a row with its spread, as people write it.
pub fn error(row: &Row) -> String {
    match (row.error, row.error_spread) {
        (Some(error), Some(spread)) => format!("{error:.2} ± {spread:.2}"),
        (Some(error), None) => format!("{error:.2}"),
        _ => "-".into(),
    }
}

/// Which fronts a row is on: of parameters, multiply-adds and time.
pub fn fronts(row: &Row) -> String {
    let marks = [(row.front_params, 'P'), (row.front_macs, 'M'), (row.front_step_time, 'T')];
    marks.into_iter().filter(|(on, _)| *on).map(|(_, mark)| mark).collect()
}

/// A value, or a dash.
pub fn or_dash<T>(value: Option<T>, show: impl FnOnce(T) -> String) -> String {
    value.map_or_else(|| "-".into(), show)
}

/// Lines for the terminal.
pub fn lines(rows: &[Row]) -> Vec<String> {
    let width = rows.iter().map(|row| row.model.chars().count()).max().unwrap_or(0).max(5);
    let mut lines = vec![format!(
        "{:<width$} {:>11} {:>8} {:>9} {:>9} {:>9} {:>14} {:>7} {:>9}  front",
        "model", "parameters", "MMAC", "images/s", "step ms", "peak MiB", "test error %", "train %", "published"
    )];
    for row in rows {
        lines.push(format!(
            "{:<width$} {:>11} {:>8} {:>9} {:>9} {:>9} {:>14} {:>7} {:>9}  {}",
            row.model,
            or_dash(row.params, |n| n.to_string()),
            or_dash(row.macs, |n| format!("{:.1}", n as f64 / 1e6)),
            or_dash(row.images_per_s, |v| format!("{v:.1}")),
            or_dash(row.step_ms, |v| format!("{v:.1}")),
            or_dash(row.peak_bytes, |n| format!("{:.1}", n as f64 / f64::from(1 << 20))),
            error(row),
            or_dash(row.train_error, |v| format!("{v:.2}")),
            or_dash(row.published_error, |v| format!("{v:.2}")),
            fronts(row),
        ));
    }
    lines
}

/// The CSV file: full precision, empty where there is nothing.
pub fn csv(rows: &[Row]) -> String {
    fn or_nothing<T: ToString>(value: Option<T>) -> String {
        value.map_or_else(String::new, |v| v.to_string())
    }
    let mut text = format!("{COLUMNS}\n");
    for row in rows {
        let cells = [
            quoted(&row.model),
            or_nothing(row.params),
            or_nothing(row.macs),
            or_nothing(row.images_per_s),
            or_nothing(row.step_ms),
            row.timed_alone.to_string(),
            or_nothing(row.peak_bytes),
            row.runs.to_string(),
            or_nothing(row.error),
            or_nothing(row.error_spread),
            or_nothing(row.train_error),
            or_nothing(row.published_error),
            row.front_params.to_string(),
            row.front_macs.to_string(),
            row.front_step_time.to_string(),
        ];
        text.push_str(&cells.join(","));
        text.push('\n');
    }
    text
}

fn quoted(text: &str) -> String {
    if text.contains([',', '"', '\n']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.into() }
}
