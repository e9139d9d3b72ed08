//! Draws bars and lines as SVG that reads on light and dark pages.
//! Never depends on fonts or scripts of the reader's machine.

use super::report::{Row, shown};

const WIDTH: f64 = 760.0;
const COLOURS: [&str; 6] = ["#2f7ed8", "#e07b39", "#3f9b57", "#8e5bb5", "#c94f6d", "#7f7f7f"];
const STYLE: &str = "<style>text{font:12px sans-serif;fill:#444}.t{font-size:15px;font-weight:bold}.g{stroke:#8888;stroke-width:.5}\
@media(prefers-color-scheme:dark){text{fill:#ccc}}</style>";

/// A drawing.
pub(crate) enum Plot {
    /// A bar per row, with a tick at its baseline.
    Bars {
        /// Heading.
        title: String,
        /// What is drawn.
        rows: Vec<Row>,
    },
    /// A line per series over the same axes.
    Lines {
        /// Heading.
        title: String,
        /// What runs to the right.
        x: String,
        /// What runs upwards.
        y: String,
        /// Whether the x axis is logarithmic.
        log_x: bool,
        /// Name and points of each line.
        series: Vec<(String, Vec<(f64, f64)>)>,
    },
}

impl Plot {
    /// Its heading.
    pub(crate) fn title(&self) -> &str {
        match self {
            Self::Bars { title, .. } | Self::Lines { title, .. } => title,
        }
    }

    /// The drawing.
    pub(crate) fn svg(&self) -> String {
        match self {
            Self::Bars { title, rows } => bars(title, rows),
            Self::Lines { title, x, y, log_x, series } => lines(title, x, y, *log_x, series),
        }
    }
}

fn frame(height: f64, title: &str, inside: &str) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\">{STYLE}\n\
         {}{inside}</svg>\n",
        text(10.0, 22.0, "class=\"t\"", title)
    )
}

fn text(x: f64, y: f64, extra: &str, words: &str) -> String {
    let words = words.replace('&', "&amp;").replace('<', "&lt;");
    format!("<text x=\"{x:.1}\" y=\"{y:.1}\" {extra}>{words}</text>\n")
}

fn bars(title: &str, rows: &[Row]) -> String {
    let (left, step, top) = (300.0, 24.0, 40.0);
    let most = rows
        .iter()
        .flat_map(|row| [row.value, row.baseline.unwrap_or(0.0)])
        .fold(f64::MIN_POSITIVE, f64::max);
    let scale = (WIDTH - left - 130.0) / most;
    let mut inside = String::new();
    let mut y = top;
    for row in rows {
        let length = (row.value * scale).max(1.0);
        inside += &text(left - 8.0, y + 14.0, "text-anchor=\"end\"", &row.name);
        inside += &format!(
            "<rect x=\"{left}\" y=\"{:.1}\" width=\"{length:.1}\" height=\"16\" fill=\"{}\"/>\n",
            y + 1.0,
            COLOURS[0]
        );
        let mut end = left + length;
        if let Some(baseline) = row.baseline {
            let x = left + baseline * scale;
            inside += &format!(
                "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"3\" height=\"20\" fill=\"{}\"/>\n",
                x - 1.5,
                y - 1.0,
                COLOURS[1]
            );
            end = end.max(x);
        }
        inside += &text(end + 8.0, y + 14.0, "", &format!("{} {}", shown(row.value), row.unit));
        y += step;
    }
    if rows.iter().any(|row| row.baseline.is_some()) {
        inside += &format!(
            "<rect x=\"{left}\" y=\"{:.1}\" width=\"3\" height=\"14\" fill=\"{}\"/>\n",
            y + 4.0,
            COLOURS[1]
        );
        inside += &text(left + 10.0, y + 15.0, "", "baseline of the same run");
    }
    frame(y + 28.0, title, &inside)
}

fn lines(
    title: &str,
    x_label: &str,
    y_label: &str,
    log_x: bool,
    series: &[(String, Vec<(f64, f64)>)],
) -> String {
    let (left, margin, top, bottom) = (80.0, 170.0, 45.0, 330.0);
    let along = |x: f64| if log_x { x.max(f64::MIN_POSITIVE).log10() } else { x };
    let points = || series.iter().flat_map(|(_, points)| points.iter());
    let low = points().map(|point| along(point.0)).fold(f64::INFINITY, f64::min);
    let high = points().map(|point| along(point.0)).fold(f64::NEG_INFINITY, f64::max);
    let most = points().map(|point| point.1).fold(f64::MIN_POSITIVE, f64::max) * 1.05;
    let right =
        |x: f64| left + (along(x) - low) / (high - low).max(f64::MIN_POSITIVE) * (WIDTH - left - margin);
    let up = |y: f64| bottom - y / most * (bottom - top);
    let mut inside = String::new();
    for part in 0..=4 {
        let value = most * f64::from(part) / 4.0;
        let y = up(value);
        inside += &format!("<path class=\"g\" d=\"M{left} {y:.1}H{:.1}\"/>\n", WIDTH - margin);
        inside += &text(left - 6.0, y + 4.0, "text-anchor=\"end\"", &shown(value));
        let at = low + (high - low) * f64::from(part) / 4.0;
        let x = if log_x { 10_f64.powf(at) } else { at };
        inside += &text(right(x), bottom + 18.0, "text-anchor=\"middle\"", &shown(x));
    }
    for (at, (name, points)) in series.iter().enumerate() {
        let colour = COLOURS[at % COLOURS.len()];
        let path: Vec<_> = points.iter().map(|(x, y)| format!("{:.1},{:.1}", right(*x), up(*y))).collect();
        inside += &format!(
            "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" points=\"{}\"/>\n",
            path.join(" ")
        );
        let y = top + 18.0 * f64::from(u32::try_from(at).unwrap_or(0));
        inside += &format!(
            "<rect x=\"{:.1}\" y=\"{y:.1}\" width=\"12\" height=\"4\" fill=\"{colour}\"/>\n",
            WIDTH - margin + 12.0
        );
        inside += &text(WIDTH - margin + 30.0, y + 6.0, "", name);
    }
    inside += &text((left + WIDTH - margin) / 2.0, bottom + 38.0, "text-anchor=\"middle\"", x_label);
    inside += &text(10.0, top - 8.0, "", y_label);
    frame(bottom + 50.0, title, &inside)
}

#[cfg(test)]
mod tests {
    use super::{Plot, Row};

    #[test]
    fn bars_and_lines_are_drawn() {
        let rows = vec![Row::single("a < b", 10.0, "ns", Some(20.0)), Row::single("c", 5.0, "ns", None)];
        let svg = Plot::Bars { title: "T".into(), rows }.svg();
        assert!(svg.contains("a &lt; b") && svg.contains("10.0 ns") && svg.ends_with("</svg>\n"));
        let series = vec![("one".to_owned(), vec![(1.0, 1.0), (1000.0, 2.0)])];
        let plot = Plot::Lines { title: "T".into(), x: "x".into(), y: "y".into(), log_x: true, series };
        assert!(plot.svg().contains("80.0,") && !plot.svg().contains("NaN"));
    }
}
