//! The figures of a comparison, and the page that has everything.

use super::plan::Plan;
use super::results::{self, Row};
use super::table;
use crate::plot::{Point, Scatter, escape};
use std::fmt::Write as _;

/// A figure: its file's name, and its text.
pub type Figure = (&'static str, String);

/// What a figure has across.
type Cost = fn(&Row) -> Option<f64>;
/// File, name of the axis, value, and whether a row is on that front.
type Kind = (&'static str, &'static str, Cost, fn(&Row) -> bool);

/// Error against parameters, multiply-adds and the time of a step.
pub fn figures(rows: &[Row], title: &str) -> Vec<Figure> {
    let kinds: [Kind; 3] = [
        ("error-params.svg", "parameters", |row| Some(row.params? as f64), |row| row.front_params),
        ("error-macs.svg", "multiply-adds of an image", |row| Some(row.macs? as f64), |row| row.front_macs),
        ("error-step-time.svg", "time of a training step, ms (median)", |row| row.step_ms, |row| row.front_step_time),
    ];
    kinds
        .into_iter()
        .map(|(file, across, cost, front)| {
            let point = |row: &Row| {
                let (x, y) = (cost(row)?, row.error?);
                Some(Point { label: row.model.clone(), x, y, spread: row.error_spread, front: front(row) })
            };
            let points: Vec<Point> = rows.iter().filter_map(point).collect();
            let across = format!("{across} (logarithmic)");
            (file, Scatter { title, across: &across, up: "test error, %", points: &points }.draw())
        })
        .collect()
}

/// What the page says beside table and figures.
pub struct Facts<'a> {
    /// Above all.
    pub title: &'a str,
    /// Pairs of a name and what it is.
    pub facts: Vec<(&'a str, String)>,
    /// The recipe, as TOML.
    pub recipe: &'a str,
}

const STYLE: &str = "\
:root { color-scheme: light dark; --page: #fff; --ink: #1f2328; --soft: #59636e; --line: #d8dde3; --head: #f3f5f7; --mark: #0072b2; }
@media (prefers-color-scheme: dark) { :root { --page: #0d1117; --ink: #e6edf3; --soft: #9198a1; --line: #30363d; --head: #161b22; --mark: #56b4e9; } }
body { background: var(--page); color: var(--ink); font: 16px/1.5 system-ui, -apple-system, 'Segoe UI', sans-serif; margin: 0 auto; max-width: 1180px; padding: 1.5rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; } caption { text-align: left; color: var(--soft); padding-bottom: .5rem; }
th, td { border-bottom: 1px solid var(--line); padding: .35rem .7rem; text-align: right; white-space: nowrap; }
thead th { background: var(--head); } th[scope=row], th:first-child { text-align: left; } .front { color: var(--mark); font-weight: 600; }
.wide { overflow-x: auto; } .wide:focus-visible { outline: 2px solid var(--mark); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1rem; } dt { color: var(--soft); } dd { margin: 0; }
pre { background: var(--head); border: 1px solid var(--line); border-radius: 6px; overflow-x: auto; padding: .8rem; }
figure { margin: 1.2rem 0; } figure svg { height: auto; max-width: 100%; border: 1px solid var(--line); border-radius: 8px; }
figcaption, .note { color: var(--soft); max-width: 75ch; }";

/// One page that opens from disk and asks for nothing.
pub fn page(facts: &Facts, plan: &Plan, rows: &[Row], figures: &[Figure]) -> String {
    let title = escape(facts.title);
    let mut html = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{title}</title>\n<style>\n{STYLE}\n</style>\n\
         </head>\n<body>\n<main>\n<h1>{title}</h1>\n<dl>\n"
    );
    // Writing into a String cannot fail.
    for (name, text) in &facts.facts {
        let _ = writeln!(html, "<dt>{}</dt><dd>{}</dd>", escape(name), escape(text));
    }
    html.push_str("</dl>\n<h2>Results</h2>\n");
    write_table(&mut html, rows, plan.seeds.len());
    let _ = writeln!(
        html,
        "<p class=\"note\">Test error is that after the last epoch; ± is the sample standard deviation over the seeds. Published errors \
         are those of the papers, on CIFAR-10, with their much longer recipes. {} Peak memory is that of all tensors.</p>",
        results::timed(rows)
    );
    let captions = [
        "Error against parameters: the param-performance curve.",
        "Error against multiply-adds of one forward pass of one image.",
        "Error against the median time of a training step.",
    ];
    html.push_str("<h2>Figures</h2>\n");
    for ((_, svg), caption) in figures.iter().zip(captions) {
        let _ = writeln!(html, "<figure>\n{svg}<figcaption>{caption}</figcaption>\n</figure>");
    }
    html.push_str("<h2>Command</h2>\n");
    let commands: Vec<String> = plan.commands.iter().map(|command| escape(command)).collect();
    let _ = writeln!(html, "<pre><code>{}</code></pre>", commands.join("\n"));
    let recipe: Vec<String> = facts.recipe.lines().map(escape).collect();
    let _ = writeln!(
        html,
        "<details>\n<summary>The whole recipe</summary>\n<pre><code>{}</code></pre>\n</details>",
        recipe.join("\n")
    );
    html.push_str("</main>\n</body>\n</html>\n");
    html
}

fn write_table(html: &mut String, rows: &[Row], seeds: usize) {
    let heads = [
        "Network",
        "Parameters",
        "Multiply-adds (M)",
        "Images/s",
        "Step (ms)",
        "Peak memory (MiB)",
        "Test error (%)",
        "Train error (%)",
        "Published (%)",
        "Pareto front of",
    ];
    let _ = write!(
        html,
        "<div class=\"wide\" tabindex=\"0\" role=\"region\" aria-label=\"Results\">\n<table>\n<caption>Each network over {seeds} seed{}</caption>\n\
         <thead><tr>",
        if seeds == 1 { "" } else { "s" }
    );
    for head in heads {
        let _ = write!(html, "<th scope=\"col\">{head}</th>");
    }
    html.push_str("</tr></thead>\n<tbody>\n");
    for row in rows {
        let on = [(row.front_params, "parameters"), (row.front_macs, "multiply-adds"), (row.front_step_time, "time")];
        let fronts: Vec<&str> = on.into_iter().filter(|(on, _)| *on).map(|(_, name)| name).collect();
        let runs = if row.runs < seeds { format!(" ({} of {seeds} runs)", row.runs) } else { String::new() };
        let cells = [
            table::or_dash(row.params, |n| n.to_string()),
            table::or_dash(row.macs, |n| format!("{:.1}", n as f64 / 1e6)),
            table::or_dash(row.images_per_s, |v| format!("{v:.1}")),
            table::or_dash(row.step_ms, |v| format!("{v:.1}")),
            table::or_dash(row.peak_bytes, |n| format!("{:.1}", n as f64 / f64::from(1 << 20))),
            table::error(row) + &runs,
            table::or_dash(row.train_error, |v| format!("{v:.2}")),
            table::or_dash(row.published_error, |v| format!("{v:.2}")),
        ];
        let _ = write!(html, "<tr><th scope=\"row\">{}</th>", escape(&row.model));
        for cell in cells {
            let _ = write!(html, "<td>{cell}</td>");
        }
        let _ = writeln!(html, "<td class=\"front\">{}</td></tr>", fronts.join(", "));
    }
    html.push_str("</tbody>\n</table>\n</div>\n");
}
