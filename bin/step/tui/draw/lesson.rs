//! What the lesson says at a step, or asks before it is shown.

use super::super::state::App;
use super::text::{marked, wrap};
use super::theme::Theme;
use ratatui::text::{Line, Span};

/// The lines; none where nothing is said.
pub fn text(app: &App, theme: Theme, width: usize) -> Vec<Line<'static>> {
    let Some(note) = app.note() else { return vec![] };
    let mut all = vec![];
    let paragraph =
        |text: &str| wrap(text, width, 0).into_iter().map(|line| marked(&line, theme.strong())).collect::<Vec<_>>();
    if let Some(question) = app.veil() {
        all.extend(paragraph(&format!("Predict: {}", question.question)));
        for (i, choice) in question.choices.iter().enumerate() {
            let number = Span::styled(format!("  {} ", i + 1), theme.notice());
            all.push(Line::from(vec![number, Span::raw(choice.clone())]));
        }
        all.push(Line::styled("  0 shows without an answer", theme.dim()));
        return all;
    }
    if let (Some(question), Some(given)) = (&note.predict, app.answers.get(&app.time)) {
        let right = &question.choices[question.answer];
        let verdict = match given {
            Some(choice) if *choice == question.answer => Span::styled(format!("✓ right: {right}"), theme.good()),
            Some(choice) => Span::styled(format!("✗ not {}, but: {right}", question.choices[*choice]), theme.notice()),
            None => Span::styled(format!("answer: {right}"), theme.dim()),
        };
        all.push(Line::from(verdict));
    }
    all.extend(paragraph(&note.text));
    all
}
