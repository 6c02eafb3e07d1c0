//! A table of text: columns as wide as what is in them.

/// Rows under a head. The first columns are text, aligned left; the others numbers, aligned right.
#[derive(Clone, Debug)]
pub struct Table {
    text_columns: usize,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these heads, the first `text_columns` of which are of text.
    pub fn new(text_columns: usize, head: &[&str]) -> Table {
        Table { text_columns, rows: vec![head.iter().map(|h| h.to_string()).collect()] }
    }

    /// Adds a row; as many cells as heads.
    pub fn row<S: Into<String>>(&mut self, cells: impl IntoIterator<Item = S>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }

    /// The lines, a rule below the head.
    pub fn lines(&self) -> Vec<String> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |c: usize| {
            self.rows.iter().filter_map(|r| r.get(c)).map(|s| s.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut lines = Vec::with_capacity(self.rows.len() + 1);
        for (i, row) in self.rows.iter().enumerate() {
            let cells =
                row.iter().zip(&widths).enumerate().map(|(c, (cell, &w))| match c < self.text_columns {
                    true => format!("{cell:<w$}"),
                    false => format!("{cell:>w$}"),
                });
            lines.push(cells.collect::<Vec<_>>().join("  ").trim_end().to_owned());
            if i == 0 {
                lines.push("─".repeat(widths.iter().sum::<usize>() + 2 * columns.saturating_sub(1)));
            }
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut t = Table::new(1, &["name", "n"]);
        t.row(["a", "1,000"]);
        t.row(["long name", "7"]);
        assert_eq!(
            t.lines(),
            ["name           n", "────────────────", "a          1,000", "long name      7"]
        );
    }
}
