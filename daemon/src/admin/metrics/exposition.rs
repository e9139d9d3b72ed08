//! Writes the Prometheus text format (version 0.0.4). Knows no metric by name.

use std::fmt::Write as _;

/// Kinds of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// A page being written.
#[derive(Debug, Default)]
pub(super) struct Exposition {
    text: String,
    name: &'static str,
}

impl Exposition {
    /// Begins a metric; the samples that follow are its.
    pub(super) fn family(&mut self, name: &'static str, kind: Kind, help: &str) {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        self.name = name;
        self.push(&format!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
    }

    /// One sample with a whole number.
    pub(super) fn whole(&mut self, suffix: &str, labels: &[(&str, &str)], value: u64) {
        self.line(suffix, labels, &value.to_string());
    }

    /// One sample.
    pub(super) fn sample(&mut self, suffix: &str, labels: &[(&str, &str)], value: f64) {
        self.line(suffix, labels, &value.to_string());
    }

    fn line(&mut self, suffix: &str, labels: &[(&str, &str)], value: &str) {
        let name = self.name;
        self.push(name);
        self.push(suffix);
        for (index, (label, text)) in labels.iter().enumerate() {
            let open = if index == 0 { '{' } else { ',' };
            // Writing into a String has no way to fail.
            _ = write!(self.text, "{open}{label}=\"{}\"", escape(text));
        }
        self.push(if labels.is_empty() { " " } else { "} " });
        self.push(value);
        self.push("\n");
    }

    fn push(&mut self, text: &str) {
        self.text.push_str(text);
    }

    /// The page.
    pub(super) fn finish(self) -> String {
        self.text
    }
}

/// Label values escape backslash, quote and line feed.
fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped_and_numbers_are_plain() {
        let mut out = Exposition::default();
        out.family("a_total", Kind::Counter, "Help.");
        out.whole("", &[("x", "q\"\\\n"), ("y", "z")], 3);
        out.sample("_sum", &[], 0.25);
        assert_eq!(
            out.finish(),
            "# HELP a_total Help.\n# TYPE a_total counter\na_total{x=\"q\\\"\\\\\\n\",y=\"z\"} 3\na_total_sum 0.25\n"
        );
    }
}
