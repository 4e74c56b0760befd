//! A tensor, looked into.

use super::super::numbers::brief;
use super::super::state::{App, Scale, reach};
use super::heat::Heat;
use super::text::{fit, lines};
use super::theme::Theme;
use crate::step::record::stats::Stats;
use crate::step::trace::index;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

/// Lines above the map.
const HEAD: u16 = 3;

/// Draws what is looked into.
pub fn draw(app: &App, theme: Theme, buffer: &mut Buffer, area: Rect) {
    let item = app.item();
    let Some(values) = app.values(item) else { return };
    let tensor = app.tensor_of(item);
    let (plane, cursor) = (app.plane(tensor), app.cursor(item));
    let stats = Stats::of(values.data());
    let width = area.width as usize;
    let title = app.title(item);
    let siblings = app.siblings(item);
    let which = siblings.iter().position(|&sibling| sibling == item).map_or(0, |i| i + 1);
    let which = format!("  {which} of {}: v", siblings.len());
    let head = vec![
        Line::from(vec![
            Span::styled(fit(&title, width.saturating_sub(which.len())), theme.strong()),
            Span::styled(which, theme.dim()),
        ]),
        Line::from(slices(app, tensor, cursor, theme)),
        Line::styled(summary(&stats, values.elements()), theme.dim()),
    ];
    lines(buffer, area, &head);
    let map = Rect { y: area.y.saturating_add(HEAD), height: area.height.saturating_sub(HEAD), ..area };
    let reach = if app.scale == Scale::Plane { plane_reach(app, cursor) } else { reach(&stats) };
    Heat { values, plane: &plane, cursor, reach, scale: app.scale, theme }.draw(buffer, map);
}

/// Which dimensions are seen, and where the others stand.
fn slices(app: &App, tensor: usize, cursor: usize, theme: Theme) -> Vec<Span<'static>> {
    let slot = &app.recording.tensors[tensor];
    let (shape, plane) = (slot.value.shape(), app.plane(tensor));
    let name = |axis: usize| match slot.axes.get(axis).copied().unwrap_or("") {
        "" => format!("axis {axis}"),
        name => name.into(),
    };
    let mut spans = vec![];
    match plane.seen() {
        None => spans.push(Span::raw(format!("{} values in rows of {}", shape.elements(), plane.size().1))),
        Some((rows, cols)) => {
            spans.push(Span::raw(format!(
                "{} {} down, {} {} across",
                name(rows),
                shape[rows],
                name(cols),
                shape[cols]
            )));
        }
    }
    let (fixed, at) = (plane.fixed(), index(&shape, cursor));
    for (i, &axis) in fixed.iter().enumerate() {
        let keys = match i {
            _ if i + 1 == fixed.len() => "[ ]",
            0 => "{ }",
            _ => "",
        };
        spans.push(Span::raw(format!("   {} {} of {} ", name(axis), at[axis], shape[axis])));
        spans.push(Span::styled(keys, theme.dim()));
    }
    let scale = match app.scale {
        Scale::Linear => "",
        Scale::Plane => "   colours: this plane",
        Scale::Log => "   colours: logarithmic",
    };
    spans.push(Span::styled(scale, theme.dim()));
    spans
}

fn summary(stats: &Stats, elements: usize) -> String {
    let number = |x: f64| if x.is_nan() { "none".into() } else { brief(x, 8) };
    let mut text = format!(
        "{} to {}, mean {}, std {}, norm {}",
        number(stats.min),
        number(stats.max),
        number(stats.mean),
        number(stats.std),
        number(stats.norm)
    );
    for (count, what) in [(stats.zeros, "zero"), (stats.nan, "NaN"), (stats.inf, "infinite")] {
        if count > 0 {
            text += &format!(", {count} of {elements} {what}");
        }
    }
    text
}

/// Largest finite magnitude of the plane.
fn plane_reach(app: &App, cursor: usize) -> f64 {
    let item = app.item();
    let plane = app.plane(app.tensor_of(item));
    let (rows, cols) = plane.size();
    let Some(values) = app.values(item) else { return 0.0 };
    let cells = (0..rows).flat_map(|r| (0..cols).map(move |c| (r, c)));
    let entries = cells.filter_map(|(r, c)| plane.entry(cursor, r, c));
    entries.map(|entry| f64::from(values.data()[entry]).abs()).filter(|x| x.is_finite()).fold(0.0, f64::max)
}
