//! Where text goes: standard output, with a broken pipe being fine, colour on terminals only. Never decides what is printed.

use std::io::{self, IsTerminal, Write};

/// Prints text; whoever stopped reading has seen enough.
///
/// # Errors
/// Anything but a broken pipe, e.g. a full disk.
pub(super) fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// Styles for terminals.
#[derive(Clone, Copy, Debug)]
pub(super) struct Paint(bool);

impl Paint {
    /// Colour where standard output is a terminal and `NO_COLOR` is not set.
    pub(super) fn detect() -> Self {
        Self(io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()))
    }

    fn wrap(self, code: &str, text: &str) -> String {
        if self.0 { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// Headings.
    pub(super) fn bold(self, text: &str) -> String {
        self.wrap("1", text)
    }

    /// What is well.
    pub(super) fn good(self, text: &str) -> String {
        self.wrap("32", text)
    }

    /// What needs a look.
    pub(super) fn bad(self, text: &str) -> String {
        self.wrap("31", text)
    }

    /// What is changed from the file.
    pub(super) fn changed(self, text: &str) -> String {
        self.wrap("33", text)
    }

    /// What matters less.
    pub(super) fn faint(self, text: &str) -> String {
        self.wrap("2", text)
    }
}

/// Text from elsewhere with control characters escaped, so that it can't drive a terminal.
pub(super) fn plain(text: &str) -> String {
    text.chars()
        .flat_map(|c| if c.is_control() { c.escape_default().collect::<Vec<_>>() } else { vec![c] })
        .collect()
}
