//! Every command that a document shows in a `console` block is run, in order, against one daemon, and says what is shown.
//! Never a copy of a document's text.

use std::fs;
use std::path::Path;
use std::process::Command;

use tidegate_tests::daemon::{self, Daemon};

/// A command and the lines shown below it.
struct Shown {
    command: String,
    lines: Vec<String>,
}

fn document(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn blocks(text: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    text.split(&fence).skip(1).filter_map(|rest| rest.split("```").next()).map(str::to_owned).collect()
}

fn commands(text: &str) -> Vec<Shown> {
    let mut found: Vec<Shown> = Vec::new();
    for line in blocks(text, "console").iter().flat_map(|block| block.lines()) {
        match (line.strip_prefix("$ "), found.last_mut()) {
            (Some(command), _) => found.push(Shown { command: command.to_owned(), lines: Vec::new() }),
            (None, Some(last)) => last.lines.push(line.to_owned()),
            (None, None) => panic!("output before any command: {line}"),
        }
    }
    found
}

/// Runs it as an operator's shell would, with this binary as `tidegate`.
fn run(shown: &Shown, daemon: &Daemon) -> String {
    let binary = daemon::binary().expect("a binary");
    let path = format!(
        "{}:{}",
        binary.parent().expect("a folder").display(),
        std::env::var("PATH").unwrap_or_default()
    );
    let mut shell = Command::new("sh");
    shell.args(["-c", &shown.command]).env("PATH", path);
    shell.env("TIDEGATE_SOCKET", daemon.socket()).env("CONFIG", daemon.configuration());
    let done = shell.output().expect("sh");
    let told = String::from_utf8_lossy(&done.stdout).into_owned();
    let failed = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "`{}` ({}): {told}{failed}", shown.command, done.status);
    told
}

/// Whether some line has the shown words in their order; `…` stands for anything.
fn says(told: &str, shown: &str) -> bool {
    told.lines().any(|line| {
        let mut rest: &str = &line.split_whitespace().collect::<Vec<_>>().join(" ");
        shown.split('…').all(|part| {
            let words = part.split_whitespace().collect::<Vec<_>>().join(" ");
            let Some(at) = rest.find(&words) else { return false };
            rest = &rest[at + words.len()..];
            true
        })
    })
}

#[test]
fn the_commands_in_operating_do_what_is_shown() {
    let text = document("OPERATING.md");
    let configuration = blocks(&text, "toml").pop().expect("the edge in these examples");
    let daemon = Daemon::start(None, "eu-west-1", &configuration).expect("a daemon");
    let commands = commands(&text);
    assert!(commands.len() >= 30, "only {}", commands.len());
    for shown in &commands {
        let told = run(shown, &daemon);
        for line in &shown.lines {
            assert!(says(&told, line), "`{}` does not say\n  {line}\nbut\n{told}", shown.command);
        }
    }
}

#[test]
fn a_line_is_said_only_with_its_words_in_order() {
    assert!(says("  a   b  c\n", "a b c") && says("a 17 c", "a … c") && says("x until 3", "until …"));
    assert!(!says("a c b", "a b") && !says("a b", "a … c"));
}
