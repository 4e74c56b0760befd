//! The worker threads.

use crate::failure::Failure;

/// Runs `work` on a pool of `threads` workers. The whole of a command's computation goes inside: entering the pool for each op
/// would cost more than many ops do.
pub fn with_threads<T: Send>(threads: usize, work: impl FnOnce() -> Result<T, Failure> + Send) -> Result<T, Failure> {
    let pool =
        rayon::ThreadPoolBuilder::new().num_threads(threads).thread_name(|i| format!("worker-{i}")).build().map_err(
            |e| Failure::work(format!("cannot start {threads} worker threads: {e}; ask for fewer with --threads")),
        )?;
    pool.install(work)
}

/// One worker for each core.
pub fn all_cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Checks a `--threads`.
pub fn check(threads: Option<usize>) -> Result<usize, Failure> {
    match threads {
        None | Some(0) => Ok(all_cores()),
        Some(n) if n <= 1024 => Ok(n),
        Some(n) => {
            Err(Failure::input(format!("--threads is {n}; it must be at most 1024 (0 takes one for each core)")))
        }
    }
}
