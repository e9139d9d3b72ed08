//! An event of the stream as one line of words. Never shows what it doesn't know: unknown fields are left out.

use serde_json::Value;

use super::picture::EventLine;

/// The line for one event; `None` for what is none, such as the stream's empty lines.
#[must_use]
pub fn told(event: &Value) -> Option<EventLine> {
    let kind = event["kind"].as_str()?;
    let text = match kind {
        "shed" => shed(event),
        "route" => route(event),
        "failover" => failover(event),
        "ceiling" => ceiling(event),
        "relay" => relay(event),
        "admin" => admin(event),
        "skipped" => format!("{} events were missed", word(&event["count"])),
        _ => return None,
    };
    Some(EventLine { at: time_of_day(event), kind: kind.to_owned(), text })
}

/// A JSON value without quotes; `-` for none.
fn word(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn time_of_day(event: &Value) -> String {
    let at = event["at"].as_str().unwrap_or_default();
    at.split_once('T').and_then(|(_, time)| time.get(..8)).unwrap_or("--:--:--").to_owned()
}

/// Words that are there, one space between.
fn words(event: &Value, keys: &[&str]) -> String {
    let there = keys.iter().map(|key| &event[*key]).filter(|value| !value.is_null());
    there.map(word).collect::<Vec<_>>().join(" ")
}

fn and_more(event: &Value) -> String {
    match event["skipped"].as_u64() {
        Some(count) if count > 0 => format!(" (and {count} more)"),
        _ => String::new(),
    }
}

fn shed(event: &Value) -> String {
    let observed = if event["observed"] == true { " (observed only)" } else { "" };
    let who = words(event, &["layer", "reason", "home", "source", "request", "port"]);
    format!("{who}{observed}{}", and_more(event))
}

fn route(event: &Value) -> String {
    let what = words(event, &["route", "reason", "home", "client", "method", "path", "status"]);
    format!("{what}{}", and_more(event))
}

fn failover(event: &Value) -> String {
    let why = match event["reason"].as_str().or(event["why"].as_str()) {
        Some(why) => format!(": {why}"),
        None => String::new(),
    };
    if let Some(up) = event["up"].as_bool() {
        let target = words(event, &["region", "edge", "upstream", "endpoint"]);
        return format!("{target} is {}{why}", if up { "up" } else { "down" });
    }
    let way = if event["on"] == true { "into failover" } else { "back in service" };
    format!("{} {way} ({}){why}", word(&event["region"]), word(&event["cause"]))
}

fn ceiling(event: &Value) -> String {
    let limit = |value: &Value| if value.is_null() { "no limit".to_owned() } else { word(value) };
    let what = words(event, &["ceiling", "measure"]);
    format!("{what} {} → {} ({})", limit(&event["old"]), limit(&event["new"]), word(&event["cause"]))
}

fn relay(event: &Value) -> String {
    words(event, &["pool", "region", "what", "count", "why"])
}

fn admin(event: &Value) -> String {
    let who = match event["uid"].as_u64() {
        Some(uid) => format!("uid {uid}"),
        None => word(&event["cause"]),
    };
    format!("{who}: {} {} → {}", word(&event["what"]), word(&event["old"]), word(&event["new"]))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn line(value: &Value) -> String {
        let line = told(value).expect("an event");
        format!("{} {} {}", line.at, line.kind, line.text)
    }

    #[test]
    fn every_kind_is_told_in_words() {
        let at = "2026-11-24T21:04:15.123Z";
        let cases = [
            (
                json!({"at": at, "kind": "shed", "layer": "proxy", "reason": "requests_per_second", "home": "us-east-1",
                       "source": "198.51.100.7", "port": null, "size": null, "request": "GET /web/", "observed": false, "skipped": 211}),
                "21:04:15 shed proxy requests_per_second us-east-1 198.51.100.7 GET /web/ (and 211 more)",
            ),
            (
                json!({"at": at, "kind": "failover", "region": "us-east-1", "on": true, "cause": "automatic", "reason": null}),
                "21:04:15 failover us-east-1 into failover (automatic)",
            ),
            (
                json!({"at": at, "kind": "failover", "upstream": "origin", "endpoint": "http://127.0.0.1:8080", "up": false, "why": "refused"}),
                "21:04:15 failover origin http://127.0.0.1:8080 is down: refused",
            ),
            (
                json!({"at": at, "kind": "ceiling", "ceiling": "from-us", "measure": "requests_per_second", "old": 1000, "new": null, "cause": "operator"}),
                "21:04:15 ceiling from-us requests_per_second 1000 → no limit (operator)",
            ),
            (
                json!({"at": at, "kind": "relay", "pool": "sessions", "region": "us-east-1", "what": "converted", "count": 9, "why": null}),
                "21:04:15 relay sessions us-east-1 converted 9",
            ),
            (
                json!({"at": at, "kind": "admin", "uid": 0, "pid": 7, "what": "misroute", "old": "isthmus", "new": "local", "cause": "operator"}),
                "21:04:15 admin uid 0: misroute isthmus → local",
            ),
            (json!({"kind": "skipped", "count": 12}), "--:--:-- skipped 12 events were missed"),
        ];
        for (event, told) in cases {
            assert_eq!(line(&event), told);
        }
    }

    #[test]
    fn what_is_no_event_is_left_out() {
        for value in [json!(null), json!(3), json!({}), json!({"kind": 1}), json!({"kind": "other"})] {
            assert_eq!(told(&value), None, "{value}");
        }
    }
}
