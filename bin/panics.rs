//! What a user sees of a bug: one line, never a backtrace.

use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether a panic is expected and will be turned into an error.
static CAUGHT: AtomicBool = AtomicBool::new(false);
/// The first message while it is.
static MESSAGE: Mutex<Option<String>> = Mutex::new(None);

/// From here on a panic on any thread prints one line and ends the process with code 1.
pub fn install() {
    panic::set_hook(Box::new(|info| {
        if CAUGHT.load(Ordering::SeqCst) {
            MESSAGE.lock().unwrap_or_else(|e| e.into_inner()).get_or_insert(message(info));
            return;
        }
        let place = info.location().map_or_else(String::new, |l| format!(" ({}:{})", l.file(), l.line()));
        crate::output::tell(&format!("pleach: internal error, please report: {}{place}", message(info)));
        std::process::exit(1);
    }));
}

fn message(info: &PanicHookInfo) -> String {
    let text = info.payload_as_str().unwrap_or("a panic without a message");
    text.replace(|c: char| c.is_control(), " ")
}

/// Runs `f`; a panic becomes its message. Only for work that a shape from outside can make impossible.
pub fn caught<T>(f: impl FnOnce() -> T) -> Result<T, String> {
    CAUGHT.store(true, Ordering::SeqCst);
    let result = panic::catch_unwind(AssertUnwindSafe(f));
    CAUGHT.store(false, Ordering::SeqCst);
    let first = MESSAGE.lock().unwrap_or_else(|e| e.into_inner()).take();
    result.map_err(|_| first.unwrap_or_else(|| "it does not fit".into()))
}
