//! Curves of a run: one panel per log, training and validation together.
//!
//! Input: a history. Output: an SVG. Invariant: values that are not finite leave a gap, never a wrong line.

use super::axis::Axis;
use super::svg::{Anchor, Font, Svg};
use crate::History;

const PANEL: (f64, f64) = (420.0, 280.0);
const TRAINING: &str = "#2563eb";
const VALIDATION: &str = "#ea580c";
const INK: &str = "#1f2937";
const FAINT: &str = "#6b7280";
const GRID: &str = "#e5e7eb";

/// A panel's curves: (label, colour, (epoch from 1, value)).
type Curve = (&'static str, &'static str, Vec<(f64, f64)>);

/// The curves of all logs, two panels a row.
pub fn curves(history: &History, title: &str) -> String {
    let names = history.names();
    let base: Vec<&String> = names
        .iter()
        .filter(|n| n.strip_prefix("val_").is_none_or(|rest| !names.iter().any(|m| m == rest)))
        .collect();
    let columns = base.len().clamp(1, 2);
    let rows = base.len().div_ceil(columns).max(1);
    let mut svg = Svg::new(PANEL.0 * columns as f64 + 20.0, PANEL.1 * rows as f64 + 50.0);
    let font = Font { size: 17.0, fill: INK, anchor: Anchor::Start, bold: true };
    svg.text((20.0, 30.0), title, font, 0.0);
    for (i, name) in base.into_iter().enumerate() {
        let corner = (10.0 + (i % columns) as f64 * PANEL.0, 44.0 + (i / columns) as f64 * PANEL.1);
        panel(&mut svg, corner, history, name);
    }
    svg.finish()
}

fn points(history: &History, name: &str) -> Vec<(f64, f64)> {
    let numbered = history.epochs.iter().enumerate();
    numbered.filter_map(|(i, logs)| Some(((history.first_epoch + i + 1) as f64, logs.get(name)?))).collect()
}

fn panel(svg: &mut Svg, corner: (f64, f64), history: &History, name: &str) {
    let twin = points(history, &format!("val_{name}"));
    let mut lines: Vec<Curve> = vec![("training", TRAINING, points(history, name))];
    if !twin.is_empty() {
        lines.push(("validation", VALIDATION, twin));
    }
    let (x0, y0) = (corner.0 + 62.0, corner.1 + 34.0);
    let (w, h) = (PANEL.0 - 82.0, PANEL.1 - 84.0);
    let ink = Font { size: 14.0, fill: INK, anchor: Anchor::Start, bold: true };
    let small = Font { size: 11.0, fill: FAINT, anchor: Anchor::End, bold: false };
    svg.text((x0, corner.1 + 20.0), &name.replace('_', " "), ink, 0.0);

    let values = lines.iter().flat_map(|l| l.2.iter().map(|p| p.1));
    let Some(y_axis) = Axis::fit(values, true) else {
        svg.text((x0, y0 + h / 2.0), "no finite value", Font { anchor: Anchor::Start, ..small }, 0.0);
        return;
    };
    let first = (history.first_epoch + 1) as f64;
    let last = (history.first_epoch + history.epochs.len()) as f64;
    let x = |epoch: f64| x0 + if last > first { (epoch - first) / (last - first) * w } else { w / 2.0 };
    let y = |value: f64| y0 + h - y_axis.at(value) * h;

    for (value, label) in y_axis.ticks() {
        svg.line((x0, y(value)), (x0 + w, y(value)), GRID);
        svg.text((x0 - 8.0, y(value) + 4.0), &label, small, 0.0);
    }
    let every = (((last - first) / 8.0).ceil()).max(1.0);
    let mut tick = first;
    while tick <= last {
        svg.line((x(tick), y0 + h), (x(tick), y0 + h + 4.0), FAINT);
        svg.text(
            (x(tick), y0 + h + 18.0),
            &format!("{tick:.0}"),
            Font { anchor: Anchor::Middle, ..small },
            0.0,
        );
        tick += every;
    }
    svg.line((x0, y0 + h), (x0 + w, y0 + h), FAINT);
    svg.text((x0 + w / 2.0, y0 + h + 36.0), "epoch", Font { anchor: Anchor::Middle, ..small }, 0.0);

    let mut legend = x0 + w;
    for (label, colour, points) in lines.iter().rev() {
        for run in points.split(|p| !p.1.is_finite()).filter(|r| !r.is_empty()) {
            let drawn: Vec<(f64, f64)> = run.iter().map(|&(e, v)| (x(e), y(v))).collect();
            svg.polyline(&drawn, colour, 2.0);
            let radius = if points.len() > 30 { 1.5 } else { 3.0 };
            for (&(epoch, value), &at) in run.iter().zip(&drawn) {
                svg.dot(at, radius, colour, &format!("epoch {epoch:.0}, {label}: {value:.6}"));
            }
        }
        if lines.len() > 1 {
            svg.text((legend, corner.1 + 20.0), label, Font { fill: colour, size: 12.0, ..small }, 0.0);
            legend -= 78.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Logs;

    #[test]
    fn training_and_validation_share_a_panel() {
        let epoch = |i: i32| -> Logs {
            let loss = if i == 2 { f64::NAN } else { 1.0 / f64::from(i + 1) };
            [("loss", loss), ("accuracy", 0.5), ("val_loss", 0.9), ("learning_rate", 1e-3)]
                .into_iter()
                .collect()
        };
        let history = History { epochs: (0..6).map(epoch).collect(), first_epoch: 0 };
        let svg = curves(&history, "a <run>");
        assert_eq!(svg.matches(">epoch</text>").count(), 3);
        // NaN in the third epoch splits the line of the training loss.
        assert_eq!(svg.matches("<polyline").count(), 5);
        assert!(!svg.contains("NaN"));
        assert!(curves(&History::default(), "empty").contains("</svg>"));
    }
}
