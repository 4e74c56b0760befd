//! The fixed way work is cut into chunks, and how they are handed to the threads of a rayon pool.
//!
//! Chunks depend on the size of the problem alone, never on the number of threads, and partial sums are added in the order
//! of the chunks. So results are the same bits on any number of threads.
//!
//! Each thread has a share of neighbouring tasks, in every pass the same part of the whole, so that it finds in its own cache what it wrote
//! in the pass before; who is done first helps the others, one task at a time. Rayon's own loops would hand the halves of a pass to
//! whichever thread comes first, and put a thread to sleep that waits for another one's last task.

mod pieces;
mod shares;

pub use pieces::Pieces;

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Elements per task of an elementwise pass: 64 KiB, enough that handing a task out (about a microsecond) costs under a tenth.
pub const CHUNK: usize = 16 * 1024;

/// Calls `f(i, chunk)` for each chunk of `len` elements of `out` (the last may be shorter).
pub fn chunks_mut(out: &mut [f32], len: usize, f: impl Fn(usize, &mut [f32]) + Send + Sync) {
    if out.is_empty() || len == 0 {
        return;
    }
    if out.len() <= len {
        return f(0, out);
    }
    let back = out.len() >= LARGE && turn();
    over(out.chunks_mut(len).collect(), back, f);
}

/// Calls `f(i, chunk_a, chunk_b)` for each pair of chunks of `len` elements of `a` and `b`, for passes with two results.
///
/// # Panics
/// If `a` and `b` differ in length.
pub fn chunks_mut_pair(
    a: &mut [f32],
    b: &mut [f32],
    len: usize,
    f: impl Fn(usize, &mut [f32], &mut [f32]) + Send + Sync,
) {
    assert_eq!(a.len(), b.len(), "chunks_mut_pair: a and b differ in length");
    if a.is_empty() || len == 0 {
        return;
    }
    let back = a.len() >= LARGE && turn();
    over(a.chunks_mut(len).zip(b.chunks_mut(len)).collect(), back, |i, (a, b)| f(i, a, b));
}

/// Floats of a result that a pass over a batch may have: more than the weights of most layers, whose passes do not take turns.
const LARGE: usize = 512 * 1024;

/// How long [`awake`] waits for threads that do something else.
const PATIENCE: Duration = Duration::from_millis(5);

thread_local! {
    /// Whether the next [`sweep`] that this thread begins goes from the last task to the first.
    static TURNS: Cell<bool> = const { Cell::new(false) };
}

/// Whether this pass goes from the last task to the first; the next one goes the other way.
fn turn() -> bool {
    TURNS.replace(!TURNS.get())
}

/// `f(i, task, next)` for each task, in parallel; results in the order of the tasks. `next` is the task that is likely to follow on the
/// same thread, if any does.
///
/// For passes over the images of a batch: one goes from the first task to the last, the next one back, and so on, so that it begins with
/// what the one before has just written or read, and finds it in the cache. A batch is larger than the cache, and passes that all began at
/// the front would find nothing. No result depends on it.
pub fn sweep<T: Send, R: Send>(tasks: Vec<T>, f: impl Fn(usize, T, Option<usize>) -> R + Send + Sync) -> Vec<R> {
    let (count, back) = (tasks.len(), turn());
    over(tasks, back, |i, task| {
        let next = if back { i.checked_sub(1) } else { Some(i + 1).filter(|&next| next < count) };
        f(i, task, next)
    })
}

/// `f(i, task)` for each task, in parallel; results in the order of the tasks.
pub fn each<T: Send, R: Send>(tasks: Vec<T>, f: impl Fn(usize, T) -> R + Send + Sync) -> Vec<R> {
    over(tasks, false, f)
}

/// A task, then its result; neither while it is run.
enum Slot<T, R> {
    Task(T),
    Running,
    Result(R),
}

/// `f(i, task)` for each task; results in the order of the tasks. `back`: each thread begins with the last of its share.
fn over<T: Send, R: Send>(tasks: Vec<T>, back: bool, f: impl Fn(usize, T) -> R + Send + Sync) -> Vec<R> {
    if tasks.len() <= 1 {
        return tasks.into_iter().map(|task| f(0, task)).collect();
    }
    let slots: Vec<Mutex<Slot<T, R>>> = tasks.into_iter().map(|task| Mutex::new(Slot::Task(task))).collect();
    shares::hand_out(slots.len(), back, |i| {
        let lock = || slots[i].lock().unwrap_or_else(PoisonError::into_inner);
        let slot = std::mem::replace(&mut *lock(), Slot::Running);
        if let Slot::Task(task) = slot {
            let result = f(i, task);
            *lock() = Slot::Result(result);
        }
    });
    let slots = slots.into_iter().map(|slot| slot.into_inner().unwrap_or_else(PoisonError::into_inner));
    slots
        .filter_map(|slot| match slot {
            Slot::Result(result) => Some(result),
            Slot::Task(_) | Slot::Running => None,
        })
        .collect()
}

/// Runs `work` with the other threads of its pool awake: they look for tasks without a pause until `work` ends.
///
/// A training step is some hundred short parallel passes with a little in between, in which rayon would send the other threads to sleep;
/// to wake them takes a virtual machine up to a tenth of a millisecond, each time. So wrap steps in this, and nothing that waits.
///
/// Just runs `work` outside a pool, in another call, where there are more threads than cores, which would take them from each other, and if
/// the pool's threads have something else to do.
pub fn awake<T>(work: impl FnOnce() -> T) -> T {
    thread_local! {
        static AWAKE: Cell<bool> = const { Cell::new(false) };
    }
    struct End<'a>(&'a AtomicBool);
    impl Drop for End<'_> {
        fn drop(&mut self) {
            AWAKE.set(false);
            self.0.store(true, Ordering::Release);
        }
    }
    let Some(own) = rayon::current_thread_index() else { return work() };
    let others = rayon::current_num_threads() - 1;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    if AWAKE.get() || !(1..cores).contains(&others) {
        return work();
    }
    let (begun, ended) = (AtomicUsize::new(0), AtomicBool::new(false));
    rayon::in_place_scope(|scope| {
        scope.spawn_broadcast(|_, thread| {
            if thread.index() == own {
                return;
            }
            begun.fetch_add(1, Ordering::Release);
            while !ended.load(Ordering::Acquire) {
                if rayon::yield_now() != Some(rayon::Yield::Executed) {
                    std::hint::spin_loop();
                }
            }
        });
        // Also if `work` panics.
        let _end = End(&ended);
        AWAKE.set(true);
        // A thread that took a task of `work` first could come to this one while it waits within that task, which would then never end.
        let asked = Instant::now();
        while begun.load(Ordering::Acquire) < others {
            if asked.elapsed() > PATIENCE {
                ended.store(true, Ordering::Release);
                break;
            }
            std::thread::yield_now();
        }
        work()
    })
}

/// `f(i)` for `i` in `0..tasks`, in parallel; results in order.
pub fn map<T: Send>(tasks: usize, f: impl Fn(usize) -> T + Send + Sync) -> Vec<T> {
    each(vec![(); tasks], |i, ()| f(i))
}

/// Sum of `f` over consecutive ranges of at most [`CHUNK`] indices of `0..n`, added in order, in `f64`.
pub fn sum(n: usize, f: impl Fn(std::ops::Range<usize>) -> f64 + Send + Sync) -> f64 {
    map(n.div_ceil(CHUNK), |i| f(i * CHUNK..((i + 1) * CHUNK).min(n))).into_iter().sum()
}

#[cfg(test)]
mod tests {
    use super::{awake, map, sweep};
    use std::panic::{AssertUnwindSafe, catch_unwind};

    #[test]
    fn a_sweep_keeps_the_order_of_its_results_either_way() {
        for _ in 0..2 {
            let results = sweep((0..100).collect(), |i, task: usize, next| {
                assert!(next.is_none_or(|next| next.abs_diff(i) == 1 && next < 100));
                (i, task)
            });
            assert_eq!(results, (0..100).map(|i| (i, i)).collect::<Vec<_>>());
        }
    }

    #[test]
    fn awake_runs_its_work_in_any_pool_and_out_of_one_and_ends_with_a_panic() {
        let work = || {
            let sums = (0..20).map(|i| map(100, |j| i * j).into_iter().sum::<usize>());
            sums.sum::<usize>()
        };
        let expected = work();
        assert_eq!(awake(work), expected);
        for threads in [1, 2, 3, 64] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
            for _ in 0..50 {
                assert_eq!(pool.install(|| awake(|| awake(work))), expected);
            }
            // Two at once, which want each other's threads.
            let (a, b) = pool.install(|| rayon::join(|| awake(work), || awake(work)));
            assert_eq!([a, b], [expected; 2]);
            pool.install(|| assert!(catch_unwind(AssertUnwindSafe(|| awake(|| panic!("stop")))).is_err()));
            assert_eq!(pool.install(|| awake(work)), expected);
        }
    }
}
