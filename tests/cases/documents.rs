//! What the documents show is true: configurations in them load.
//! Never a copy of a document's text.

use std::fs;
use std::path::Path;

use tidegate::config;
use tidegate::decide::reason::Reason;

fn read(document: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(document)).unwrap()
}

/// Each fenced block of that language in a document at the repository's root.
fn blocks(document: &str, language: &str) -> Vec<String> {
    let text = read(document);
    let fence = format!("```{language}\n");
    text.split(&fence).skip(1).filter_map(|rest| rest.split("```").next()).map(str::to_owned).collect()
}

#[test]
fn the_readmes_configuration_loads_with_and_without_the_cache_half() {
    let shown = blocks("README.md", "toml");
    assert_eq!(shown.len(), 2);
    for (text, pools) in [(shown[0].clone(), 0), (shown.concat(), 1)] {
        match config::from_text(Path::new("README.md"), &text) {
            Ok(loaded) => assert_eq!(loaded.config.relay.pools.len(), pools),
            Err(error) => panic!("the README's configuration does not load: {error:?}"),
        }
    }
}

#[test]
fn every_reason_of_a_refusal_or_failure_is_told_with_the_metrics() {
    let document = read("docs/METRICS.md");
    for reason in Reason::ALL.iter().skip_while(|reason| **reason != Reason::Denied) {
        assert!(document.contains(&format!("`{}`", reason.name())), "{}", reason.name());
    }
}
