//! Finding a library of NVIDIA's: files by how their names begin, in folders and by the names that the system knows.
//!
//! In: [`Places`]. Out: what the first file that fits was opened as, or one line that says why none did. Invariant: libraries
//! once loaded stay, as they keep threads and state that unloading would pull from under them.

use super::places::Places;
use libloading::Library;
use std::fs;
use std::path::{Path, PathBuf};

/// How a library's files are called.
pub struct Names {
    /// How they begin.
    pub start: &'static str,
    /// What to ask the system for, newest first.
    pub system: &'static [&'static str],
}

impl Names {
    /// The first that opens: from the folders that come first, the system, the other folders.
    pub fn find<T>(&self, places: &Places, open: impl Fn(&Path) -> Result<T, String>) -> Result<T, String> {
        let system = self.system.iter().map(PathBuf::from).filter(|_| places.only.is_none());
        let files = |p: &[PathBuf]| p.iter().flat_map(|p| candidates(p, self.start)).collect::<Vec<_>>();
        let (first, then) = (files(&places.first), files(&places.then));
        let mut reasons = Vec::new();
        for file in first.into_iter().chain(system).chain(then) {
            match open(&file) {
                Ok(found) => return Ok(found),
                // That the system does not know a name is no news.
                Err(_) if file.parent() == Some(Path::new("")) && load(&file).is_err() => {}
                Err(reason) => reasons.push(reason),
            }
        }
        Err(match &places.only {
            _ if !reasons.is_empty() => reasons.join("; "),
            Some(place) => format!("{} has none", place.display()),
            None => "it is not installed".into(),
        })
    }
}

/// The libraries of a folder, newest first; a file itself.
fn candidates(place: &Path, start: &str) -> Vec<PathBuf> {
    if place.is_dir() {
        starting_with(place, start)
    } else {
        Some(place.to_path_buf()).into_iter().filter(|p| p.exists()).collect()
    }
}

/// Loads that file, or what the system finds by that name.
pub fn load(file: &Path) -> Result<&'static Library, String> {
    // SAFETY: NVIDIA's library; loading it runs nothing but its own initialisers.
    let library = unsafe { Library::new(file) }.map_err(|e| {
        // Without it no more is said than that it failed.
        let cause = std::error::Error::source(&e).map_or(String::new(), |cause| format!(": {cause}"));
        format!("{}: {e}{cause}", file.display())
    })?;
    Ok(Box::leak(Box::new(library)))
}

/// Loads what a library opens itself, where a missing part would end the process: `loaded` in this order, after which it finds
/// them even where its own file is a link from another folder. Of what is `opened` it is enough that it lies there.
pub fn parts(file: &Path, loaded: &[String], opened: &[String]) -> Result<(), String> {
    let folder = match file.parent() {
        // The system knows where they are.
        Some(p) if p == Path::new("") => None,
        _ => fs::canonicalize(file).map_err(|e| e.to_string())?.parent().map(Path::to_path_buf),
    };
    if let Some(folder) = &folder
        && let Some(part) = loaded.iter().chain(opened).find(|part| !folder.join(part).exists())
    {
        return Err(format!("its part {part} is missing beside it"));
    }
    for part in loaded {
        load(&folder.as_ref().map_or_else(|| PathBuf::from(part), |f| f.join(part)))?;
    }
    Ok(())
}

/// The function of that name.
///
/// # Safety
/// `T` is its type.
pub unsafe fn function<T: Copy>(library: &'static Library, name: &str) -> Result<T, String> {
    // SAFETY: the caller vouches for the type; the library stays loaded.
    unsafe { library.get::<T>(name.as_bytes()) }.map(|symbol| *symbol).map_err(|e| e.to_string())
}

/// Files of a folder whose names begin like this, newest first.
pub fn starting_with(folder: &Path, name: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|e| e.path());
    let starts = |p: &PathBuf| p.file_name().is_some_and(|n| n.to_string_lossy().starts_with(name));
    let mut found: Vec<PathBuf> = entries.filter(starts).collect();
    found.sort_by_cached_key(|p| std::cmp::Reverse(in_order(&p.to_string_lossy())));
    found
}

/// What sorts names by the numbers in them: 9.10 is newer than 9.9.
fn in_order(name: &str) -> Vec<(u64, String)> {
    let parts = name.split_inclusive(|c: char| !c.is_ascii_digit());
    parts
        .map(|p| (p.trim_end_matches(|c: char| !c.is_ascii_digit()).parse().unwrap_or(0), p.into()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::in_order;

    #[test]
    fn versions_are_sorted_as_numbers() {
        for (older, newer) in [("x.so.9.9.0", "x.so.9.10.0"), ("x.so.12", "x.so.13"), ("x.so.9", "x.so.9.1")]
        {
            assert!(in_order(older) < in_order(newer), "{older} {newer}");
        }
    }
}
