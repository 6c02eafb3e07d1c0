//! Choices on disk: a file for each device, its driver and compiler, release of this crate and version of the lowering.
//!
//! The first line says what it is of; then a line for each product: the way, a tab, the product. Invariant: a file that is
//! damaged, too large or of something else counts as not there; a line that is damaged chooses nothing, as no product has
//! it or no product's way reads so.

use super::Choices;
use crate::caches;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

/// Counts up whenever what was measured says nothing any more, as kernels of the same way have become others.
const LOWERING: u32 = 2;
/// Products in a file, and its bytes, at most.
const MOST: usize = 1 << 13;
const MOST_BYTES: usize = 8 << 20;

/// A file of choices.
#[derive(Clone, Debug)]
pub struct Shelf {
    file: PathBuf,
    head: String,
}

impl Shelf {
    /// In that folder, of what a device is: its name and architecture, or interface, its driver, its compiler if it has one.
    pub fn new(folder: &Path, device: &str) -> Shelf {
        let device = device.replace(char::is_control, " ");
        let head = format!("thalweg {}, lowering {LOWERING}: {device}", env!("CARGO_PKG_VERSION"));
        // Should the hash change with the compiler, the file is not found, and that is all.
        let mut hash = DefaultHasher::new();
        head.hash(&mut hash);
        Shelf { file: folder.join(format!("{:016x}.tuned", hash.finish())), head }
    }

    /// What is in the file.
    pub fn read(&self) -> Choices {
        let mut choices = Choices::default();
        let small = fs::metadata(&self.file).is_ok_and(|m| m.len() <= MOST_BYTES as u64);
        let text = if small { fs::read_to_string(&self.file).unwrap_or_default() } else { String::new() };
        let mut lines = text.lines();
        if lines.next() == Some(&self.head) {
            for (way, product) in lines.filter_map(|l| l.split_once('\t')) {
                choices.set(product, way);
            }
        }
        choices
    }

    /// Puts choices in the file, beside those that are there already, as far as there is room behind these. The error is a
    /// line that names the file.
    pub fn write(&self, choices: &Choices) -> Result<(), String> {
        let there = self.read();
        let others = there.iter().filter(|(product, _)| choices.get(product).is_none());
        let mut text = format!("{}\n", self.head);
        for (product, way) in choices.iter().chain(others).take(MOST) {
            let line = format!("{way}\t{product}\n");
            if text.len() + line.len() > MOST_BYTES {
                break;
            }
            text += &line;
        }
        let failed = |e| format!("could not be kept in {}: {e}", self.file.display());
        caches::write(&self.file, text.as_bytes()).map_err(failed)
    }
}

/// What people are told of a shelf with something on it.
pub fn tuned(shelf: Option<Shelf>) -> String {
    match shelf.map_or(0, |s| s.read().len()) {
        0 => String::new(),
        1 => ", 1 tuned product".into(),
        n => format!(", {n} tuned products"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Tuning;
    use super::*;
    use crate::gpu::launch::Abilities;

    fn choices(of: &[(&str, &str)]) -> Choices {
        let mut choices = Choices::default();
        of.iter().for_each(|(product, way)| choices.set(*product, *way));
        choices
    }

    #[test]
    fn what_is_kept_is_found_and_what_is_damaged_is_not() {
        let folder = std::env::temp_dir().join(format!("thalweg-shelf-{}", std::process::id()));
        let shelf = Shelf::new(&folder, "a GPU\nwith a driver");
        assert!(shelf.read().is_empty());
        let first = choices(&[("dot", "direct"), ("conv", "threads, 1 pieces")]);
        shelf.write(&first).unwrap();
        assert_eq!(Shelf::new(&folder, "a GPU\nwith a driver").read(), first);
        assert_eq!(tuned(Some(shelf.clone())), ", 2 tuned products");
        assert!(Shelf::new(&folder, "a GPU with another driver").read().is_empty());
        // What is there stays, what is chosen anew counts.
        shelf.write(&choices(&[("dot", "threads")])).unwrap();
        assert_eq!(shelf.read(), choices(&[("dot", "threads"), ("conv", "threads, 1 pieces")]));
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1, "no temporary files are left");
        let whole = fs::read(&shelf.file).unwrap();
        let of_another = [b"thalweg 0.0.0, lowering 0: a GPU", &whole[..]].concat();
        for damage in [&b""[..], b"\xff\xfe\0", &whole[1..], &of_another] {
            fs::write(&shelf.file, damage).unwrap();
            assert!(shelf.read().is_empty(), "{damage:?}");
        }
        let cut_off = &whole[..whole.len() - 4];
        fs::write(&shelf.file, [cut_off, b"\n\n\t\nno tab"].concat()).unwrap();
        assert!(shelf.read().get("dot").is_some() && shelf.read().get("conv").is_none());
        fs::write(&shelf.file, vec![b'a'; MOST_BYTES + 1]).unwrap();
        assert!(shelf.read().is_empty());
        shelf.write(&first).unwrap();
        assert_eq!(shelf.read(), first, "a broken file is replaced");
        fs::remove_dir_all(&folder).unwrap();
        let told = Shelf::new(Path::new("/proc/none/at/all"), "a GPU").write(&first).unwrap_err();
        assert!(
            told.starts_with("could not be kept in /proc/none/at/all/") && told.contains(".tuned: "),
            "{told}"
        );
    }

    #[test]
    fn a_file_does_not_grow_without_end() {
        let folder = std::env::temp_dir().join(format!("thalweg-full-shelf-{}", std::process::id()));
        let shelf = Shelf::new(&folder, "a GPU");
        let many = |from: usize, n: usize| {
            let mut choices = Choices::default();
            (from..from + n).for_each(|i| choices.set(format!("dot {i}"), "direct"));
            choices
        };
        shelf.write(&many(0, MOST)).unwrap();
        // A later process, which has read all of it.
        let mut tuning = Tuning::new(Abilities::LEAST, Some(shelf.clone()));
        for i in 0..10 {
            tuning.choices_mut().set(format!("z {i}"), "direct");
            tuning.keep().unwrap();
        }
        let kept = shelf.read();
        assert_eq!(kept.len(), MOST);
        assert!((0..10).all(|i| kept.get(&format!("z {i}")).is_some()), "what is new is kept");
        // Nor by long lines.
        for i in 10..12 {
            tuning.choices_mut().set(format!("z {i} {}", "long".repeat(MOST_BYTES / 10)), "direct");
        }
        tuning.keep().unwrap();
        assert!(fs::metadata(&shelf.file).unwrap().len() <= MOST_BYTES as u64);
        assert!(shelf.read().get("z 9").is_some());
        fs::remove_dir_all(&folder).unwrap();
    }
}
