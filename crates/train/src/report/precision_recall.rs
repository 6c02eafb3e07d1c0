//! Precision by recall, a curve per class.
//!
//! Input: curves with the names and colours of their classes. Output: an SVG. Invariant: both axes go from 0 to 1; the
//! point of the best harmonic mean is marked with its score.

use super::svg::{Anchor, Font, Svg};
use thalweg_data::detection::evaluate::Curve;
use thalweg_data::draw::class_colour;

const SIDE: f64 = 420.0;
const CORNER: (f64, f64) = (62.0, 52.0);
/// Pixels between entries of the legend.
const LINE: f64 = 38.0;
const INK: &str = "#1f2937";
const FAINT: &str = "#6b7280";
const GRID: &str = "#e5e7eb";

/// The curves of all classes.
pub fn precision_recall(curves: &[Curve], names: &[String], title: &str) -> String {
    let mut svg = Svg::new(
        CORNER.0 + SIDE + 220.0,
        (CORNER.1 + SIDE + 60.0).max(CORNER.1 + 20.0 + LINE * curves.len() as f64),
    );
    let ink = Font { size: 12.0, fill: INK, anchor: Anchor::Start, bold: false };
    svg.text((20.0, 30.0), title, Font { size: 17.0, bold: true, ..ink }, 0.0);
    let at = |recall: f64, precision: f64| (CORNER.0 + recall * SIDE, CORNER.1 + (1.0 - precision) * SIDE);
    for tick in 0..=5 {
        let v = f64::from(tick) / 5.0;
        svg.line(at(v, 0.0), at(v, 1.0), GRID);
        svg.line(at(0.0, v), at(1.0, v), GRID);
        let (x, y) = at(v, 0.0);
        let number = format!("{v:.1}");
        svg.text(
            (x, y + 18.0),
            &number,
            Font { size: 11.0, fill: FAINT, anchor: Anchor::Middle, bold: false },
            0.0,
        );
        let (x, y) = at(0.0, v);
        svg.text(
            (x - 8.0, y + 4.0),
            &number,
            Font { size: 11.0, fill: FAINT, anchor: Anchor::End, bold: false },
            0.0,
        );
    }
    let faint = Font { size: 12.0, fill: FAINT, anchor: Anchor::Middle, bold: false };
    svg.text((CORNER.0 + SIDE / 2.0, CORNER.1 + SIDE + 42.0), "recall", faint, 0.0);
    svg.text((20.0, CORNER.1 + SIDE / 2.0), "precision", faint, -90.0);
    for (class, curve) in curves.iter().enumerate() {
        let [r, g, b] = class_colour(class);
        let colour = format!("#{r:02x}{g:02x}{b:02x}");
        let points: Vec<(f64, f64)> = curve.points.iter().map(|p| at(p.0, p.1)).collect();
        if !points.is_empty() {
            svg.polyline(&points, &colour, 2.0);
        }
        let name = names.get(class).map_or("", String::as_str);
        let y = CORNER.1 + 12.0 + LINE * class as f64;
        svg.rect((CORNER.0 + SIDE + 20.0, y - 9.0, 10.0, 10.0), &colour, None);
        svg.text((CORNER.0 + SIDE + 36.0, y), name, ink, 0.0);
        let line = match curve.best() {
            Some(best) => {
                let hint = format!("{name}: precision {:.3}, recall {:.3}", best.precision, best.recall);
                svg.dot(at(best.recall, best.precision), 4.0, &colour, &hint);
                format!("best F1 {:.2} from score {:.2}", best.f1, best.score)
            }
            None => "nothing found".into(),
        };
        svg.text((CORNER.0 + SIDE + 36.0, y + 15.0), &line, Font { size: 11.0, fill: FAINT, ..ink }, 0.0);
    }
    svg.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_have_their_curves() {
        let curve = Curve {
            points: vec![(0.5, 1.0), (0.5, 0.5), (1.0, 0.67)],
            scores: vec![0.9, 0.8, 0.7],
            positives: 2,
        };
        let svg = precision_recall(&[curve, Curve::default()], &["cat".into(), "dog <".into()], "t");
        assert_eq!(svg.matches("<polyline").count(), 1);
        assert!(
            svg.contains("best F1 0.80 from score 0.70")
                && svg.contains("nothing found")
                && svg.contains("dog &lt;")
        );
    }
}
