//! The page against the names in the contract's list, and against the format's grammar.

use super::*;

#[test]
fn an_idle_daemon_shows_every_metric_that_its_parts_have() {
    let text = render(&crate::admin::show::tests::view());
    for name in [
        "tidegate_build_info",
        "tidegate_shed_total",
        "tidegate_ceiling_limit",
        "tidegate_ceiling_used",
        "tidegate_region_failover",
        "tidegate_nic_packets_total",
        "tidegate_nic_bytes_total",
        "tidegate_config_generation",
        "tidegate_config_last_reload_success",
    ] {
        assert!(text.contains(&format!("# TYPE {name} ")), "{name}");
    }
    assert!(
        text.contains("tidegate_ceiling_limit{ceiling=\"from-b\",measure=\"packets_per_second\"} 400000\n"),
        "{text}"
    );
    assert!(text.contains("tidegate_region_failover{region=\"b\"} 1\n"), "{text}");
}

#[test]
fn every_line_is_a_comment_or_a_sample() {
    for line in render(&crate::admin::show::tests::view()).lines() {
        let sample = line
            .rsplit_once(' ')
            .is_some_and(|(name, value)| name.starts_with("tidegate_") && value.parse::<f64>().is_ok());
        assert!(line.starts_with("# HELP ") || line.starts_with("# TYPE ") || sample, "{line}");
    }
}
