//! The list of steps.

use super::super::state::{App, Place};
use super::text::{fit, lines};
use super::theme::Theme;
use crate::step::record::Pass;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

/// Draws the steps of the pass around the one that is shown.
pub fn draw(app: &App, theme: Theme, buffer: &mut Buffer, area: Rect) {
    let place = app.place();
    let steps = app.timeline.steps(place.pass);
    let height = area.height as usize;
    // The step that is shown stands a third down, so that more is seen of what comes.
    let first = place.step.saturating_sub(height / 3).min(steps.saturating_sub(height));
    let digits = steps.to_string().len();
    let all: Vec<Line> = (first..steps.min(first + height))
        .map(|step| line(app, theme, Place { step, ..place }, digits, area.width as usize))
        .collect();
    lines(buffer, area, &all);
}

fn line(app: &App, theme: Theme, place: Place, digits: usize, width: usize) -> Line<'static> {
    let it = &app.recording;
    let op = &it.ops[place.op(it)];
    let here = place == app.place();
    let (mark, mark_style) = if app.has_break(place) {
        ("●", theme.notice())
    } else if app.is_odd(place) {
        ("!", theme.bad())
    } else if touches(app, place) {
        ("•", theme.good())
    } else if app.note_at(place).is_some() {
        ("¶", theme.good())
    } else {
        (" ", theme.dim())
    };
    let number = format!("{:>digits$} ", place.step + 1);
    let room = width.saturating_sub(digits + 3);
    let name = op.doc.name;
    // `layer1.0.relu` says which op it is.
    let said = op.path.rsplit('.').next().is_some_and(|last| last == name);
    let (path, name) = if said {
        (fit(&op.path, room), String::new())
    } else {
        let path = fit(&op.path, room.saturating_sub(name.len().min(room / 2) + 1));
        let left = room.saturating_sub(path.chars().count() + 1);
        (path, fit(name, left))
    };
    let style = if here { theme.chosen() } else { ratatui::style::Style::new() };
    let text = format!("{path} ");
    let used = digits + 3 + text.chars().count() + name.chars().count();
    let name_style = if here { style } else { theme.dim() };
    let gap = " ".repeat(width.saturating_sub(used));
    Line::from(vec![
        Span::styled(if here { "▸" } else { " " }, style),
        Span::styled(mark, if here { style } else { mark_style }),
        Span::styled(number, name_style),
        Span::styled(text, style),
        Span::styled(name, name_style),
        Span::styled(gap, style),
    ])
}

/// Whether the followed entry has to do with a step.
fn touches(app: &App, place: Place) -> bool {
    let Some(trail) = &app.trail else { return false };
    let it = &app.recording;
    let op = &it.ops[place.op(it)];
    match place.pass {
        Pass::Forward => trail.link(op.output).is_some() || op.output == trail.tensor,
        // Steps that add to its own gradient.
        Pass::Backward => it.backward[place.step].contributions.iter().any(|part| part.to == trail.tensor),
    }
}
