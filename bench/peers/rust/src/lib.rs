//! What the Rust peers share: command line, CIFAR-10, the measuring loop, the one JSON line.
//!
//! In: the arguments of `peers/measure.py`, of which these peers know the seed CNN only. Out: the same JSON line,
//! with the same warm-up and windows. Invariant: a window is closed only after a step, so that it holds whole
//! batches.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Bytes of an image.
pub const PIXELS: usize = 3 * 32 * 32;
/// Number of classes.
pub const CLASSES: usize = 10;
const WARM_UP: Duration = Duration::from_secs(2);
const WINDOW: Duration = Duration::from_millis(500);

/// The command line.
pub struct Arguments {
    /// Whether to train or to predict.
    pub train: bool,
    /// Images per step.
    pub batch: usize,
    seconds: f64,
    data: PathBuf,
}

impl Arguments {
    /// Reads it.
    pub fn read() -> Arguments {
        let home = std::env::var("HOME").unwrap_or_default();
        let data = Path::new(&home).join(".cache/cifar-10-batches-bin");
        let mut read = Arguments { train: true, batch: 32, seconds: 10.0, data };
        let words: Vec<String> = std::env::args().skip(1).collect();
        for pair in words.chunks(2) {
            let [key, value] = pair else { panic!("{} has no value", pair[0]) };
            match (key.as_str(), value.as_str()) {
                ("--mode", mode) => read.train = mode == "train",
                ("--batch-size", n) => read.batch = n.parse().expect("a number of images"),
                ("--seconds", s) => read.seconds = s.parse().expect("seconds"),
                ("--data", folder) => read.data = folder.into(),
                // Rayon, in both, reads RAYON_NUM_THREADS.
                ("--threads", _) | ("--model", "seed") | ("--image-size", "32") | ("--classes", "10") => {}
                (key, value) => panic!("{key} {value}: these peers know the seed CNN on CIFAR-10"),
            }
        }
        read
    }
}

/// Images of CIFAR-10, `[n, c, h, w]` bytes as in its files, in a new order for every epoch of training.
pub struct Images {
    pixels: Vec<u8>,
    labels: Vec<u8>,
    order: Vec<usize>,
    at: usize,
    /// Whether the order changes, and the state of a xorshift generator that changes it.
    shuffle: Option<u64>,
}

impl Images {
    /// Reads the files.
    pub fn open(args: &Arguments) -> Images {
        let names = match args.train {
            true => (1..=5).map(|i| format!("data_batch_{i}.bin")).collect(),
            false => vec!["test_batch.bin".to_owned()],
        };
        let (mut pixels, mut labels) = (Vec::new(), Vec::new());
        for name in names {
            let path = args.data.join(name);
            let bytes = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            for row in bytes.chunks_exact(PIXELS + 1) {
                labels.push(row[0]);
                pixels.extend_from_slice(&row[1..]);
            }
        }
        let order = (0..labels.len()).collect();
        Images { pixels, labels, order, at: usize::MAX, shuffle: args.train.then_some(0x9e37_79b9_7f4a_7c15) }
    }

    /// The next whole batch: floats in 0 to 1, and labels.
    pub fn batch(&mut self, size: usize) -> (Vec<f32>, Vec<u8>) {
        if self.at.saturating_add(size) > self.order.len() {
            self.at = 0;
            if let Some(state) = &mut self.shuffle {
                for i in (1..self.order.len()).rev() {
                    *state ^= *state << 13;
                    *state ^= *state >> 7;
                    *state ^= *state << 17;
                    self.order.swap(i, (*state % (i as u64 + 1)) as usize);
                }
            }
        }
        let pick = &self.order[self.at..self.at + size];
        self.at += size;
        let mut floats = Vec::with_capacity(size * PIXELS);
        for &i in pick {
            floats.extend(self.pixels[i * PIXELS..][..PIXELS].iter().map(|&p| f32::from(p) * (1.0 / 255.0)));
        }
        (floats, pick.iter().map(|&i| self.labels[i]).collect())
    }
}

/// Steps until the time is over, then prints the JSON line. A batch is made outside what counts as its latency.
pub fn run(args: &Arguments, version: &str, mut step: impl FnMut(Vec<f32>, Vec<u8>)) {
    let mut images = Images::open(args);
    let (mut rates, mut seconds) = (Vec::new(), Vec::new());
    let first = images.batch(args.batch);
    step(first.0, first.1);
    let (began, mut window, mut done) = (Instant::now(), None, 0);
    while rates.is_empty() || began.elapsed() < WARM_UP + Duration::from_secs_f64(args.seconds) {
        let (floats, labels) = images.batch(args.batch);
        let start = Instant::now();
        step(floats, labels);
        seconds.push(start.elapsed().as_secs_f64());
        let Some(opened) = window else {
            window = (began.elapsed() >= WARM_UP).then(Instant::now);
            continue;
        };
        done += args.batch;
        let elapsed = Instant::now() - opened;
        if elapsed >= WINDOW {
            rates.push(done as f64 / elapsed.as_secs_f64());
            (window, done) = (Some(Instant::now()), 0);
        }
    }
    rates.sort_by(f64::total_cmp);
    seconds.sort_by(f64::total_cmp);
    let (median, latency) = (rates[rates.len() / 2], 1e6 * seconds[seconds.len() / 2]);
    println!(
        "{{\"images_per_second\": {{\"median\": {median:.1}, \"min\": {:.1}, \"max\": {:.1}}}, \"windows\": {}, \
         \"peak_mb\": {:.1}, \"data_mb\": {:.1}, \"version\": \"{version}\", \"latency_us\": {}}}",
        rates[0],
        rates[rates.len() - 1],
        rates.len(),
        peak_mb(),
        images.pixels.len() as f64 / 1e6,
        if !args.train && args.batch == 1 { format!("{latency:.1}") } else { "null".to_owned() },
    );
}

/// The most memory that this process ever had.
fn peak_mb() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
    let kib = line.and_then(|l| l.split_whitespace().next()?.parse::<f64>().ok());
    kib.unwrap_or(f64::NAN) * 1024.0 / 1e6
}
