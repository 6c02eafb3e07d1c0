//! Just enough SVG: text, lines, boxes, with everything from outside escaped.
//!
//! Input: drawing calls in pixels, y downwards. Output: one SVG document. Invariant: no scripts, no fonts to
//! load, nothing but shapes and text.

use std::fmt::Write;

/// A document being drawn.
pub struct Svg {
    body: String,
    width: f64,
    height: f64,
}

/// Where text stands relative to its point.
#[derive(Clone, Copy)]
pub enum Anchor {
    /// Begins there.
    Start,
    /// Centred there.
    Middle,
    /// Ends there.
    End,
}

/// How text looks.
#[derive(Clone, Copy)]
pub struct Font<'a> {
    /// Pixels.
    pub size: f64,
    /// A colour.
    pub fill: &'a str,
    /// Where it stands.
    pub anchor: Anchor,
    /// Whether it is bold.
    pub bold: bool,
}

impl Svg {
    /// An empty white document.
    pub fn new(width: f64, height: f64) -> Svg {
        let mut svg = Svg { body: String::new(), width, height };
        svg.rect((0.0, 0.0, width, height), "#ffffff", None);
        svg
    }

    fn push(&mut self, text: std::fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        self.body.write_fmt(text).ok();
        self.body.push('\n');
    }

    /// A box (x, y, width, height), with a tooltip.
    pub fn rect(&mut self, (x, y, w, h): (f64, f64, f64, f64), fill: &str, title: Option<&str>) {
        let shape =
            format!("<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{w:.1}\" height=\"{h:.1}\" fill=\"{fill}\"");
        match title {
            Some(t) => self.push(format_args!("{shape}><title>{}</title></rect>", escape(t))),
            None => self.push(format_args!("{shape}/>")),
        }
    }

    /// A line.
    pub fn line(&mut self, from: (f64, f64), to: (f64, f64), stroke: &str) {
        let ((x1, y1), (x2, y2)) = (from, to);
        self.push(format_args!(
            "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"{stroke}\"/>"
        ));
    }

    /// A curve through points.
    pub fn polyline(&mut self, points: &[(f64, f64)], stroke: &str, width: f64) {
        let list: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        self.push(format_args!(
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{stroke}\" stroke-width=\"{width}\" \
             stroke-linejoin=\"round\" stroke-linecap=\"round\"/>",
            list.join(" ")
        ));
    }

    /// A dot, with a tooltip.
    pub fn dot(&mut self, (x, y): (f64, f64), radius: f64, fill: &str, title: &str) {
        self.push(format_args!(
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius}\" fill=\"{fill}\"><title>{}</title></circle>",
            escape(title)
        ));
    }

    /// A line of text; `turn` in degrees.
    pub fn text(&mut self, (x, y): (f64, f64), text: &str, font: Font<'_>, turn: f64) {
        let anchor = match font.anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let weight = if font.bold { " font-weight=\"600\"" } else { "" };
        let rotate =
            if turn == 0.0 { String::new() } else { format!(" transform=\"rotate({turn} {x:.1} {y:.1})\"") };
        self.push(format_args!(
            "<text x=\"{x:.1}\" y=\"{y:.1}\" font-size=\"{}\" fill=\"{}\" text-anchor=\"{anchor}\"{weight}{rotate}>{}</text>",
            font.size,
            font.fill,
            escape(text)
        ));
    }

    /// The document.
    pub fn finish(self) -> String {
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{w:.0}\" height=\"{h:.0}\" viewBox=\"0 0 {w:.0} {h:.0}\" \
             font-family=\"system-ui, 'Segoe UI', 'DejaVu Sans', Helvetica, Arial, sans-serif\">\n{}</svg>\n",
            self.body,
            w = self.width,
            h = self.height
        )
    }
}

fn escape(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '&' => "&amp;".into(),
            '<' => "&lt;".into(),
            '>' => "&gt;".into(),
            '"' => "&quot;".into(),
            c if c.is_control() => " ".into(),
            c => c.to_string(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_outside_stays_text() {
        let mut svg = Svg::new(10.0, 10.0);
        let font = Font { size: 12.0, fill: "#000", anchor: Anchor::Start, bold: false };
        svg.text((0.0, 0.0), "<script>&\"\u{1b}", font, 0.0);
        let text = svg.finish();
        assert!(text.contains("&lt;script&gt;&amp;&quot; </text>") && !text.contains("<script"), "{text}");
    }
}
