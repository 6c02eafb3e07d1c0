//! Choices on disk: a file for each device, driver and version of the lowering.
//!
//! The first line says what it is of; then a line for each product: the way, a tab, the product. It is written under another
//! name and renamed. Invariant: a file that is damaged, too large or of something else counts as not there; a line that is
//! damaged chooses nothing, as no product has it or no product's way reads so.

use super::Choices;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};

/// Counts up whenever what was measured says nothing any more, as kernels of the same way have become others.
const LOWERING: u32 = 1;
/// Products in a file, and its bytes, at most.
const MOST: usize = 1 << 13;
const MOST_BYTES: u64 = 8 << 20;

/// A file of choices.
#[derive(Clone, Debug)]
pub struct Shelf {
    file: PathBuf,
    head: String,
}

impl Shelf {
    /// In that folder, of what a device is: its name, architecture, driver and compiler.
    pub fn new(folder: &Path, device: &str) -> Shelf {
        let device = device.replace(char::is_control, " ");
        let head = format!("thalweg, lowering {LOWERING}: {device}");
        // Should the hash change with the compiler, the file is not found, and that is all.
        let mut hash = DefaultHasher::new();
        head.hash(&mut hash);
        Shelf { file: folder.join(format!("{:016x}.tuned", hash.finish())), head }
    }

    /// What is in the file.
    pub fn read(&self) -> Choices {
        let mut choices = Choices::default();
        let small = fs::metadata(&self.file).is_ok_and(|m| m.len() <= MOST_BYTES);
        let text = if small { fs::read_to_string(&self.file).unwrap_or_default() } else { String::new() };
        let mut lines = text.lines();
        if lines.next() == Some(&self.head) {
            for (way, product) in lines.filter_map(|l| l.split_once('\t')) {
                choices.set(product, way);
            }
        }
        choices
    }

    /// Puts choices in the file, beside those that another process put there meanwhile, if there is room for these.
    pub fn write(&self, choices: &Choices) -> io::Result<()> {
        let mut all = choices.clone();
        for (product, way) in self.read().iter().filter(|(product, _)| choices.get(product).is_none()) {
            if all.len() < MOST {
                all.set(product, way);
            }
        }
        let lines = all.iter().take(MOST).map(|(product, way)| format!("{way}\t{product}\n"));
        let text: String = std::iter::once(format!("{}\n", self.head)).chain(lines).collect();
        if let Some(folder) = self.file.parent() {
            fs::create_dir_all(folder)?;
        }
        let temporary = self.file.with_extension(format!("{}.new", std::process::id()));
        let renamed = fs::write(&temporary, text).and_then(|()| fs::rename(&temporary, &self.file));
        if renamed.is_err() {
            let _ = fs::remove_file(&temporary);
        }
        renamed
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
    use super::*;

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
        let of_another = [b"thalweg, lowering 0: a GPU", &whole[..]].concat();
        for damage in [&b""[..], b"\xff\xfe\0", &whole[1..], &of_another] {
            fs::write(&shelf.file, damage).unwrap();
            assert!(shelf.read().is_empty(), "{damage:?}");
        }
        let cut_off = &whole[..whole.len() - 4];
        fs::write(&shelf.file, [cut_off, b"\n\n\t\nno tab"].concat()).unwrap();
        assert!(shelf.read().get("conv").is_some() && shelf.read().get("dot").is_none());
        fs::write(&shelf.file, vec![b'a'; MOST_BYTES as usize + 1]).unwrap();
        assert!(shelf.read().is_empty());
        shelf.write(&first).unwrap();
        assert_eq!(shelf.read(), first, "a broken file is replaced");
        fs::remove_dir_all(&folder).unwrap();
        assert!(Shelf::new(Path::new("/proc/none/at/all"), "a GPU").write(&first).is_err());
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
        shelf.write(&many(MOST, 10)).unwrap();
        let kept = shelf.read();
        assert_eq!(kept.len(), MOST);
        assert!((MOST..MOST + 10).all(|i| kept.get(&format!("dot {i}")).is_some()), "what is new is kept");
        fs::remove_dir_all(&folder).unwrap();
    }
}
