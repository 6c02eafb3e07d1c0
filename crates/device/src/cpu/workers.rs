//! The device's own threads: a parallel loop of one phase, with a barrier at its end, that allocates nothing.
//!
//! The caller is worker 0. Tasks are first divided evenly among the workers, then who is done takes what others
//! have left, so that a worker which the system does not let run delays nobody: the phase closes when all tasks
//! are done, and who wakes up later finds it closed. Waiting is a short spin, then sleep; a long spin would take
//! the processor from whom we wait for when there are more threads than cores.
//!
//! Invariant: between a phase's opening and the moment its last worker has left, `job` is not written.

use super::denormals::Flush;
use std::cell::UnsafeCell;
use std::hint::spin_loop;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

/// Iterations of waiting awake, some 10 to 20 microseconds.
const SPIN: usize = 4000;
/// The phase takes workers in (`state`); workers inside are counted by steps of [`INSIDE`].
const OPEN: usize = 1;
const INSIDE: usize = 2;

type Task<'a> = dyn Fn(usize, Range<usize>) + Sync + 'a;

/// What is run in a phase.
struct Job {
    f: *const Task<'static>,
    tasks: usize,
    chunk: usize,
}

/// A worker's own tasks that nobody has taken yet: `next..end`. On its own cache line.
#[repr(align(128))]
#[derive(Default)]
struct Share {
    next: AtomicUsize,
}

struct Shared {
    job: UnsafeCell<Job>,
    state: AtomicUsize,
    /// Counts phases; `usize::MAX` ends the threads.
    epoch: AtomicUsize,
    /// Threads that have begun to serve.
    serving: AtomicUsize,
    shares: Vec<Share>,
    asleep: AtomicUsize,
    wake: (Mutex<()>, Condvar),
    /// What a worker panicked with.
    panic: Mutex<Option<thread::Result<()>>>,
    /// The caller sleeps until the last worker has left.
    left: (Mutex<()>, Condvar),
    caller_asleep: AtomicUsize,
}

// SAFETY: `job` is written by the caller alone while no worker is inside (module invariant), read by those inside.
unsafe impl Sync for Shared {}
// SAFETY: the pointer in `job` is only followed while its phase runs.
unsafe impl Send for Shared {}

/// The threads.
pub struct Workers {
    shared: Arc<Shared>,
    threads: Vec<thread::JoinHandle<()>>,
}

fn lock<T>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    m.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Workers {
    /// `n` workers, the caller being one.
    pub fn start(n: usize) -> std::io::Result<Workers> {
        let n = n.max(1);
        let nothing: &Task<'static> = &|_, _| {};
        let shared = Arc::new(Shared {
            job: UnsafeCell::new(Job { f: nothing, tasks: 0, chunk: 1 }),
            state: AtomicUsize::new(0),
            epoch: AtomicUsize::new(0),
            serving: AtomicUsize::new(0),
            shares: (0..n).map(|_| Share::default()).collect(),
            asleep: AtomicUsize::new(0),
            wake: Default::default(),
            panic: Mutex::new(None),
            left: Default::default(),
            caller_asleep: AtomicUsize::new(0),
        });
        let mut workers = Workers { shared, threads: Vec::with_capacity(n - 1) };
        for index in 1..n {
            let shared = workers.shared.clone();
            let thread = thread::Builder::new().name(format!("thalweg-{index}")).spawn(move || {
                super::pin::pin(index, n);
                shared.serving.fetch_add(1, Ordering::SeqCst);
                shared.serve(index);
            })?;
            workers.threads.push(thread);
        }
        // A thread that begins allocates: not in the middle of a run.
        while workers.shared.serving.load(Ordering::SeqCst) < n - 1 {
            thread::yield_now();
        }
        Ok(workers)
    }

    /// Number of workers.
    pub fn len(&self) -> usize {
        self.shared.shares.len()
    }

    /// Calls `f(worker, tasks)` until every task of `0..tasks` was in one call; returns when all are done. Which
    /// worker gets which tasks is not fixed. At most one phase runs at a time: `&mut`.
    ///
    /// # Panics
    /// If `f` did, with what it panicked with.
    pub fn run(&mut self, tasks: usize, f: &Task<'_>) {
        if tasks <= 1 || self.threads.is_empty() {
            return self.run_here(tasks, f);
        }
        let shared = &*self.shared;
        let n = self.len();
        // SAFETY: the phase ends before this function returns; only its lifetime is changed.
        let f: *const Task<'static> = unsafe { std::mem::transmute::<&Task<'_>, &Task<'static>>(f) };
        // SAFETY: no phase is open and nobody is inside.
        unsafe { *shared.job.get() = Job { f, tasks, chunk: (tasks / (n * 8)).max(1) } };
        for (w, share) in shared.shares.iter().enumerate() {
            share.next.store(w * tasks / n, Ordering::Relaxed);
        }
        shared.state.store(OPEN, Ordering::SeqCst);
        shared.epoch.fetch_add(1, Ordering::SeqCst);
        if shared.asleep.load(Ordering::SeqCst) > 0 {
            drop(lock(&shared.wake.0));
            shared.wake.1.notify_all();
        }
        let mine = {
            let _flush = Flush::start();
            catch_unwind(AssertUnwindSafe(|| shared.work(0)))
        };
        shared.state.fetch_and(!OPEN, Ordering::SeqCst);
        shared.wait_until_left();
        let theirs = lock(&shared.panic).take();
        if let Err(panic) = mine.and(theirs.unwrap_or(Ok(()))) {
            resume_unwind(panic);
        }
    }

    /// All tasks on the caller, waking nobody: for work that is smaller than a barrier.
    pub fn run_here(&mut self, tasks: usize, f: &Task<'_>) {
        if tasks > 0 {
            let _flush = Flush::start();
            f(0, 0..tasks);
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.shared.epoch.store(usize::MAX, Ordering::SeqCst);
        drop(lock(&self.shared.wake.0));
        self.shared.wake.1.notify_all();
        for t in self.threads.drain(..) {
            // A worker catches what its tasks panic with; there is nothing to learn from it here.
            let _ = t.join();
        }
    }
}

impl Shared {
    /// A worker's life.
    fn serve(&self, index: usize) {
        let _flush = Flush::start();
        let mut seen = 0;
        loop {
            seen = self.wait_for_phase(seen);
            if seen == usize::MAX {
                return;
            }
            if !self.enter() {
                continue;
            }
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| self.work(index))) {
                // The rest of the phase is of no use: let everybody leave.
                self.shares.iter().for_each(|s| s.next.store(usize::MAX / 2, Ordering::Relaxed));
                *lock(&self.panic) = Some(Err(panic));
            }
            if self.state.fetch_sub(INSIDE, Ordering::SeqCst) == INSIDE
                && self.caller_asleep.load(Ordering::SeqCst) > 0
            {
                drop(lock(&self.left.0));
                self.left.1.notify_one();
            }
        }
    }

    /// Waits until the epoch is not `seen`.
    fn wait_for_phase(&self, seen: usize) -> usize {
        for _ in 0..SPIN {
            let epoch = self.epoch.load(Ordering::Acquire);
            if epoch != seen {
                return epoch;
            }
            spin_loop();
        }
        let mut guard = lock(&self.wake.0);
        self.asleep.fetch_add(1, Ordering::SeqCst);
        loop {
            let epoch = self.epoch.load(Ordering::SeqCst);
            if epoch != seen {
                self.asleep.fetch_sub(1, Ordering::SeqCst);
                return epoch;
            }
            guard = self.wake.1.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Enters the phase if it is still open.
    fn enter(&self) -> bool {
        self.state
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |s| (s & OPEN != 0).then_some(s + INSIDE))
            .is_ok()
    }

    /// Takes tasks: first its own share, then from the others'.
    fn work(&self, worker: usize) {
        let n = self.shares.len();
        // SAFETY: the phase is open or this worker is inside, so the job is not written (module invariant), and
        // `run` does not return, so the function lives.
        let (f, tasks, chunk) = unsafe {
            let job = &*self.job.get();
            (&*job.f, job.tasks, job.chunk)
        };
        for i in 0..n {
            let owner = (worker + i) % n;
            let end = (owner + 1) * tasks / n;
            loop {
                let from = self.shares[owner].next.fetch_add(chunk, Ordering::Relaxed);
                if from >= end {
                    break;
                }
                f(worker, from..(from + chunk).min(end));
            }
        }
    }

    /// The caller waits for those inside.
    fn wait_until_left(&self) {
        for _ in 0..SPIN {
            if self.state.load(Ordering::SeqCst) == 0 {
                return;
            }
            spin_loop();
        }
        let mut guard = lock(&self.left.0);
        self.caller_asleep.store(1, Ordering::SeqCst);
        while self.state.load(Ordering::SeqCst) != 0 {
            guard = self.left.1.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
        self.caller_asleep.store(0, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU32;

    #[test]
    fn every_task_runs_once() {
        for n in [1, 2, 5, 16] {
            let mut workers = Workers::start(n).unwrap();
            for tasks in [0, 1, 2, 7, 100, 1000, 3001] {
                let counts: Vec<AtomicU32> = (0..tasks).map(|_| AtomicU32::new(0)).collect();
                for _ in 0..50 {
                    workers.run(tasks, &|worker, range| {
                        assert!(worker < n);
                        range.for_each(|i| _ = counts[i].fetch_add(1, Ordering::Relaxed));
                    });
                }
                assert!(counts.iter().all(|c| c.load(Ordering::Relaxed) == 50), "{n} workers, {tasks} tasks");
            }
        }
    }

    #[test]
    fn sleepers_wake_up() {
        let mut workers = Workers::start(3).unwrap();
        for _ in 0..20 {
            thread::sleep(std::time::Duration::from_millis(2));
            let sum = AtomicUsize::new(0);
            workers.run(64, &|_, r| _ = sum.fetch_add(r.sum(), Ordering::Relaxed));
            assert_eq!(sum.into_inner(), 2016);
        }
    }

    #[test]
    fn a_panic_surfaces_and_the_workers_survive() {
        let mut workers = Workers::start(4).unwrap();
        for bad in [0, 99] {
            let run = catch_unwind(AssertUnwindSafe(|| {
                workers.run(100, &|_, r| assert!(!r.contains(&bad), "task {bad}"));
            }));
            let text = run.unwrap_err().downcast::<String>().unwrap();
            assert!(text.contains("task"), "{text}");
        }
        let sum = AtomicUsize::new(0);
        workers.run(100, &|_, r| _ = sum.fetch_add(r.sum(), Ordering::Relaxed));
        assert_eq!(sum.into_inner(), 4950);
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri flushes nothing")]
    fn denormals_are_flushed_only_inside() {
        let tiny = std::hint::black_box(f32::MIN_POSITIVE);
        let mut workers = Workers::start(2).unwrap();
        workers.run(1000, &|_, _| assert_eq!((std::hint::black_box(tiny) * 0.5).to_bits(), 0));
        assert!((tiny * std::hint::black_box(0.5)).to_bits() != 0);
    }
}
