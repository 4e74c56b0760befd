//! What lies over the rest: keys, introduction, checks, what follows from a change, a mistake, matches of a search.

use super::super::keys;
use super::super::numbers::{brief, eight, exact};
use super::super::state::{App, Checks, Panel, PromptKind};
use super::text::{clean, fit, lines, marked, wrap};
use super::theme::Theme;
use crate::step::record::{Broken, Check};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, BorderType, Clear, Widget};
use std::cell::Cell;

/// Draws the panel that is open, or the matches of a search that is typed.
pub fn draw(app: &App, theme: Theme, buffer: &mut Buffer, area: Rect) {
    let inner = (area.width as usize).saturating_sub(6).min(88);
    if let Some(prompt) = &app.prompt {
        match prompt.kind {
            PromptKind::Search => matches(app, theme, buffer, area),
            PromptKind::Break => {
                let text = breaks(app, theme, inner);
                boxed(theme, buffer, area, "breakpoints", &text, &Cell::new(0));
            }
            _ => {}
        }
        return;
    }
    let (title, text) = match &app.panel {
        None => return,
        Some(Panel::Keys) => ("keys".to_string(), keys_text(theme, inner)),
        Some(Panel::Intro) => intro(app, theme, inner),
        Some(Panel::Checks(checks)) => check_text(app, checks, theme, inner),
        Some(Panel::WhatIf) => what_if(app, theme, inner),
        Some(Panel::Broken(op, broken)) => broken_text(app, *op, broken, theme, inner),
    };
    boxed(theme, buffer, area, &title, &text, &app.scroll);
}

/// A box in the middle that is as high as its text, as far as there is room.
fn boxed(theme: Theme, buffer: &mut Buffer, area: Rect, title: &str, text: &[Line], scroll: &Cell<usize>) {
    let longest = text.iter().map(Line::width).max().unwrap_or(0).max(title.chars().count() + 4) as u16;
    let width = (longest + 4).min(area.width);
    let height = (text.len() as u16).saturating_add(2).min(area.height);
    let place = Rect { x: area.x + (area.width - width) / 2, y: area.y + (area.height - height) / 2, width, height };
    Clear.render(place, buffer);
    let room = height.saturating_sub(2) as usize;
    let hidden = text.len().saturating_sub(room);
    scroll.set(scroll.get().min(hidden));
    let scroll = scroll.get();
    let more = match (scroll, hidden - scroll) {
        (0, 0) => " Esc closes ".to_string(),
        (_, 0) => " ↑ more · Esc closes ".into(),
        (0, _) => " ↓ more · Esc closes ".into(),
        _ => " ↑↓ more · Esc closes ".into(),
    };
    let title = format!(" {} ", fit(title, (width as usize).saturating_sub(6)));
    Block::bordered()
        .border_type(BorderType::Rounded)
        .border_style(theme.dim())
        .title(Line::styled(title, theme.strong()))
        .title_bottom(Line::styled(more, theme.dim()).right_aligned())
        .render(place, buffer);
    let inside = Rect { x: place.x + 2, y: place.y + 1, width: width.saturating_sub(4), height: room as u16 };
    lines(buffer, inside, &text[scroll..]);
}

fn keys_text(theme: Theme, width: usize) -> Vec<Line<'static>> {
    let entry = |(names, does): &(&'static str, &'static str), room: usize| {
        vec![
            Span::styled(format!("{names:<10}"), theme.notice()),
            Span::raw(format!("{:<room$}", fit(does, room), room = room)),
        ]
    };
    let mut all = vec![];
    for (heading, keys) in keys::TABLE {
        all.push(Line::styled(*heading, theme.strong()));
        if width >= 70 {
            let half = width / 2;
            let rows = keys.len().div_ceil(2);
            for i in 0..rows {
                let mut spans = entry(&keys[i], half - 11);
                spans.push(Span::raw(" "));
                spans.extend(keys.get(i + rows).map(|key| entry(key, width - half - 11)).unwrap_or_default());
                all.push(Line::from(spans));
            }
        } else {
            all.extend(keys.iter().map(|key| Line::from(entry(key, width.saturating_sub(10)))));
        }
    }
    all
}

fn intro(app: &App, theme: Theme, width: usize) -> (String, Vec<Line<'static>>) {
    let about = &app.about;
    let mut all = vec![];
    if let Some(lesson) = &about.lesson {
        for paragraph in lesson.intro.split("\n\n") {
            all.extend(wrap(paragraph, width, 0).iter().map(|line| marked(line, theme.strong())));
            all.push(Line::default());
        }
        all.push(Line::styled("→ goes on step by step; steps marked with ¶ have notes", theme.dim()));
        return (lesson.title.into(), all);
    }
    let it = &app.recording;
    all.extend(wrap(&about.note, width, 0).into_iter().map(Line::raw));
    let counts = format!("{} ops, {} tensors, {} of them fused in training", it.ops.len(), it.tensors.len(), {
        it.ops.iter().filter(|op| op.fused.is_some()).count()
    });
    all.extend([Line::raw(counts), Line::default()]);
    let class = |id: usize| about.classes.get(id).map_or_else(|| id.to_string(), |name| clean(name));
    for (i, example) in about.examples.iter().enumerate() {
        let mixed = example.mixed_label.map_or_else(String::new, |label| format!(", mixed with {}", class(label)));
        let said = example.predicted.map_or_else(|| "no number".into(), class);
        let text = format!(
            "image {i}: number {} of its set, {}{mixed}; the network says {said}",
            example.index,
            class(example.label)
        );
        all.push(Line::raw(text));
    }
    (about.title.clone(), all)
}

fn verdict(check: &Check, theme: Theme) -> Span<'static> {
    match check.passed() {
        None => Span::styled("at a kink: there is no derivative to compare with", theme.notice()),
        Some(true) => Span::styled("✓ agrees", theme.good()),
        Some(false) => Span::styled("✗ differs", theme.bad()),
    }
}

fn check_lines(check: Option<&Option<Check>>, theme: Theme) -> Vec<Line<'static>> {
    match check {
        None => vec![Line::styled("  computing …", theme.dim())],
        Some(None) => vec![Line::styled("  no gradient is wanted here", theme.dim())],
        Some(Some(check)) => vec![
            Line::raw(format!("  backward pass, f32        {:>15}", eight(check.analytic))),
            Line::raw(format!("  finite difference, f64    {:>15}   h {:.0e}", eight(check.numeric), check.h)),
            Line::from(vec![
                Span::raw(format!("  relative error {:.1e}, {} ulp   ", check.rel_error, brief(check.ulp, 4))),
                verdict(check, theme),
            ]),
        ],
    }
}

fn check_text(app: &App, checks: &Checks, theme: Theme, width: usize) -> (String, Vec<Line<'static>>) {
    let it = &app.recording;
    let mut all = vec![];
    for (op, check) in &checks.ops {
        let op = &it.ops[*op];
        let text = format!("What {} ({}) adds to the gradient", op.path, op.doc.name);
        all.push(Line::styled(fit(&text, width), theme.strong()));
        all.extend(check_lines(check.as_ref(), theme));
        all.push(Line::default());
    }
    all.push(Line::styled("The whole gradient, through all that follows to the loss", theme.strong()));
    all.extend(check_lines(checks.loss.as_ref(), theme));
    let value = it.tensors[checks.tensor].value.data()[checks.entry];
    (format!("check of {} = {}", app.entry_name(checks.tensor, checks.entry), exact(value)), all)
}

fn what_if(app: &App, theme: Theme, width: usize) -> (String, Vec<Line<'static>>) {
    let Some(it) = &app.altered else { return (String::new(), vec![]) };
    let mut all = vec![
        Line::from(vec![
            Span::raw("loss   "),
            Span::raw(format!("{} becomes ", brief(it.loss_before, 10))),
            Span::styled(brief(it.loss, 10), theme.strong()),
            Span::raw(format!("   ({})", signed(it.loss - it.loss_before))),
        ]),
        match it.predicted {
            Some(predicted) => Line::raw(format!(
                "       {} by the gradient alone ({})",
                brief(predicted, 10),
                signed(predicted - it.loss_before)
            )),
            None => Line::raw("       no gradient reaches the entry"),
        },
        Line::default(),
    ];
    let name = width.saturating_sub(34);
    all.push(Line::styled(
        format!("{:<name$} {:>18} {:>14}", "what follows", "entries that change", "by at most"),
        theme.dim(),
    ));
    for follower in &it.followers {
        let slot = &app.recording.tensors[follower.tensor];
        let count = format!("{} of {}", follower.changed, slot.value.elements());
        let largest = if slot.value.elements() == 1 {
            signed(f64::from(follower.change.data()[0]))
        } else {
            brief(follower.largest, 8)
        };
        all.push(Line::raw(format!("{:<name$} {count:>19} {largest:>13}", fit(&slot.name, name))));
    }
    all.push(Line::styled("W takes the change back; v in a tensor shows what it adds", theme.dim()));
    let title = format!(
        "what if {} were {} and not {}",
        app.entry_name(it.tensor, it.entry),
        brief(it.to, 10),
        brief(it.from, 10)
    );
    (title, all)
}

/// A difference, with its sign.
fn signed(x: f64) -> String {
    if x > 0.0 { format!("+{}", brief(x, 8)) } else { brief(x, 9) }
}

fn broken_text(app: &App, op: usize, broken: &Broken, theme: Theme, width: usize) -> (String, Vec<Line<'static>>) {
    let it = &app.recording;
    let mut all: Vec<Line> = wrap(broken.text, width, 0).into_iter().map(Line::raw).collect();
    all.push(Line::default());
    let entry = app.entry_name(broken.check.tensor, broken.check.entry);
    let text = format!("The wrong gradient of {entry}, checked");
    all.push(Line::styled(fit(&text, width), theme.strong()));
    all.extend(check_lines(Some(&Some(broken.check.clone())), theme));
    (format!("a mistake in {} of {}", it.ops[op].doc.name, it.ops[op].path), all)
}

fn breaks(app: &App, theme: Theme, width: usize) -> Vec<Line<'static>> {
    let mut all: Vec<Line> = app.breaks.iter().map(|it| Line::raw(fit(&format!("● {it}"), width))).collect();
    if all.is_empty() {
        all.push(Line::styled("none yet", theme.dim()));
    }
    all.push(Line::default());
    for (text, does) in [
        ("at layer1.0", "where a layer, block or kind of op begins"),
        ("nan", "the first value that is not finite"),
        ("norm 1.5", "a gradient of a larger norm"),
        ("clear", "takes all away; the same again takes one away"),
    ] {
        all.push(Line::from(vec![
            Span::styled(format!("{text:<12}"), theme.notice()),
            Span::styled(does, theme.dim()),
        ]));
    }
    all
}

fn matches(app: &App, theme: Theme, buffer: &mut Buffer, area: Rect) {
    let found = app.matches();
    let Some(prompt) = &app.prompt else { return };
    let room = (area.height as usize).saturating_sub(4).max(1);
    let width = (area.width as usize).saturating_sub(6).min(70);
    let first = prompt.chosen.saturating_sub(room / 2).min(found.len().saturating_sub(room));
    let mut all: Vec<Line> = found
        .iter()
        .enumerate()
        .skip(first)
        .take(room)
        .map(|(i, it)| {
            let kind = if it.tensor.is_some() { "tensor" } else { "op    " };
            let text = format!("{kind} {:<room$}", fit(&it.text, width - 7), room = width - 7);
            Line::styled(text, if i == prompt.chosen { theme.chosen() } else { ratatui::style::Style::new() })
        })
        .collect();
    if all.is_empty() {
        let text = if prompt.text.trim().is_empty() { "words of a name: conv1, layer2 relu" } else { "nothing" };
        all.push(Line::styled(text, theme.dim()));
    }
    boxed(theme, buffer, area, "find", &all, &Cell::new(0));
}
