//! Shares of a pass: which thread runs which task.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// The tasks of one thread that have not begun, in one word: the first, and the one behind the last.
///
/// On a line of its own, since its thread takes from it all the time.
#[repr(align(64))]
struct Share(AtomicU64);

impl Share {
    fn new(tasks: Range<usize>) -> Share {
        Share(AtomicU64::new((tasks.start as u64) << 32 | tasks.end as u64))
    }

    /// Takes the first task, or the last.
    fn take(&self, last: bool) -> Option<usize> {
        let left = |word: u64| (word >> 32, word & u64::from(u32::MAX));
        let without = |word| match left(word) {
            (start, end) if start >= end => None,
            (start, end) if last => Some(start << 32 | (end - 1)),
            (start, end) => Some((start + 1) << 32 | end),
        };
        let word = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, without).ok()?;
        let (start, end) = left(word);
        Some(if last { end - 1 } else { start } as usize)
    }
}

/// Counts a task as done, also if it panics.
struct Done<'a>(&'a AtomicUsize);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Release);
    }
}

/// Calls `f(i)` once for each `i` in `0..count`, on the threads of this pool. `back`: each thread goes through its share from the end.
///
/// # Panics
/// As `f` does, after all tasks.
pub fn hand_out(count: usize, back: bool, f: impl Fn(usize) + Sync) {
    let threads = rayon::current_num_threads().min(count);
    if threads <= 1 {
        let each = |i| f(if back { count - 1 - i } else { i });
        return (0..count).for_each(each);
    }
    assert!(u32::try_from(count).is_ok(), "{count} tasks in one pass: more than 32 bits count");
    let shares: Vec<Share> = (0..threads).map(|t| Share::new(t * count / threads..(t + 1) * count / threads)).collect();
    let done = AtomicUsize::new(0);
    let work = || {
        let own = rayon::current_thread_index().unwrap_or(0) % threads;
        let run = |i| {
            let _done = Done(&done);
            f(i);
        };
        while let Some(i) = shares[own].take(back) {
            run(i);
        }
        // Of the others', what they would come to last.
        for other in 1..threads {
            while let Some(i) = shares[(own + other) % threads].take(!back) {
                run(i);
            }
        }
    };
    rayon::in_place_scope(|scope| {
        (1..threads).for_each(|_| scope.spawn(|_| work()));
        work();
        wait(|| done.load(Ordering::Acquire) == count);
    });
}

/// Returns when `ready`. What it waits for is another thread's last task, much less than a millisecond: rayon would go to sleep, and to
/// be woken takes a good part of that.
fn wait(ready: impl Fn() -> bool) {
    for turn in 0_u32.. {
        if ready() {
            return;
        }
        // Where there are more threads than cores, the other one may need this core.
        if turn % 1024 == 1023 { std::thread::yield_now() } else { std::hint::spin_loop() }
    }
}

#[cfg(test)]
mod tests {
    use super::hand_out;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn pool(threads: usize) -> rayon::ThreadPool {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool")
    }

    #[test]
    fn every_task_runs_once_on_any_number_of_threads_within_a_pool_and_outside() {
        let once = |count: usize, back: bool| {
            let runs: Vec<AtomicUsize> = (0..count).map(|_| AtomicUsize::new(0)).collect();
            hand_out(count, back, |i| {
                // Tasks may have passes of their own.
                hand_out(i % 3, !back, |_| {});
                runs[i].fetch_add(1, Ordering::Relaxed);
            });
            runs.iter().all(|runs| runs.load(Ordering::Relaxed) == 1)
        };
        for count in [0, 1, 2, 3, 7, 500] {
            for back in [false, true] {
                assert!(once(count, back));
                for threads in [1, 2, 3, 16] {
                    assert!(pool(threads).install(|| once(count, back)), "{count} tasks, {threads} threads");
                }
            }
        }
    }

    #[test]
    fn one_thread_goes_from_the_first_task_to_the_last_or_back() {
        for back in [false, true] {
            let order = Mutex::new(vec![]);
            pool(1).install(|| hand_out(5, back, |i| order.lock().expect("no panic").push(i)));
            let expected: Vec<usize> = if back { (0..5).rev().collect() } else { (0..5).collect() };
            assert_eq!(order.into_inner().expect("no panic"), expected);
        }
    }

    #[test]
    fn a_panic_reaches_the_caller_and_leaves_the_pool_as_it_was() {
        let pool = pool(3);
        for broken in [0, 50, 99] {
            let pass = || hand_out(100, false, |i| assert_ne!(i, broken));
            assert!(catch_unwind(AssertUnwindSafe(|| pool.install(pass))).is_err());
        }
        let done = AtomicUsize::new(0);
        pool.install(|| {
            hand_out(100, false, |_| {
                done.fetch_add(1, Ordering::Relaxed);
            });
        });
        assert_eq!(done.into_inner(), 100);
    }
}
