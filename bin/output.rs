//! Standard output as programs read it, one JSON object a line, and standard error as people do.

use crate::failure::Failure;
use serde::Serialize;
use std::io::{self, Write};

/// Prints one object.
pub fn print(object: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string(object).map_err(|e| Failure::work(format!("JSON: {e}")))?;
    line(&text)
}

/// Prints one line. A reader that has had enough (as `head` has) is no failure.
pub fn line(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(format!("{text}\n").as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::work(format!("cannot write to standard output: {e}")))
        }
        _ => Ok(()),
    }
}

/// Tells people. Nobody listening (a closed terminal) is no reason to stop: `eprintln` would panic.
pub fn tell(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}
