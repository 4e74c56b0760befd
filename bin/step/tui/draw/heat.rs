//! Heat maps: digits on the colour of their value, and the whole plane as a picture beside them when it is larger than the window.

use super::super::numbers::{brief, odd};
use super::super::state::{Plane, Scale};
use super::text::lines;
use super::theme::{Theme, on_scale};
use engine::Tensor;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};

/// Characters of a number.
const DIGITS: usize = 6;
/// Characters of a cell: a mark and a number.
const CELL: usize = DIGITS + 1;

/// A plane to draw.
pub struct Heat<'a> {
    /// The values.
    pub values: &'a Tensor,
    /// How they are seen.
    pub plane: &'a Plane,
    /// The entry at the cursor, which also says which slice is seen.
    pub cursor: usize,
    /// The magnitude of the strongest colours.
    pub reach: f64,
    /// How colours stand for values.
    pub scale: Scale,
    /// Colours.
    pub theme: Theme,
}

impl Heat<'_> {
    fn at(&self, row: usize, col: usize) -> Option<f64> {
        let entry = self.plane.entry(self.cursor, row, col)?;
        self.values.data().get(entry).copied().map(f64::from)
    }

    /// Draws the plane, or the part around the cursor.
    pub fn draw(&self, buffer: &mut Buffer, area: Rect) {
        let area = area.intersection(buffer.area);
        let (rows, cols) = self.plane.size();
        if area.height < 2 || area.width < 16 || rows * cols == 0 {
            return;
        }
        let labels = rows.saturating_sub(1).to_string().len();
        let fits = rows < area.height as usize && labels + 1 + cols * CELL <= area.width as usize;
        let mut digits = area;
        if !fits {
            let picture = self.picture(area);
            let width = picture.first().map_or(0, Line::width) as u16 + 2;
            if width + 16 <= area.width {
                lines(buffer, Rect { y: area.y + 1, height: area.height - 1, ..area }, &picture);
                digits = Rect { x: area.x + width, width: area.width - width, ..area };
            }
        }
        self.digits(buffer, digits);
    }

    fn digits(&self, buffer: &mut Buffer, area: Rect) {
        let (rows, cols) = self.plane.size();
        let (row, col) = self.plane.cell(self.cursor);
        let labels = rows.saturating_sub(1).to_string().len();
        let window = |at: usize, room: usize, extent: usize| {
            let room = room.clamp(1, extent);
            let first = at.saturating_sub(room / 2).min(extent - room);
            first..first + room
        };
        let seen_rows = window(row, area.height as usize - 1, rows);
        let seen_cols = window(col, (area.width as usize).saturating_sub(labels + 1) / CELL, cols);
        let header = seen_cols.clone().map(|c| {
            let style = if c == col { self.theme.strong() } else { self.theme.dim() };
            Span::styled(format!("{c:>CELL$}"), style)
        });
        let mut all = vec![Line::from_iter([Span::raw(" ".repeat(labels))].into_iter().chain(header))];
        for r in seen_rows {
            let style = if r == row { self.theme.strong() } else { self.theme.dim() };
            let label = Span::styled(format!("{r:>labels$}"), style);
            let cells = seen_cols.clone().map(|c| self.cell(r, c, (r, c) == (row, col)));
            all.push(Line::from_iter([label].into_iter().chain(cells)));
        }
        lines(buffer, area, &all);
    }

    fn cell(&self, row: usize, col: usize, chosen: bool) -> Span<'static> {
        let Some(x) = self.at(row, col) else { return Span::raw(" ".repeat(CELL)) };
        let mark = if chosen { '▸' } else { ' ' };
        let (text, style) = if x.is_finite() {
            (format!("{mark}{:>DIGITS$}", brief(x, DIGITS)), self.theme.cell(on_scale(x, self.reach, self.scale)))
        } else {
            (format!("{mark}{:╱>DIGITS$}", odd(x)), self.theme.odd_cell())
        };
        let emphasis = if chosen { Modifier::BOLD | Modifier::UNDERLINED } else { Modifier::empty() };
        Span::styled(text, style.add_modifier(emphasis))
    }

    /// The whole plane in at most half of the width: a character for two rows, or for a block of cells. Each shows the value of
    /// the largest magnitude in its block.
    fn picture(&self, area: Rect) -> Vec<Line<'static>> {
        let (rows, cols) = self.plane.size();
        let (height, width) = (area.height as usize - 1, (area.width as usize / 2).max(8));
        let colours = self.theme.value(0.0).is_some();
        let halves = if colours { 2 } else { 1 };
        let block = rows.div_ceil(height * halves).max(cols.div_ceil(width)).max(1);
        let (down, across) = (rows.div_ceil(block), cols.div_ceil(block));
        let cursor = self.plane.cell(self.cursor);
        let cursor = (cursor.0 / block, cursor.1 / block);
        let line = |y: usize| {
            Line::from_iter((0..across).map(|x| {
                let values = (0..halves).map(|half| self.strongest(y * halves + half, x, block));
                let here = cursor.1 == x && cursor.0 / halves == y;
                self.pixel(values.collect(), here, cursor.0 % halves)
            }))
        };
        (0..down.div_ceil(halves)).map(line).collect()
    }

    /// The value of the largest magnitude in a block; NaN if there is one.
    fn strongest(&self, row: usize, col: usize, block: usize) -> Option<f64> {
        let cells = (0..block).flat_map(|r| (0..block).map(move |c| (row * block + r, col * block + c)));
        let key = |x: &f64| if x.is_nan() { f64::INFINITY } else { x.abs() };
        cells.filter_map(|(r, c)| self.at(r, c)).max_by(|a, b| key(a).total_cmp(&key(b)))
    }

    fn pixel(&self, values: Vec<Option<f64>>, here: bool, half: usize) -> Span<'static> {
        let on = |x: f64| on_scale(x, self.reach, self.scale);
        if values.iter().flatten().any(|x| !x.is_finite()) {
            return Span::styled(if here { "▸" } else { "╱" }, self.theme.odd_cell());
        }
        let colour = |value: Option<f64>| value.and_then(|x| self.theme.value(on(x)));
        if let [top, bottom] = values[..] {
            let style = match (colour(top), colour(bottom)) {
                (Some(top), Some(bottom)) => Style::new().fg(top).bg(bottom),
                (Some(top), None) => Style::new().fg(top),
                _ => Style::new(),
            };
            if here {
                // The cursor keeps the half it is in, and takes the other.
                let mark = values[half].map_or(0.0, on);
                return Span::styled("+", self.theme.cell(mark).add_modifier(Modifier::BOLD));
            }
            return Span::styled(if top.is_none() { " " } else { "▀" }, style);
        }
        // Without colours: the sign, and how strong.
        let t = values[0].map_or(0.0, on);
        let text = match t {
            t if t > 0.5 => "#",
            t if t > 0.05 => "+",
            t if t < -0.5 => "=",
            t if t < -0.05 => "-",
            _ => "·",
        };
        Span::styled(text, if here { self.theme.chosen() } else { Style::new() })
    }
}
