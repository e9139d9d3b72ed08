//! Numbers and words as the live view writes them. Never longer than their column, never with control bytes.

use std::time::Duration;

const UNITS: [(f64, &str); 4] = [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")];

/// A rate or count in at most six characters: `0`, `7.5`, `212`, `12.3k`, `999M`.
#[must_use]
pub fn short(value: f64) -> String {
    if !value.is_finite() || value < 0.0 {
        return "-".to_owned();
    }
    // What would round to 1000 belongs to the next unit.
    let unit = UNITS.iter().find(|(size, _)| value >= size * 0.9995);
    match unit {
        Some((size, name)) => format!("{}{name}", digits(value / size)),
        None if value == 0.0 => "0".to_owned(),
        None if value < 0.05 => "<0.1".to_owned(),
        None => digits(value),
    }
}

fn digits(value: f64) -> String {
    let one = format!("{value:.1}");
    if value < 99.95 && !one.ends_with(".0") { one } else { format!("{value:.0}") }
}

/// A span of time in at most six characters: `15ms`, `2.5s`, `4m`, `3h`, `12d`.
#[must_use]
pub fn span(time: Duration) -> String {
    match time.as_secs() {
        0 => format!("{}ms", time.subsec_millis()),
        1..=9 => format!("{:.1}s", time.as_secs_f64()),
        seconds @ 10..=119 => format!("{seconds}s"),
        seconds @ 120..=7199 => format!("{}m", seconds / 60),
        seconds @ 7200..=172_799 => format!("{}h", seconds / 3600),
        seconds => format!("{}d", seconds / 86_400),
    }
}

/// The text without anything that a terminal would act on, cut to so many characters.
#[must_use]
pub fn plain(text: &str, most: usize) -> String {
    let mut shown: String = text.chars().map(harmless).take(most + 1).collect();
    if shown.chars().count() > most {
        shown = shown.chars().take(most.saturating_sub(1)).chain(['…']).collect();
    }
    shown
}

/// Control characters, and the marks that turn the writing direction around.
fn harmless(c: char) -> char {
    let turns = matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    if c.is_control() || turns { '·' } else { c }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_fit_their_columns() {
        let cases = [
            (0.0, "0"),
            (0.01, "<0.1"),
            (7.5, "7.5"),
            (99.96, "100"),
            (212.4, "212"),
            (999.6, "1k"),
            (12_345.0, "12.3k"),
            (999_999.0, "1M"),
            (2e9, "2G"),
            (f64::NAN, "-"),
            (-1.0, "-"),
        ];
        for (value, shown) in cases {
            assert_eq!(short(value), shown, "{value}");
        }
        let mut value = 0.001;
        while value < 9e14 {
            assert!(short(value).len() <= 6, "{value}: {}", short(value));
            value *= 1.07;
        }
    }

    #[test]
    fn spans_fit_their_columns() {
        let cases = [
            (0, "0ms"),
            (15, "15ms"),
            (2_500, "2.5s"),
            (61_000, "61s"),
            (600_000, "10m"),
            (10_800_000, "3h"),
        ];
        for (ms, shown) in cases {
            assert_eq!(span(Duration::from_millis(ms)), shown);
        }
        assert_eq!(span(Duration::from_secs(86_400 * 12)), "12d");
    }

    #[test]
    fn nothing_reaches_the_terminal_that_it_would_act_on() {
        assert_eq!(plain("a\u{1b}[2Jb\r\n\u{202e}c", 20), "a·[2Jb···c");
        assert_eq!(plain("abcdef", 4), "abc…");
        assert_eq!(plain("abcd", 4), "abcd");
        assert_eq!(plain("abcd", 0), "…".chars().take(1).collect::<String>());
    }
}
