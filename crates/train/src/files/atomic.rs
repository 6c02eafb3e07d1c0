//! Writing a file so that it is either whole or as it was before.
//!
//! Input: a path, the number of bytes to come, and what writes them. Output: the file, or an error that names
//! it and those bytes. Invariant: the bytes go to a temporary name in the same folder, are flushed to the disk,
//! and only then take the name; after any error the temporary file is gone and the old file untouched.

use crate::{Result, TrainError};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// Writes `path` through `fill`; `needed` is the size for the error message.
pub fn write_atomic(
    path: &Path,
    needed: u64,
    fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<()> {
    write_through(path, needed, |file| Box::new(file), fill)
}

/// As [`write_atomic`], with the file seen through `wrap`: tests put a disk in between that fills up.
fn write_through<'a>(
    path: &Path,
    needed: u64,
    wrap: impl FnOnce(File) -> Box<dyn Sink + 'a>,
    fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<()> {
    let error = |source| TrainError::Write { path: path.to_path_buf(), needed, source };
    let folder = folder_of(path);
    fs::create_dir_all(&folder).map_err(error)?;
    let temporary = Temporary { path: temporary_name(path).map_err(error)?, done: false };
    let file = File::create(&temporary.path).map_err(error)?;
    let mut writer = BufWriter::with_capacity(1 << 16, wrap(file));
    fill(&mut writer).and_then(|()| writer.flush()).map_err(error)?;
    let sink = writer.into_inner().map_err(|e| error(e.into_error()))?;
    sink.sync().map_err(error)?;
    drop(sink);
    temporary.rename(path).map_err(error)?;
    // The new name must outlive a crash too. Not every file system lets a folder be opened for that.
    if let Ok(folder) = File::open(&folder) {
        folder.sync_all().ok();
    }
    Ok(())
}

/// What the bytes go to.
trait Sink: Write {
    /// Brings them to the disk.
    fn sync(&self) -> io::Result<()>;
}

impl Sink for File {
    fn sync(&self) -> io::Result<()> {
        self.sync_all()
    }
}

/// A file that is removed unless it got its name.
struct Temporary {
    path: PathBuf,
    done: bool,
}

impl Temporary {
    fn rename(mut self, to: &Path) -> io::Result<()> {
        fs::rename(&self.path, to)?;
        self.done = true;
        Ok(())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.done {
            fs::remove_file(&self.path).ok();
        }
    }
}

/// The folder a file is in; `.` for a bare name.
fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(p) if !p.as_os_str().is_empty() => p.to_path_buf(),
        _ => PathBuf::from("."),
    }
}

/// `.name.tmp-<process>` beside the file.
fn temporary_name(path: &Path) -> io::Result<PathBuf> {
    let Some(name) = path.file_name() else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the path names no file"));
    };
    let mut temporary = OsString::from(".");
    temporary.push(name);
    temporary.push(format!(".tmp-{}", std::process::id()));
    Ok(path.with_file_name(temporary))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A disk with room for so many bytes, or one that fails when it is flushed.
    struct Disk {
        file: File,
        room: usize,
        sync_fails: bool,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.room == 0 {
                return Err(io::Error::from(io::ErrorKind::StorageFull));
            }
            let n = bytes.len().min(self.room);
            self.room -= n;
            self.file.write(&bytes[..n])
        }

        fn flush(&mut self) -> io::Result<()> {
            self.file.flush()
        }
    }

    impl Sink for Disk {
        fn sync(&self) -> io::Result<()> {
            if self.sync_fails { Err(io::Error::from(io::ErrorKind::StorageFull)) } else { Ok(()) }
        }
    }

    fn names(folder: &Path) -> Vec<OsString> {
        fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name()).collect()
    }

    #[test]
    fn a_full_disk_leaves_the_old_file_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        write_atomic(&path, 3, |w| w.write_all(b"old")).unwrap();
        for (room, sync_fails) in [(0, false), (70_000, false), (usize::MAX, true)] {
            let disk = |file| Box::new(Disk { file, room, sync_fails }) as Box<dyn Sink>;
            let error = write_through(&path, 100_000, disk, |w| w.write_all(&[7; 100_000])).unwrap_err();
            let error = error.to_string();
            assert!(error.contains("model.safetensors (100000 bytes)"), "{error}");
            assert!(error.contains("unchanged"), "{error}");
            assert_eq!(fs::read(&path).unwrap(), b"old");
            assert_eq!(names(folder.path()), ["model.safetensors"]);
        }
    }

    /// A real file system that is too small, where the test may mount one.
    #[test]
    fn a_really_full_disk() {
        let folder = tempfile::tempdir().unwrap();
        let mount = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=64k", "tmpfs"])
            .arg(folder.path())
            .output();
        if !mount.is_ok_and(|o| o.status.success()) {
            eprintln!("skipped: no right to mount a small file system");
            return;
        }
        let path = folder.path().join("model.safetensors");
        let outcome = std::panic::catch_unwind(|| {
            write_atomic(&path, 3, |w| w.write_all(b"old")).unwrap();
            let error = write_atomic(&path, 1 << 20, |w| w.write_all(&vec![1; 1 << 20])).unwrap_err();
            assert!(error.to_string().contains("(1048576 bytes): No space left"), "{error}");
            assert_eq!(fs::read(&path).unwrap(), b"old");
            assert_eq!(names(folder.path()), ["model.safetensors"]);
        });
        std::process::Command::new("umount").arg(folder.path()).status().unwrap();
        outcome.unwrap();
    }

    #[test]
    fn a_path_without_a_name_or_below_a_file_is_an_error() {
        assert!(write_atomic(Path::new("/"), 1, |_| Ok(())).is_err());
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a");
        write_atomic(&file, 1, |w| w.write_all(b"x")).unwrap();
        assert!(write_atomic(&file.join("b"), 1, |_| Ok(())).is_err());
    }
}
