//! Compiled kernels on disk, by the hash of all that they depend on.
//!
//! A file is the SHA-256 of the code, then the code; it is written under another name and renamed. Invariant: a file that is
//! damaged counts as not there, and a folder that cannot be written is no error: kernels are compiled again.

use crate::caches;
use sha2::{Digest, Sha256};
use std::fs;
use std::path::{Path, PathBuf};

/// Bytes of a hash.
const HASH: usize = 32;

/// The folder of compiled kernels; `None`: nothing is kept.
#[derive(Clone, Debug, Default)]
pub struct Cache {
    folder: Option<PathBuf>,
}

impl Cache {
    /// In that folder.
    pub fn new(folder: Option<PathBuf>) -> Cache {
        Cache { folder }
    }

    /// The code kept for a key, or the code that `make` gives, which is then kept.
    pub fn get(
        &self,
        key: &[&str],
        make: impl FnOnce() -> Result<Vec<u8>, String>,
    ) -> Result<Vec<u8>, String> {
        let mut hash = Sha256::new();
        for part in key {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        let name: String = hash.finalize().iter().map(|b| format!("{b:02x}")).collect();
        let file = self.folder.as_ref().map(|f| f.join(format!("{name}.cubin")));
        if let Some(code) = file.as_deref().and_then(read) {
            return Ok(code);
        }
        let code = make()?;
        if let Some(file) = file {
            // A full disk or a folder that may not be written costs time the next time, nothing else.
            let _ = caches::write(&file, &[Sha256::digest(&code).as_slice(), &code].concat());
        }
        Ok(code)
    }
}

fn read(file: &Path) -> Option<Vec<u8>> {
    let bytes = fs::read(file).ok()?;
    let (hash, code) = bytes.split_at_checked(HASH)?;
    (Sha256::digest(code).as_slice() == hash).then(|| code.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_found_and_what_is_damaged_is_not() {
        let folder = std::env::temp_dir().join(format!("thalweg-cache-{}", std::process::id()));
        let cache = Cache::new(Some(folder.clone()));
        let key = ["source", "sm_90a"];
        assert_eq!(cache.get(&key, || Ok(vec![1, 2, 3])), Ok(vec![1, 2, 3]));
        assert_eq!(cache.get(&key, || Err("compiled again".into())), Ok(vec![1, 2, 3]));
        assert_eq!(cache.get(&["source", "sm_80"], || Err("other".into())), Err("other".to_string()));
        let file = fs::read_dir(&folder).unwrap().next().unwrap().unwrap().path();
        for damage in [&b""[..], b"short", &[7; 40]] {
            fs::write(&file, damage).unwrap();
            assert_eq!(cache.get(&key, || Ok(vec![9])), Ok(vec![9]), "{damage:?}");
            assert_eq!(cache.get(&key, || Err("again".into())), Ok(vec![9]));
        }
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1, "no temporary files are left");
        fs::remove_dir_all(&folder).unwrap();
        let nowhere = Cache::new(Some(PathBuf::from("/proc/none/at/all")));
        assert_eq!(nowhere.get(&key, || Ok(vec![4])), Ok(vec![4]));
    }
}
