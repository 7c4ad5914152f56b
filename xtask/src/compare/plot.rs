//! Bars as SVG. In: two figures for each row. Out: a picture, drawn by hand: it needs no library.

use std::fmt::Write as _;

/// A row's two figures.
pub(super) struct Bar {
    pub(super) label: String,
    pub(super) kerolox: f64,
    pub(super) apache: Option<f64>,
}

const LABEL_WIDTH: f64 = 190.0;
const BAR_WIDTH: f64 = 420.0;
const VALUE_WIDTH: f64 = 110.0;
const BAR_HEIGHT: f64 = 13.0;
const ROW_HEIGHT: f64 = 40.0;
const TOP: f64 = 62.0;
/// Both are readable on white and on black.
const KEROLOX: &str = "#d9622b";
const APACHE: &str = "#6f8fae";

/// Two bars for each row. The longer one has the whole width: rows differ by orders of magnitude,
/// and what is compared stands in one row.
pub(super) fn bars(title: &str, unit: &str, bars: &[Bar]) -> String {
    let width = LABEL_WIDTH + BAR_WIDTH + VALUE_WIDTH;
    let height = TOP + ROW_HEIGHT * bars.len() as f64 + 8.0;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
         width=\"{width}\" height=\"{height}\" font-family=\"sans-serif\" font-size=\"12\" \
         fill=\"#333\">\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n"
    );
    text(&mut out, 8.0, 22.0, "font-size=\"16\" font-weight=\"bold\"", &format!("{title}, {unit}"));
    for (x, color, name) in [(8.0, KEROLOX, "Kerolox"), (90.0, APACHE, "Apache RocketMQ 5.5.0")] {
        rect(&mut out, x, 34.0, 12.0, color);
        text(&mut out, x + 17.0, 45.0, "", name);
    }
    text(&mut out, 260.0, 45.0, "fill=\"#777\"", "each row has a scale of its own");
    for (i, bar) in bars.iter().enumerate() {
        let y = TOP + ROW_HEIGHT * i as f64;
        text(&mut out, 8.0, y + BAR_HEIGHT + 4.0, "", &bar.label);
        let most = bar.kerolox.max(bar.apache.unwrap_or(0.0));
        let figures = [(Some(bar.kerolox), KEROLOX), (bar.apache, APACHE)];
        for (j, (value, color)) in figures.into_iter().enumerate() {
            let y = y + (BAR_HEIGHT + 2.0) * j as f64;
            let Some(value) = value else {
                text(&mut out, LABEL_WIDTH, y + 11.0, "fill=\"#777\"", "not reached");
                continue;
            };
            let length = if most > 0.0 { (value / most * BAR_WIDTH).max(1.0) } else { 1.0 };
            rect(&mut out, LABEL_WIDTH, y, length, color);
            let digits = if value < 100.0 { 1 } else { 0 };
            text(&mut out, LABEL_WIDTH + length + 5.0, y + 11.0, "", &format!("{value:.digits$}"));
        }
    }
    out.push_str("</svg>\n");
    out
}

fn rect(out: &mut String, x: f64, y: f64, width: f64, color: &str) {
    let _ = writeln!(
        out,
        "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{BAR_HEIGHT}\" fill=\"{color}\"/>"
    );
}

fn text(out: &mut String, x: f64, y: f64, more: &str, words: &str) {
    let words = words.replace('&', "&amp;").replace('<', "&lt;");
    let _ = writeln!(out, "<text x=\"{x:.1}\" y=\"{y:.1}\" {more}>{words}</text>");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longer_bar_has_the_whole_width() {
        let rows = [
            Bar { label: "a < b".into(), kerolox: 10.0, apache: Some(5.0) },
            Bar { label: "c".into(), kerolox: 1.0, apache: None },
        ];
        let svg = bars("Rate", "msg/s", &rows);
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
        assert!(svg.contains("width=\"420.0\"") && svg.contains("width=\"210.0\""));
        assert!(svg.contains("a &lt; b") && svg.contains("not reached"));
    }
}
