//! Bars from left to right, in groups, each with its value and with a whisker from least to most.

use std::fmt::Write;

use super::{COLOURS, TOP, WIDTH, ceiling, open, rule, text};

/// A bar chart.
#[derive(Debug, Clone)]
pub struct Bars {
    /// Above it.
    pub title: String,
    /// Below the x axis.
    pub x: String,
    /// Beside each group.
    pub groups: Vec<String>,
    /// One bar in each group.
    pub series: Vec<Series>,
}

/// Bars of one colour.
#[derive(Debug, Clone)]
pub struct Series {
    /// In the legend.
    pub name: String,
    /// A value for each group, and between what it varied.
    pub values: Vec<Option<(f64, f64, f64)>>,
}

const LEFT: f64 = 130.0;
const BAR: f64 = 12.0;
const GAP: f64 = 10.0;
const LEGEND: f64 = 18.0;
/// Values stand behind their bars.
const LABEL: f64 = 50.0;
const BARS_WIDTH: f64 = WIDTH - LEFT - LABEL;

impl Bars {
    /// The whole SVG document.
    pub fn svg(&self) -> String {
        let group_height = BAR * self.series.len() as f64 + GAP;
        let plot_height = group_height * self.groups.len() as f64;
        let legend_at = TOP + plot_height + 44.0;
        let values = self.series.iter().flat_map(|series| series.values.iter().flatten());
        let top = ceiling(values.fold(1e-3, |most, (_, _, max)| max.max(most)));
        let at_x = |value: f64| LEFT + value / top * BARS_WIDTH;

        let mut svg = open(legend_at + LEGEND * self.series.len() as f64, &self.title);
        for step in 0..=5 {
            let value = top * f64::from(step) / 5.0;
            rule(&mut svg, (at_x(value), TOP), (at_x(value), TOP + plot_height));
            text(&mut svg, (at_x(value), TOP + plot_height + 14.0), "middle", "", &short(value));
        }
        text(&mut svg, (LEFT + BARS_WIDTH / 2.0, TOP + plot_height + 30.0), "middle", "", &self.x);
        for (i, group) in self.groups.iter().enumerate() {
            let y = TOP + group_height * i as f64 + GAP / 2.0;
            text(&mut svg, (LEFT - 8.0, y + (group_height - GAP) / 2.0 + 4.0), "end", "", group);
            for (j, series) in self.series.iter().enumerate() {
                let value = series.values.get(i).copied().flatten();
                bar(&mut svg, y + BAR * j as f64, COLOURS[j % COLOURS.len()], value, &at_x);
            }
        }
        for (j, series) in self.series.iter().enumerate() {
            let (y, colour) = (legend_at + LEGEND * j as f64, COLOURS[j % COLOURS.len()]);
            let _ = writeln!(
                svg,
                "<rect x=\"{LEFT}\" y=\"{}\" width=\"14\" height=\"10\" fill=\"{colour}\"/>",
                y - 9.0
            );
            text(&mut svg, (LEFT + 20.0, y), "start", "", &series.name);
        }
        svg.push_str("</svg>\n");
        svg
    }
}

fn bar(svg: &mut String, y: f64, colour: &str, value: Option<(f64, f64, f64)>, at_x: &impl Fn(f64) -> f64) {
    let Some((value, min, max)) = value else {
        return text(svg, (LEFT + 4.0, y + BAR - 2.0), "start", "font-size=\"10\"", "–");
    };
    let _ = writeln!(
        svg,
        "<rect x=\"{LEFT}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{}\" fill=\"{colour}\"/>",
        at_x(value) - LEFT,
        BAR - 1.0
    );
    let middle = y + (BAR - 1.0) / 2.0;
    let _ = writeln!(
        svg,
        "<path d=\"M{:.1} {middle:.1}H{:.1}\" stroke=\"#222\" stroke-width=\"1\"/>",
        at_x(min),
        at_x(max)
    );
    text(svg, (at_x(max) + 4.0, y + BAR - 2.0), "start", "font-size=\"10\"", &short(value));
}

/// Three figures that count.
fn short(value: f64) -> String {
    match value {
        0.0 => "0".into(),
        value if value >= 100.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_end_inside_the_frame_and_gaps_are_shown() {
        let values = vec![Some((0.8, 0.7, 0.95)), None];
        let series = vec![Series { name: "UDP & more".into(), values }];
        let groups = vec!["weft-xsk".into(), "bridge".into()];
        let svg = Bars { title: "t".into(), x: "Mpps".into(), groups, series }.svg();
        assert!(svg.contains("–") && svg.contains("UDP &amp; more"));
        for part in svg.split(" width=\"").skip(2) {
            let width: f64 = part.split('"').next().unwrap().parse().unwrap();
            assert!(LEFT + width <= WIDTH - LABEL + 0.1, "{width}");
        }
    }

    #[test]
    fn an_empty_chart_is_still_a_document() {
        let bars = Bars { title: String::new(), x: String::new(), groups: Vec::new(), series: Vec::new() };
        assert!(bars.svg().ends_with("</svg>\n"));
    }
}
