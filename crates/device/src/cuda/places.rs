//! Where NVRTC may lie, and where compiled kernels are kept: all that this device takes from its environment.
//!
//! In: `THALWEG_NVRTC`, `CUDA_PATH`, `CUDA_HOME`, `VIRTUAL_ENV`, `CONDA_PREFIX`, the home folder, the place of the program,
//! the folder of caches. Out: [`Places`].

use crate::caches;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};

/// Where to look, in order.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Places {
    /// Folders or files that NVRTC is looked for in before the system's library path.
    pub first: Vec<PathBuf>,
    /// And after it.
    pub then: Vec<PathBuf>,
    /// Folder of compiled kernels.
    pub cache: Option<PathBuf>,
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
        Places { first, then, cache: caches::folder().map(|c| c.join("kernels")) }
    }
}

/// Where a toolkit is installed unless one says otherwise.
fn default_toolkit() -> Option<PathBuf> {
    cfg!(target_os = "linux").then(|| PathBuf::from("/usr/local/cuda"))
}

/// Folders of the `nvidia-cuda-nvrtc` wheels in a Python environment.
fn wheels(python: &Path) -> Vec<PathBuf> {
    let versions = fs::read_dir(python.join("lib")).into_iter().flatten().flatten().map(|e| e.path());
    let versions =
        versions.filter(|p| p.file_name().is_some_and(|n| n.to_string_lossy().starts_with("python")));
    // Debian's own Python has another name for it.
    let mut packages: Vec<PathBuf> =
        versions.flat_map(|p| ["site-packages", "dist-packages"].map(|f| p.join(f))).collect();
    packages.push(python.join("Lib/site-packages"));
    packages.sort();
    let nvidia = ["cu13/lib", "cu13/bin/x86_64", "cuda_nvrtc/lib", "cuda_nvrtc/bin"];
    packages.iter().flat_map(|p| nvidia.map(|f| p.join("nvidia").join(f))).filter(|p| p.is_dir()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wheels_are_found_in_an_environment() {
        let root = env::temp_dir().join(format!("thalweg-places-{}", std::process::id()));
        let lib = root.join("lib/python3.11/site-packages/nvidia/cu13/lib");
        fs::create_dir_all(&lib).unwrap();
        assert_eq!(wheels(&root), [lib]);
        fs::remove_dir_all(&root).unwrap();
        assert!(wheels(&root).is_empty());
    }
}
