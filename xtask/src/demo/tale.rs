//! Tells what happens, for a person; counts what was observed and what was not.
//! Never colours what is not a terminal, nor where `NO_COLOR` is set.

use std::io::IsTerminal;
use std::time::Instant;

/// The narrator.
pub(super) struct Tale {
    colour: bool,
    started: Instant,
    held: u64,
    missed: u64,
}

impl Tale {
    /// Tells to standard output.
    pub(super) fn new() -> Self {
        let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Self { colour, started: Instant::now(), held: 0, missed: 0 }
    }

    /// How many things were observed, and how many were not.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.held, self.missed)
    }

    /// A new act.
    pub(super) fn act(&self, title: &str) {
        let title = format!("== {title}");
        println!("\n{}  ({:.0} s)", self.paint("1;36", &title), self.started.elapsed().as_secs_f64());
    }

    /// A sentence.
    pub(super) fn tell(&self, text: &str) {
        println!("   {text}");
    }

    /// A command as a reader could type it, and who runs it.
    pub(super) fn command(&self, who: &str, command: &str) {
        println!("   {} $ {}", self.paint("2", who), self.paint("1", command));
    }

    /// What a command said.
    pub(super) fn answer(&self, text: &str) {
        text.trim_end().lines().take(24).for_each(|line| println!("       {line}"));
    }

    /// Something that the demo promises: was it so?
    pub(super) fn check(&mut self, what: &str, held: bool) {
        let mark = if held { self.paint("1;32", "seen    ") } else { self.paint("1;31", "NOT SEEN") };
        println!("   {mark} {what}");
        *(if held { &mut self.held } else { &mut self.missed }) += 1;
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}
