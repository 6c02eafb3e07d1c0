//! From offsets in a text to lines and columns.
//!
//! Invariant: a look-up takes no longer in a large file, so that a file of nothing but mistakes is told as fast as
//! any other.

use super::problem::Place;
use std::path::Path;

/// A file's text, ready to say where something stands.
pub(super) struct Lines<'a> {
    path: &'a Path,
    /// Where lines begin.
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    pub(super) fn new(path: &'a Path, text: &str) -> Lines<'a> {
        let ends = text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(at, _)| at + 1);
        Lines { path, starts: std::iter::once(0).chain(ends).collect() }
    }

    /// The place of an offset; columns count bytes.
    pub(super) fn place(&self, offset: usize) -> Place {
        let line = self.starts.partition_point(|start| *start <= offset);
        Place::at(self.path, line as u32, (offset - self.starts[line - 1] + 1) as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_columns_count_from_1() {
        let lines = Lines::new(Path::new("f"), "ab\n\ncd");
        let at = |offset| lines.place(offset).at;
        assert_eq!([0, 1, 2, 3, 4, 5].map(at), [(1, 1), (1, 2), (1, 3), (2, 1), (3, 1), (3, 2)].map(Some));
    }
}
