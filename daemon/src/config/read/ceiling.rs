//! `[[ceiling]]`: the most traffic that is let through. Never enforces one.

use super::{
    super::{cursor::Cursor, fault::Wrong, key, key::Key, node, scalar},
    Context, DAY, HOUR, ms,
};
use crate::config::types::{Ceiling, Concurrency, Over, Ramp, RampTrigger, ScheduleEntry, ScheduleLimits};
use crate::decide::adaptive::Bounds;
use crate::decide::measure::Measure;
use crate::decide::region::RegionId;

const RATE: &str = "a whole number from 0 to 1_000_000_000";
const IN_FLIGHT: &str = "a whole number from 1 to 1_000_000";
const BITS: &str = "bits per second: a number, or text such as \"4Gbit\" or \"500Mbit\", up to \"10Tbit\"";

pub(in crate::config) const KEYS: &[Key] = &[
    key::required("name", "1 to 63 letters, digits, \"-\", \"_\" or \".\"", "The ceiling's name."),
    key::optional("home", "the name of a [[region]]", "Whose clients; all clients together where left out."),
    key::optional(
        "requests_per_second",
        RATE,
        "Proxy: requests; the excess is answered 503 with Retry-After.",
    ),
    key::optional("concurrent_requests", "a whole number, or \"adaptive\"", "Proxy: requests in flight."),
    key::optional("adaptive_min", IN_FLIGHT, "Least that \"adaptive\" finds; 8 where left out."),
    key::optional("adaptive_max", IN_FLIGHT, "Most that \"adaptive\" finds; 100_000 where left out."),
    key::optional("connections_per_second", RATE, "NIC: TCP SYNs."),
    key::optional("packets_per_second", RATE, "NIC: packets."),
    key::optional("bits_per_second", BITS, "NIC: bits of whole frames."),
    key::default("burst", "\"100ms\"", "\"1ms\" to \"1h\"", "How much unused allowance may be saved up."),
    key::default("over", "\"reset\"", "\"reset\", \"drop\"", "NIC: `reset` answers a SYN with RST."),
    key::default("observe", "false", "true or false", "Count what would be shed, shed nothing."),
    key::optional(
        "schedule",
        "an array of { from, to, timezone, LIMIT = … }",
        "Other limits for a part of the day.",
    ),
    key::optional("ramp", "{ on, from, over }", "Start low and grow to the ceiling."),
];

pub(in crate::config) const SCHEDULE: &[Key] = &[
    key::required("from", "\"HH:MM\"", "Start, in `timezone`."),
    key::required("to", "\"HH:MM\"", "End (exclusive); before `from` means the next day."),
    key::default("timezone", "\"UTC\"", "an IANA name, e.g. \"Europe/Paris\"", "Time zone of both."),
    key::optional("requests_per_second", RATE, "As above."),
    key::optional("concurrent_requests", "a whole number", "As above."),
    key::optional("connections_per_second", RATE, "As above."),
    key::optional("packets_per_second", RATE, "As above."),
    key::optional("bits_per_second", BITS, "As above."),
];

pub(in crate::config) const RAMP: &[Key] = &[
    key::default(
        "on",
        "[\"start\", \"failover\", \"cache_flush\"]",
        "any of \"start\", \"failover\", \"cache_flush\"",
        "What starts the ramp.",
    ),
    key::default("from", "0.2", "a number above 0, up to 1", "Share of the ceiling at its start."),
    key::default("over", "\"10m\"", "\"1s\" to \"1d\"", "Time until the whole ceiling."),
];

const TRIGGERS: &[(&str, RampTrigger)] = &[
    ("start", RampTrigger::Start),
    ("failover", RampTrigger::Failover),
    ("cache_flush", RampTrigger::CacheFlush),
];

pub(in crate::config) fn read(cursor: &Cursor<'_>, context: &Context<'_>) -> Option<Ceiling> {
    let name = cursor.get("name", scalar::name);
    if let Some(name) = &name {
        context.claims.take("ceiling", name, cursor, "name");
    }
    let home = cursor.get("home", context.region());
    if home.is_some() || !cursor.has("home") {
        claim_nic_measures(cursor, context, home);
    }
    if !Measure::ALL.iter().any(|measure| cursor.has(measure.name())) && !cursor.has("schedule") {
        let keys = Measure::ALL.map(Measure::name).join(", ");
        cursor.warning("name", Wrong::new("this ceiling limits nothing", keys));
    }
    let burst = cursor.get("burst", scalar::duration(ms(1)..=HOUR));
    let over = cursor.get("over", scalar::choice(&[("reset", Over::Reset), ("drop", Over::Drop)]));
    let observe = cursor.get("observe", scalar::boolean);
    let schedule: Vec<_> = cursor.tables("schedule", SCHEDULE).iter().map(read_schedule).collect();
    let ramp = cursor.table("ramp", RAMP).and_then(|table| read_ramp(&table));
    let rate = |key| cursor.get(key, scalar::rate(false));
    let (requests, connections, packets) =
        (rate("requests_per_second"), rate("connections_per_second"), rate("packets_per_second"));
    Some(Ceiling {
        name: name?,
        home,
        requests_per_second: requests,
        concurrent_requests: read_concurrency(cursor),
        connections_per_second: connections,
        packets_per_second: packets,
        bits_per_second: cursor.get("bits_per_second", scalar::rate(true)),
        burst: burst?,
        over: over?,
        observe: observe?,
        schedule: schedule.into_iter().collect::<Option<Vec<_>>>()?,
        ramp,
    })
}

/// The NIC has one bucket per home and measure.
fn claim_nic_measures(cursor: &Cursor<'_>, context: &Context<'_>, home: Option<RegionId>) {
    let whose = home.and_then(|id| context.regions.get(id.index())).map_or("everyone", String::as_str);
    for measure in Measure::ALL.into_iter().filter(|measure| measure.on_nic()) {
        if cursor.has(measure.name()) {
            let value = format!("{measure} for {whose}");
            context.claims.take("NIC limit", &value, cursor, measure.name());
        }
    }
}

fn read_concurrency(cursor: &Cursor<'_>) -> Option<Concurrency> {
    let found = cursor.get("concurrent_requests", concurrency);
    let bound = |key| cursor.get(key, scalar::integer::<u64>(1..=1_000_000));
    let (min, max) = (bound("adaptive_min"), bound("adaptive_max"));
    let adaptive = matches!(found, Some(Concurrency::Adaptive(_)));
    if !adaptive && (found.is_some() || !cursor.has("concurrent_requests")) {
        for key in ["adaptive_min", "adaptive_max"].into_iter().filter(|key| cursor.has(key)) {
            let allowed = "`concurrent_requests = \"adaptive\"` beside it";
            cursor.error(key, Wrong::new("says nothing here", allowed));
        }
    }
    if !adaptive {
        return found;
    }
    let default = Bounds::default();
    let bounds = Bounds { min: min.unwrap_or(default.min), max: max.unwrap_or(default.max), ..default };
    if bounds.min > bounds.max {
        let key = if min.is_some() { "adaptive_min" } else { "adaptive_max" };
        let problem = format!("the least ({}) is more than the most ({})", bounds.min, bounds.max);
        cursor.error(key, Wrong::new(problem, "`adaptive_min` no more than `adaptive_max`"));
    }
    Some(Concurrency::Adaptive(bounds))
}

fn concurrency(found: &node::Node) -> Result<Concurrency, Wrong> {
    match &found.value {
        node::Value::String(text) if text == "adaptive" => Ok(Concurrency::Adaptive(Bounds::default())),
        node::Value::Integer(_) => scalar::rate(false)(found).map(Concurrency::Fixed),
        _ => Err(Wrong::only(format!("{} is neither a number nor \"adaptive\"", node::describe(found)))),
    }
}

fn read_schedule(cursor: &Cursor<'_>) -> Option<ScheduleEntry> {
    let from = cursor.get("from", time);
    let to = cursor.get("to", time);
    if from.is_some() && from == to {
        cursor.error("to", Wrong::new("is the same as `from`", "another time of day"));
    }
    let timezone = cursor.get("timezone", timezone);
    let rate = |key| cursor.get(key, scalar::rate(false));
    let limits = ScheduleLimits {
        requests_per_second: rate("requests_per_second"),
        concurrent_requests: rate("concurrent_requests"),
        connections_per_second: rate("connections_per_second"),
        packets_per_second: rate("packets_per_second"),
        bits_per_second: cursor.get("bits_per_second", scalar::rate(true)),
    };
    Some(ScheduleEntry { from: from?, to: to?, timezone: timezone?, limits })
}

fn time(found: &node::Node) -> Result<jiff::civil::Time, Wrong> {
    let text = scalar::text(found).map_err(|wrong| Wrong::new(wrong.problem, "text, e.g. \"18:00\""))?;
    let wrong = || {
        Wrong::new(
            format!("{} is not a time of day", node::quote(&text)),
            "\"HH:MM\" from \"00:00\" to \"23:59\"",
        )
    };
    let (hour, minute) = text.split_once(':').ok_or_else(wrong)?;
    let two = |part: &str| {
        (part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit()))
            .then(|| part.parse::<i8>().ok())
            .flatten()
    };
    let (hour, minute) = (two(hour).ok_or_else(wrong)?, two(minute).ok_or_else(wrong)?);
    jiff::civil::Time::new(hour, minute, 0, 0).map_err(|_| wrong())
}

fn timezone(found: &node::Node) -> Result<jiff::tz::TimeZone, Wrong> {
    let text = scalar::nonempty(found)?;
    jiff::tz::TimeZone::get(&text)
        .map_err(|_| Wrong::only(format!("{} is not a known time zone", node::quote(&text))))
}

fn read_ramp(cursor: &Cursor<'_>) -> Option<Ramp> {
    let on = cursor.list("on", scalar::choice(TRIGGERS));
    if on.as_ref().is_some_and(Vec::is_empty) {
        cursor.warning(
            "on",
            Wrong::new("nothing starts this ramp", "any of \"start\", \"failover\", \"cache_flush\""),
        );
    }
    let from = cursor.get("from", scalar::share(0.0, false, 1.0));
    let over = cursor.get("over", scalar::duration(super::SECOND..=DAY));
    Some(Ramp { on: on?, from: from?, over: over? })
}
