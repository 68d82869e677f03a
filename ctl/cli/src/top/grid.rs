//! A table that can be sorted and filtered, whatever draws it.

use std::cmp::Ordering;

use crate::render::table;

/// One field: what is read, and what it is sorted by.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Cell {
    pub(super) text: String,
    /// None: by the text.
    pub(super) number: Option<f64>,
    pub(super) tone: Tone,
}

/// How a field looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Tone {
    #[default]
    Plain,
    /// Nothing happened.
    Dim,
    /// Look here.
    Warning,
    /// Something is wrong.
    Bad,
}

impl Cell {
    pub(super) fn text(text: impl Into<String>) -> Self {
        Self { text: text.into(), number: None, tone: Tone::Plain }
    }

    pub(super) fn number(number: f64, text: impl Into<String>) -> Self {
        let tone = if number == 0.0 { Tone::Dim } else { Tone::Plain };
        Self { text: text.into(), number: Some(number), tone }
    }

    pub(super) fn tone(mut self, tone: Tone) -> Self {
        self.tone = tone;
        self
    }
}

/// A column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Column {
    pub(super) name: &'static str,
    /// Numbers stand right and begin with the largest.
    pub(super) is_number: bool,
}

/// A column of words.
pub(super) const fn words(name: &'static str) -> Column {
    Column { name, is_number: false }
}

/// A column of numbers.
pub(super) const fn numbers(name: &'static str) -> Column {
    Column { name, is_number: true }
}

/// How it is sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sort {
    pub(super) column: usize,
    /// Against the column's custom.
    pub(super) reversed: bool,
}

/// A table.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Grid {
    pub(super) columns: &'static [Column],
    pub(super) rows: Vec<Vec<Cell>>,
    /// What is said when there are no rows.
    pub(super) empty: &'static str,
    /// What a reader has to know about it.
    pub(super) note: String,
}

impl Grid {
    /// Keeps rows that have the words somewhere, and sorts.
    pub(super) fn arranged(mut self, sort: Sort, filter: &str) -> Self {
        let filter = filter.to_lowercase();
        let words: Vec<&str> = filter.split_whitespace().collect();
        self.rows.retain(|row| {
            let text = row.iter().map(|cell| cell.text.to_lowercase()).collect::<Vec<_>>().join(" ");
            words.iter().all(|word| text.contains(word))
        });
        let column = sort.column.min(self.columns.len().saturating_sub(1));
        let largest_first = self.columns.get(column).is_some_and(|column| column.is_number) != sort.reversed;
        self.rows.sort_by(|a, b| {
            let order = compare(&a[column], &b[column]);
            // Rows that are equal keep their order, by name, so that they don't jump about.
            (if largest_first { order.reverse() } else { order }).then_with(|| a[0].text.cmp(&b[0].text))
        });
        self
    }

    /// As text.
    pub(super) fn plain(&self) -> String {
        let header: Vec<&str> = self.columns.iter().map(|column| column.name).collect();
        let cells = |row: &Vec<Cell>| row.iter().map(|cell| cell.text.clone()).collect();
        let first = self.columns.iter().position(|column| column.is_number).unwrap_or(header.len());
        let after = self.columns.iter().rposition(|column| column.is_number).map_or(first, |last| last + 1);
        let text = table(&header, first..after, self.rows.iter().map(cells).collect(), self.empty);
        if self.note.is_empty() { text } else { format!("{text}\n{}", self.note) }
    }
}

fn compare(a: &Cell, b: &Cell) -> Ordering {
    match (a.number, b.number) {
        (Some(a), Some(b)) => a.total_cmp(&b),
        _ => a.text.cmp(&b.text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid() -> Grid {
        let row = |name: &str, n: f64| vec![Cell::text(name), Cell::number(n, n.to_string())];
        Grid {
            columns: const { &[words("name"), numbers("n")] },
            rows: vec![row("web-1", 1.0), row("db", 30.0), row("web-2", 2.0)],
            empty: "nothing",
            note: String::new(),
        }
    }

    fn names(grid: &Grid) -> Vec<&str> {
        grid.rows.iter().map(|row| row[0].text.as_str()).collect()
    }

    #[test]
    fn rows_are_sorted_by_any_column_and_filtered_by_every_word() {
        for (column, reversed, filter, expect) in [
            (0, false, "", &["db", "web-1", "web-2"][..]),
            (1, false, "", &["db", "web-2", "web-1"]),
            (1, true, "", &["web-1", "web-2", "db"]),
            (1, false, "WEB", &["web-2", "web-1"]),
            (1, false, "web 1", &["web-1"]),
            (9, false, "nobody", &[]),
        ] {
            let grid = grid().arranged(Sort { column, reversed }, filter);
            assert_eq!(names(&grid), expect, "{column} {reversed} {filter}");
        }
    }
}
