//! Line plots and bar charts as SVG: few kinds of element, no script, nothing loaded from elsewhere.
//!
//! They stand alone, on white; a page that holds them may colour them by its own style sheet: `.paper`, `.grid` and text have
//! no colour but by attributes, which any rule overrides.

mod bars;
mod lines;
mod of;
mod scale;

use std::fmt::Write;

pub use bars::{Bars, Series};
pub use lines::{Line, Plot};
pub use of::{over, series};

const WIDTH: f64 = 760.0;
const TOP: f64 = 44.0;
/// A line of the legend.
const LEGEND: f64 = 18.0;
/// Distinct to people with any kind of colour vision (Okabe and Ito 2008), but for the last two, which come in rarely.
const COLOURS: [&str; 8] =
    ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8a6d3b", "#7b7b7b"];

fn colour(i: usize) -> &'static str {
    COLOURS[i % COLOURS.len()]
}

/// A blank document with a title.
fn open(height: f64, title: &str) -> String {
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height:.0}\" role=\"img\" \
         font-family=\"system-ui, sans-serif\" font-size=\"12\">\n\
         <rect class=\"paper\" width=\"{WIDTH}\" height=\"{height:.0}\" fill=\"white\"/>\n"
    );
    let _ = writeln!(svg, "<title>{}</title>", escape(title));
    text(&mut svg, (WIDTH / 2.0, 22.0), "middle", "font-size=\"15\"", &fit(title, WIDTH - 40.0, 15.0));
    svg
}

/// For SVG and HTML.
pub fn escape(words: &str) -> String {
    words.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn text(svg: &mut String, (x, y): (f64, f64), anchor: &str, more: &str, words: &str) {
    let words = escape(words);
    let _ = writeln!(
        svg,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" fill=\"#222\" {more}>{words}</text>"
    );
}

fn rule(svg: &mut String, from: (f64, f64), to: (f64, f64)) {
    let _ = writeln!(
        svg,
        "<line class=\"grid\" x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" stroke=\"#ddd\"/>",
        from.0, from.1, to.0, to.1
    );
}

/// How wide words are, about: fonts differ, so rather more than less.
fn width(words: &str, size: f64) -> f64 {
    words.chars().count() as f64 * size * 0.58
}

/// Words that are no wider than this; the end of longer ones is left out.
fn fit(words: &str, most: f64, size: f64) -> String {
    let count = (most / (size * 0.58)) as usize;
    if words.chars().count() <= count {
        return words.to_owned();
    }
    words.chars().take(count.saturating_sub(1)).collect::<String>() + "…"
}

/// Names and their colours, in as many columns as there is room for; how high that is.
fn legend(svg: &mut String, left: f64, top: f64, names: &[(&str, bool)]) -> f64 {
    let widest = names.iter().map(|(name, _)| width(name, 12.0)).fold(0.0, f64::max).min(WIDTH - left - 40.0);
    let columns = (((WIDTH - left) / (widest + 44.0)) as usize).clamp(1, names.len().max(1));
    for (i, (name, is_dashed)) in names.iter().enumerate() {
        let x = left + (i % columns) as f64 * (widest + 44.0);
        let y = top + (i / columns) as f64 * LEGEND;
        let dash = if *is_dashed { " stroke-dasharray=\"3 3\"" } else { "" };
        let _ = writeln!(
            svg,
            "<line x1=\"{x:.1}\" y1=\"{y:.1}\" x2=\"{:.1}\" y2=\"{y:.1}\" stroke=\"{}\" stroke-width=\"5\"{dash}/>",
            x + 16.0,
            colour(i)
        );
        text(svg, (x + 22.0, y + 4.0), "start", "", &fit(name, widest + 8.0, 12.0));
    }
    legend_height(left, names)
}

fn legend_height(left: f64, names: &[(&str, bool)]) -> f64 {
    let widest = names.iter().map(|(name, _)| width(name, 12.0)).fold(0.0, f64::max).min(WIDTH - left - 40.0);
    let columns = (((WIDTH - left) / (widest + 44.0)) as usize).clamp(1, names.len().max(1));
    names.len().div_ceil(columns) as f64 * LEGEND
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_cut_to_what_fits_and_escaped() {
        assert_eq!(fit("short", 100.0, 12.0), "short");
        let cut = fit("something that is rather long", 60.0, 12.0);
        assert!(cut.ends_with('…') && width(&cut, 12.0) <= 60.0, "{cut}");
        assert_eq!(escape("a < b & \"c\""), "a &lt; b &amp; &quot;c&quot;");
    }
}
