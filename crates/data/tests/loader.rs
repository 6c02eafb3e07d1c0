//! The loader: the same batches whatever the threads do, bounded reading ahead, errors in their place, no
//! allocation in a steady state, prompt ends.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop there")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use thalweg_base::DType;
use thalweg_data::{
    Batch, DataError, Dataset, Field, Loader, LoaderOptions, Result, Split, epoch_order, open_named,
};

/// Example i is `width` bytes of i % 251, and i as a label; reading some is slow, some fail.
struct Numbers {
    len: usize,
    fields: Vec<Field>,
    reads: AtomicUsize,
    delay: fn(usize) -> Duration,
    broken: Option<usize>,
}

impl Numbers {
    fn new(len: usize, width: usize) -> Numbers {
        let fields = vec![Field::input("data", &[width], DType::U8), Field::target("label", &[], DType::I32)];
        Numbers { len, fields, reads: AtomicUsize::new(0), delay: |_| Duration::ZERO, broken: None }
    }
}

impl Dataset for Numbers {
    fn len(&self) -> usize {
        self.len
    }
    fn fields(&self) -> &[Field] {
        &self.fields
    }
    fn class_names(&self) -> &[String] {
        &[]
    }
    fn describe(&self) -> String {
        "numbers".into()
    }
    fn read(&self, index: usize, out: &mut [&mut [u8]]) -> Result<()> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        thread::sleep((self.delay)(index));
        if self.broken == Some(index) {
            return Err(DataError::Image { path: format!("{index}.png").into(), what: "broken".into() });
        }
        assert!(index < self.len, "a panic in a data set");
        for field in out.iter_mut().take(self.fields.len() - 1) {
            field.fill((index % 251) as u8);
        }
        out[self.fields.len() - 1].copy_from_slice(&(index as i32).to_le_bytes());
        Ok(())
    }
}

fn loader(set: &Arc<Numbers>, order: Vec<u32>, batch: usize, workers: usize, prefetch: usize) -> Loader {
    Loader::new(set.clone(), order.into(), batch, LoaderOptions { workers, prefetch })
}

fn labels(batch: &Batch) -> Vec<u32> {
    batch.fields[1].chunks(4).map(|b| u32::from_le_bytes(b.try_into().unwrap())).collect()
}

/// Waits until no more examples are read.
fn settled(set: &Numbers) -> usize {
    let mut last = usize::MAX;
    loop {
        let now = set.reads.load(Ordering::SeqCst);
        if now == last {
            return now;
        }
        last = now;
        thread::sleep(Duration::from_millis(60));
    }
}

#[test]
fn batches_come_in_order_whatever_the_threads_do() {
    let mut set = Numbers::new(103, 6);
    // Uneven work, so that batches are finished out of order.
    set.delay = |i| Duration::from_micros(if i % 17 < 3 { 900 } else { 0 });
    let set = Arc::new(set);
    let order = epoch_order(103, 5, 2, true);
    for (workers, prefetch) in [(0, 4), (1, 1), (1, 4), (3, 2), (3, 8)] {
        let mut loader = loader(&set, order.clone(), 10, workers, prefetch);
        assert_eq!(loader.batches(), 11);
        let mut seen = Vec::new();
        while let Some(batch) = loader.next_batch().unwrap() {
            let own = labels(&batch);
            assert_eq!((batch.size, batch.fields[0].len()), (own.len(), own.len() * 6));
            for (example, &label) in batch.fields[0].chunks(6).zip(&own) {
                assert_eq!(example, [(label % 251) as u8; 6]);
            }
            seen.push(own);
            loader.recycle(batch);
        }
        assert_eq!(seen.len(), 11);
        assert_eq!(seen[10].len(), 3);
        assert_eq!(seen.concat(), order, "{workers} workers");
        assert_eq!(loader.next_batch().unwrap(), None);
    }
}

#[test]
fn an_epoch_resumes_in_the_middle_without_reading_what_was() {
    for workers in [0, 2] {
        let set = Arc::new(Numbers::new(50, 2));
        let mut loader = loader(&set, epoch_order(50, 1, 0, true), 8, workers, 3).starting_at(5);
        assert_eq!(loader.position(), 5);
        let first = loader.next_batch().unwrap().unwrap();
        assert_eq!(labels(&first), epoch_order(50, 1, 0, true)[40..48]);
        assert_eq!(loader.next_batch().unwrap().unwrap().size, 2);
        assert_eq!(loader.next_batch().unwrap(), None);
        assert_eq!(settled(&set), 10);
    }
    let set = Arc::new(Numbers::new(50, 2));
    assert_eq!(loader(&set, vec![0; 50], 8, 2, 3).starting_at(99).next_batch().unwrap(), None);
}

#[test]
fn reading_ahead_is_bounded() {
    let set = Arc::new(Numbers::new(1000, 2));
    let mut loader = loader(&set, epoch_order(1000, 0, 0, false), 10, 3, 4);
    loader.start();
    assert_eq!(settled(&set), 40);
    let batch = loader.next_batch().unwrap().unwrap();
    assert_eq!(settled(&set), 50);
    loader.recycle(batch);
    assert_eq!(settled(&set), 50);
}

#[test]
fn an_error_comes_in_the_place_of_its_batch() {
    for workers in [0, 1, 3] {
        let mut set = Numbers::new(40, 2);
        set.broken = Some(25);
        let mut loader = loader(&Arc::new(set), epoch_order(40, 0, 0, false), 10, workers, 4);
        assert_eq!(loader.next_batch().unwrap().unwrap().size, 10);
        assert_eq!(loader.next_batch().unwrap().unwrap().size, 10);
        let error = loader.next_batch().unwrap_err().to_string();
        assert!(error.contains("25.png"), "{error}");
        assert_eq!(labels(&loader.next_batch().unwrap().unwrap())[0], 30);
        assert_eq!(loader.next_batch().unwrap(), None);
    }
}

#[test]
fn a_panic_of_a_data_set_reaches_the_caller() {
    let set = Arc::new(Numbers::new(10, 2));
    let mut loader = loader(&set, vec![0, 1, 99], 2, 2, 2);
    assert_eq!(loader.next_batch().unwrap().unwrap().size, 2);
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| loader.next_batch()));
    assert!(outcome.is_err());
}

#[test]
fn sets_in_memory_say_so_through_their_wrappers() {
    // The loader reads them without threads, which would take the processor from those that compute.
    let set = open_named("cifar10-sample", std::path::Path::new(""), Split::Test).unwrap();
    assert!(set.in_memory());
    let mut loader = Loader::new(set, vec![3, 1].into(), 2, LoaderOptions::default());
    let batch = loader.next_batch().unwrap().unwrap();
    assert_eq!(batch.size, 2);
}

#[test]
fn a_batch_size_of_zero_is_an_error() {
    let set = Arc::new(Numbers::new(10, 2));
    let error = loader(&set, vec![0, 1], 0, 2, 2).next_batch().unwrap_err().to_string();
    assert!(error.contains("at least 1"), "{error}");
}

#[test]
fn dropping_ends_the_threads_after_one_example() {
    let mut set = Numbers::new(100_000, 2);
    set.delay = |_| Duration::from_millis(5);
    let set = Arc::new(set);
    for consume in [false, true] {
        // A batch alone takes five seconds.
        let mut loader =
            loader(&set, epoch_order(100_000, 0, 0, false), if consume { 2 } else { 1000 }, 3, 4);
        loader.start();
        if consume {
            loader.next_batch().unwrap();
        }
        thread::sleep(Duration::from_millis(20));
        let started = Instant::now();
        drop(loader);
        assert!(started.elapsed() < Duration::from_millis(500), "{:?}", started.elapsed());
        assert_eq!(Arc::strong_count(&set), 1, "no thread holds the data set any more");
    }
}

/// Marks the only buffers that may ever be used by a capacity no batch needs.
#[test]
fn a_steady_state_allocates_no_batches() {
    const MARK: usize = 1 << 18;
    for workers in [0, 3] {
        let set = Arc::new(Numbers::new(2992, 1021));
        let mut loader = loader(&set, epoch_order(2992, 0, 0, true), 11, workers, 4);
        // Four ahead and one handed out.
        for _ in 0..5 {
            loader
                .recycle(Batch { fields: vec![Vec::with_capacity(MARK), Vec::with_capacity(MARK)], size: 0 });
        }
        let mut count = 0;
        while let Some(batch) = loader.next_batch().unwrap() {
            assert!(batch.fields.iter().all(|f| f.capacity() >= MARK), "batch {count} is a new one");
            loader.recycle(batch);
            count += 1;
        }
        assert_eq!(count, 272);
    }
}

#[test]
fn many_fields_are_filled_too() {
    let mut set = Numbers::new(20, 3);
    set.fields = (0..11).map(|i| Field::input(&format!("x{i}"), &[3], DType::U8)).collect();
    set.fields.push(Field::target("label", &[], DType::I32));
    let mut loader = loader(&Arc::new(set), epoch_order(20, 0, 0, false), 4, 2, 2);
    let batch = loader.next_batch().unwrap().unwrap();
    assert_eq!(batch.fields.len(), 12);
    assert_eq!(batch.fields[10], [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]);
}
