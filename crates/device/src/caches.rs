//! Where GPUs' devices keep what they need not find out again: compiled kernels, tuned products.
//!
//! In: `XDG_CACHE_HOME`, the home folder. Out: a folder, which may not exist yet.

use std::env;
use std::path::PathBuf;

/// The folder; `None` where there is no home.
pub fn folder() -> Option<PathBuf> {
    let set = env::var_os("XDG_CACHE_HOME").filter(|v| !v.is_empty()).map(PathBuf::from);
    set.or_else(|| env::home_dir().map(|h| h.join(caches()))).map(|c| c.join("thalweg"))
}

/// The system's folder of caches, in the home folder.
fn caches() -> &'static str {
    if cfg!(windows) { "AppData/Local" } else { ".cache" }
}
