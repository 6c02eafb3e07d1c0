//! Where GPUs' devices keep what they need not find out again: compiled kernels, tuned products.
//!
//! In: `XDG_CACHE_HOME`, the home folder. Out: a folder, which may not exist yet, and files in it. Invariant: who reads a file
//! sees all that was written at one time, whoever else writes it meanwhile.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{fs, io, process};

/// The folder; `None` where there is no home.
#[cfg(all(any(feature = "cuda", feature = "wgpu"), not(target_family = "wasm")))]
pub fn folder() -> Option<std::path::PathBuf> {
    use std::env;
    let set = env::var_os("XDG_CACHE_HOME").filter(|v| !v.is_empty()).map(std::path::PathBuf::from);
    // The system's folder of caches, in the home folder.
    let caches = if cfg!(windows) { "AppData/Local" } else { ".cache" };
    set.or_else(|| env::home_dir().map(|h| h.join(caches))).map(|c| c.join("thalweg"))
}

/// Writes a file, and its folder where there is none: under another name of this call's own, then renamed.
pub fn write(file: &Path, bytes: &[u8]) -> io::Result<()> {
    static CALLS: AtomicUsize = AtomicUsize::new(0);
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder)?;
    }
    let call = CALLS.fetch_add(1, Ordering::Relaxed);
    let temporary = file.with_extension(format!("{}.{call}.new", process::id()));
    let renamed = fs::write(&temporary, bytes).and_then(|()| fs::rename(&temporary, file));
    if renamed.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    renamed
}
