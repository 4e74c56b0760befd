//! A thread that computes what takes time, so that the terminal always answers.

use super::state::{Answer, Job};
use crate::failure::Failure;
use crate::pool;
use crate::step::record::Recording;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread;

/// A job with its ticket.
type Ticket<T> = (u64, T);

/// The thread, seen from the terminal.
pub struct Worker {
    jobs: Sender<Ticket<Job>>,
    answers: Receiver<Result<Ticket<Answer>, Failure>>,
    /// Jobs with a lower ticket are no longer wanted.
    wanted: Arc<AtomicU64>,
}

impl Worker {
    /// Starts it, with a pool of so many threads.
    pub fn start(recording: Arc<Recording>, threads: usize) -> Worker {
        let (jobs, asked) = channel::<Ticket<Job>>();
        let (give, answers) = channel();
        let wanted = Arc::new(AtomicU64::new(0));
        let lowest = wanted.clone();
        // Not joined: who quits does not wait for what was asked.
        thread::spawn(move || {
            let giver = give.clone();
            let work = move || {
                for (ticket, job) in asked {
                    let outdated = ticket < lowest.load(Ordering::Relaxed);
                    if !outdated && giver.send(Ok((ticket, job.run(&recording)))).is_err() {
                        break;
                    }
                }
                Ok(())
            };
            if let Err(failure) = pool::with_threads(threads, work) {
                // Nobody listens any longer if this fails.
                let _ = give.send(Err(failure));
            }
        });
        Worker { jobs, answers, wanted }
    }

    /// Hands jobs over; earlier ones that have not begun are dropped.
    pub fn ask(&self, jobs: Vec<Ticket<Job>>) {
        if let Some((first, _)) = jobs.first() {
            self.wanted.store(*first, Ordering::Relaxed);
        }
        for job in jobs {
            // A worker that could not start has said so to `answer`.
            let _ = self.jobs.send(job);
        }
    }

    /// The next answer, if there is one.
    pub fn answer(&self) -> Result<Option<Ticket<Answer>>, Failure> {
        match self.answers.try_recv() {
            Ok(answer) => answer.map(Some),
            Err(TryRecvError::Empty) => Ok(None),
            Err(TryRecvError::Disconnected) => Err(Failure::work("internal error, please report: the worker ended")),
        }
    }
}
