//! [`SoftwareCuda`]: a CUDA driver and compiler in software, so that the CUDA device runs where there is no GPU; and cuBLASLt and
//! cuDNN, for those who ask for them.
//!
//! Libraries with the names and functions of NVIDIA's, made by the host's C++ compiler. A program that is started with
//! [`SoftwareCuda::command`] finds them; the kernels' text is compiled as C++ and run on the processor. What the device does
//! with the driver is checked call by call (`software/driver.cpp`); what only a GPU has, such as tensor cores, is not there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

/// The sources, by their names.
const FILES: [(&str, &str); 8] = [
    ("driver.cpp", include_str!("software/driver.cpp")),
    ("compiler.cpp", include_str!("software/compiler.cpp")),
    ("machine.cpp", include_str!("software/machine.cpp")),
    ("machine.h", include_str!("software/machine.h")),
    ("kernel.h", include_str!("software/kernel.h")),
    ("library.h", include_str!("software/library.h")),
    ("cublaslt.cpp", include_str!("software/cublaslt.cpp")),
    ("cudnn.cpp", include_str!("software/cudnn.cpp")),
];

/// A folder with driver and compiler; removed when dropped.
pub struct SoftwareCuda {
    folder: PathBuf,
    /// Whether cuBLASLt and cuDNN are there, too.
    libraries: bool,
}

impl SoftwareCuda {
    /// Makes them; an error if there is no C++ compiler.
    pub fn new() -> Result<SoftwareCuda, String> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("thalweg-cuda-{}-{number}", std::process::id()));
        let software = SoftwareCuda { folder, libraries: false };
        let folder = &software.folder;
        fs::create_dir_all(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
        for (name, text) in FILES {
            fs::write(folder.join(name), text).map_err(|e| format!("{name}: {e}"))?;
        }
        fs::create_dir_all(folder.join("nvrtc")).map_err(|e| e.to_string())?;
        let place = format!("-DFOLDER=\"{}\"", folder.display());
        library(folder, &["driver.cpp", "machine.cpp", "-ldl"], "libcuda.so")?;
        library(folder, &["compiler.cpp", &place], "nvrtc/libnvrtc.so.13")?;
        Ok(software)
    }

    /// Makes cuBLASLt and cuDNN as well.
    pub fn with_libraries(mut self) -> Result<SoftwareCuda, String> {
        let folder = &self.folder;
        fs::create_dir_all(folder.join("libraries")).map_err(|e| e.to_string())?;
        for (source, name) in
            [("cublaslt.cpp", "libraries/libcublasLt.so.13"), ("cudnn.cpp", "libraries/libcudnn.so.9")]
        {
            // Linked to the driver: what they compute goes through its streams. What one opens lies beside it.
            library(folder, &[source, "-L.", "-lcuda", "-ldl", "-Wl,-rpath,$ORIGIN"], name)?;
        }
        fs::write(folder.join("part.cpp"), "").map_err(|e| e.to_string())?;
        for part in ["graph", "ops", "cnn", "engines_precompiled", "heuristic"] {
            let name = format!("libcudnn_{part}.so.9");
            let known_as = format!("-Wl,-soname,{name}");
            library(folder, &["part.cpp", &known_as], &format!("libraries/{name}"))?;
        }
        self.libraries = true;
        Ok(self)
    }

    /// Where they are, or would be.
    pub fn libraries(&self) -> PathBuf {
        self.folder.join("libraries")
    }

    /// A command for a program that finds this driver and compiler, and keeps compiled kernels here.
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new(program.as_ref());
        command
            .env("LD_LIBRARY_PATH", &self.folder)
            .env("THALWEG_NVRTC", self.folder.join("nvrtc"))
            .env("SOFTWARE_CUDA", "1")
            .env("THALWEG_CUDA_LIBRARIES", if self.libraries { self.libraries() } else { "none".into() })
            .env("XDG_CACHE_HOME", self.folder.join("cache"));
        command
    }

    /// Runs one of the tests of this very program with it.
    pub fn run_test(&self, name: &str, environment: &[(&str, &str)]) -> Result<Output, String> {
        let program = std::env::current_exe().map_err(|e| e.to_string())?;
        let mut command = self.command(program);
        command.args(["--exact", name, "--nocapture"]).envs(environment.iter().copied());
        command.output().map_err(|e| e.to_string())
    }
}

fn library(folder: &Path, arguments: &[&str], name: &str) -> Result<(), String> {
    let options = ["-std=c++17", "-O1", "-Wall", "-Wextra", "-Werror", "-fPIC", "-shared", "-o", name];
    let output = Command::new("c++").current_dir(folder).args(options).args(arguments).output();
    let output = output.map_err(|e| format!("c++ (a C++ compiler) does not run: {e}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("{name}: {}", String::from_utf8_lossy(&output.stderr))),
    }
}

impl Drop for SoftwareCuda {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}
