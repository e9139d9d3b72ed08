//! What a bench found: rows, as JSON for programs and as a table for people.
//! Never rounds what it keeps; only what it shows.

use serde_json::{Value, json};

use super::machine;
use super::plot::Plot;

/// One measured thing.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// What was measured.
    pub(crate) name: String,
    /// Median of `runs`.
    pub(crate) value: f64,
    /// Unit of `value`, `baseline` and `runs`.
    pub(crate) unit: &'static str,
    /// What it is held against, measured in the same rounds (or a bound that was promised).
    pub(crate) baseline: Option<f64>,
    /// Each round's value, in order.
    pub(crate) runs: Vec<f64>,
}

impl Row {
    /// A row of one measured value that has no rounds of its own.
    pub(crate) fn single(
        name: impl Into<String>,
        value: f64,
        unit: &'static str,
        baseline: Option<f64>,
    ) -> Self {
        Self { name: name.into(), value, unit, baseline, runs: vec![value] }
    }

    /// `value / baseline`.
    pub(crate) fn ratio(&self) -> Option<f64> {
        self.baseline.filter(|baseline| *baseline != 0.0).map(|baseline| self.value / baseline)
    }

    fn json(&self) -> Value {
        json!({
            "name": self.name, "value": self.value, "unit": self.unit,
            "baseline": self.baseline, "ratio": self.ratio(), "runs": self.runs,
        })
    }
}

/// All rows of one bench.
pub(crate) struct Report {
    /// The bench's name.
    pub(crate) bench: &'static str,
    /// Rows in the order they are shown.
    pub(crate) rows: Vec<Row>,
    /// What the rows mean and what they don't, in Markdown; shown above the table.
    pub(crate) notes: String,
    /// Drawings for `docs/`: file name and drawing.
    pub(crate) plots: Vec<(&'static str, Plot)>,
}

impl Report {
    /// The contract's object.
    pub(crate) fn json(&self) -> Value {
        let rows: Vec<_> = self.rows.iter().map(Row::json).collect();
        json!({ "bench": self.bench, "machine": machine::describe(), "rows": rows })
    }

    /// A Markdown table.
    pub(crate) fn table(&self) -> String {
        let width = self.rows.iter().map(|row| row.name.len()).max().unwrap_or(0).max(4);
        let mut table = format!(
            "| {:<width$} | {:>12} | {:<10} | {:>12} | {:>6} | {:>19} |\n",
            "what", "median", "unit", "baseline", "ratio", "lowest to highest"
        );
        table += &format!(
            "|-{:-<width$}-|-{:->12}:|-{:-<10}-|-{:->12}:|-{:->6}:|-{:->19}:|\n",
            "", "", "", "", "", ""
        )
        .replace("-:|", ":|");
        for row in &self.rows {
            let baseline = row.baseline.map_or(String::new(), shown);
            let ratio = row.ratio().map_or(String::new(), |ratio| format!("{ratio:.2}"));
            let low = row.runs.iter().copied().fold(f64::INFINITY, f64::min);
            let high = row.runs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let spread =
                if row.runs.len() > 1 { format!("{} to {}", shown(low), shown(high)) } else { String::new() };
            table += &format!(
                "| {:<width$} | {:>12} | {:<10} | {baseline:>12} | {ratio:>6} | {spread:>19} |\n",
                row.name,
                shown(row.value),
                row.unit
            );
        }
        table
    }
}

/// A number with about three significant digits, thousands apart.
pub(crate) fn shown(value: f64) -> String {
    let digits = match value.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 1.0 => 2,
        _ => 4,
    };
    let plain = format!("{value:.digits$}");
    let (whole, fraction) =
        plain.split_once('.').map_or((plain.as_str(), String::new()), |(w, f)| (w, format!(".{f}")));
    let (sign, whole) = whole.strip_prefix('-').map_or(("", whole), |rest| ("-", rest));
    let mut grouped = String::new();
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    format!("{sign}{grouped}{fraction}")
}

#[cfg(test)]
mod tests {
    use super::{Report, Row, shown};

    #[test]
    fn numbers_are_readable() {
        assert_eq!(shown(1_234_567.8), "1,234,568");
        assert_eq!(shown(25.26), "25.3");
        assert_eq!(shown(-1.5), "-1.50");
        assert_eq!(shown(0.00251), "0.0025");
    }

    #[test]
    fn json_has_the_contracts_keys() {
        let row = Row {
            name: "v4 hot".into(),
            value: 30.0,
            unit: "ns/packet",
            baseline: Some(20.0),
            runs: vec![29.0, 30.0, 31.0],
        };
        let report = Report { bench: "nic", rows: vec![row], notes: String::new(), plots: Vec::new() };
        let json = report.json();
        assert_eq!(json["rows"][0]["ratio"], 1.5);
        assert_eq!(json["rows"][0]["runs"].as_array().map(Vec::len), Some(3));
        assert!(json["machine"].as_str().is_some_and(|machine| machine.contains("Linux")));
        assert_eq!(report.table().lines().count(), 3);
    }
}
