//! Line plots and bar charts as SVG: few kinds of element, no script, nothing loaded from elsewhere.

mod bars;

use std::fmt::Write;

pub use bars::{Bars, Series};

/// A plot over a logarithmic x axis.
#[derive(Debug, Clone)]
pub struct Plot {
    /// Above it.
    pub title: String,
    /// Below the x axis.
    pub x: String,
    /// Beside the y axis.
    pub y: String,
    /// The lines.
    pub lines: Vec<Line>,
}

/// One line of a plot.
#[derive(Debug, Clone)]
pub struct Line {
    /// In the legend.
    pub name: String,
    /// Its points, x ascending.
    pub points: Vec<(f64, f64)>,
}

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 170.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 52.0;
/// Distinct to people with any kind of colour vision (Okabe and Ito 2008).
const COLOURS: [&str; 6] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"];

impl Plot {
    /// The whole SVG document.
    pub fn svg(&self) -> String {
        let all = || self.lines.iter().flat_map(|line| &line.points);
        let (x_min, x_max) = all().fold((f64::MAX, 1.0), |(min, max), (x, _)| (x.min(min), x.max(max)));
        let y_top = ceiling(all().fold(1.0, |max, (_, y)| y.max(max)));
        let x_min = if x_min < x_max { x_min } else { 1.0 };
        let (plot_width, plot_height) = (WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM);
        let at_x = |x: f64| LEFT + (x / x_min).ln() / (x_max.max(x_min * 10.0) / x_min).ln() * plot_width;
        let at_y = |y: f64| TOP + (1.0 - y / y_top) * plot_height;

        let mut svg = open(HEIGHT, &self.title);
        text(&mut svg, (LEFT + plot_width / 2.0, HEIGHT - 12.0), "middle", "", &self.x);
        let turned = format!("transform=\"rotate(-90 16 {y})\"", y = TOP + plot_height / 2.0);
        text(&mut svg, (16.0, TOP + plot_height / 2.0), "middle", &turned, &self.y);
        for step in 0..=5 {
            let y = y_top * f64::from(step) / 5.0;
            rule(&mut svg, (LEFT, at_y(y)), (LEFT + plot_width, at_y(y)));
            text(&mut svg, (LEFT - 6.0, at_y(y) + 4.0), "end", "", &format!("{y:.0}"));
        }
        let mut x = x_min;
        while x <= x_max * 1.001 {
            rule(&mut svg, (at_x(x), TOP), (at_x(x), TOP + plot_height));
            text(&mut svg, (at_x(x), TOP + plot_height + 16.0), "middle", "", &short(x));
            x *= 10.0;
        }
        for (i, line) in self.lines.iter().enumerate() {
            self.line(&mut svg, i, line, &at_x, &at_y);
        }
        svg.push_str("</svg>\n");
        svg
    }

    fn line(
        &self,
        svg: &mut String,
        i: usize,
        line: &Line,
        at_x: &impl Fn(f64) -> f64,
        at_y: &impl Fn(f64) -> f64,
    ) {
        let colour = COLOURS[i % COLOURS.len()];
        let points: Vec<String> =
            line.points.iter().map(|&(x, y)| format!("{:.1},{:.1}", at_x(x), at_y(y))).collect();
        let _ = writeln!(
            svg,
            "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" points=\"{}\"/>",
            points.join(" ")
        );
        for &(x, y) in &line.points {
            let _ = writeln!(
                svg,
                "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\" fill=\"{colour}\"><title>{}: {y:.1}</title></circle>",
                at_x(x),
                at_y(y),
                short(x)
            );
        }
        let y = TOP + 14.0 + 20.0 * i as f64;
        let x = WIDTH - RIGHT + 14.0;
        let _ =
            writeln!(svg, "<rect x=\"{x}\" y=\"{}\" width=\"14\" height=\"4\" fill=\"{colour}\"/>", y - 6.0);
        text(svg, (x + 20.0, y), "start", "", &line.name);
    }
}

/// A blank document with a title.
fn open(height: f64, title: &str) -> String {
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"{WIDTH}\" height=\"{height}\" fill=\"white\"/>\n"
    );
    text(&mut svg, (WIDTH / 2.0, 22.0), "middle", "font-size=\"15\"", title);
    svg
}

fn text(svg: &mut String, (x, y): (f64, f64), anchor: &str, more: &str, words: &str) {
    let words = words.replace('&', "&amp;").replace('<', "&lt;");
    let _ = writeln!(
        svg,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" fill=\"#222\" {more}>{words}</text>"
    );
}

fn rule(svg: &mut String, from: (f64, f64), to: (f64, f64)) {
    let _ = writeln!(
        svg,
        "<line x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" stroke=\"#ddd\"/>",
        from.0, from.1, to.0, to.1
    );
}

/// The next of 1, 2, 2.5, 5 times a power of ten.
fn ceiling(y: f64) -> f64 {
    let power = 10_f64.powf(y.log10().floor());
    [1.0, 2.0, 2.5, 5.0, 10.0].into_iter().map(|step| step * power).find(|top| *top >= y).unwrap_or(y)
}

fn short(x: f64) -> String {
    match x {
        x if x >= 1e6 => format!("{} M", x / 1e6),
        x if x >= 1e3 => format!("{} k", x / 1e3),
        x => format!("{x}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_point_is_drawn_inside_the_frame() {
        let points = vec![(1.0, 80.0), (1e4, 90.0), (4e6, 171.0)];
        let plot = Plot {
            title: "a < b & c".into(),
            x: "flows".into(),
            y: "cycles".into(),
            lines: vec![Line { name: "l3".into(), points }],
        };
        let svg = plot.svg();
        assert_eq!(svg.matches("<circle").count(), 3);
        assert!(svg.contains("a &lt; b &amp; c"));
        for part in svg.split("cx=\"").skip(1) {
            let x: f64 = part.split('"').next().unwrap().parse().unwrap();
            assert!((LEFT..=WIDTH - RIGHT).contains(&x), "{x}");
        }
    }

    #[test]
    fn an_empty_plot_is_still_a_document() {
        let plot = Plot { title: String::new(), x: String::new(), y: String::new(), lines: Vec::new() };
        assert!(plot.svg().ends_with("</svg>\n"));
    }
}
