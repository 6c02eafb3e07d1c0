//! The confusion matrix as text: whole where it fits a terminal, else the worst of it.

use super::table::Table;
use thalweg::train::report::Confusion;

/// Classes beyond which the matrix is not printed whole.
const WHOLE: usize = 12;
/// Confusions that are listed instead.
const WORST: usize = 15;

/// Lines: rows are true classes, columns what they were taken for.
pub fn confusion_text(confusion: &Confusion) -> Vec<String> {
    let names = confusion.names();
    let figures = confusion.per_class();
    if names.len() <= WHOLE {
        let short: Vec<String> = names.iter().map(|n| n.chars().take(6).collect()).collect();
        let mut head = vec!["true \\ taken for"];
        head.extend(short.iter().map(String::as_str));
        head.extend(["recall", "precision"]);
        let mut table = Table::new(1, &head);
        for (label, name) in names.iter().enumerate() {
            let mut row = vec![name.clone()];
            row.extend((0..names.len()).map(|p| match confusion.get(label, p) {
                0 => "·".to_owned(),
                n => n.to_string(),
            }));
            let (precision, recall, _) = figures[label];
            row.extend([format!("{:.1}%", 100.0 * recall), format!("{:.1}%", 100.0 * precision)]);
            table.row(row);
        }
        return table.lines();
    }
    let mut wrong: Vec<(u64, usize, usize)> = Vec::new();
    for label in 0..names.len() {
        let others = (0..names.len()).filter(|&p| p != label);
        wrong.extend(others.map(|p| (confusion.get(label, p), label, p)).filter(|(n, ..)| *n > 0));
    }
    wrong.sort_by_key(|&(n, label, p)| (std::cmp::Reverse(n), label, p));
    let mut table = Table::new(2, &["true class", "taken for", "times", "of"]);
    for &(n, label, p) in wrong.iter().take(WORST) {
        table.row([names[label].clone(), names[p].clone(), n.to_string(), figures[label].2.to_string()]);
    }
    table.lines()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_classes_are_a_matrix_and_many_a_list() {
        let mut few = Confusion::new(2, &["cat".into(), "dog".into()]);
        few.count(&[0, 0, 1], &[0.9, 0.1, 0.2, 0.8, 0.1, 0.9]);
        let lines = confusion_text(&few);
        assert_eq!(lines[2], "cat                 1    1   50.0%     100.0%");
        let mut many = Confusion::new(13, &[]);
        let mut scores = vec![0.0; 13];
        scores[12] = 1.0;
        many.count(&[3], &scores);
        let lines = confusion_text(&many);
        assert_eq!(lines.len(), 3);
        assert!(lines[2].starts_with("3 ") && lines[2].contains("12"), "{}", lines[2]);
    }
}
