//! Bars from left to right, in groups, each with its value and with a whisker from least to most.

use std::fmt::Write;

use super::{TOP, WIDTH, colour, fit, legend, legend_height, open, rule, scale::Range, text, width};
use crate::results::{Scale, table::short};

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

const BAR: f64 = 12.0;
const GAP: f64 = 10.0;
/// Values stand behind their bars.
const LABEL: f64 = 56.0;
/// Names of groups take no more than this.
const NAMES: f64 = 290.0;

impl Bars {
    /// The whole SVG document.
    pub fn svg(&self) -> String {
        let group_height = BAR * self.series.len() as f64 + GAP;
        let plot_height = group_height * self.groups.len() as f64;
        let left = self.left();
        let values = self.series.iter().flat_map(|series| series.values.iter().flatten());
        let range = Range::of(Scale::Linear, values.map(|(.., max)| *max), true);
        let at_x = |value: f64| left + range.place(value) * (WIDTH - LABEL - left);
        // A single one is what the title says.
        let shown = if self.series.len() > 1 { &self.series[..] } else { &[] };
        let names: Vec<_> = shown.iter().map(|series| (&*series.name, false)).collect();
        let legend_at = TOP + plot_height + 50.0;

        let mut svg = open(legend_at + legend_height(left, &names), &self.title);
        for (value, label) in range.ticks() {
            rule(&mut svg, (at_x(value), TOP), (at_x(value), TOP + plot_height));
            text(&mut svg, (at_x(value), TOP + plot_height + 14.0), "middle", "", &label);
        }
        let middle = (left + WIDTH - LABEL) / 2.0;
        text(&mut svg, (middle, TOP + plot_height + 32.0), "middle", "", &self.x);
        for (i, group) in self.groups.iter().enumerate() {
            let y = TOP + group_height * i as f64 + GAP / 2.0;
            let at = (left - 8.0, y + (group_height - GAP) / 2.0 + 4.0);
            text(&mut svg, at, "end", "", &fit(group, left - 12.0, 12.0));
            for (j, series) in self.series.iter().enumerate() {
                let value = series.values.get(i).copied().flatten();
                bar(&mut svg, y + BAR * j as f64, colour(j), value, &at_x);
            }
        }
        legend(&mut svg, left, legend_at, &names);
        svg.push_str("</svg>\n");
        svg
    }

    fn left(&self) -> f64 {
        let widest = self.groups.iter().map(|group| width(group, 12.0)).fold(0.0, f64::max);
        widest.clamp(40.0, NAMES) + 16.0
    }
}

fn bar(svg: &mut String, y: f64, colour: &str, value: Option<(f64, f64, f64)>, at_x: &impl Fn(f64) -> f64) {
    let left = at_x(0.0);
    let Some((value, min, max)) = value else {
        return text(svg, (left + 4.0, y + BAR - 2.0), "start", "font-size=\"10\"", "–");
    };
    // A bar may lead to the left of zero.
    let (from, to) = (left.min(at_x(value)), left.max(at_x(value)));
    let _ = writeln!(
        svg,
        "<rect class=\"bar\" x=\"{from:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{}\" fill=\"{colour}\"/>",
        to - from,
        BAR - 1.0
    );
    let middle = y + (BAR - 1.0) / 2.0;
    let _ = writeln!(
        svg,
        "<path class=\"whisker\" d=\"M{:.1} {middle:.1}H{:.1}\" stroke=\"#222\" stroke-width=\"1\"/>",
        at_x(min),
        at_x(max)
    );
    text(svg, (at_x(max).max(to) + 4.0, y + BAR - 2.0), "start", "font-size=\"10\"", &short(value));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_end_inside_the_frame_and_gaps_are_shown() {
        let values = vec![Some((0.8, 0.7, 0.95)), None];
        let series =
            ["UDP & more", "TCP"].map(|name| Series { name: name.into(), values: values.clone() }).into();
        let groups = vec!["weft-xsk".into(), "bridge".into()];
        let svg = Bars { title: "t".into(), x: "Mpps".into(), groups, series }.svg();
        assert!(svg.contains("–") && svg.contains("UDP &amp; more"));
        for part in svg.split("class=\"bar\" x=\"").skip(1) {
            let numbers: Vec<f64> =
                part.split('"').step_by(2).take(3).map(|text| text.parse().unwrap()).collect();
            assert!(numbers[0] + numbers[2] <= WIDTH - LABEL + 0.1, "{numbers:?}");
        }
    }

    #[test]
    fn an_empty_chart_is_still_a_document() {
        let bars = Bars { title: String::new(), x: String::new(), groups: Vec::new(), series: Vec::new() };
        assert!(bars.svg().ends_with("</svg>\n"));
    }
}
