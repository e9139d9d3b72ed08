//! `cargo xtask pictures`: draws the pictures in docs/pictures anew, the live view as SVG and the page as a browser shows it.
//! Holds no picture: the tests that look at them draw them.

use anyhow::Result;

use crate::setup::{self, For};
use crate::sh;

/// Package, further arguments of `cargo test`, and the test that draws.
const DRAWN_BY: [(&str, &[&str], &str); 2] = [
    ("tidegate", &["--lib"], "pictures_in_the_documents"),
    ("tidegate-tests", &["--test", "live_page"], "it_is_drawn"),
];

/// Runs the task.
pub(crate) fn run() -> Result<()> {
    setup::ensure(&[For::Traffic])?;
    for (package, arguments, test) in DRAWN_BY {
        let mut cargo = sh::cargo();
        cargo.args(["test", "--quiet", "--package", package]).args(arguments).arg(test);
        sh::run(cargo.env("UPDATE_SCREENSHOTS", "1"))?;
    }
    eprintln!("pictures: see docs/pictures");
    Ok(())
}
