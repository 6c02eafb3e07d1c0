//! Where NVRTC, cuBLASLt and cuDNN may lie, and where compiled kernels are kept: all that this device takes from its environment.
//!
//! In: `THALWEG_NVRTC`, `THALWEG_CUDA_LIBRARIES`, `CUDA_PATH`, `CUDA_HOME`, `VIRTUAL_ENV`, `CONDA_PREFIX`, the home folder, the place of the program,
//! the folder of caches. Out: [`Places`].

use crate::caches;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};

/// Where to look, in order.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Places {
    /// Folders or files that libraries are looked for in before the system's library path.
    pub first: Vec<PathBuf>,
    /// And after it.
    pub then: Vec<PathBuf>,
    /// Folder of compiled kernels.
    pub cache: Option<PathBuf>,
    /// What `THALWEG_CUDA_LIBRARIES` says: folders of cuBLASLt and cuDNN, written as in PATH, or `none`.
    libraries: Option<PathBuf>,
    /// What was named to look in alone, so that the system's library path is left out.
    pub only: Option<PathBuf>,
}

impl Places {
    /// Reads the environment.
    pub fn read() -> Places {
        let set = |name: &str| env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        let program = env::current_exe().ok().and_then(|p| p.parent().map(Path::to_path_buf));
        let mut first: Vec<PathBuf> = set("THALWEG_NVRTC").into_iter().collect();
        first.extend(program.iter().flat_map(|p| [p.clone(), p.join("lib")]));
        let mut then = Vec::new();
        for toolkit in ["CUDA_PATH", "CUDA_HOME"].iter().filter_map(|n| set(n)).chain(default_toolkit()) {
            then.extend(["lib64", "lib", "bin"].map(|f| toolkit.join(f)));
        }
        let home = env::home_dir();
        let active = ["VIRTUAL_ENV", "CONDA_PREFIX"].iter().filter_map(|n| set(n));
        let installed =
            home.iter().map(|h| h.join(".local")).chain(["/usr/local", "/usr"].map(PathBuf::from));
        then.extend(active.chain(installed).flat_map(|python| wheels(&python)));
        let cache = caches::folder().map(|c| c.join("kernels"));
        Places { first, then, cache, libraries: set("THALWEG_CUDA_LIBRARIES"), only: None }
    }

    /// Whether somebody said where cuBLASLt and cuDNN are, or that they are to be left alone.
    pub fn names_libraries(&self) -> bool {
        self.libraries.is_some()
    }

    /// Where cuBLASLt and cuDNN are looked for; `None` if they are to be left alone.
    pub fn of_libraries(mut self) -> Option<Places> {
        let named = self.libraries.take();
        if named.as_deref() == Some(Path::new("none")) {
            return None;
        }
        if named.is_some() {
            let first = named.iter().flat_map(env::split_paths).collect();
            return Some(Places { first, only: named, ..Places::default() });
        }
        // A file that is named there is the compiler.
        self.first.retain(|place| !place.is_file());
        Some(self)
    }
}

/// Where a toolkit is installed unless one says otherwise.
fn default_toolkit() -> Option<PathBuf> {
    cfg!(target_os = "linux").then(|| PathBuf::from("/usr/local/cuda"))
}

/// Folders of NVIDIA's wheels in a Python environment.
fn wheels(python: &Path) -> Vec<PathBuf> {
    let versions = fs::read_dir(python.join("lib")).into_iter().flatten().flatten().map(|e| e.path());
    let versions =
        versions.filter(|p| p.file_name().is_some_and(|n| n.to_string_lossy().starts_with("python")));
    // Debian's own Python has another name for it.
    let mut packages: Vec<PathBuf> =
        versions.flat_map(|p| ["site-packages", "dist-packages"].map(|f| p.join(f))).collect();
    packages.push(python.join("Lib/site-packages"));
    packages.sort();
    let nvidia = [
        "cu13/lib",
        "cu13/bin/x86_64",
        "cuda_nvrtc/lib",
        "cuda_nvrtc/bin",
        "cublas/lib",
        "cublas/bin",
        "cudnn/lib",
        "cudnn/bin",
    ];
    packages.iter().flat_map(|p| nvidia.map(|f| p.join("nvidia").join(f))).filter(|p| p.is_dir()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wheels_are_found_in_an_environment() {
        let root = env::temp_dir().join(format!("thalweg-places-{}", std::process::id()));
        let lib = root.join("lib/python3.11/site-packages/nvidia/cu13/lib");
        let dnn = root.join("lib/python3.11/site-packages/nvidia/cudnn/lib");
        fs::create_dir_all(&lib).unwrap();
        fs::create_dir_all(&dnn).unwrap();
        assert_eq!(wheels(&root), [lib, dnn]);
        fs::remove_dir_all(&root).unwrap();
        assert!(wheels(&root).is_empty());
    }

    #[test]
    fn libraries_are_looked_for_where_one_says_or_not_at_all() {
        let places = |libraries: Option<&str>| Places {
            first: vec!["compiler".into()],
            libraries: libraries.map(PathBuf::from),
            ..Places::default()
        };
        assert_eq!(places(Some("none")).of_libraries(), None);
        assert_eq!(places(None).of_libraries(), Some(places(None)));
        let both = env::join_paths(["mine", "yours"]).unwrap();
        let only = places(both.to_str()).of_libraries().unwrap();
        assert_eq!(only.first, ["mine", "yours"].map(PathBuf::from));
        assert!(only.only.is_some() && only.then.is_empty());
    }
}
