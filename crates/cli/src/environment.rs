//! What the command takes from its environment: read once.
//!
//! In: `THALWEG_DATA`, `XDG_CACHE_HOME`, `NO_COLOR`, how the program was started. Out: [`Environment`].

use crate::error::{Failure, Result};
use crate::show::pasted;
use std::env;
use std::path::{Path, PathBuf};

/// The environment.
#[derive(Clone, Debug)]
pub struct Environment {
    /// Where data sets are kept.
    data_root: PathBuf,
    /// Whether colours may be used (<https://no-color.org>).
    pub color: bool,
    /// The program as it was started, for commands that are shown to be pasted: a path, or a name that is found.
    pub program: String,
}

impl Environment {
    /// Reads it.
    pub fn read() -> Environment {
        let set = |name: &str| env::var_os(name).filter(|v| !v.is_empty());
        let data_root = set("THALWEG_DATA")
            .or_else(|| set("XDG_CACHE_HOME"))
            .map_or_else(thalweg::data::default_root, PathBuf::from);
        let started = env::args_os().next().filter(|p| !p.is_empty());
        let program = started.map_or("thalweg".into(), |p| pasted(&p.to_string_lossy()));
        Environment { data_root, color: set("NO_COLOR").is_none(), program }
    }

    /// The data root for reading: a folder that the user names has to be there.
    pub fn data_to_read<'a>(&'a self, named: Option<&'a Path>) -> Result<&'a Path> {
        match named {
            Some(dir) if !dir.is_dir() => Err(Failure::Data(format!(
                "--data {0}: there is no such folder; make it to have data sets fetched into it, or leave --data out for {1}",
                dir.display(),
                self.data_root.display()
            ))),
            _ => Ok(self.data_root(named)),
        }
    }

    /// The data root: what the user names with `--data`, else the environment's.
    pub fn data_root<'a>(&'a self, named: Option<&'a Path>) -> &'a Path {
        named.unwrap_or(&self.data_root)
    }
}
