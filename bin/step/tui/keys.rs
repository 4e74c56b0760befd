//! Which key asks for what.

use super::state::{Action, App, PromptKind};
use crate::step::record::Pass;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// Keys, and what they do.
type Keys = &'static [(&'static str, &'static str)];

/// All keys, as `?` and `docs/step.md` list them.
pub const TABLE: &[(&str, Keys)] = &[
    (
        "Steps",
        &[
            ("→ ←", "next, previous step"),
            (". ,", "the same, in a tensor too"),
            (") (", "next, previous module"),
            ("Home End", "first, last step of pass"),
            ("< >", "first, last step of all"),
            ("f b", "this op forward, backward"),
            ("Space", "play or pause"),
            ("/", "find an op or a tensor"),
            ("n N", "next, previous match"),
            ("g", "go to a step"),
            ("B", "breakpoints"),
            ("t", "breakpoint here, on or off"),
            ("r R", "run on, back to a break"),
            ("PgDn PgUp", "scroll the formulas"),
        ],
    ),
    (
        "Tensors",
        &[
            ("↑ ↓", "choose a tensor (j k)"),
            ("Enter", "look into it (Esc: back)"),
            ("← ↓ ↑ →", "move the cursor (h j k l)"),
            ("[ ]", "previous, next channel"),
            ("{ }", "previous, next image"),
            ("a", "other rows and columns"),
            ("v", "value, gradient, parts"),
            ("m", "to the largest entry"),
            ("s", "scale of the colours"),
        ],
    ),
    (
        "Questions",
        &[
            ("c", "check by finite difference"),
            ("w W", "what if it differed; undo"),
            ("o", "follow the entry, or stop"),
            ("x", "break it: a wrong gradient"),
            ("1 2 3 4", "answer; 0 shows without"),
            ("p", "questions first, or not"),
            ("i", "introduction"),
            ("?", "these keys"),
            ("q", "quit (Ctrl-C too)"),
        ],
    ),
];

/// What a key asks for; nothing if it means nothing here.
pub fn action(app: &App, key: KeyEvent) -> Option<Action> {
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        return match key.code {
            KeyCode::Char('c') => Some(Action::Interrupt),
            KeyCode::Char('z') => Some(Action::Suspend),
            KeyCode::Char('u') if app.prompt.is_some() => Some(Action::EraseAll),
            KeyCode::Char('h') if app.prompt.is_some() => Some(Action::Erase),
            _ => None,
        };
    }
    if let Some(prompt) = &app.prompt {
        return match key.code {
            KeyCode::Char(c) => Some(Action::Type(c)),
            KeyCode::Backspace if prompt.text.is_empty() => Some(Action::Escape),
            KeyCode::Backspace => Some(Action::Erase),
            KeyCode::Up => Some(Action::Choose(-1)),
            KeyCode::Down => Some(Action::Choose(1)),
            KeyCode::Enter => Some(Action::Enter),
            KeyCode::Esc => Some(Action::Escape),
            _ => None,
        };
    }
    let shift = key.modifiers.contains(KeyModifiers::SHIFT);
    let moves = app.look.is_some() && app.panel.is_none() && !shift;
    Some(match key.code {
        KeyCode::Left if moves => Action::Move(0, -1),
        KeyCode::Right if moves => Action::Move(0, 1),
        KeyCode::Up if moves => Action::Move(-1, 0),
        KeyCode::Down if moves => Action::Move(1, 0),
        KeyCode::Left if shift => Action::Module(-1),
        KeyCode::Right if shift => Action::Module(1),
        KeyCode::Left => Action::Step(-1),
        KeyCode::Right => Action::Step(1),
        KeyCode::Up => Action::Choose(-1),
        KeyCode::Down => Action::Choose(1),
        KeyCode::Home => Action::End(-1),
        KeyCode::End => Action::End(1),
        KeyCode::PageUp => Action::Scroll(-5),
        KeyCode::PageDown => Action::Scroll(5),
        KeyCode::Enter => Action::Enter,
        KeyCode::Esc | KeyCode::Backspace => Action::Escape,
        KeyCode::Char(c) => letter(app, c, moves)?,
        _ => return None,
    })
}

fn letter(app: &App, c: char, moves: bool) -> Option<Action> {
    Some(match c {
        'q' if app.panel.is_some() => Action::Escape,
        'q' => Action::Quit,
        'h' => Action::Move(0, -1),
        'l' => Action::Move(0, 1),
        'j' if moves => Action::Move(1, 0),
        'k' if moves => Action::Move(-1, 0),
        'j' => Action::Choose(1),
        'k' => Action::Choose(-1),
        '.' => Action::Step(1),
        ',' => Action::Step(-1),
        ')' => Action::Module(1),
        '(' => Action::Module(-1),
        '<' => Action::FarEnd(-1),
        '>' => Action::FarEnd(1),
        'f' => Action::Pass(Pass::Forward),
        'b' => Action::Pass(Pass::Backward),
        ' ' => Action::Play,
        '/' => Action::Ask(PromptKind::Search),
        'n' => Action::Again(1),
        'N' => Action::Again(-1),
        'g' => Action::Ask(PromptKind::Step),
        'B' => Action::Ask(PromptKind::Break),
        't' => Action::BreakHere,
        'r' => Action::Run(1),
        'R' => Action::Run(-1),
        '[' => Action::Channel(-1),
        ']' => Action::Channel(1),
        '{' => Action::Image(-1),
        '}' => Action::Image(1),
        'a' => Action::Turn,
        'v' => Action::Sibling,
        'm' => Action::Largest,
        's' => Action::Scale,
        'c' => Action::Check,
        'w' => Action::WhatIf,
        'W' => Action::TakeBack,
        'o' => Action::Follow,
        'x' => Action::BreakIt,
        '0' => Action::Reveal,
        '1'..='9' => Action::Answer(c as usize - '1' as usize),
        'p' => Action::Predict,
        'i' => Action::Intro,
        '?' => Action::Keys,
        _ => return None,
    })
}

/// The keys of the help line, the most useful here first; the last ones are left out where there is no room.
pub fn hints(app: &App) -> Keys {
    match &app.prompt {
        Some(prompt) if prompt.kind == PromptKind::Search => {
            return &[("↑↓", "choose"), ("Enter", "go"), ("Esc", "back")];
        }
        Some(_) => return &[("Enter", "done"), ("Esc", "back")],
        None => {}
    }
    if app.panel.is_some() {
        return &[("Esc", "close"), ("↑↓", "scroll"), ("→←", "step"), ("?", "keys")];
    }
    if app.veil().is_some() {
        return &[
            ("1-4", "answer"),
            ("0", "show"),
            ("→←", "step"),
            ("p", "no questions"),
            ("?", "keys"),
            ("q", "quit"),
        ];
    }
    if app.look.is_some() {
        return &[
            ("?", "keys"),
            ("arrows", "cell"),
            (".,", "step"),
            ("[]", "channel"),
            ("v", "gradient"),
            ("c", "check"),
            ("w", "what if"),
            ("o", "follow"),
            ("Esc", "back"),
        ];
    }
    &[
        ("?", "keys"),
        ("→←", "step"),
        ("fb", "pass"),
        ("↑↓", "tensor"),
        ("Enter", "look"),
        ("c", "check"),
        ("w", "what if"),
        ("/", "find"),
        ("q", "quit"),
        ("r", "run"),
        ("B", "breaks"),
        ("o", "follow"),
    ]
}
