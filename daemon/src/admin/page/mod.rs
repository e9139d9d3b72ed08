//! The read-only page on the metrics address: one file, which asks this address alone. Never changes anything.

use super::answer::{self, Answer};

/// The page as the browser gets it.
const PAGE: &str = include_str!("page.html");

/// The page.
#[must_use]
pub(super) fn page() -> Answer {
    answer::text("text/html; charset=utf-8", PAGE)
}

#[cfg(test)]
mod tests {
    use super::PAGE;

    #[test]
    fn it_asks_nobody_else_and_sets_nothing_as_markup() {
        for foreign in
            ["http://", "https://", "//cdn", "@import", "innerHTML", "outerHTML", "document.write", "eval("]
        {
            let found = PAGE.matches(foreign).count();
            // The name of SVG's XML namespace, which nobody fetches.
            let known =
                if foreign == "http://" { PAGE.matches("http://www.w3.org/2000/svg").count() } else { 0 };
            assert_eq!(found, known, "{foreign}");
        }
        assert!(PAGE.contains("default-src 'none'") && PAGE.contains("connect-src 'self'"));
    }
}
