//! Columns of text, aligned. Knows nothing of what they mean.

/// A table whose first line is its head.
#[derive(Clone, Debug, Default)]
pub(super) struct Table {
    lines: Vec<Vec<Cell>>,
}

/// One cell: what is seen, and the same with its colours.
#[derive(Clone, Debug)]
pub(super) struct Cell {
    seen: String,
    painted: String,
    right: bool,
}

impl Cell {
    /// Text.
    pub(super) fn text(text: impl Into<String>) -> Self {
        let seen = text.into();
        Self { painted: seen.clone(), seen, right: false }
    }

    /// A number: to the right.
    pub(super) fn number(text: impl Into<String>) -> Self {
        Self { right: true, ..Self::text(text) }
    }

    /// The same text in colour.
    pub(super) fn painted(mut self, paint: impl Fn(&str) -> String) -> Self {
        self.painted = paint(&self.seen);
        self
    }
}

impl Table {
    /// A table with this head.
    pub(super) fn new(head: &[&str]) -> Self {
        Self { lines: vec![head.iter().map(|text| Cell::text(*text)).collect()] }
    }

    /// Adds a line.
    pub(super) fn line(&mut self, cells: Vec<Cell>) {
        self.lines.push(cells);
    }

    /// Whether there is nothing but the head.
    pub(super) fn is_empty(&self) -> bool {
        self.lines.len() < 2
    }

    /// The lines, each indented by two spaces.
    pub(super) fn render(&self) -> String {
        let columns = self.lines.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            self.lines.iter().filter_map(|line| line.get(column)).map(|cell| cell.seen.chars().count()).max()
        };
        let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
        let right: Vec<bool> = (0..columns)
            .map(|column| {
                self.lines.iter().skip(1).filter_map(|line| line.get(column)).any(|cell| cell.right)
            })
            .collect();
        let mut text = String::new();
        for line in &self.lines {
            let mut row = String::from("  ");
            for (column, cell) in line.iter().enumerate() {
                let gap = " ".repeat(widths[column].saturating_sub(cell.seen.chars().count()));
                let parts =
                    if right[column] { [gap.as_str(), &cell.painted] } else { [&cell.painted, gap.as_str()] };
                row.push_str(&parts.concat());
                row.push_str("  ");
            }
            text.push_str(row.trim_end());
            text.push('\n');
        }
        text
    }
}
