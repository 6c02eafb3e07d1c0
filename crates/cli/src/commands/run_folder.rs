//! Which folder a run writes to.
//!
//! In: the run's name, whether it goes on. Out: `runs/NAME`, and the checkpoint to go on from. Invariant: what an
//! earlier run left is never overwritten: it moves to `runs/NAME.1`, `.2` and so on.

use crate::error::{Failure, Result};
use crate::show::Console;
use std::fs;
use std::path::{Path, PathBuf};

/// The folder of all runs, in the working folder.
const RUNS: &str = "runs";

/// Where a run writes.
#[derive(Debug, PartialEq)]
pub struct Chosen {
    /// Its folder.
    pub folder: PathBuf,
    /// From where it goes on.
    pub resume: Option<PathBuf>,
}

/// Chooses the folder of the run `name`.
pub fn choose(name: &str, resume: bool, console: &Console) -> Result<Chosen> {
    choose_in(Path::new(RUNS), name, resume, console)
}

fn choose_in(runs: &Path, name: &str, resume: bool, console: &Console) -> Result<Chosen> {
    let folder = runs.join(name);
    if resume {
        if !folder.is_dir() {
            return Err(Failure::Usage(format!(
                "there is no run {} to go on with; start it without --resume, or name another with --run",
                folder.display()
            )));
        }
        let checkpoint = folder.join("checkpoints").join("last.safetensors");
        if checkpoint.is_file() {
            return Ok(Chosen { folder, resume: Some(checkpoint) });
        }
        console.note(format!(
            "{} stopped before its first checkpoint: starting from the beginning",
            folder.display()
        ));
        return Ok(Chosen { folder, resume: None });
    }
    if folder.exists() {
        let free = (1..).map(|n| runs.join(format!("{name}.{n}"))).find(|p| !p.exists());
        if let Some(to) = free {
            fs::rename(&folder, &to).map_err(|e| {
                Failure::Run(format!("cannot move {} to {}: {e}", folder.display(), to.display()))
            })?;
            console.note(format!("the earlier run {} is now {}", folder.display(), to.display()));
        }
    }
    Ok(Chosen { folder, resume: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn earlier_runs_are_kept() {
        let temp = tempfile::tempdir().unwrap();
        let console = Console::new(true, false);
        let choose = |resume| choose_in(temp.path(), "a", resume, &console);
        assert!(choose(true).unwrap_err().to_string().contains("there is no run"));
        for n in 1..3 {
            let chosen = choose(false).unwrap();
            assert_eq!(chosen, Chosen { folder: temp.path().join("a"), resume: None });
            fs::create_dir(&chosen.folder).unwrap();
            fs::write(chosen.folder.join("n"), n.to_string()).unwrap();
        }
        assert_eq!(fs::read_to_string(temp.path().join("a.1/n")).unwrap(), "1");
        assert_eq!(choose(true).unwrap().resume, None);
        let checkpoint = temp.path().join("a/checkpoints/last.safetensors");
        fs::create_dir(checkpoint.parent().unwrap()).unwrap();
        fs::write(&checkpoint, "").unwrap();
        assert_eq!(choose(true).unwrap().resume, Some(checkpoint));
    }
}
