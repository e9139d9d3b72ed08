//! The read-only page on the metrics address. Never changes anything.

use super::answer::{self, Answer};

/// The page.
#[must_use]
pub(super) fn page() -> Answer {
    answer::text(
        "text/html; charset=utf-8",
        "<!doctype html><title>tidegate</title><p><a href=\"/metrics\">/metrics</a> · <a href=\"/v1/status\">/v1/status</a></p>\n",
    )
}
