//! Status and its parts as text for people. Asks nobody.

use std::time::Duration;

use super::output::{Paint, plain};
use super::table::{Cell, Table};
use crate::admin::wire::List;
use crate::admin::wire::status::{Ceiling, Limit, Nic, Region, Status};
use crate::config::units;

/// The whole status on one screen.
pub(super) fn status(status: &Status, paint: Paint) -> String {
    let mut text = head(status, paint);
    text.push_str(&format!("\n{}\n{}", paint.bold("regions"), regions(&status.regions, paint)));
    if !status.ceilings.is_empty() {
        text.push_str(&format!("\n{}\n{}", paint.bold("ceilings"), ceilings(&status.ceilings, paint)));
    }
    if !status.upstreams.is_empty() {
        text.push_str(&format!("\n{}\n{}", paint.bold("upstreams"), upstreams(status, paint)));
    }
    text.push_str(&format!("\n{}\n{}", paint.bold("NIC"), nic(&status.nic, paint)));
    if let Some(relay) = &status.relay {
        text.push_str(&format!("\n{}\n{}", paint.bold("relay"), super::render_relay::relay(relay, paint)));
    }
    if !status.overrides.is_empty() {
        text.push_str(&format!("\n{}\n{}", paint.bold("different from the file"), overrides(status, paint)));
    }
    for pending in &status.pending {
        let line = format!(
            "  undone at {} unless `tidegate confirm`: {}\n",
            pending.deadline,
            pending.what.join(", ")
        );
        text.push_str(&paint.changed(&line));
    }
    if !status.warnings.is_empty() {
        text.push_str(&format!("\n{}\n", paint.bold("warnings")));
        for warning in &status.warnings {
            text.push_str(&format!("  {}\n", paint.bad(&plain(warning))));
        }
    }
    text
}

fn head(status: &Status, paint: Paint) -> String {
    let up = units::show_duration(Duration::from_secs(status.uptime_seconds));
    let mode = &status.misroute;
    let mode_text = if mode.mode == mode.file {
        mode.mode.clone()
    } else {
        paint.changed(&format!("{} (file: {})", mode.mode, mode.file))
    };
    format!(
        "{} {} · instance {} · region {} · up {up} · configuration {} · mis-routed: {mode_text}\n",
        paint.bold("tidegate"),
        status.version,
        status.instance,
        paint.bold(&status.region),
        status.config.generation,
    )
}

/// Every region.
pub(super) fn regions(regions: &[Region], paint: Paint) -> String {
    let mut table = Table::new(&[
        "region",
        "failover",
        "edges up",
        "local/s",
        "isthmus/s",
        "redirect/s",
        "shed/s",
        "pps in",
        "pps shed",
    ]);
    for region in regions {
        let up = region.edges.iter().filter(|edge| edge.up).count();
        let failover = if region.failover {
            Cell::text(region.failover_causes.join("+")).painted(|text| paint.bad(text))
        } else {
            Cell::text("no")
        };
        let edges = if region.own {
            Cell::text("here")
        } else if up < region.edges.len() {
            Cell::text(format!("{up}/{}", region.edges.len())).painted(|text| paint.bad(text))
        } else {
            Cell::text(format!("{up}/{}", region.edges.len())).painted(|text| paint.good(text))
        };
        let (rates, packets) = (region.requests_per_second, region.packets_per_second);
        let mut cells = vec![Cell::text(&region.name), failover, edges];
        cells.extend([rates.local, rates.isthmus, rates.redirect, rates.shed].map(rate));
        cells.extend([packets.pass, packets.shed].map(rate));
        table.line(cells);
    }
    table.render()
}

fn rate(value: f64) -> Cell {
    Cell::number(number(value))
}

/// A number that fits a column.
pub(super) fn number(value: f64) -> String {
    if value >= 1e9 {
        format!("{:.2}G", value / 1e9)
    } else if value >= 1e6 {
        format!("{:.2}M", value / 1e6)
    } else if value >= 10_000.0 {
        format!("{:.1}k", value / 1e3)
    } else if value == 0.0 || value >= 100.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.1}")
    }
}

/// Every ceiling, one line per limit.
pub(super) fn ceilings(ceilings: &[Ceiling], paint: Paint) -> String {
    let mut table = Table::new(&["ceiling", "home", "limit", "used", "in force", "file", "by", "until"]);
    for ceiling in ceilings {
        for limit in &ceiling.limits {
            table.line(limit_line(ceiling, limit, paint));
        }
        if ceiling.limits.is_empty() {
            table.line(vec![Cell::text(&ceiling.name), home(ceiling), Cell::text("none")]);
        }
    }
    if table.is_empty() {
        return "  no ceilings\n".to_owned();
    }
    table.render()
}

fn home(ceiling: &Ceiling) -> Cell {
    Cell::text(ceiling.home.as_deref().unwrap_or("everyone"))
}

fn limit_line(ceiling: &Ceiling, limit: &Limit, paint: Paint) -> Vec<Cell> {
    let bits = limit.measure == "bits_per_second";
    let show = |value: u64| if bits { units::show_bits(value) } else { value.to_string() };
    let in_force = match limit.limit {
        Some(value) => show(value),
        None if limit.adaptive => "adaptive".to_owned(),
        None => "off".to_owned(),
    };
    let mut by = limit.by.clone();
    if ceiling.ramp < 1.0 {
        by.push_str(&format!(", ramp {:.0}%", ceiling.ramp * 100.0));
    }
    if ceiling.pressure < 1.0 && limit.measure == "connections_per_second" {
        by.push_str(&format!(", pressure {:.0}%", ceiling.pressure * 100.0));
    }
    if limit.adaptive {
        by.push_str(", adaptive");
    }
    if ceiling.observe {
        by.push_str(", observe");
    }
    #[expect(clippy::cast_precision_loss, reason = "a share, not an amount")]
    let full = matches!((limit.limit, limit.used), (Some(high), Some(used)) if used >= high as f64 * 0.98);
    let used = Cell::number(limit.used.map_or("-".to_owned(), number));
    let changed = limit.by == "operator";
    vec![
        Cell::text(&ceiling.name),
        home(ceiling),
        Cell::text(&limit.measure),
        if full { used.painted(|text| paint.bad(text)) } else { used },
        Cell::number(in_force).painted(|text| if changed { paint.changed(text) } else { text.to_owned() }),
        Cell::number(limit.file.map_or("-".to_owned(), show)),
        Cell::text(by),
        Cell::text(limit.until.as_deref().unwrap_or("")),
    ]
}

fn upstreams(status: &Status, paint: Paint) -> String {
    let mut table = Table::new(&["upstream", "endpoint", "", "in flight"]);
    for upstream in &status.upstreams {
        for endpoint in &upstream.endpoints {
            let state = if endpoint.up {
                Cell::text("up").painted(|text| paint.good(text))
            } else {
                Cell::text("down").painted(|text| paint.bad(text))
            };
            let in_flight = Cell::number(endpoint.in_flight.to_string());
            table.line(vec![Cell::text(&upstream.name), Cell::text(&endpoint.url), state, in_flight]);
        }
    }
    table.render()
}

fn nic(nic: &Nic, paint: Paint) -> String {
    if nic.state == "off" || nic.state == "unknown" {
        return format!("  {} (the proxy alone enforces)\n", nic.state);
    }
    let lease = match nic.lease_remaining_ms {
        Some(ms) => format!("lease {:.0} s", std::time::Duration::from_millis(ms).as_secs_f64()),
        None => format!("lease {}", nic.lease),
    };
    let state = if nic.state == "loaded" { paint.good("loaded") } else { paint.bad(&nic.state) };
    let mut text = format!("  {state}");
    if let Some(error) = &nic.error {
        text.push_str(&format!(": {}", paint.bad(&plain(error))));
    }
    if let Some(id) = nic.program_id {
        text.push_str(&format!(" · program {id}"));
    }
    let (pps, bits) = (nic.packets_per_second, nic.bits_per_second);
    text.push_str(&format!(
        " · {lease} · pass {}/s ({}bit/s) · shed {}/s ({}bit/s)\n",
        number(pps.pass),
        number(bits.pass),
        number(pps.shed),
        number(bits.shed)
    ));
    for interface in &nic.interfaces {
        let mode = interface.mode.as_deref().unwrap_or(&interface.state);
        let adopted = if interface.adopted { ", adopted" } else { "" };
        let error = interface.error.as_deref().map(|why| format!(": {}", plain(why))).unwrap_or_default();
        text.push_str(&format!("  {} {mode}{adopted}{error}\n", interface.name));
    }
    for reason in nic.reasons.iter().filter(|reason| reason.verdict == "shed") {
        text.push_str(&format!("  shed {} {}\n", reason.packets, reason.reason));
    }
    text
}

fn overrides(status: &Status, paint: Paint) -> String {
    let mut table = Table::new(&["what", "in force", "file", "until", "uid", "reason"]);
    for change in &status.overrides {
        table.line(vec![
            Cell::text(&change.what),
            Cell::text(&change.value).painted(|text| paint.changed(text)),
            Cell::text(&change.file),
            Cell::text(change.until.as_deref().unwrap_or("changed or reset")),
            Cell::text(change.by_uid.to_string()),
            Cell::text(plain(change.reason.as_deref().unwrap_or(""))),
        ]);
    }
    table.render()
}

/// Every region's failover.
pub(super) fn failover(regions: &[Region], paint: Paint) -> String {
    let mut table = Table::new(&["region", "failover", "until", "reason"]);
    for region in regions {
        let state = if region.failover {
            Cell::text(region.failover_causes.join("+")).painted(|text| paint.bad(text))
        } else {
            Cell::text("no")
        };
        table.line(vec![
            Cell::text(if region.own { format!("{} (here)", region.name) } else { region.name.clone() }),
            state,
            Cell::text(region.until.as_deref().unwrap_or("")),
            Cell::text(plain(region.reason.as_deref().unwrap_or(""))),
        ]);
    }
    table.render()
}

/// One of the lists.
pub(super) fn list(list: &List, paint: Paint) -> String {
    if list.prefixes.is_empty() {
        return format!("  the {} list is empty\n", list.list);
    }
    let mut table = Table::new(&["prefix", "by", "until", "reason"]);
    for entry in &list.prefixes {
        let by = Cell::text(&entry.by);
        table.line(vec![
            Cell::text(&entry.prefix),
            if entry.by == "operator" { by.painted(|text| paint.changed(text)) } else { by },
            Cell::text(entry.until.as_deref().unwrap_or("")),
            Cell::text(plain(entry.reason.as_deref().unwrap_or(""))),
        ]);
    }
    table.render()
}
