//! The screen: a line on the whole, a graph of the last minutes, the tabs, a table, the keys.

use ratatui::{
    Frame,
    layout::{Alignment, Constraint, Layout, Rect},
    style::{Color, Modifier, Style, Stylize},
    text::{Line, Span},
    widgets::{Block, Clear, Paragraph, RenderDirection, Row, Sparkline, Table},
};

use super::{
    clock,
    data::{Data, GRAPH_S},
    grid::{Cell, Column, Grid, Sort, Tone},
    state::State,
    views::View,
};
use crate::render::human;

/// A terminal lower than this has no room for the graph.
const HEIGHT_FOR_GRAPH: u16 = 16;

/// Draws everything.
pub(super) fn draw(frame: &mut Frame, state: &State, data: &Data, problem: Option<&str>) {
    let graph = if frame.area().height >= HEIGHT_FOR_GRAPH { 3 } else { 0 };
    let [head, graph, tabs, body, note, keys] = Layout::vertical([
        Constraint::Length(2),
        Constraint::Length(graph),
        Constraint::Length(1),
        Constraint::Min(0),
        Constraint::Length(1),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    frame.render_widget(Paragraph::new(head_lines(state, data, problem)), head);
    draw_graph(frame, graph, state, data);
    frame.render_widget(Paragraph::new(tab_line(state)), tabs);
    let grid = state.view.grid(data).arranged(state.sort(), &state.filter);
    draw_grid(frame, body, state, &grid);
    frame.render_widget(Paragraph::new(grid.note.clone()).dim(), note);
    frame.render_widget(Paragraph::new(key_line(state)), keys);
    if state.help {
        draw_help(frame);
    }
}

fn head_lines(state: &State, data: &Data, problem: Option<&str>) -> Vec<Line<'static>> {
    let time = match (state.stopped_ms, state.ago_s(data.now_ms)) {
        (None, _) => Span::from(" LIVE ").black().on_green(),
        (Some(at), 0) => Span::from(format!(" PAUSED {} ", clock(at))).black().on_yellow(),
        (Some(at), ago) => Span::from(format!(" {} ago, {} ", span(ago), clock(at))).black().on_yellow(),
    };
    let mut first = vec![Span::from("weft ").bold()];
    if let Some(status) = &data.status {
        let generation = format!(", generation {} ", status.generation);
        first.extend([
            Span::from(status.node.clone()).bold(),
            Span::from(format!(", up {}", span(status.uptime_s))),
        ]);
        first.extend([Span::from(generation), time]);
        if status.threads_dead > 0 {
            let dead = format!(" {} PMD thread(s) DEAD: restart weftd ", status.threads_dead);
            first.push(Span::from(dead).white().on_red());
        }
        if status.ports_waiting > 0 {
            first.push(Span::from(format!(" {} port(s) wait to be opened", status.ports_waiting)).yellow());
        }
    } else {
        first.push(time);
    }
    if let Some(problem) = problem {
        return vec![Line::from(first), Line::from(problem.to_owned()).red()];
    }
    let (moment, sum) = (&data.moment, &data.moment.sum);
    let busiest = moment.threads.iter().map(|thread| thread.busy_percent()).fold(0.0, f64::max);
    let lost = sum.dropped + sum.rx_lost;
    let drops = Span::from(format!("dropped {}/s", human(moment.per_second(lost))));
    let second = vec![
        // First what must not be cut off.
        if lost > 0 { drops.yellow() } else { drops },
        Span::from(format!("  busiest core {busiest:.0} %")),
        Span::from(format!(
            "  received {} pps, {}bit/s  sent {} pps, {}bit/s",
            human(moment.per_second(sum.rx_packets)),
            unit(moment.per_second(sum.rx_bytes * 8)),
            human(moment.per_second(sum.tx_packets)),
            unit(moment.per_second(sum.tx_bytes * 8)),
        )),
    ];
    vec![Line::from(first), Line::from(second)]
}

/// A number that a unit follows at once.
fn unit(value: f64) -> String {
    let text = human(value);
    if text.ends_with(char::is_alphabetic) { text } else { text + " " }
}

/// 4000 s → 1h06m.
pub(super) fn span(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7200 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        7200..172_800 => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds / 3600 % 24),
    }
}

fn draw_graph(frame: &mut Frame, area: Rect, state: &State, data: &Data) {
    if area.height == 0 || area.width < 20 {
        return;
    }
    let largest = data.graph.iter().map(|step| step.packets_per_second).fold(0.0, f64::max);
    let label = format!("{} packets/s", human(largest));
    let [label_area, bars] =
        Layout::horizontal([Constraint::Length(label.len() as u16 + 1), Constraint::Min(0)]).areas(area);
    let text =
        vec![Line::from(label), Line::from(""), Line::from(format!("last {}", span(shown_s(data, bars))))];
    frame.render_widget(Paragraph::new(text).dim(), label_area);
    let columns: Vec<u64> =
        data.graph.iter().rev().take(bars.width.into()).map(|step| step.packets_per_second as u64).collect();
    // The newest stands right.
    let graph = Sparkline::default().data(columns).direction(RenderDirection::RightToLeft).cyan();
    frame.render_widget(graph, bars);
    let Some(stopped) = state.stopped_ms else { return };
    let back = data.graph.iter().rev().position(|step| step.at_ms <= stopped + 5000).unwrap_or(0) as u16;
    if back < bars.width {
        let x = bars.x + bars.width - 1 - back;
        let cursor = Rect { x, width: 1, ..bars };
        frame.buffer_mut().set_style(cursor, Style::new().bg(Color::Yellow));
    }
}

/// How much of the past the graph shows.
fn shown_s(data: &Data, bars: Rect) -> u64 {
    let steps = data.graph.len().min(bars.width.into()) as u64;
    (steps * 5).min(GRAPH_S).min(data.reaches_s.max(1))
}

fn tab_line(state: &State) -> Line<'static> {
    let tab = |(index, view): (usize, View)| {
        let text = Span::from(format!(" {} {} ", index + 1, view.title()));
        if view == state.view { text.bold().reversed() } else { text }
    };
    let mut line: Vec<Span> = View::ALL.into_iter().enumerate().map(tab).collect();
    if state.editing {
        line.push(Span::from(format!("  filter: {}▏", state.filter)).yellow());
    } else if !state.filter.is_empty() {
        line.push(Span::from(format!("  filter: {} (Esc clears)", state.filter)).yellow());
    }
    Line::from(line)
}

fn key_line(state: &State) -> Line<'static> {
    let keys: &[(&str, &str)] = if state.editing {
        &[("Enter", "keep"), ("Esc", "clear")]
    } else {
        &[
            ("q", "quit"),
            ("1-5", "view"),
            ("←→", "time"),
            ("space", "pause"),
            ("s/r", "sort"),
            ("/", "filter"),
            ("↑↓", "scroll"),
            ("?", "help"),
        ]
    };
    let pair = |(key, what): &(&'static str, &'static str)| {
        [Span::from(*key).bold(), Span::from(format!(" {what}  "))]
    };
    Line::from(keys.iter().flat_map(pair).collect::<Vec<_>>())
}

fn style(tone: Tone) -> Style {
    match tone {
        Tone::Plain => Style::new(),
        Tone::Dim => Style::new().add_modifier(Modifier::DIM),
        Tone::Warning => Style::new().fg(Color::Yellow),
        Tone::Bad => Style::new().fg(Color::Red).add_modifier(Modifier::BOLD),
    }
}

fn draw_grid(frame: &mut Frame, area: Rect, state: &State, grid: &Grid) {
    if grid.rows.is_empty() {
        let filtered = if state.filter.is_empty() { "" } else { " (a filter is set)" };
        frame.render_widget(Paragraph::new(format!("{}{filtered}", grid.empty)).dim(), area);
        return;
    }
    let visible = usize::from(area.height.saturating_sub(1)).max(1);
    let offset = state.offset.min(grid.rows.len().saturating_sub(visible));
    let shown = &grid.rows[offset..grid.rows.len().min(offset + visible)];
    let widths: Vec<usize> = (0..grid.columns.len()).map(|column| width(grid, shown, column)).collect();
    let fits = columns_that_fit(&widths, area.width.into());
    let row = |cells: &Vec<Cell>| {
        let fields = cells.iter().zip(&widths).zip(grid.columns).take(fits);
        Row::new(fields.map(|((cell, width), column)| {
            Line::from(pad(&cell.text, *width, column)).style(style(cell.tone))
        }))
    };
    let constraint = |(index, width): (usize, &usize)| match index + 1 == fits {
        true => Constraint::Min(4),
        false => Constraint::Length(*width as u16),
    };
    let constraints: Vec<Constraint> = widths.iter().take(fits).enumerate().map(constraint).collect();
    let table = Table::new(shown.iter().map(row), constraints)
        .header(header(&grid.columns[..fits], &widths, state.sort()))
        .column_spacing(SPACING);
    frame.render_widget(table, area);
}

/// Between columns.
const SPACING: u16 = 2;

/// How many columns, from the left, have room; the last of them may be cut if it is words.
fn columns_that_fit(widths: &[usize], room: usize) -> usize {
    /// Less of a column of words tells nothing.
    const LAST_MIN: usize = 8;
    let mut used = 0;
    let mut fits = |width: &usize| {
        let begins = used;
        used += width + usize::from(SPACING);
        begins + (*width).min(LAST_MIN) <= room
    };
    widths.iter().take_while(|width| fits(width)).count().max(1)
}

fn width(grid: &Grid, shown: &[Vec<Cell>], column: usize) -> usize {
    let texts = shown.iter().map(|row| row[column].text.chars().count());
    // One more than the name: the arrow of the order.
    texts.max().unwrap_or(0).max(grid.columns[column].name.chars().count() + 1)
}

fn pad(text: &str, width: usize, column: &Column) -> String {
    if column.is_number { format!("{text:>width$}") } else { text.to_owned() }
}

fn header(columns: &[Column], widths: &[usize], sort: Sort) -> Row<'static> {
    let name = |(index, (column, width)): (usize, (&Column, &usize))| {
        let is_sorted = index == sort.column;
        let arrow = match (is_sorted, column.is_number != sort.reversed) {
            (false, _) => "",
            (true, true) => "▼",
            (true, false) => "▲",
        };
        let line = Line::from(pad(&format!("{}{arrow}", column.name.to_uppercase()), *width, column)).bold();
        if is_sorted { line.cyan() } else { line }
    };
    Row::new(columns.iter().zip(widths).enumerate().map(name))
}

const HELP: &str = "\
1 … 5, Tab     ports, PMD threads, endpoints, flows, drops
← →            a second back, forward
[ ]            half a minute back, forward
Home, End      the oldest that weftd remembers; live again
space          pause, go on
s, S, r        sort by the next, the previous column; reverse
/              filter rows by words; Esc clears
↑ ↓ PgUp PgDn  scroll
q, Ctrl-C      quit

Rates are of the last second, or of --interval.
The flows are always those of now.
Any key closes this.";

fn draw_help(frame: &mut Frame) {
    let (width, height) = (64, HELP.lines().count() as u16 + 2);
    let area = frame.area();
    let (width, height) = (area.width.min(width), area.height.min(height));
    let place =
        Rect { x: area.x + (area.width - width) / 2, y: area.y + (area.height - height) / 2, width, height };
    frame.render_widget(Clear, place);
    let block = Block::bordered().title(" weftctl top ").title_alignment(Alignment::Center);
    frame.render_widget(Paragraph::new(HELP).block(block), place);
}
