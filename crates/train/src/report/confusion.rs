//! The confusion matrix: which class is taken for which.
//!
//! Input: labels and scores, batch by batch. Output: counts, per-class figures, an SVG. Invariant: rows are
//! labels, columns predictions; the first of equal scores wins; labels that name no class are not counted.

use super::svg::{Anchor, Font, Svg};

/// Counts of (label, prediction).
#[derive(Clone, Debug, PartialEq)]
pub struct Confusion {
    classes: usize,
    names: Vec<String>,
    counts: Vec<u64>,
}

impl Confusion {
    /// No example yet. Classes without a name are called by their number.
    pub fn new(classes: usize, names: &[String]) -> Confusion {
        let names = (0..classes).map(|i| names.get(i).cloned().unwrap_or_else(|| i.to_string())).collect();
        Confusion { classes, names, counts: vec![0; classes * classes] }
    }

    /// That of counts, label by label.
    ///
    /// # Panics
    /// If there are not as many counts as pairs of classes.
    pub fn of(names: Vec<String>, counts: Vec<u64>) -> Confusion {
        assert_eq!(counts.len(), names.len() * names.len(), "a count for every pair of classes");
        Confusion { classes: names.len(), names, counts }
    }

    /// Counts a batch: one label and one row of scores per example.
    pub fn count(&mut self, labels: &[i64], scores: &[f32]) {
        for (&label, row) in labels.iter().zip(scores.chunks_exact(self.classes)) {
            let Some(label) = usize::try_from(label).ok().filter(|&l| l < self.classes) else { continue };
            let best = row.iter().enumerate().fold(0, |best, (i, s)| if *s > row[best] { i } else { best });
            self.counts[label * self.classes + best] += 1;
        }
    }

    /// Names of the classes.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// How many examples of class `label` were taken for `prediction`.
    pub fn get(&self, label: usize, prediction: usize) -> u64 {
        self.counts[label * self.classes + prediction]
    }

    /// Per class: (precision, recall, examples). A quotient of nothing is 0.
    pub fn per_class(&self) -> Vec<(f64, f64, u64)> {
        let quotient = |a: u64, b: u64| if b == 0 { 0.0 } else { a as f64 / b as f64 };
        (0..self.classes)
            .map(|c| {
                let row: u64 = (0..self.classes).map(|p| self.get(c, p)).sum();
                let column: u64 = (0..self.classes).map(|l| self.get(l, c)).sum();
                (quotient(self.get(c, c), column), quotient(self.get(c, c), row), row)
            })
            .collect()
    }

    /// The share of examples taken for what they are.
    pub fn accuracy(&self) -> f64 {
        let right: u64 = (0..self.classes).map(|c| self.get(c, c)).sum();
        let all: u64 = self.counts.iter().sum();
        if all == 0 { 0.0 } else { right as f64 / all as f64 }
    }

    /// As a picture: darker is a larger share of the label's examples.
    pub fn svg(&self, title: &str) -> String {
        let cell = if self.classes <= 12 { 46.0 } else { (560.0 / self.classes as f64).max(6.0) };
        let numbers = cell >= 26.0;
        let longest = self.names.iter().map(|n| n.chars().count()).max().unwrap_or(1).min(18) as f64;
        let margin = 34.0 + longest * 7.2;
        let side = cell * self.classes as f64;
        let mut svg = Svg::new(margin + side + 30.0, margin + side + 62.0);
        let ink = |anchor| Font { size: 12.0, fill: "#1f2937", anchor, bold: false };
        let heading = Font { size: 17.0, bold: true, ..ink(Anchor::Start) };
        svg.text((20.0, 30.0), title, heading, 0.0);
        let (x0, y0) = (margin, 46.0);
        let totals = self.per_class();
        for (l, &(_, _, total)) in totals.iter().enumerate() {
            for p in 0..self.classes {
                let count = self.get(l, p);
                let share = if total == 0 { 0.0 } else { count as f64 / total as f64 };
                let (x, y) = (x0 + p as f64 * cell, y0 + l as f64 * cell);
                let hint = format!(
                    "{} taken for {}: {count} of {total} ({:.1}%)",
                    self.names[l],
                    self.names[p],
                    100.0 * share
                );
                svg.rect((x, y, cell - 1.0, cell - 1.0), &shade(share, l == p), Some(&hint));
                if numbers && count > 0 {
                    let fill = if share > 0.55 { "#ffffff" } else { "#1f2937" };
                    let font = Font { size: 11.0, fill, ..ink(Anchor::Middle) };
                    svg.text((x + cell / 2.0, y + cell / 2.0 + 4.0), &count.to_string(), font, 0.0);
                }
            }
        }
        // With many classes only every so many names can be read.
        let every = (13.0 / cell).ceil().max(1.0) as usize;
        for (i, name) in self.names.iter().enumerate().step_by(every) {
            let shown: String = name.chars().take(18).collect();
            let middle = (i as f64 + 0.5) * cell;
            svg.text((x0 - 6.0, y0 + middle + 4.0), &shown, ink(Anchor::End), 0.0);
            svg.text((x0 + middle + 4.0, y0 + side + 8.0), &shown, ink(Anchor::End), -90.0);
        }
        let faint = Font { size: 11.0, fill: "#6b7280", ..ink(Anchor::Middle) };
        svg.text((x0 + side / 2.0, margin + side + 52.0), "prediction", faint, 0.0);
        svg.text((16.0, y0 + side / 2.0), "label", faint, -90.0);
        svg.finish()
    }
}

/// From white to blue where right, to orange where wrong.
fn shade(share: f64, right: bool) -> String {
    let to = if right { [0x1d, 0x4e, 0xd8] } else { [0xc2, 0x41, 0x0c] };
    // A root makes rare mistakes visible.
    let t = share.clamp(0.0, 1.0).powf(0.6);
    let mix = to.map(|c: i32| (246.0 + (f64::from(c) - 246.0) * t).round() as u8);
    format!("#{:02x}{:02x}{:02x}", mix[0], mix[1], mix[2])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_figures() {
        let mut c = Confusion::new(3, &["cat".into(), "dog".into()]);
        c.count(
            &[0, 0, 1, 2, -1, 3],
            &[0.9, 0.1, 0.0, 0.1, 0.8, 0.1, 0.2, 0.7, 0.1, 0.5, 0.5, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 0.0],
        );
        assert_eq!((c.get(0, 0), c.get(0, 1), c.get(1, 1), c.get(2, 0)), (1, 1, 1, 1));
        assert_eq!(c.per_class(), [(0.5, 0.5, 2), (0.5, 1.0, 1), (0.0, 0.0, 1)]);
        assert_eq!(c.accuracy(), 0.5);
        assert_eq!(c.names(), ["cat", "dog", "2"]);
        assert!(c.svg("t").contains("cat taken for dog: 1 of 2 (50.0%)"));
        assert_eq!(Confusion::new(2, &[]).accuracy(), 0.0);
    }
}
