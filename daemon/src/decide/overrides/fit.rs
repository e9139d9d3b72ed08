//! Whether an order fits a configuration: do its things exist, and where does a ramp begin. Never applies it.

use super::{CeilingKey, ListKind, Order, Overrides, Setting, Slot};
use crate::config::Config;
use crate::config::types::Ceiling;
use crate::decide::inforce::{CeilingInForce, InForce};
use crate::decide::measure::Measure;
use crate::decide::nearest::nearest;
use crate::decide::verb::{Refusal, RefusalKind};

/// Checks an order against what is, and fills in where its ramps begin. Also returns what the operator should know.
///
/// # Errors
/// Names what does not exist or contradicts what is.
pub fn fit(
    mut order: Order,
    config: &Config,
    overrides: &Overrides,
    in_force: &InForce,
) -> Result<(Order, Vec<String>), Refusal> {
    let mut notes = Vec::new();
    for (slot, setting) in &mut order.changes {
        if setting.is_none() && is_left_over(slot, config, overrides) {
            continue;
        }
        match slot {
            Slot::Failover(region) => fit_failover(region, setting.as_ref(), config, &mut notes)?,
            Slot::Misroute => {}
            Slot::Ceiling { name, key } => {
                let ceiling = find_ceiling(config, name)?;
                if let CeilingKey::Limit(measure) = key {
                    fit_limit(ceiling, *measure, setting, config, in_force)?;
                }
            }
            Slot::List { list, prefix } => fit_list(*list, *prefix, setting, config, overrides, &mut notes)?,
        }
    }
    Ok((order, notes))
}

/// What an operator changed of something that the file no longer has can be taken back, though nothing else of it is known.
fn is_left_over(slot: &Slot, config: &Config, overrides: &Overrides) -> bool {
    match slot {
        Slot::Failover(region) => {
            overrides.held(slot).is_some() && !config.regions.iter().any(|(_, known)| known.name == *region)
        }
        Slot::Ceiling { name, .. } => {
            let same = |held: &Slot| matches!(held, Slot::Ceiling { name: other, .. } if other == name);
            find_ceiling(config, name).is_err() && overrides.iter().any(|(held, _)| same(held))
        }
        Slot::Misroute | Slot::List { .. } => false,
    }
}

fn fit_failover(
    region: &str,
    setting: Option<&Setting>,
    config: &Config,
    notes: &mut Vec<String>,
) -> Result<(), Refusal> {
    let names: Vec<&str> = config.regions.iter().map(|(_, region)| region.name.as_str()).collect();
    if !names.contains(&region) {
        return Err(unknown("region", region, &names));
    }
    let on = setting == Some(&Setting::Failover(true));
    if on && names.len() == 1 {
        notes.push("there is no other region: this host handles every request itself in any case".to_owned());
    }
    Ok(())
}

/// The ceiling with this name, or a refusal that names the nearest.
///
/// # Errors
/// There is none.
pub fn find_ceiling<'c>(config: &'c Config, name: &str) -> Result<&'c Ceiling, Refusal> {
    config.ceilings.iter().find(|ceiling| ceiling.name == name).ok_or_else(|| {
        let names: Vec<&str> = config.ceilings.iter().map(|ceiling| ceiling.name.as_str()).collect();
        unknown("ceiling", name, &names)
    })
}

/// There is no such thing; names the nearest, and what there is.
#[must_use]
pub fn unknown(what: &str, name: &str, known: &[&str]) -> Refusal {
    let hint = nearest(name, known.iter().copied())
        .map_or(String::new(), |near| format!("; did you mean \"{near}\"?"));
    let there_are = match known {
        [] => format!("the configuration has no {what}"),
        _ => format!("there are: {}", known.iter().take(30).copied().collect::<Vec<_>>().join(", ")),
    };
    let shown: String = name.chars().take(64).flat_map(char::escape_debug).collect();
    Refusal::new(RefusalKind::NotFound, format!("no {what} is called \"{shown}\"{hint} ({there_are})"))
}

fn fit_limit(
    ceiling: &Ceiling,
    measure: Measure,
    setting: &mut Option<Setting>,
    config: &Config,
    in_force: &InForce,
) -> Result<(), Refusal> {
    let name = &ceiling.name;
    if let Some(Setting::Limit { from, over_ms: 1.., .. }) = setting {
        let now = in_force.ceiling(name).and_then(|here| here.limits.get(&measure).copied());
        *from = Some(now.ok_or_else(|| {
            let text = format!(
                "ceiling {name} has no {measure} now, so there is nothing to move from: set it without --over"
            );
            Refusal::new(RefusalKind::Conflict, text)
        })?);
    }
    let limits = match setting {
        Some(Setting::Limit { to, .. }) => to.is_some(),
        _ => CeilingInForce::of_file(ceiling).limits.contains_key(&measure),
    };
    // The NIC has one bucket per home and measure: a second ceiling can't set the same one.
    let other = config.ceilings.iter().find(|other| {
        other.name != *name
            && other.home == ceiling.home
            && in_force.ceiling(&other.name).is_some_and(|other| other.limits.contains_key(&measure))
    });
    match other {
        Some(other) if limits && measure.on_nic() => Err(Refusal::new(
            RefusalKind::Conflict,
            format!("ceiling {} sets {measure} for the same clients already: change that one", other.name),
        )),
        _ => Ok(()),
    }
}

fn fit_list(
    list: ListKind,
    prefix: ipnet::IpNet,
    setting: &mut Option<Setting>,
    config: &Config,
    overrides: &Overrides,
    notes: &mut Vec<String>,
) -> Result<(), Refusal> {
    let (file, other) = match list {
        ListKind::Allow => (&config.xdp.allow, (ListKind::Deny, &config.xdp.deny)),
        ListKind::Deny => (&config.xdp.deny, (ListKind::Allow, &config.xdp.allow)),
    };
    let in_file = file.contains(&prefix);
    let slot = Slot::List { list, prefix };
    let listed = match overrides.setting(&slot) {
        Some(Setting::Listed(on)) => *on,
        _ => in_file,
    };
    let add = *setting == Some(Setting::Listed(true));
    if !add && !listed {
        let text = format!("{prefix} is not on the {} list", list.name());
        return Err(Refusal::new(RefusalKind::NotFound, text));
    }
    // What only an operator put on the list is simply taken back.
    if !add && !in_file {
        *setting = None;
    }
    if add && listed {
        notes.push(format!("{prefix} was on the {} list already", list.name()));
    }
    let holds = |other: &ipnet::IpNet| other.contains(&prefix) || prefix.contains(other);
    if add && list == ListKind::Deny && other.1.iter().any(holds) {
        notes.push(format!("the allow list has part of {prefix}, and it stands above the deny list"));
    }
    Ok(())
}
