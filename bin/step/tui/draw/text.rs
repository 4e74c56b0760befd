//! Text in limited room.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

/// Text that has control characters from outside taken out.
pub fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '·' } else { c }).collect()
}

/// At most `width` characters; what is too long loses its middle.
pub fn fit(text: &str, width: usize) -> String {
    let chars: Vec<char> = clean(text).chars().collect();
    if chars.len() <= width {
        return chars.into_iter().collect();
    }
    let Some(kept) = width.checked_sub(1) else { return String::new() };
    let tail = kept * 3 / 5;
    chars[..kept - tail].iter().chain(&['…']).chain(&chars[chars.len() - tail..]).collect()
}

/// Lines of at most `width` characters, broken between words. Lines after the first are indented.
pub fn wrap(text: &str, width: usize, indent: usize) -> Vec<String> {
    let width = width.max(indent + 8);
    let mut lines: Vec<String> = vec![];
    let mut line = String::new();
    for word in clean(text).split_whitespace() {
        let mut word: Vec<char> = word.chars().collect();
        loop {
            let used = line.chars().count();
            let gap = usize::from(!line.trim().is_empty());
            if used + gap + word.len() <= width {
                line.extend(std::iter::repeat_n(' ', gap));
                line.extend(&word);
                break;
            }
            if gap == 0 {
                // A word longer than a line.
                line.extend(word.drain(..width - used));
            }
            lines.push(std::mem::replace(&mut line, " ".repeat(indent)));
        }
    }
    if !line.trim().is_empty() {
        lines.push(line);
    }
    lines
}

/// Text with code in backticks, as styled pieces.
pub fn marked(text: &str, code: Style) -> Line<'static> {
    let spans = text.split('`').enumerate().map(|(i, piece)| {
        if i % 2 == 1 { Span::styled(piece.to_string(), code) } else { Span::raw(piece.to_string()) }
    });
    Line::from(spans.collect::<Vec<_>>())
}

/// Writes lines into an area; what does not fit is left out.
pub fn lines(buffer: &mut Buffer, area: Rect, lines: &[Line<'_>]) {
    let area = area.intersection(buffer.area);
    for (line, y) in lines.iter().zip(area.top()..area.bottom()) {
        buffer.set_line(area.x, y, line, area.width);
    }
}

/// A line whose end stands at the right.
pub fn ends<'a>(left: Vec<Span<'a>>, right: Vec<Span<'a>>, width: u16) -> Line<'a> {
    let used: usize = left.iter().chain(&right).map(Span::width).sum();
    let gap = Span::raw(" ".repeat((width as usize).saturating_sub(used)));
    Line::from(left.into_iter().chain([gap]).chain(right).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_fits() {
        assert_eq!(fit("layer1.0.conv1.weight", 12), "layer…weight");
        assert_eq!((fit("abc", 3), fit("abcd", 1), fit("abcd", 0)), ("abc".into(), "…".into(), String::new()));
        assert_eq!(fit("a\u{1b}[2Jb", 9), "a·[2Jb", "no escape sequence passes");
        assert_eq!(wrap("one two three four", 13, 2), ["one two three", "  four"]);
        assert_eq!(wrap("abcdefghijklmno", 10, 2), ["abcdefghij", "  klmno"]);
        assert!(wrap("  ", 10, 0).is_empty());
    }
}
