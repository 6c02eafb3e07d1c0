//! Batches from a data set, decoded ahead by threads.
//!
//! Input: a data set, an order of examples, a batch size. Output: batches in that order; the last one may be
//! smaller. Each worker fills a whole batch and puts it into the slot of that batch, so batches come out in
//! order whatever the threads do. Invariants: at most `prefetch` batches are finished or being made beyond
//! the one last handed out; batches given back with `recycle` are filled again, so that a steady state
//! allocates nothing; an error is returned in place of its batch; dropping the loader ends its threads after
//! at most one example each.

use crate::dataset::Dataset;
use crate::error::{DataError, Result};
use std::any::Any;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

/// How a loader works; no choice changes what it yields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoaderOptions {
    /// Threads that read ahead; 0 reads when a batch is asked for. [`LoaderOptions::AUTO`]: 0 for a data set in
    /// memory, 2 for any other.
    pub workers: usize,
    /// Batches that may be ahead of the one last handed out; at least 1 when there are workers.
    pub prefetch: usize,
}

impl LoaderOptions {
    /// As many workers as the data set is worth.
    pub const AUTO: usize = usize::MAX;
}

impl Default for LoaderOptions {
    /// Workers as the data set is worth, four batches ahead.
    fn default() -> LoaderOptions {
        LoaderOptions { workers: LoaderOptions::AUTO, prefetch: 4 }
    }
}

/// Some examples, field by field.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Per field of the data set, the raw bytes of `size` examples, one after the other.
    pub fields: Vec<Vec<u8>>,
    /// Number of examples.
    pub size: usize,
}

/// What a worker left in a slot: a batch, an error, or a panic to be passed on.
type Outcome = thread::Result<Result<Batch>>;

/// What the loader and its workers share.
struct Shared {
    source: Source,
    state: Mutex<State>,
    /// Signalled when a slot becomes free or the end has come: workers wait.
    room: Condvar,
    /// Signalled when a slot is filled: the consumer waits.
    filled: Condvar,
    stop: AtomicBool,
}

struct State {
    /// The next batch no worker has taken yet.
    next_taken: usize,
    /// The batch to be handed out next; `ready[0]` is its slot.
    next_out: usize,
    /// One slot per batch from `next_out` on, `prefetch` in all.
    ready: VecDeque<Option<Outcome>>,
    /// Batches to be filled again.
    free: Vec<Batch>,
}

/// What is read, in which order, in batches of which size.
struct Source {
    dataset: Arc<dyn Dataset>,
    order: Arc<[u32]>,
    batch_size: usize,
    /// Bytes of one example, per field.
    field_bytes: Vec<usize>,
}

/// Yields the batches of one epoch.
pub struct Loader {
    shared: Arc<Shared>,
    options: LoaderOptions,
    threads: Vec<JoinHandle<()>>,
    started: bool,
}

impl Loader {
    /// A loader of `order` (see [`crate::epoch_order`]) in batches of `batch_size`. The workers start with
    /// `start` or the first `next_batch`.
    pub fn new(
        dataset: Arc<dyn Dataset>,
        order: Arc<[u32]>,
        batch_size: usize,
        options: LoaderOptions,
    ) -> Loader {
        let field_bytes = dataset.fields().iter().map(|f| f.bytes()).collect();
        let workers = match options.workers {
            LoaderOptions::AUTO if dataset.in_memory() => 0,
            LoaderOptions::AUTO => 2,
            n => n,
        };
        let options = LoaderOptions { prefetch: options.prefetch.max(1), workers };
        let state = State {
            next_taken: 0,
            next_out: 0,
            ready: (0..options.prefetch).map(|_| None).collect(),
            free: Vec::with_capacity(options.prefetch + 1),
        };
        let shared = Shared {
            source: Source { dataset, order, batch_size, field_bytes },
            state: Mutex::new(state),
            room: Condvar::new(),
            filled: Condvar::new(),
            stop: AtomicBool::new(false),
        };
        Loader { shared: Arc::new(shared), options, threads: Vec::new(), started: false }
    }

    /// Skips the batches before `batch_index` without reading them: a run resumes in the middle of an epoch.
    /// Must come before the first batch.
    pub fn starting_at(self, batch_index: usize) -> Loader {
        if !self.started {
            let mut state = self.shared.lock();
            state.next_taken = batch_index;
            state.next_out = batch_index;
        }
        self
    }

    /// Batches of the whole epoch, those skipped included.
    pub fn batches(&self) -> usize {
        self.shared.source.batches()
    }

    /// The number of the batch that `next_batch` returns next.
    pub fn position(&self) -> usize {
        self.shared.lock().next_out
    }

    /// Starts the workers, so that batches are ready when the first is asked for.
    pub fn start(&mut self) {
        if self.started {
            return;
        }
        self.started = true;
        let source = &self.shared.source;
        let left = source.batches().saturating_sub(self.position());
        for i in 0..self.options.workers.min(left).min(self.options.prefetch) {
            let shared = self.shared.clone();
            // A system that grants no more threads still gets its batches, from fewer workers or inline.
            match thread::Builder::new().name(format!("loader-{i}")).spawn(move || shared.work()) {
                Ok(thread) => self.threads.push(thread),
                Err(_) => break,
            }
        }
    }

    /// The next batch in order; `None` at the end of the epoch. After an error the batch that failed is
    /// passed over: another call goes on with the next one.
    pub fn next_batch(&mut self) -> Result<Option<Batch>> {
        if self.shared.source.batch_size == 0 {
            return Err(DataError::argument("a batch size of 0 yields no batches; use at least 1"));
        }
        self.start();
        let mut state = self.shared.lock();
        if state.next_out >= self.shared.source.batches() {
            return Ok(None);
        }
        if self.threads.is_empty() {
            let index = state.next_out;
            state.next_out += 1;
            let buffer = state.free.pop().unwrap_or_default();
            drop(state);
            return self.shared.source.fill(index, buffer, &self.shared.stop).map(Some);
        }
        let outcome = loop {
            if let Some(outcome) = state.ready.front_mut().and_then(Option::take) {
                break outcome;
            }
            state = self.shared.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
        };
        state.ready.rotate_left(1);
        state.next_out += 1;
        drop(state);
        self.shared.room.notify_one();
        match outcome {
            Ok(batch) => batch.map(Some),
            Err(panic) => resume_unwind(panic),
        }
    }

    /// Gives a batch back, so that its memory is used again.
    pub fn recycle(&mut self, batch: Batch) {
        let mut state = self.shared.lock();
        // More are never in use: the slots and the one being read.
        if state.free.len() <= self.options.prefetch {
            state.free.push(batch);
        }
    }
}

impl Drop for Loader {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        // The lock orders the flag against a worker that is about to wait.
        drop(self.shared.lock());
        self.shared.room.notify_all();
        for thread in self.threads.drain(..) {
            // Workers catch the panics of data sets; nothing to pass on while dropping.
            let _: Result<(), Box<dyn Any + Send>> = thread.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // No code that can panic runs under the lock, so the state is whole even if poisoned.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A worker: takes the next batch that fits into the slots, fills it, puts it into its slot.
    fn work(&self) {
        let mut state = self.lock();
        loop {
            let index = state.next_taken;
            if self.stop.load(Ordering::Relaxed) || index >= self.source.batches() {
                return;
            }
            if index >= state.next_out + state.ready.len() {
                state = self.room.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            state.next_taken += 1;
            let buffer = state.free.pop().unwrap_or_default();
            drop(state);
            let outcome = catch_unwind(AssertUnwindSafe(|| self.source.fill(index, buffer, &self.stop)));
            state = self.lock();
            if self.stop.load(Ordering::Relaxed) {
                return;
            }
            // `next_out` cannot have passed this batch: the consumer waits for its slot.
            let slot = index - state.next_out;
            state.ready[slot] = Some(outcome);
            self.filled.notify_one();
        }
    }
}

/// Examples that are brought into the caches at a time, before they are read.
const WARMED: usize = 4;
/// Fields of one example whose slices are kept on the stack.
const FEW_FIELDS: usize = 8;

impl Source {
    fn batches(&self) -> usize {
        self.order.len().div_ceil(self.batch_size.max(1))
    }

    /// Fills `batch` with the examples of batch `index`; gives up between examples when `stop` is set.
    fn fill(&self, index: usize, mut batch: Batch, stop: &AtomicBool) -> Result<Batch> {
        let start = index * self.batch_size;
        let examples = &self.order[start..self.order.len().min(start + self.batch_size)];
        batch.size = examples.len();
        batch.fields.resize_with(self.field_bytes.len(), Vec::new);
        for (buffer, bytes) in batch.fields.iter_mut().zip(&self.field_bytes) {
            buffer.resize(bytes * examples.len(), 0);
        }
        for (slot, &example) in examples.iter().enumerate() {
            if slot % WARMED == 0 {
                let soon = examples.iter().skip(slot + WARMED).take(WARMED);
                soon.for_each(|&example| self.dataset.warm(example as usize));
            }
            if stop.load(Ordering::Relaxed) {
                break;
            }
            let slices = batch
                .fields
                .iter_mut()
                .zip(&self.field_bytes)
                .map(|(buffer, &bytes)| &mut buffer[slot * bytes..][..bytes]);
            let count = self.field_bytes.len();
            if count <= FEW_FIELDS {
                let mut views: [&mut [u8]; FEW_FIELDS] = Default::default();
                for (view, slice) in views.iter_mut().zip(slices) {
                    *view = slice;
                }
                self.dataset.read(example as usize, &mut views[..count])?;
            } else {
                self.dataset.read(example as usize, &mut slices.collect::<Vec<_>>())?;
            }
        }
        Ok(batch)
    }
}
