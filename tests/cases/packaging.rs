//! What is installed beside the binary: configurations, unit, alerts, dashboard. Holds no rule of the daemon, installs nothing.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tidegate::config;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn text(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Runs a program of Debian's; `cargo xtask setup` installs the package that has it.
fn judge(package: &str, program: &str, arguments: &[&str], folder: &str) -> Output {
    let run = Command::new(program).args(arguments).current_dir(root().join(folder)).output();
    run.unwrap_or_else(|error| panic!("{program} (Debian package {package}): {error}"))
}

fn passes(output: &Output) {
    let told =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{told}");
}

/// Metric names in a text, without the suffixes that a histogram's series have.
fn metrics(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let names = words.filter(|word| word.starts_with("tidegate_"));
    names.map(|name| name.trim_end_matches("_bucket").to_owned()).collect()
}

fn documented() -> BTreeSet<String> {
    let table = text("docs/METRICS.md");
    let rows = table.lines().filter(|line| line.starts_with("| `tidegate_"));
    rows.flat_map(metrics_of_row).collect()
}

fn metrics_of_row(row: &str) -> BTreeSet<String> {
    metrics(row.split('|').nth(1).unwrap_or_default())
}

#[test]
fn the_installed_configuration_loads_and_sheds_nothing() {
    let loaded = config::load(&root().join("packaging/default.toml")).expect("no faults");
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    let config = loaded.config;
    assert!(config.ceilings.is_empty() && config.listeners.is_empty() && config.xdp.interfaces.is_empty());
    assert!(config.xdp.deny.is_empty() && config.relay.pools.is_empty());
    assert_eq!(
        config.admin.socket,
        Path::new("/run/tidegate/main.sock"),
        "where the unit's RuntimeDirectory is"
    );
    assert!(config.host.state_dir.starts_with("/var/lib/tidegate"), "where the unit's StateDirectory is");
}

#[test]
fn every_example_loads() {
    let folder = root().join("packaging/examples");
    let mut seen = 0;
    for entry in fs::read_dir(folder).expect("examples") {
        let path = entry.expect("readable").path();
        let example = fs::read_to_string(&path).expect("readable");
        config::from_text(&path, &example).unwrap_or_else(|error| panic!("{error}"));
        seen += 1;
    }
    assert!(seen >= 3);
}

#[test]
fn the_unit_scores_at_most_two_and_never_gets_cap_sys_admin() {
    let unit = text("packaging/systemd/tidegate.service");
    let rights: Vec<_> =
        unit.lines().filter(|line| line.contains("Capabilit") && line.contains("CAP_")).collect();
    assert_eq!(rights.len(), 2, "one bounding set, one ambient set");
    assert!(rights.iter().all(|line| !line.contains("CAP_SYS_ADMIN")));
    let threshold =
        ["security", "--offline=true", "--threshold=20", "--no-pager", "packaging/systemd/tidegate.service"];
    passes(&judge("systemd", "systemd-analyze", &threshold, ""));
}

#[test]
fn the_alert_rules_pass_their_tests() {
    passes(&judge(
        "prometheus",
        "promtool",
        &["check", "rules", "tidegate.rules.yml"],
        "packaging/prometheus",
    ));
    passes(&judge(
        "prometheus",
        "promtool",
        &["test", "rules", "tidegate.rules.test.yml"],
        "packaging/prometheus",
    ));
}

#[test]
fn every_alert_is_seen_firing_in_its_tests() {
    let tests = text("packaging/prometheus/tidegate.rules.test.yml");
    let rules = text("packaging/prometheus/tidegate.rules.yml");
    let alerts = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: "));
    let untested: Vec<_> = alerts.filter(|name| !tests.contains(*name)).collect();
    assert!(untested.is_empty(), "{untested:?}");
}

#[test]
fn alerts_and_dashboard_name_only_documented_metrics_and_the_dashboard_shows_all() {
    let documented = documented();
    assert_eq!(documented.len(), 22, "{documented:?}");
    let dashboard = metrics(&text("packaging/grafana/tidegate.json"));
    let used: BTreeSet<_> =
        metrics(&text("packaging/prometheus/tidegate.rules.yml")).union(&dashboard).cloned().collect();
    let strange: Vec<_> = used.difference(&documented).collect();
    assert!(strange.is_empty(), "{strange:?}");
    let unshown: Vec<_> = documented.difference(&dashboard).collect();
    assert!(unshown.is_empty(), "{unshown:?}");
}

/// Every expression under a key `expr`, with Grafana's variables as Prometheus would see them.
fn expressions(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            if let Some(expr) = map.get("expr").and_then(Value::as_str) {
                found.push(expr.replace("$__rate_interval", "1m").replace("$instance", ".*"));
            }
            map.values().for_each(|inner| expressions(inner, found));
        }
        Value::Array(list) => list.iter().for_each(|inner| expressions(inner, found)),
        _ => {}
    }
}

#[test]
fn the_dashboards_expressions_are_valid() {
    let dashboard: Value = serde_json::from_str(&text("packaging/grafana/tidegate.json")).expect("JSON");
    let mut found = Vec::new();
    expressions(&dashboard, &mut found);
    assert!(found.len() >= 25, "{}", found.len());
    let rules: Vec<_> = (0..)
        .zip(&found)
        .map(|(n, expr)| serde_json::json!({"record": format!("check_{n}"), "expr": expr}))
        .collect();
    let file = std::env::temp_dir().join(format!("tidegate-dashboard-{}.json", std::process::id()));
    // JSON is YAML, so promtool reads it.
    let groups = serde_json::json!({"groups": [{"name": "dashboard", "rules": rules}]});
    fs::write(&file, groups.to_string()).expect("writable");
    let checked = judge("prometheus", "promtool", &["check", "rules", &file.to_string_lossy()], "");
    fs::remove_file(&file).expect("removable");
    passes(&checked);
}
