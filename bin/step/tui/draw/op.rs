//! The op of the step: its formulas, and the tensors it reads and makes, or the gradients it takes and adds to.

use super::super::numbers::{brief, extents};
use super::super::state::{App, Item, Row, input_names};
use super::text::{clean, fit, lines, wrap};
use super::theme::Theme;
use crate::step::record::Pass;
use engine::formula;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

/// Characters of a norm.
const NORM: usize = 9;

/// Draws the op of the step that is shown.
pub fn draw(app: &App, theme: Theme, buffer: &mut Buffer, area: Rect) {
    let width = area.width as usize;
    let mut all = heading(app, theme, width);
    all.push(Line::default());
    let table = all.len();
    all.extend(rows(app, theme, width));
    // The chosen row stays in sight, whatever is scrolled.
    let height = area.height as usize;
    let chosen = table + 1 + app.chosen;
    let most = all.len().saturating_sub(height);
    let needed = (chosen + 1).saturating_sub(height);
    app.scroll.set(app.scroll.get().min(most - needed.min(most)));
    let scroll = (needed + app.scroll.get()).min(most);
    if scroll > 0 || all.len() > height {
        let below = all.len().saturating_sub(scroll + height);
        all = all.split_off(scroll);
        all.truncate(height);
        if below > 0 && height > 2 {
            all.truncate(height - 1);
            all.push(Line::styled(format!("  … {} more: PgDn", below + 1), theme.dim()));
        }
    }
    lines(buffer, area, &all);
}

fn heading(app: &App, theme: Theme, width: usize) -> Vec<Line<'static>> {
    let it = &*app.recording;
    let op = &it.ops[app.op()];
    let forward = app.place().pass == Pass::Forward;
    let mut all = vec![Line::from(vec![
        Span::styled(fit(&op.path, width.saturating_sub(op.doc.name.len() + 2)), theme.strong()),
        Span::raw("  "),
        Span::styled(op.doc.name, theme.pass(forward)),
    ])];
    if let Some(fused) = op.fused.map(|fused| &it.fused[fused]).filter(|fused| fused.ops.len() > 1) {
        let text = format!("part of the fused {} of {}", fused.op, fused.path);
        all.push(Line::styled(fit(&text, width), theme.dim()));
    }
    let names = input_names(it, app.op());
    let sized = |name: &str, id: usize| format!("{name} {}", extents(&it.tensors[id].value.shape()));
    let inputs: Vec<String> = names.iter().zip(&op.inputs).map(|(name, &id)| sized(name, id)).collect();
    let settings: Vec<String> = op.op.attributes().into_iter().map(|(name, value)| format!("{name} {value}")).collect();
    let call = format!("{} = {}({})", sized("y", op.output), op.doc.name, inputs.join(", "));
    let mut paragraph = |text: &str, style: Style, most: usize| {
        let mut wrapped = wrap(text, width, 2);
        if wrapped.len() > most {
            wrapped.truncate(most);
            let last = wrapped.pop().unwrap_or_default();
            wrapped.push(fit(&format!("{last} …"), width));
        }
        all.extend(wrapped.into_iter().map(|line| Line::styled(line, style)));
    };
    let (used, other) = (Style::new(), theme.dim());
    paragraph(&call, other, 2);
    if !settings.is_empty() {
        paragraph(&settings.join(", "), other, 2);
    }
    paragraph(&formula::text(op.doc.formula), if forward { used } else { other }, 4);
    for statement in formula::statements(op.doc.gradient) {
        paragraph(&formula::text(statement), if forward { other } else { used }, 4);
    }
    all
}

fn rows(app: &App, theme: Theme, width: usize) -> Vec<Line<'static>> {
    let rows = app.rows();
    let label = rows.iter().map(|row| row.label.chars().count()).max().unwrap_or(0).max(4);
    let head = match app.place().pass {
        Pass::Forward => "tensor",
        Pass::Backward => "gradient of the loss",
    };
    let name = width.saturating_sub(3 + NORM);
    let mut all = vec![Line::styled(format!("  {head:<name$} {:>NORM$}", "norm"), theme.dim())];
    for (i, row) in rows.iter().enumerate() {
        all.push(line(app, theme, row, i == app.chosen, label, width));
    }
    all
}

fn line(app: &App, theme: Theme, row: &Row, chosen: bool, label: usize, width: usize) -> Line<'static> {
    let veiled = app.veil().is_some();
    let shape = match row.item {
        Item::Value(id) | Item::Grad(id) => extents(&app.recording.tensors[id].value.shape()),
        _ => String::new(),
    };
    let (number, odd) = match (app.values(row.item), app.norm(row.item)) {
        (Some(values), _) if values.elements() == 1 => {
            let x = f64::from(values.data()[0]);
            (format!("= {}", brief(x, NORM - 2)), !x.is_finite())
        }
        (Some(_), Some((norm, finite))) => (brief(norm, NORM - 2), !finite),
        _ => ("none".into(), false),
    };
    let number = if veiled { "?".into() } else { number };
    let indent = if row.indented { "  " } else { "" };
    let left = format!("{indent}{:<label$} ", row.label);
    let room = width.saturating_sub(2 + left.chars().count() + NORM + 1);
    let name_room = room.saturating_sub(shape.chars().count() + 1);
    let name = fit(&row.name, if shape.is_empty() { room } else { name_room });
    let gap = room.saturating_sub(name.chars().count() + shape.chars().count());
    let style = if chosen { theme.chosen() } else { Style::new() };
    let quiet = if chosen { style } else { theme.dim() };
    let number_style = if odd && !veiled && !chosen { theme.bad() } else { style };
    Line::from(vec![
        Span::styled(if chosen { "▸ " } else { "  " }, style),
        Span::styled(left, if row.indented { quiet } else { style }),
        Span::styled(clean(&name), if row.indented { quiet } else { style }),
        Span::styled(" ".repeat(gap), style),
        Span::styled(shape, quiet),
        Span::styled(format!(" {number:>NORM$}"), number_style),
    ])
}
