//! The page of `pleach step --html`: one file that holds its style, its script and a trace, and loads nothing.
//!
//! A content-security policy lets exactly this style and this script run, by their hashes; whatever a name in the trace contains, it
//! stays text.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

const SHELL: &str = include_str!("page/page.html");
const STYLE: &str = include_str!("page/style.css");

/// In the order in which they run; they share one scope.
const SCRIPTS: [&str; 16] = [
    include_str!("page/data.js"),
    include_str!("page/dom.js"),
    include_str!("page/view.js"),
    include_str!("page/heat.js"),
    include_str!("page/explain.js"),
    include_str!("page/readout.js"),
    include_str!("page/inspector.js"),
    include_str!("page/panel.js"),
    include_str!("page/checks.js"),
    include_str!("page/predict.js"),
    include_str!("page/diagram.js"),
    include_str!("page/numpy.js"),
    include_str!("page/graph.js"),
    include_str!("page/link.js"),
    include_str!("page/keys.js"),
    include_str!("page/main.js"),
];

/// Of the page itself; nothing else is inlined.
const LICENCE: &str =
    "/* The page of pleach, copyright its authors, MIT OR Apache-2.0 at your option: spdx.org/licenses */\n";

/// A whole page for a trace, given as JSON.
pub fn page(title: &str, trace: &str) -> String {
    let script = script();
    let style = style();
    let policy = format!(
        "default-src 'none'; script-src {}; style-src {}; img-src data:; base-uri 'none'; form-action 'none'",
        source(&script),
        source(&style)
    );
    let title = title.replace('&', "&amp;").replace('<', "&lt;");
    let trace = inert(trace);
    let parts = [("%CSP%", policy), ("%TITLE%", title), ("%STYLE%", style), ("%TRACE%", trace), ("%SCRIPT%", script)];
    // Left to right, so that a mark inside what was put in is never taken for one of the shell's.
    let shell: String = SHELL.lines().map(|line| line.trim_start().to_string() + "\n").collect();
    let mut rest = shell.as_str();
    let mut out = String::with_capacity(parts.iter().map(|(_, text)| text.len()).sum::<usize>() + SHELL.len());
    for (mark, text) in parts {
        let (before, after) = rest.split_once(mark).expect("the shell has its marks, in this order");
        out += before;
        out += &text;
        rest = after;
    }
    out + rest
}

/// JSON that cannot end its script element: `<` occurs in strings only, where its escape means the same.
fn inert(json: &str) -> String {
    json.replace('<', "\\u003c").replace('\u{2028}', "\\u2028").replace('\u{2029}', "\\u2029")
}

/// A hash as the policy names it.
fn source(text: &str) -> String {
    format!("'sha256-{}'", STANDARD.encode(Sha256::digest(text)))
}

/// The script without comments and needless spaces: a quarter of a page without large tensors.
fn script() -> String {
    let mut out = format!("{LICENCE}(() => {{\n'use strict';\n");
    for text in SCRIPTS {
        let mut in_comment = false;
        for line in text.lines().map(str::trim) {
            if in_comment || line.starts_with("/**") {
                in_comment = !line.ends_with("*/");
            } else if !line.is_empty() && !line.starts_with("//") {
                out += &squeeze(line);
                // Elsewhere the end of a line may end a statement.
                if !line.ends_with(['{', '(', '[', ',', ';']) {
                    out.push('\n');
                }
            }
        }
    }
    out + "})();"
}

/// What a line of script is made of.
#[derive(Clone, Copy, PartialEq)]
enum Inside {
    /// Code, this many braces deep.
    Code(usize),
    /// A string that ends at this quote.
    Quotes(char),
    /// A template, with code between its `${` and `}`.
    Template,
}

/// A line of script without the spaces around punctuation. Strings and templates stay as they are, and so do lines with regular
/// expressions and the space that parts `+ +` or `- -`.
fn squeeze(line: &str) -> String {
    if ["(/", "= /", ", /"].iter().any(|start| line.contains(start)) {
        return line.into();
    }
    let tight = |c: char| "{}()[],;:?=*/<>&|+-".contains(c);
    let mut out = String::with_capacity(line.len());
    let mut stack = vec![Inside::Code(0)];
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        let nested = stack.len() > 1;
        let top = stack.last_mut().expect("the line's own code is never left");
        match (*top, c) {
            (Inside::Quotes(_) | Inside::Template, '\\') => {
                out.push(c);
                out.extend(chars.next());
                continue;
            }
            (Inside::Quotes(end), _) if c == end => drop(stack.pop()),
            (Inside::Template, '`') => drop(stack.pop()),
            (Inside::Template, '$') if chars.peek() == Some(&'{') => {
                out.push(c);
                out.extend(chars.next());
                stack.push(Inside::Code(0));
                continue;
            }
            (Inside::Code(_), '\'' | '"') => stack.push(Inside::Quotes(c)),
            (Inside::Code(_), '`') => stack.push(Inside::Template),
            (Inside::Code(depth), '{') => *top = Inside::Code(depth + 1),
            (Inside::Code(0), '}') if nested => drop(stack.pop()),
            (Inside::Code(depth), '}') => *top = Inside::Code(depth.saturating_sub(1)),
            (Inside::Code(_), ' ') => {
                let (before, after) = (out.chars().last().unwrap_or(' '), *chars.peek().unwrap_or(&' '));
                let signs = "+-".contains(before) && "+-".contains(after);
                if !signs && (tight(before) || tight(after)) {
                    continue;
                }
            }
            _ => {}
        }
        out.push(c);
    }
    out
}

/// The style sheet without line breaks and the spaces that separate nothing.
fn style() -> String {
    let lines = STYLE.lines().map(str::trim).collect::<Vec<_>>().join(" ");
    [(": ", ":"), ("; ", ";"), (" {", "{"), ("{ ", "{"), (" }", "}"), ("} ", "}"), (", ", ","), (";}", "}")]
        .iter()
        .fold(lines, |text, (from, to)| text.replace(from, to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_without_a_trace_is_small() {
        let size = page("", "{}").len();
        assert!(size < 120 * 1024, "{size} bytes");
    }

    #[test]
    fn names_cannot_leave_the_trace() {
        let page = page("</title><script>x", r#"{"name":"</script><script>%SCRIPT%<!--\u2028"}"#);
        assert_eq!(page.matches("<script").count(), 2);
        assert_eq!(page.matches("</title>").count(), 1);
        assert!(page.contains(r#""\u003c/script>\u003cscript>%SCRIPT%\u003c!--"#));
    }

    #[test]
    fn spaces_go_and_strings_stay() {
        assert_eq!(
            squeeze("const f = (a, b) => ({ x: a * b, y: 'p, q = r' });"),
            "const f=(a,b)=>({x:a*b,y:'p, q = r'});"
        );
        assert_eq!(squeeze("a - -b + +c"), "a- -b+ +c");
        assert_eq!(
            squeeze("f(`a = ${b + c.map(d => `${d} , `)} = ${{ e }} `, g)"),
            "f(`a = ${b+c.map(d=>`${d} , `)} = ${{e}} `,g)"
        );
        assert_eq!(squeeze("x.replace(/a , b/, y)"), "x.replace(/a , b/, y)");
    }
}
