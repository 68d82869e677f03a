//! Lines over an axis.

use std::fmt::Write;

use super::{TOP, WIDTH, colour, escape, fit, legend, legend_height, open, rule, scale::Range, text, width};
use crate::results::{Dimension, Mark, Point, table::short};

/// A plot.
#[derive(Debug, Clone)]
pub struct Plot {
    /// Above it.
    pub title: String,
    /// To the right.
    pub x: Dimension,
    /// Upwards.
    pub y: Dimension,
    /// The lines.
    pub lines: Vec<Line>,
    /// What happened at some x.
    pub marks: Vec<Mark>,
}

/// One line of a plot.
#[derive(Debug, Clone)]
pub struct Line {
    /// In the legend.
    pub name: String,
    /// Its points, x ascending.
    pub points: Vec<Point>,
    /// It was not measured, but is what one would wish for.
    pub is_dashed: bool,
}

const HEIGHT: f64 = 320.0;
const RIGHT: f64 = 28.0;
/// Ticks and the axis's name.
const BELOW: f64 = 46.0;
/// More points than this are a line without dots.
const DOTS: usize = 60;
/// A row of labels of marks.
const MARK: f64 = 14.0;

/// Where things are.
struct Frame {
    x: Range,
    y: Range,
    left: f64,
    top: f64,
}

impl Frame {
    fn at(&self, x: f64, y: f64) -> (f64, f64) {
        (
            self.left + self.x.place(x) * (WIDTH - RIGHT - self.left),
            self.top + (1.0 - self.y.place(y)) * (HEIGHT - self.top),
        )
    }
}

impl Plot {
    /// The whole SVG document.
    pub fn svg(&self) -> String {
        let points = || self.lines.iter().flat_map(|line| &line.points);
        let marks = self.marks.iter().map(|mark| mark.x);
        let x = Range::of(self.x.scale, points().map(|point| point.x).chain(marks), false);
        let spread = |point: &Point| [point.y, point.spread.map_or(point.y, |spread| spread.1)];
        let y = Range::of(self.y.scale, points().flat_map(spread), true);
        let widest = y.ticks().iter().map(|(_, label)| width(label, 12.0)).fold(0.0, f64::max);
        let rows = self.mark_rows(&x);
        let top = TOP + rows.iter().map(|row| row + 1).max().unwrap_or(0) as f64 * MARK;
        let frame = Frame { x, y, left: widest + 40.0, top };
        let names: Vec<_> = self.lines.iter().map(|line| (&*line.name, line.is_dashed)).collect();
        let height = HEIGHT + BELOW + legend_height(frame.left, &names) + 14.0;

        let mut svg = open(height, &self.title);
        self.axes(&mut svg, &frame);
        self.draw_marks(&mut svg, &frame, &rows);
        for (i, line) in self.lines.iter().enumerate() {
            draw(&mut svg, line, colour(i), &frame, (&self.x.unit, &self.y.unit));
        }
        legend(&mut svg, frame.left, HEIGHT + BELOW + 12.0, &names);
        svg.push_str("</svg>\n");
        svg
    }

    fn axes(&self, svg: &mut String, frame: &Frame) {
        let (right, middle) = (WIDTH - RIGHT, (frame.top + HEIGHT) / 2.0);
        text(svg, ((frame.left + right) / 2.0, HEIGHT + 36.0), "middle", "", &name(&self.x));
        let turned = format!("transform=\"rotate(-90 16 {middle:.1})\"");
        text(svg, (16.0, middle), "middle", &turned, &fit(&name(&self.y), HEIGHT - frame.top, 12.0));
        for (value, label) in frame.y.ticks() {
            let y = HEIGHT - frame.y.place(value) * (HEIGHT - frame.top);
            rule(svg, (frame.left, y), (right, y));
            text(svg, (frame.left - 6.0, y + 4.0), "end", "", &label);
        }
        for (value, label) in frame.x.ticks() {
            let x = frame.left + frame.x.place(value) * (right - frame.left);
            rule(svg, (x, frame.top), (x, HEIGHT));
            let is_wide = x + width(&label, 12.0) / 2.0 > WIDTH - 4.0;
            let (x, anchor) = if is_wide { (WIDTH - 4.0, "end") } else { (x, "middle") };
            text(svg, (x, HEIGHT + 16.0), anchor, "", &label);
        }
    }

    /// In which row the label of each mark stands, so that no two overlap.
    fn mark_rows(&self, x: &Range) -> Vec<usize> {
        let mut ends: Vec<f64> = Vec::new();
        let mut row_of = |mark: &Mark| {
            let (begin, end) = span(x.place(mark.x) * (WIDTH - RIGHT - 80.0), &mark.label);
            let free = ends.iter().position(|taken| *taken < begin);
            let row = free.unwrap_or(ends.len());
            if row == ends.len() {
                ends.push(end);
            }
            ends[row] = end;
            row
        };
        self.marks.iter().map(&mut row_of).collect()
    }

    fn draw_marks(&self, svg: &mut String, frame: &Frame, rows: &[usize]) {
        for (mark, row) in self.marks.iter().zip(rows) {
            let x = frame.at(mark.x, 0.0).0;
            let y = TOP + *row as f64 * MARK;
            let _ = writeln!(
                svg,
                "<line class=\"mark\" x1=\"{x:.1}\" y1=\"{:.1}\" x2=\"{x:.1}\" y2=\"{HEIGHT}\" stroke=\"#a00\" \
                 stroke-dasharray=\"4 3\"/>",
                y + 4.0
            );
            let anchor = if is_left_of_its_mark(x - frame.left, &mark.label) { "end" } else { "start" };
            text(svg, (x, y), anchor, "font-size=\"11\"", &mark.label);
        }
    }
}

/// A label stands to the right of its mark, unless there is no room.
fn is_left_of_its_mark(x: f64, label: &str) -> bool {
    x + width(label, 11.0) > WIDTH - RIGHT - 60.0
}

fn span(x: f64, label: &str) -> (f64, f64) {
    let wide = width(label, 11.0) + 8.0;
    if is_left_of_its_mark(x, label) { (x - wide, x) } else { (x, x + wide) }
}

fn name(dimension: &Dimension) -> String {
    match (&*dimension.name, &*dimension.unit) {
        (name, "") => name.to_owned(),
        (name, unit) => format!("{name}, {unit}"),
    }
}

fn draw(svg: &mut String, line: &Line, colour: &str, frame: &Frame, units: (&str, &str)) {
    let places: Vec<String> = line
        .points
        .iter()
        .map(|point| frame.at(point.x, point.y))
        .map(|(x, y)| format!("{x:.1},{y:.1}"))
        .collect();
    let dash = if line.is_dashed { " stroke-dasharray=\"5 4\"" } else { "" };
    let _ = writeln!(
        svg,
        "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"{dash} points=\"{}\"/>",
        places.join(" ")
    );
    if line.points.len() > DOTS || line.is_dashed {
        return;
    }
    for point in &line.points {
        let (x, y) = frame.at(point.x, point.y);
        if let Some((low, high)) = point.spread {
            let (low, high) = (frame.at(point.x, low).1, frame.at(point.x, high).1);
            let _ = writeln!(
                svg,
                "<path d=\"M{x:.1} {low:.1}V{high:.1}\" stroke=\"{colour}\" stroke-opacity=\"0.6\"/>"
            );
        }
        let words = format!("{}: {} {}, {} {}", line.name, short(point.x), units.0, short(point.y), units.1);
        let _ = writeln!(
            svg,
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"><title>{}</title></circle>",
            escape(&words)
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::Scale;

    fn dimension(name: &str, scale: Scale) -> Dimension {
        Dimension { name: name.into(), unit: String::new(), scale }
    }

    #[test]
    fn every_point_is_drawn_inside_the_frame() {
        let points = [(1.0, 80.0), (1e4, 90.0), (4e6, 171.0)].map(Point::from).into();
        let plot = Plot {
            title: "a < b & c".into(),
            x: dimension("flows", Scale::Log),
            y: dimension("cycles", Scale::Linear),
            lines: vec![Line { name: "l3".into(), points, is_dashed: false }],
            marks: Vec::new(),
        };
        let svg = plot.svg();
        assert_eq!(svg.matches("<circle").count(), 3);
        assert!(svg.contains("a &lt; b &amp; c"));
        for (part, most) in svg.split("cx=\"").skip(1).zip([WIDTH - RIGHT; 3]) {
            let x: f64 = part.split('"').next().unwrap().parse().unwrap();
            assert!((40.0..=most).contains(&x), "{x}");
        }
    }

    #[test]
    fn labels_of_marks_do_not_overlap() {
        let mark = |x, label: &str| Mark { x, label: label.into() };
        let plot = Plot {
            title: String::new(),
            x: dimension("time", Scale::Linear),
            y: dimension("rate", Scale::Linear),
            lines: vec![Line {
                name: String::new(),
                points: vec![(0.0, 1.0).into(), (60.0, 1.0).into()],
                is_dashed: false,
            }],
            marks: vec![
                mark(20.0, "rules replaced"),
                mark(21.0, "restart"),
                mark(50.0, "kill -9"),
                mark(59.9, "the end of it all"),
            ],
        };
        let x = Range::of(Scale::Linear, [0.0, 60.0].into_iter(), false);
        assert_eq!(plot.mark_rows(&x)[..2], [0, 1]);
        assert!(plot.svg().contains("text-anchor=\"end\" fill=\"#222\" font-size=\"11\">the end"));
    }

    #[test]
    fn an_empty_plot_is_still_a_document() {
        let plot = Plot {
            title: String::new(),
            x: dimension("", Scale::Log),
            y: dimension("", Scale::Linear),
            lines: Vec::new(),
            marks: Vec::new(),
        };
        assert!(plot.svg().ends_with("</svg>\n"));
    }
}
