//! The state by itself, and what is drawn as text files.

use super::draw::{Depth, Theme, draw};
use super::keys;
use super::state::{Action, App, Effect, Item, Panel, PromptKind};
use crate::step::lessons;
use crate::step::record::{Leaf, Pass, Recording, Role};
use crate::step::trace::About;
use engine::Tensor;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::style::Color;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

fn lesson(name: &str) -> App {
    let (recording, about) = lessons::find(name).expect("a lesson").record().expect("it runs");
    let mut app = App::new(Arc::new(recording), about);
    app.panel = None;
    app
}

/// `y = relu(x w + b)` of fixed numbers, read twice, with a map of an image before it.
fn network() -> App {
    let leaf = |name: &str, role, tensor: Tensor| Leaf { name: name.into(), role, tensor: tensor.requires_grad() };
    let wave = |i: usize| ((i * 37 % 23) as f32 - 11.0) / 8.0;
    let leaves = [
        leaf("images", Role::Input, Tensor::from_fn([2, 12, 12, 3], wave)),
        leaf("layer1.conv.weight", Role::Parameter, Tensor::from_fn([3, 3, 3, 4], |i| wave(i + 5) / 4.0)),
        leaf("linear.weight", Role::Parameter, Tensor::from_fn([4, 5], |i| wave(i + 2) / 2.0)),
    ];
    let [x, w, linear] = [0, 1, 2].map(|i| leaves[i].tensor.clone());
    let recording = Recording::of(&leaves, || {
        let h = x.conv2d(&w, None, engine::Conv2d { padding: 1, ..engine::Conv2d::default() }).relu();
        let h = h.add(&h.scale(0.5));
        h.global_avg_pool().matmul(&linear).cross_entropy(&[1, 3], 0.0).into()
    });
    App::new(Arc::new(recording), About { title: "a small network".into(), ..About::default() })
}

/// Does what an action asks for, with everything that is to be computed.
fn act(app: &mut App, action: Action) -> Effect {
    let effect = app.update(action);
    if let Effect::Compute(jobs) = &effect {
        for (ticket, job) in jobs {
            let answer = job.run(&app.recording.clone());
            app.answered(*ticket, answer);
        }
    }
    effect
}

/// The same with keys: characters, and `→ ← ↑ ↓ ⏎ ⎋`.
fn press(app: &mut App, keys: &str) {
    for c in keys.chars() {
        let code = match c {
            '→' => KeyCode::Right,
            '←' => KeyCode::Left,
            '↑' => KeyCode::Up,
            '↓' => KeyCode::Down,
            '⏎' => KeyCode::Enter,
            '⎋' => KeyCode::Esc,
            c => KeyCode::Char(c),
        };
        if let Some(action) = keys::action(app, KeyEvent::new(code, KeyModifiers::NONE)) {
            act(app, action);
        }
    }
}

fn screen(app: &App, width: u16, height: u16, depth: Depth) -> TestBackend {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a screen");
    terminal.draw(|frame| draw(app, Theme { depth }, frame)).expect("it draws");
    terminal.backend().clone()
}

fn text(app: &App, width: u16, height: u16) -> String {
    let screen = screen(app, width, height, Depth::Indexed);
    let cells = screen.buffer().content();
    let rows = cells.chunks(width as usize).map(|row| row.iter().map(|cell| cell.symbol()).collect::<String>());
    rows.map(|row| row.trim_end().to_string() + "\n").collect()
}

/// Compares with a file beside this one; `PLEACH_BLESS=1` writes it.
#[track_caller]
fn snapshot(app: &App, name: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("bin/step/tui/snapshots").join(format!("{name}.txt"));
    let now = text(app, 80, 24);
    if std::env::var_os("PLEACH_BLESS").is_some() {
        fs::write(&path, &now).expect("room");
    }
    let before = fs::read_to_string(&path).unwrap_or_default();
    assert!(now == before, "{name} is drawn differently; look, and PLEACH_BLESS=1 cargo test keeps it:\n{now}");
}

/// Every step of the timeline, as it is gone through.
#[test]
fn steps_go_through_both_passes_and_back_again() {
    let mut app = lesson("chain-rule");
    app.predict = false;
    let mut seen = vec![app.place()];
    for _ in 1..app.timeline.len() {
        act(&mut app, Action::Step(1));
        seen.push(app.place());
    }
    assert_eq!(seen.iter().filter(|place| place.pass == Pass::Forward).count(), app.recording.ops.len());
    assert_eq!(
        seen.last().map(|place| (place.pass, place.step + 1)),
        Some((Pass::Backward, app.recording.backward.len()))
    );
    act(&mut app, Action::Step(1));
    assert!(app.message.contains("last step"));
    for place in seen.iter().rev().skip(1) {
        act(&mut app, Action::Step(-1));
        assert_eq!(app.place(), *place);
    }
    press(&mut app, ">");
    assert_eq!(app.time + 1, app.timeline.len());
    press(&mut app, "<");
    assert_eq!(app.time, 0);
    act(&mut app, Action::End(1));
    assert_eq!(app.time + 1, app.timeline.forward, "the end of this pass");
}

#[test]
fn the_passes_of_an_op_are_one_key_apart() {
    let mut app = network();
    press(&mut app, "→→b");
    let op = app.op();
    assert_eq!((app.place().pass, op), (Pass::Backward, 2));
    press(&mut app, "f");
    assert_eq!((app.place().pass, app.op()), (Pass::Forward, op));
}

#[test]
fn a_search_goes_to_an_op_or_a_tensor() {
    let mut app = network();
    press(&mut app, "/linear weight");
    assert_eq!(app.matches().len(), 1);
    press(&mut app, "⏎");
    assert_eq!(app.recording.ops[app.op()].doc.name, "matmul");
    let chosen = app.tensor_of(app.item());
    assert_eq!(app.recording.tensors[chosen].name, "linear.weight", "the tensor is chosen");
    press(&mut app, "/nowhere⏎");
    assert!(app.prompt.as_ref().is_some_and(|prompt| prompt.error.contains("nowhere")));
    press(&mut app, "⎋g3⏎");
    assert_eq!(app.time, 2);
    press(&mut app, "gb2⏎");
    assert_eq!((app.place().pass, app.place().step), (Pass::Backward, 1));
    press(&mut app, "g99⏎");
    assert!(app.prompt.as_ref().is_some_and(|prompt| prompt.error.contains("no step")));
}

#[test]
fn runs_stop_at_breakpoints_in_both_directions() {
    let mut app = network();
    press(&mut app, "r");
    assert!(app.message.contains("no breakpoint"));
    press(&mut app, "Bat linear⏎r");
    let forward = app.time;
    assert_eq!((app.place().pass, app.recording.ops[app.op()].path.as_str()), (Pass::Forward, "linear"));
    press(&mut app, "r");
    assert_eq!((app.place().pass, app.recording.ops[app.op()].path.as_str()), (Pass::Backward, "linear"));
    press(&mut app, "r");
    assert_eq!(app.time + 1, app.timeline.len(), "none on the way");
    press(&mut app, "RR");
    assert_eq!(app.time, forward);
    press(&mut app, "Bat linaer⏎");
    assert!(app.prompt.as_ref().is_some_and(|prompt| prompt.error.contains("did you mean 'linear'?")));
    press(&mut app, "⎋Bclear⏎");
    assert!(app.breaks.is_empty());

    // In the backward pass alone, at the first step that brings or adds as much.
    press(&mut app, "<Bnorm 0.5⏎r");
    assert_eq!((app.place().pass, app.place().step), (Pass::Backward, 0), "the loss's own gradient is 1");
    press(&mut app, "Bnorm 0.5⏎Bnorm 1e9⏎r");
    assert_eq!(app.time + 1, app.timeline.len(), "no gradient is as large");
}

#[test]
fn a_run_stops_at_the_first_value_that_is_not_finite() {
    let leaf = Leaf { name: "w".into(), role: Role::Parameter, tensor: Tensor::full([2], 1e30).requires_grad() };
    let tensor = leaf.tensor.clone();
    let recording = Recording::of(&[leaf], || tensor.scale(2.0).scale(1e30).relu().sum().into());
    let mut app = App::new(Arc::new(recording), About::default());
    press(&mut app, "Bnan⏎r");
    assert_eq!((app.place().pass, app.place().step), (Pass::Forward, 1));
    press(&mut app, ">R");
    assert_eq!((app.place().pass, app.place().step), (Pass::Forward, 1), "and so does one back");
    press(&mut app, "⏎");
    assert!(text(&app, 80, 24).contains("╱inf"), "infinities are marked:\n{}", text(&app, 80, 24));
}

#[test]
fn contributions_are_lines_of_their_own_and_add_up() {
    let mut app = network();
    // relu's output is read by `scale` and by `add`.
    let relu = app.recording.ops.iter().position(|op| op.doc.name == "relu").expect("there is one");
    let tensor = app.recording.ops[relu].output;
    let step = app.recording.backward.iter().position(|s| s.contributions.iter().any(|p| p.to == tensor));
    press(&mut app, &format!("gb{}⏎", step.expect("a gradient") + 1));
    let parts: Vec<Item> =
        app.rows().iter().map(|row| row.item).filter(|item| matches!(item, Item::Part(..))).collect();
    assert_eq!(parts.len(), 2);
    let whole = app.values(Item::Grad(tensor)).expect("a gradient").data().to_vec();
    let sum = |i: usize| parts.iter().map(|&part| app.values(part).expect("a part").data()[i]).sum::<f32>();
    assert!(whole.iter().enumerate().all(|(i, grad)| (sum(i) - grad).abs() < 1e-6));
}

#[test]
fn a_check_compares_the_op_and_the_whole_gradient() {
    let mut app = network();
    press(&mut app, "/conv weight⏎⏎c");
    let Some(Panel::Checks(checks)) = &app.panel else { panic!("a panel") };
    let op = checks.ops[0].1.clone().flatten().expect("a check");
    let loss = checks.loss.clone().flatten().expect("a check");
    assert_eq!((op.passed(), loss.passed()), (Some(true), Some(true)));
    assert_eq!(op.analytic, loss.analytic, "one reader");
    press(&mut app, "⎋");
    assert!(app.panel.is_none() && app.look.is_some());
}

#[test]
fn a_late_answer_to_what_is_no_longer_asked_changes_nothing() {
    let mut app = network();
    let Effect::Compute(jobs) = app.update(Action::Check) else { panic!("jobs") };
    app.update(Action::Escape);
    for (ticket, job) in jobs {
        let answer = job.run(&app.recording.clone());
        app.answered(ticket, answer);
    }
    assert!(app.panel.is_none() && app.waiting.is_empty());
}

#[test]
fn another_value_changes_the_loss_as_computing_it_anew_does() {
    let mut app = network();
    press(&mut app, "/linear weight⏎⏎w0.5⏎");
    let altered = app.altered.as_ref().expect("a change");
    assert!(matches!(app.panel, Some(Panel::WhatIf)) && altered.to == 0.5 && altered.loss != altered.loss_before);
    let names: Vec<&str> = altered.followers.iter().map(|f| app.recording.tensors[f.tensor].name.as_str()).collect();
    assert_eq!(names.len(), 3, "the weight, the logits, the loss: {names:?}");
    press(&mut app, "⎋vv");
    assert!(matches!(app.item(), Item::After(_)), "{:?}", app.item());
    press(&mut app, "W");
    assert!(app.altered.is_none() && matches!(app.item(), Item::Value(_)));
    press(&mut app, "wabc⏎");
    assert!(app.prompt.as_ref().is_some_and(|prompt| prompt.error.contains("no number")));
}

#[test]
fn a_followed_entry_knows_what_it_is_made_from_and_what_it_moves() {
    let mut app = network();
    press(&mut app, "⏎");
    let (tensor, entry) = (app.tensor_of(app.item()), app.cursor(app.item()));
    press(&mut app, "o");
    let trail = app.trail.as_ref().expect("a trail");
    // A 3x3 convolution of three channels reads at most 27 pixels and 27 weights.
    let made_from: Vec<usize> = trail.made_from.values().map(|link| link.touched).collect();
    assert!(made_from.len() == 2 && made_from.iter().all(|&n| (12..=27).contains(&n)), "{made_from:?}");
    // Through the loss, the derivative is the gradient.
    let loss = trail.link(app.recording.loss).expect("it moves the loss").derivative.item();
    let grad = app.recording.tensors[tensor].grad.as_ref().expect("a gradient").data()[entry];
    assert!((loss - grad).abs() <= 1e-4 * grad.abs().max(1e-3), "{loss} {grad}");
    press(&mut app, "vv");
    press(&mut app, ".");
    assert!(matches!(app.item(), Item::Value(_) | Item::Link(_)));
    press(&mut app, "oo");
}

#[test]
fn questions_hide_a_step_until_they_are_answered() {
    let mut app = lesson("chain-rule");
    let time = (0..app.timeline.len())
        .find(|&time| app.note_at(app.timeline.place(time)).is_some_and(|note| note.predict.is_some()))
        .expect("a question");
    press(&mut app, &format!("g{}⏎", time + 1));
    let question = app.veil().expect("a question").clone();
    assert!(text(&app, 80, 24).contains("Predict: ") && !text(&app, 80, 24).contains("-0.462"));
    press(&mut app, "⏎c");
    assert!(app.look.is_none() && app.panel.is_none(), "nothing is shown before");
    press(&mut app, &(question.answer + 1).to_string());
    assert_eq!((app.veil().is_none(), app.message.as_str()), (true, "right"));
    app.answers.clear();
    press(&mut app, "0");
    assert!(app.veil().is_none());
}

#[test]
fn the_documentation_lists_every_key() {
    let docs = include_str!("../../../docs/step.md");
    for (heading, keys) in keys::TABLE {
        for (names, does) in *keys {
            let row = docs.lines().any(|line| {
                line.starts_with('|') && names.split(' ').all(|name| line.contains(name)) && line.contains(does)
            });
            assert!(row, "docs/step.md lacks {heading}: {names} {does}");
        }
    }
}

#[test]
fn values_are_blue_below_zero_and_orange_above_and_colourless_on_request() {
    let mut app = lesson("one-neuron");
    press(&mut app, "⏎");
    let reddish = |colour: Color| matches!(colour, Color::Rgb(r, _, b) if r > b);
    let bluish = |colour: Color| matches!(colour, Color::Rgb(r, _, b) if b > r);
    let colours =
        |depth| -> Vec<Color> { screen(&app, 80, 24, depth).buffer().content().iter().map(|c| c.bg).collect() };
    let values = app.values(app.item()).expect("values").data();
    let all = colours(Depth::True);
    assert_eq!(all.iter().any(|&c| reddish(c)), values.iter().any(|&v| v > 0.0));
    assert_eq!(all.iter().any(|&c| bluish(c)), values.iter().any(|&v| v < 0.0));
    assert!(colours(Depth::None).iter().all(|&c| c == Color::Reset));
}

#[test]
fn every_size_is_drawn() {
    let mut app = network();
    for look in [false, true] {
        if look {
            press(&mut app, "⏎");
        }
        for (width, height) in [(1, 1), (20, 5), (40, 10), (41, 11), (80, 24), (200, 60), (500, 8)] {
            for panel in [None, Some(Panel::Keys), Some(Panel::Intro)] {
                app.panel = panel;
                screen(&app, width, height, Depth::Indexed);
            }
            app.panel = None;
            app.prompt = Some(super::state::Prompt::new(PromptKind::Search));
            screen(&app, width, height, Depth::None);
            app.prompt = None;
        }
    }
}

#[test]
fn a_lesson_in_the_forward_pass() {
    let mut app = lesson("chain-rule");
    press(&mut app, "→→0");
    snapshot(&app, "forward");
}

#[test]
fn the_backward_pass_with_contributions() {
    let mut app = network();
    let step = app.recording.backward.iter().position(|s| app.recording.ops[s.op].doc.name == "scale");
    press(&mut app, &format!("gb{}⏎", step.expect("it is walked") + 1));
    snapshot(&app, "backward");
}

#[test]
fn a_heat_map() {
    let mut app = network();
    press(&mut app, "↑↑⏎→→↓]");
    snapshot(&app, "heat");
}

#[test]
fn the_result_of_a_check() {
    let mut app = network();
    press(&mut app, "/conv weight⏎c");
    snapshot(&app, "check");
}

#[test]
fn the_result_of_a_change() {
    let mut app = network();
    press(&mut app, "/conv weight⏎w2⏎");
    snapshot(&app, "what-if");
}

#[test]
fn the_keys() {
    let mut app = network();
    press(&mut app, "?");
    snapshot(&app, "keys");
}

#[test]
fn a_question() {
    let mut app = lesson("chain-rule");
    press(&mut app, "→→");
    snapshot(&app, "question");
}
