//! Putting finished files into place so that a crash cannot leave half of one.
//!
//! Input: a complete file under a temporary name on the same file system. Output: the same file under its
//! final name. Invariant: its bytes are on the disk before the name is.

use crate::error::{DataError, Result};
use md5::{Digest, Md5};
use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::Path;

/// Syncs a file and gives it its final name.
pub(super) fn into_place(from: &Path, to: &Path) -> Result<()> {
    let file = File::options().write(true).open(from).map_err(DataError::io("open", from))?;
    file.sync_all().map_err(DataError::io("sync", from))?;
    drop(file);
    fs::rename(from, to).map_err(DataError::io("create", to))
}

/// Makes the names in a folder last.
pub(super) fn sync_dir(dir: &Path) -> Result<()> {
    // Windows does not open folders, and needs no such call.
    if cfg!(unix) {
        let folder = File::open(dir).map_err(DataError::io("open", dir))?;
        folder.sync_all().map_err(DataError::io("sync", dir))?;
    }
    Ok(())
}

/// Removes a folder of temporary files, if there is one.
pub(super) fn clear(dir: &Path) -> Result<()> {
    match fs::remove_dir_all(dir) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(DataError::io("remove", dir)(e)),
        _ => Ok(()),
    }
}

/// The MD5 sum of a file, in hex.
pub(super) fn md5(path: &Path) -> Result<String> {
    let mut file = File::open(path).map_err(DataError::io("open", path))?;
    let (mut hasher, mut buffer) = (Md5::new(), vec![0; 1 << 18]);
    loop {
        match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => hasher.update(&buffer[..n]),
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(DataError::io("read", path)(e)),
        }
    }
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// An error unless the file has this MD5 sum.
pub(super) fn expect_md5(path: &Path, expected: &str) -> Result<()> {
    let found = md5(path)?;
    if found == expected {
        return Ok(());
    }
    Err(DataError::Checksum { path: path.to_path_buf(), found, expected: expected.to_owned() })
}
