//! Whether the machine let a measurement run.
//!
//! On a machine with other work the scheduler takes the processor away now and then, for milliseconds: as much as a small network
//! takes. Linux accounts the time that each thread was ready and had to wait; a measurement that waited is not one of the network.

use std::fs::{self, File};

/// The time in which this process's threads were ready to run and waited for a processor, so far.
pub struct Waits {
    files: Vec<File>,
}

impl Waits {
    /// Of every thread that there is now.
    pub fn of_all_threads() -> Waits {
        let entries = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
        Waits { files: entries.filter_map(|entry| File::open(entry.path().join("schedstat")).ok()).collect() }
    }

    /// In ms; `None` where the system does not tell.
    pub fn so_far(&self) -> Option<f64> {
        let mut sum = None;
        for file in &self.files {
            // Nanoseconds run, nanoseconds waited, number of slices. A thread that has ended waits no more.
            let mut bytes = [0; 96];
            let Some(length) = read_from_start(file, &mut bytes) else { continue };
            let text = std::str::from_utf8(&bytes[..length]).ok()?;
            let waited: f64 = text.split_whitespace().nth(1)?.parse().ok()?;
            sum = Some(sum.unwrap_or(0.0) + waited / 1e6);
        }
        sum
    }
}

#[cfg(unix)]
fn read_from_start(file: &File, bytes: &mut [u8]) -> Option<usize> {
    std::os::unix::fs::FileExt::read_at(file, bytes, 0).ok()
}

/// Other systems have no such file to read.
#[cfg(not(unix))]
fn read_from_start(_: &File, _: &mut [u8]) -> Option<usize> {
    None
}

#[cfg(test)]
mod tests {
    use super::Waits;
    use std::fs::File;

    #[test]
    #[cfg(target_os = "linux")]
    fn waits_only_grow() {
        // Of this thread alone: those of other tests end meanwhile, and what they waited goes with them.
        let waits = Waits { files: File::open("/proc/thread-self/schedstat").into_iter().collect() };
        if let Some(before) = waits.so_far() {
            let after = waits.so_far().expect("still told");
            assert!(after >= before && before >= 0.0);
        }
    }
}
