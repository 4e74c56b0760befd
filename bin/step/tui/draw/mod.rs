//! The state as characters and colours.

mod heat;
mod lesson;
mod look;
mod op;
mod panels;
mod tape;
mod text;
mod theme;

pub use theme::{Depth, Theme};

use super::keys;
use super::numbers::{brief, exact};
use super::state::{App, Item, Job, PromptKind};
use crate::step::record::Pass;
use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use text::{ends, fit, lines};

/// Less than this shows nothing.
const SMALLEST: (u16, u16) = (40, 10);
/// Lines of a lesson's text, at most.
const LESSON: usize = 8;

/// Draws everything.
pub fn draw(app: &App, theme: Theme, frame: &mut Frame) {
    let area = frame.area();
    let buffer = frame.buffer_mut();
    if area.width < SMALLEST.0 || area.height < SMALLEST.1 {
        let text = format!("too small: pleach needs {}x{}, better 80x24; q quits", SMALLEST.0, SMALLEST.1);
        let wrapped: Vec<Line> = text::wrap(&text, area.width as usize, 0).into_iter().map(Line::raw).collect();
        lines(buffer, area, &wrapped);
        return;
    }
    let row = |y: u16| Rect { x: area.x, y, width: area.width, height: 1 };
    lines(buffer, row(area.top()), &[title(app, theme, area.width)]);
    lines(buffer, row(area.top() + 1), &[timeline(app, theme, area.width)]);
    lines(buffer, row(area.bottom() - 2), &[message(app, theme, area.width as usize)]);
    lines(buffer, row(area.bottom() - 1), &[help(app, theme, area.width as usize)]);
    let body = Rect { y: area.top() + 2, height: area.height - 4, ..area };
    // A panel may cover all but the last two lines.
    let panel = Rect { height: area.height - 2, ..area };
    let body = with_lesson(app, theme, buffer, body);
    if app.look.is_some() {
        let inside = Rect { x: body.x + 1, width: body.width - 2, ..body };
        look::draw(app, theme, buffer, inside);
    } else {
        let list = (body.width * 3 / 8).clamp(14, 40);
        tape::draw(app, theme, buffer, Rect { width: list, ..body });
        for y in body.top()..body.bottom() {
            buffer.set_span(body.x + list, y, &Span::styled("│", theme.dim()), 1);
        }
        let rest = Rect { x: body.x + list + 2, width: body.width - list - 3, ..body };
        op::draw(app, theme, buffer, rest);
    }
    panels::draw(app, theme, buffer, panel);
    if app.prompt.is_some() {
        let typed = message(app, theme, area.width as usize).width() as u16;
        frame.set_cursor_position((typed.min(area.width - 1), area.bottom() - 2));
    }
}

/// Draws what a lesson says below the rest; returns what is left above.
fn with_lesson(app: &App, theme: Theme, buffer: &mut Buffer, body: Rect) -> Rect {
    let said = lesson::text(app, theme, body.width as usize - 2);
    if said.is_empty() {
        return body;
    }
    // The op keeps at least as many lines.
    let height = (said.len().min(LESSON) as u16 + 1).min(body.height / 2);
    let rule = Line::styled("─".repeat(body.width as usize), theme.dim());
    lines(buffer, Rect { y: body.bottom() - height, height: 1, ..body }, &[rule]);
    let inside = Rect { x: body.x + 1, y: body.bottom() - height + 1, width: body.width - 2, height: height - 1 };
    lines(buffer, inside, &said);
    Rect { height: body.height - height, ..body }
}

fn title(app: &App, theme: Theme, width: u16) -> Line<'static> {
    let loss = f64::from(app.recording.tensors[app.recording.loss].value.item());
    let mut right = vec![Span::raw(format!("loss {}", brief(loss, 8)))];
    if let Some(altered) = &app.altered {
        right.push(Span::styled(format!(" → {}", brief(altered.loss, 8)), theme.notice()));
    }
    right.push(Span::raw(" "));
    let used: usize = right.iter().map(Span::width).sum();
    let left = fit(&app.about.title, (width as usize).saturating_sub(used + 3));
    ends(vec![Span::raw(" "), Span::styled(left, theme.strong())], right, width)
}

fn timeline(app: &App, theme: Theme, width: u16) -> Line<'static> {
    let place = app.place();
    let steps = app.timeline.steps(place.pass);
    let (name, forward) = match place.pass {
        Pass::Forward => ("forward", true),
        Pass::Backward => ("backward", false),
    };
    let play = if app.playing { " ▶" } else { "" };
    let text = format!(" {name} {} of {steps}{play} ", place.step + 1);
    let room = (width as usize).saturating_sub(text.chars().count() + 1).max(3);
    // A share of the line for each pass, a bar between.
    let (all, last) = (app.timeline.len().max(1), room - 1);
    let split = (last * app.timeline.forward / all).clamp(1, last.saturating_sub(1).max(1));
    let at = match place.pass {
        Pass::Forward => place.step * split / app.timeline.forward.max(1),
        Pass::Backward => split + 1 + place.step * (last - split) / app.timeline.backward.max(1),
    };
    let line = (0..room).map(|x| match x {
        x if x == at => Span::styled("●", theme.pass(forward)),
        x if x == split => Span::styled("┃", theme.dim()),
        x if x < at => Span::styled("━", theme.pass(x < split)),
        _ => Span::styled("─", theme.dim()),
    });
    Line::from_iter([Span::styled(text, theme.pass(forward))].into_iter().chain(line))
}

fn message(app: &App, theme: Theme, width: usize) -> Line<'static> {
    if let Some(prompt) = &app.prompt {
        let label = match prompt.kind {
            PromptKind::Search => "find: ".into(),
            PromptKind::Step => "go to step (12, f12, b12): ".into(),
            PromptKind::Break => "breakpoint (at LAYER, nan, norm X, clear): ".into(),
            PromptKind::Value { tensor, entry } => {
                let value = app.recording.tensors[tensor].value.data()[entry];
                let name = fit(&app.entry_name(tensor, entry), width / 2);
                format!("another value of {name}, now {}: ", exact(value))
            }
        };
        let mut spans = vec![Span::styled(format!(" {label}"), theme.notice())];
        if !prompt.error.is_empty() {
            spans[0] = Span::styled(format!(" {}: ", prompt.error), theme.bad());
        }
        spans.push(Span::raw(text::clean(&prompt.text)));
        return Line::from(spans);
    }
    if !app.message.is_empty() {
        return Line::styled(format!(" {}", fit(&app.message, width.saturating_sub(2))), theme.notice());
    }
    if let Some((_, job)) = app.waiting.first() {
        let what = match job {
            Job::CheckOp { .. } | Job::CheckLoss { .. } => "checking by finite differences in f64",
            Job::WhatIf { .. } => "computing what follows",
            Job::Follow { .. } => "following the entry through the step in f64",
            Job::Break { .. } => "breaking the gradient",
        };
        return Line::styled(format!(" {what} … Esc stops waiting"), theme.notice());
    }
    Line::from(vec![Span::raw(" "), Span::raw(fit(&status(app), width.saturating_sub(2)))])
}

/// The entry at the cursor.
fn status(app: &App) -> String {
    if app.veil().is_some() {
        return "1, 2, ... answers; 0 shows without; p stops asking".into();
    }
    let item = app.item();
    let (tensor, entry) = (app.tensor_of(item), app.cursor(item));
    let at = |item: Item| app.values(item).and_then(|values| values.data().get(entry).copied()).map(exact);
    let Some(value) = at(Item::Value(tensor)) else { return String::new() };
    let mut text = format!("{} = {value}", app.entry_name(tensor, entry));
    if let Some(grad) = at(Item::Grad(tensor)) {
        text += &format!("   gradient {grad}");
    }
    if let (Item::Part(..), Some(part)) = (item, at(item)) {
        text += &format!("   this part {part}");
    }
    if let Some(after) = at(Item::After(tensor)) {
        text += &format!("   changed {after}");
    }
    if let Some(link) = at(Item::Link(tensor)) {
        text += &format!("   derivative {link}");
    }
    text
}

fn help(app: &App, theme: Theme, width: usize) -> Line<'static> {
    let mut spans = vec![Span::raw(" ")];
    let mut used = 1;
    for (keys, does) in keys::hints(app) {
        let length = keys.chars().count() + does.chars().count() + 3;
        if used + length > width {
            break;
        }
        used += length;
        spans.push(Span::styled(*keys, theme.chosen()));
        spans.push(Span::styled(format!(" {does}  "), Style::new()));
    }
    Line::from(spans)
}
