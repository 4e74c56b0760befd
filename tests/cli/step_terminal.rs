//! `pleach step` in a terminal, through a pseudo-terminal.
#![cfg(unix)]

use super::{PLEACH, Place};
use portable_pty::{CommandBuilder, MasterPty, PtySize, native_pty_system};
use std::io::{Read, Write};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// A shell in a pseudo-terminal of 80x24.
struct Session {
    // Closed, it would hang up.
    _master: Box<dyn MasterPty + Send>,
    keys: Box<dyn Write + Send>,
    output: Receiver<Vec<u8>>,
    /// What the terminal shows; 80x24 unless told otherwise.
    terminal: vt100::Parser,
}

impl Session {
    /// Runs a line of shell; none where there are no pseudo-terminals.
    fn run(place: &Place, line: &str) -> Option<Session> {
        let size = PtySize { rows: 24, cols: 80, pixel_width: 0, pixel_height: 0 };
        let pair = match native_pty_system().openpty(size) {
            Ok(pair) => pair,
            Err(e) => {
                // Past the capture of the test harness: a skipped test has to say so.
                let _ = writeln!(std::io::stderr(), "terminal test SKIPPED: no pseudo-terminal here ({e})");
                return None;
            }
        };
        let mut shell = CommandBuilder::new("sh");
        shell.args(["-c", line]);
        shell.cwd(place.path(""));
        shell.env("TERM", "xterm-256color");
        shell.env("PLEACH", PLEACH);
        pair.slave.spawn_command(shell).expect("a shell");
        let mut reader = pair.master.try_clone_reader().expect("output");
        let keys = pair.master.take_writer().expect("input");
        let (give, output) = channel();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(n @ 1..) = reader.read(&mut bytes) {
                if give.send(bytes[..n].to_vec()).is_err() {
                    break;
                }
            }
        });
        Some(Session { _master: pair.master, keys, output, terminal: vt100::Parser::default() })
    }

    /// Waits until `text` is on the screen.
    #[track_caller]
    fn until(&mut self, text: &str) {
        let began = Instant::now();
        while !self.terminal.screen().contents().contains(text) {
            let shown = self.terminal.screen().contents();
            assert!(began.elapsed() < Duration::from_secs(60), "no '{text}' in a minute, but:\n{shown}");
            if let Ok(bytes) = self.output.recv_timeout(Duration::from_millis(100)) {
                self.terminal.process(&bytes);
            }
        }
    }

    fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).and_then(|()| self.keys.flush()).expect("it listens");
    }
}

const RIGHT: &str = "\x1b[C";

#[test]
fn a_lesson_is_gone_through_to_the_end_and_the_terminal_given_back() {
    let place = Place::new();
    let line = "stty -a >before; \"$PLEACH\" step --lesson chain-rule --threads 1; echo code=$?; stty -a >after; \
                cmp before after && echo same";
    let Some(mut session) = Session::run(&place, line) else { return };
    session.until("forward 1 of 5");
    assert!(session.terminal.screen().alternate_screen());
    // Questions come first unless told otherwise: then every step is one key.
    session.press("p");
    session.until("questions before answers: off");
    for _ in 0..9 {
        session.press(RIGHT);
    }
    session.until("backward 5 of 5");
    session.press(RIGHT);
    session.until("this is the last step");
    session.press("q");
    session.until("code=0");
    session.until("same");
    let screen = session.terminal.screen();
    assert!(!screen.alternate_screen() && !screen.hide_cursor() && !screen.contents().contains("backward"));
}

#[test]
fn ctrl_c_gives_the_terminal_back_too() {
    let place = Place::new();
    let line = "stty -a >before; \"$PLEACH\" step --lesson one-neuron; echo code=$?; stty -a >after; cmp before after && echo same";
    let Some(mut session) = Session::run(&place, line) else { return };
    session.until("forward 1 of");
    session.press("\x03");
    session.until("code=130");
    session.until("same");
    assert!(!session.terminal.screen().alternate_screen());
}

#[test]
fn without_a_terminal_other_ways_are_named() {
    let place = Place::new();
    let message = place.refused(2, &["step", "--lesson", "chain-rule"]);
    for way in ["--html", "--trace", "--check"] {
        assert!(message.contains(way), "{message}");
    }
}
