//! What libFuzzer says of a run, as far as it is of interest. Never judges an input.

/// A run.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Said {
    /// Inputs that were put in.
    inputs: u64,
    seconds: u64,
    /// Places in the code that were reached: by what there was before, and in the end.
    covered: Option<(u64, u64)>,
    /// Inputs that are worth keeping.
    corpus: u64,
    /// What broke it, and where the input is.
    pub(super) broken: Option<String>,
    panic: Option<String>,
}

impl Said {
    /// Takes a line in; whether a reader wants to see it.
    pub(super) fn take(&mut self, line: &str) -> bool {
        let mut words = line.split_ascii_whitespace().peekable();
        if let Some(number) = words.peek().and_then(|word| word.strip_prefix('#')?.parse().ok()) {
            self.inputs = number;
            return self.progress(line);
        }
        if let Some(rest) = line.strip_prefix("Done ") {
            let mut numbers = rest.split_ascii_whitespace().filter_map(|word| word.parse().ok());
            self.inputs = numbers.next().unwrap_or(self.inputs);
            self.seconds = numbers.next().unwrap_or(self.seconds);
            return false;
        }
        if let Some((_, file)) = line.split_once("Test unit written to ") {
            let why = self.panic.take().unwrap_or_default();
            self.broken = Some(format!("{}: {}", file.trim(), why.trim()));
            return false;
        }
        if line.starts_with("thread '")
            || (self.panic.is_some() && self.broken.is_none() && !line.starts_with("=="))
        {
            self.panic = Some(format!("{}{line} ", self.panic.take().unwrap_or_default()));
            return true;
        }
        line.starts_with("==") || line.starts_with("SUMMARY")
    }

    fn progress(&mut self, line: &str) -> bool {
        let number = |name: &str| {
            let (_, rest) = line.split_once(name)?;
            rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
        };
        if let Some(now) = number("cov: ") {
            let first = self.covered.map_or(now, |(first, _)| first);
            self.covered = Some((if line.contains("INITED") { now } else { first }, now));
        }
        self.corpus = number("corp: ").unwrap_or(self.corpus);
        line.contains("INITED") || line.contains("pulse") || line.contains("DONE")
    }

    /// The run in a line.
    pub(super) fn line(&self, target: &str) -> String {
        let (first, last) = self.covered.unwrap_or_default();
        let end = if self.broken.is_some() { "BROKEN" } else { "0 crashes" };
        format!(
            "{target}: {} inputs in {} s, {end}; coverage {first} -> {last} edges, {} inputs worth keeping",
            self.inputs, self.seconds, self.corpus
        )
    }
}

#[cfg(test)]
mod tests {
    use super::Said;

    #[test]
    fn a_run_is_read() {
        let mut said = Said::default();
        let lines = [
            "INFO: seed corpus: files: 42 min: 1b max: 97b total: 1234b rss: 40Mb",
            "#43\tINITED cov: 500 ft: 900 corp: 30/1000b exec/s: 0 rss: 45Mb",
            "#600\tNEW    cov: 510 ft: 950 corp: 31/1010b lim: 97 exec/s: 0 rss: 45Mb L: 10/97 MS: 1 EraseBytes-",
            "#1048576\tpulse  cov: 640 ft: 1200 corp: 200/9Kb lim: 4096 exec/s: 52428 rss: 60Mb",
            "#2000000\tDONE   cov: 650 ft: 1210 corp: 201/9Kb lim: 4096 exec/s: 50000 rss: 60Mb",
            "Done 2000000 runs in 61 second(s)",
        ];
        let shown: Vec<bool> = lines.iter().map(|line| said.take(line)).collect();
        assert_eq!(shown, [false, true, false, true, true, false]);
        assert_eq!(
            said.line("link"),
            "link: 2000000 inputs in 61 s, 0 crashes; coverage 500 -> 650 edges, 201 inputs worth keeping"
        );
    }

    #[test]
    fn a_crash_names_its_input_and_its_words() {
        let mut said = Said::default();
        for line in [
            "thread '<unnamed>' (7) panicked at fuzz/src/targets/link.rs:54:9:",
            "assertion failed: size",
            "==7== ERROR: libFuzzer: deadly signal",
            "artifact_prefix='x/'; Test unit written to x/crash-00",
        ] {
            said.take(line);
        }
        let broken = said.broken.expect("a crash");
        assert!(
            broken.starts_with("x/crash-00: thread") && broken.ends_with("assertion failed: size"),
            "{broken}"
        );
    }
}
