//! The terminal: taken over, drawn to, read from, and given back whatever happens.

use super::draw::{Depth, Theme, draw};
use super::keys;
use super::state::{Action, App, Effect};
use super::worker::Worker;
use crate::failure::Failure;
use crate::signals::Stop;
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::event::{self, Event, KeyEventKind};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode};
use std::io::{self, Stdout, stdout};
use std::panic;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Whether the terminal is taken over.
static TAKEN: AtomicBool = AtomicBool::new(false);
static HOOK: Once = Once::new();

/// How long to wait for a key before signals are looked at.
const IDLE: Duration = Duration::from_millis(200);
/// The same while an answer is waited for.
const BUSY: Duration = Duration::from_millis(30);
/// Between steps that follow each other by themselves.
const PLAY: Duration = Duration::from_millis(600);

/// The screen while it is ours.
struct Screen(Terminal<CrosstermBackend<Stdout>>);

impl Screen {
    fn take() -> io::Result<Screen> {
        HOOK.call_once(|| {
            let before = panic::take_hook();
            panic::set_hook(Box::new(move |info| {
                give_back();
                before(info);
            }));
        });
        take_over()?;
        let taken = Terminal::new(CrosstermBackend::new(stdout()));
        taken.map(Screen).inspect_err(|_| give_back())
    }

    fn draw(&mut self, app: &App, theme: Theme) -> io::Result<()> {
        self.0.draw(|frame| draw(app, theme, frame)).map(drop)
    }

    /// Stops as Ctrl-Z stops any program, and goes on when told to.
    fn suspend(&mut self) -> io::Result<()> {
        give_back();
        signal_hook::low_level::raise(signal_hook::consts::SIGTSTP)?;
        take_over()?;
        self.0.clear()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

fn take_over() -> io::Result<()> {
    enable_raw_mode()?;
    TAKEN.store(true, Ordering::SeqCst);
    execute!(stdout(), EnterAlternateScreen).inspect_err(|_| give_back())
}

/// Once for each time it was taken. What fails here has nobody left to be told.
fn give_back() {
    if TAKEN.swap(false, Ordering::SeqCst) {
        let _ = execute!(stdout(), LeaveAlternateScreen, Show);
        let _ = disable_raw_mode();
    }
}

/// Shows the state and does what keys ask for, until the end.
pub fn run(mut app: App, threads: usize) -> Result<(), Failure> {
    let theme = Theme { depth: Depth::of(|name| std::env::var(name).ok()) };
    let stop = Stop::listen()?;
    let worker = Worker::start(app.recording.clone(), threads);
    let lost = |e: io::Error| Failure::work(format!("the terminal is lost: {e}"));
    let mut screen = Screen::take().map_err(lost)?;
    let mut stepped = Instant::now();
    let mut changed = true;
    loop {
        while let Some((ticket, answer)) = worker.answer()? {
            app.answered(ticket, answer);
            changed = true;
        }
        if changed {
            screen.draw(&app, theme).map_err(lost)?;
        }
        if stop.requested() {
            return Err(Failure::Interrupted("interrupted; there was nothing to save".into()));
        }
        let patience = match (app.waiting.is_empty(), app.playing) {
            (false, _) => BUSY,
            (true, true) => PLAY.saturating_sub(stepped.elapsed()),
            (true, false) => IDLE,
        };
        let came = event::poll(patience).map_err(lost)?;
        let action = match if came { Some(event::read().map_err(lost)?) } else { None } {
            Some(Event::Key(key)) if key.kind != KeyEventKind::Release => keys::action(&app, key),
            Some(Event::Resize(..)) => {
                changed = true;
                continue;
            }
            _ if app.playing && stepped.elapsed() >= PLAY => Some(Action::Tick),
            _ => None,
        };
        changed = action.is_some();
        let Some(action) = action else { continue };
        if matches!(action, Action::Tick | Action::Play) {
            stepped = Instant::now();
        }
        match app.update(action) {
            Effect::Nothing => {}
            Effect::Quit => return Ok(()),
            Effect::Interrupt => {
                return Err(Failure::Interrupted("interrupted; there was nothing to save".into()));
            }
            Effect::Suspend => screen.suspend().map_err(lost)?,
            Effect::Compute(jobs) => worker.ask(jobs),
        }
    }
}
