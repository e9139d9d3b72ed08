//! Bodies of requests that change or ask something, and the answers. Every body is read strictly: unknown keys are errors.

use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::time_text;
use crate::config::types::MisrouteMode;
use crate::config::units;
use crate::decide::measure::Measure;
use crate::decide::overrides::{Caller, CeilingKey, ListKind, Order, Setting, Slot};
use crate::decide::verb::{
    ChangedWords, Done, PacketQuestion, Protocol, Refusal, RefusalKind, RequestQuestion,
};

/// `for`, `confirm` and `reason`, which every change takes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Terms {
    /// Afterwards, what was there before holds again: `"30m"`.
    #[serde(rename = "for", default, skip_serializing_if = "Option::is_none")]
    pub valid_for: Option<String>,
    /// Undone unless confirmed within this time: `"60s"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm: Option<String>,
    /// Why, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Terms {
    /// The order under these terms.
    ///
    /// # Errors
    /// A time is none.
    pub fn order(self, changes: Vec<(Slot, Option<Setting>)>, caller: Caller) -> Result<Order, Refusal> {
        Ok(Order {
            changes,
            valid_for: time("for", self.valid_for.as_deref())?,
            confirm: time("confirm", self.confirm.as_deref())?,
            reason: self.reason,
            caller,
        })
    }
}

/// Reads a duration under a key.
///
/// # Errors
/// It is none.
pub fn time(key: &str, text: Option<&str>) -> Result<Option<Duration>, Refusal> {
    text.map(|text| units::duration(text).map_err(|wrong| invalid(&format!("{key}: {wrong}")))).transpose()
}

/// The request makes no sense.
#[must_use]
pub fn invalid(text: &str) -> Refusal {
    Refusal::new(RefusalKind::Invalid, text)
}

/// `PUT /v1/regions/NAME/failover`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Failover {
    /// Into failover, or back.
    pub on: bool,
    /// See [`Terms`].
    #[serde(rename = "for", default, skip_serializing_if = "Option::is_none")]
    pub valid_for: Option<String>,
    /// See [`Terms`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm: Option<String>,
    /// See [`Terms`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Failover {
    /// The order. `off` goes back to the file, for a time it says so explicitly.
    ///
    /// # Errors
    /// A time is none.
    pub fn order(self, region: String, caller: Caller) -> Result<Order, Refusal> {
        let setting =
            if self.on || self.valid_for.is_some() { Some(Setting::Failover(self.on)) } else { None };
        let terms = Terms { valid_for: self.valid_for, confirm: self.confirm, reason: self.reason };
        terms.order(vec![(Slot::Failover(region), setting)], caller)
    }
}

/// `PUT /v1/misroute`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Misroute {
    /// A mode; `null` goes back to the file's.
    pub mode: Option<MisrouteMode>,
    /// See [`Terms`].
    #[serde(rename = "for", default, skip_serializing_if = "Option::is_none")]
    pub valid_for: Option<String>,
    /// See [`Terms`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm: Option<String>,
    /// See [`Terms`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Misroute {
    /// The order.
    ///
    /// # Errors
    /// A time is none.
    pub fn order(self, caller: Caller) -> Result<Order, Refusal> {
        let terms = Terms { valid_for: self.valid_for, confirm: self.confirm, reason: self.reason };
        terms.order(vec![(Slot::Misroute, self.mode.map(Setting::Misroute))], caller)
    }
}

/// `POST /v1/deny` and `POST /v1/allow`
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListChange {
    /// `add` (where nothing is said) or `del`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<ListAction>,
    /// One prefix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// Several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prefixes: Vec<String>,
    /// See [`Terms`].
    #[serde(rename = "for", default, skip_serializing_if = "Option::is_none")]
    pub valid_for: Option<String>,
    /// See [`Terms`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm: Option<String>,
    /// See [`Terms`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What is done to a list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ListAction {
    /// Put on.
    #[default]
    Add,
    /// Take off.
    Del,
}

/// Most prefixes in one change.
pub const MAX_PREFIXES: usize = 10_000;

impl ListChange {
    /// The order.
    ///
    /// # Errors
    /// A prefix or time is none, or there are too many prefixes.
    pub fn order(self, list: ListKind, caller: Caller) -> Result<Order, Refusal> {
        let prefixes: Vec<String> = self.prefix.into_iter().chain(self.prefixes).collect();
        if prefixes.is_empty() || prefixes.len() > MAX_PREFIXES {
            return Err(invalid("prefix or prefixes: one to 10000 prefixes are needed"));
        }
        let setting = Setting::Listed(self.action.unwrap_or_default() == ListAction::Add);
        let change = |text: &String| {
            let prefix = units::prefix(text).map_err(|wrong| invalid(&format!("prefix: {wrong}")))?;
            Ok((Slot::List { list, prefix }, Some(setting.clone())))
        };
        let changes = prefixes.iter().map(change).collect::<Result<_, _>>()?;
        let terms = Terms { valid_for: self.valid_for, confirm: self.confirm, reason: self.reason };
        terms.order(changes, caller)
    }
}

/// `PATCH /v1/ceilings/NAME`: limits by name beside `for`, `over`, `confirm` and `reason`.
///
/// # Errors
/// A key is unknown or a value not allowed.
pub fn ceiling(name: &str, body: &Map<String, Value>, caller: Caller) -> Result<Order, Refusal> {
    let (mut terms, mut over) = (Terms::default(), None);
    let mut limits = Vec::new();
    for (key, value) in body {
        match key.as_str() {
            "for" => terms.valid_for = Some(words(key, value)?),
            "confirm" => terms.confirm = Some(words(key, value)?),
            "reason" => terms.reason = Some(words(key, value)?),
            "over" => over = time("over", Some(&words(key, value)?))?,
            _ => limits.push((key, value)),
        }
    }
    if limits.is_empty() {
        return Err(invalid(&format!("nothing to set; allowed: {}", keys())));
    }
    let change = |(key, value): (&String, &Value)| ceiling_change(name, key, value, over);
    terms.order(limits.into_iter().map(change).collect::<Result<_, _>>()?, caller)
}

fn keys() -> String {
    let limits = Measure::ALL.map(Measure::name).join(", ");
    format!("{limits}, observe")
}

fn words(key: &str, value: &Value) -> Result<String, Refusal> {
    value.as_str().map(str::to_owned).ok_or_else(|| invalid(&format!("{key}: text is needed")))
}

fn ceiling_change(
    name: &str,
    key: &str,
    value: &Value,
    over: Option<Duration>,
) -> Result<(Slot, Option<Setting>), Refusal> {
    let slot = |key| Slot::Ceiling { name: name.to_owned(), key };
    if key == "observe" {
        let on = match value {
            Value::Null => return Ok((slot(CeilingKey::Observe), None)),
            Value::Bool(on) => *on,
            Value::String(text) if text == "true" || text == "false" => text == "true",
            _ => return Err(invalid("observe: true or false is needed")),
        };
        return Ok((slot(CeilingKey::Observe), Some(Setting::Observe(on))));
    }
    let measure: Measure = key
        .parse()
        .map_err(|_| invalid(&format!("unknown key \"{}\"; allowed: {}", key.escape_debug(), keys())))?;
    let slot = slot(CeilingKey::Limit(measure));
    let limit = match value {
        Value::Null => return Ok((slot, None)),
        Value::String(text) if text == "file" => return Ok((slot, None)),
        Value::String(text) if text == "off" => None,
        Value::String(text) => Some(limit(measure, text)?),
        Value::Number(number) => Some(limit(measure, &number.to_string())?),
        _ => return Err(invalid(&format!("{key}: a number, or text such as \"4Gbit\", \"off\", \"file\""))),
    };
    let setting = match (limit, over) {
        (Some(limit), Some(over)) if !over.is_zero() => {
            if over > crate::decide::overrides::MAX_TIME {
                return Err(invalid("over: at most 366d"));
            }
            Setting::ramp(0, limit, over)
        }
        (None, Some(_)) => {
            return Err(invalid("over: there is no way to move towards no limit; set it without --over"));
        }
        (limit, _) => Setting::limit(limit),
    };
    Ok((slot, Some(setting)))
}

fn limit(measure: Measure, text: &str) -> Result<u64, Refusal> {
    let read = if measure == Measure::BitsPerSecond { units::bits(text) } else { units::rate(text) };
    read.map_err(|wrong| invalid(&format!("{measure}: {wrong}")))
}

/// `POST /v1/explain`
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Explain {
    /// The client.
    pub from: Option<IpAddr>,
    /// Destination port of a packet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Protocol of a packet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proto: Option<Protocol>,
    /// Bytes of the whole frame.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u16>,
    /// URL or path: asks about a request instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Method of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Header fields of the request: `"name: value"`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<String>,
}

/// What is asked about.
#[derive(Debug)]
pub enum Question {
    /// A packet.
    Packet(PacketQuestion),
    /// A request.
    Request(Box<RequestQuestion>),
}

impl Explain {
    /// The question.
    ///
    /// # Errors
    /// It makes no sense.
    pub fn question(self) -> Result<Question, Refusal> {
        let from = self.from.ok_or_else(|| invalid("from: the client's address is needed"))?;
        let Some(url) = self.url else {
            if self.method.is_some() || !self.headers.is_empty() {
                return Err(invalid("url: needed where method or headers are given"));
            }
            let protocol = self.proto.unwrap_or_default();
            let question = PacketQuestion { from, port: self.port, protocol, size: self.size };
            let sizes = question.sizes();
            if question.size.is_some_and(|size| !sizes.contains(&size)) {
                let (least, most) = (sizes.start(), sizes.end());
                return Err(invalid(&format!("size: allowed are {least} to {most} bytes for such a frame")));
            }
            return Ok(Question::Packet(question));
        };
        if self.port.is_some() || self.proto.is_some() || self.size.is_some() {
            return Err(invalid(
                "port, proto and size ask about a packet, url about a request: give one or the other",
            ));
        }
        let method = self.method.as_deref().unwrap_or("GET");
        let method = method.parse().map_err(|_| invalid("method: no HTTP method"))?;
        let url: http::Uri = url.parse().map_err(|_| invalid(NO_URL))?;
        if !matches!(url.scheme_str(), None | Some("http" | "https")) || !url.path().starts_with('/') {
            return Err(invalid(NO_URL));
        }
        let headers = self.headers.iter().map(|line| header(line)).collect::<Result<_, _>>()?;
        Ok(Question::Request(Box::new(RequestQuestion { from, method, url, headers })))
    }
}

const NO_URL: &str = "url: an http or https URL, or a path that begins with / is needed";

fn header(line: &str) -> Result<(http::HeaderName, http::HeaderValue), Refusal> {
    let wrong = || invalid(&format!("header: \"{}\" is not 'NAME: VALUE'", line.escape_debug()));
    let (name, value) = line.split_once(':').ok_or_else(wrong)?;
    Ok((name.trim().parse().map_err(|_| wrong())?, value.trim().parse().map_err(|_| wrong())?))
}

/// `POST /v1/invalidations`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Invalidate {
    /// The pool's name.
    pub pool: String,
    /// Keys that are text.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<String>,
    /// Keys of any bytes, in base64.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys_base64: Vec<String>,
}

/// Most keys in one request.
pub const MAX_KEYS: usize = 10_000;
/// Longest key (memcached's protocol.txt).
pub const MAX_KEY_BYTES: usize = 250;

impl Invalidate {
    /// The keys as bytes.
    ///
    /// # Errors
    /// Too many, empty or overlong keys, or text that is no base64.
    pub fn keys(&self) -> Result<Vec<Vec<u8>>, Refusal> {
        use base64::Engine as _;
        let decode = |text: &String| {
            let decoded = base64::engine::general_purpose::STANDARD.decode(text);
            decoded.map_err(|error| invalid(&format!("keys_base64: {error}")))
        };
        let text = self.keys.iter().map(|key| Ok(key.as_bytes().to_vec()));
        let keys: Vec<Vec<u8>> = text.chain(self.keys_base64.iter().map(decode)).collect::<Result<_, _>>()?;
        if keys.is_empty() || keys.len() > MAX_KEYS {
            return Err(invalid("keys: one to 10000 keys are needed"));
        }
        if keys.iter().any(|key| key.is_empty() || key.len() > MAX_KEY_BYTES) {
            return Err(invalid("keys: a key has 1 to 250 bytes"));
        }
        Ok(keys)
    }
}

/// `POST /v1/simulate`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Simulate {
    /// The region that would fail over here.
    pub fail: String,
}

/// `POST /v1/reload`
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reload {
    /// Undone unless confirmed within this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm: Option<String>,
}

/// `POST /v1/confirm`
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Confirm {}

/// The answer to a change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Changed {
    /// What differs now; empty where everything was so already.
    pub changed: Vec<ChangedValue>,
    /// Until when it holds.
    pub until: Option<String>,
    /// When it is undone unless confirmed.
    pub confirm_by: Option<String>,
    /// What else is worth knowing.
    pub notes: Vec<String>,
}

/// One changed value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChangedValue {
    /// What.
    pub what: String,
    /// Before; `(file)` marks the file's value.
    pub old: String,
    /// Now.
    pub new: String,
}

/// The answer to a reload.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reloaded {
    /// The new generation.
    pub generation: u64,
    /// What is odd about the file.
    pub warnings: Vec<String>,
    /// When it is undone unless confirmed.
    pub confirm_by: Option<String>,
}

/// The answer to `POST /v1/confirm`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Confirmed {
    /// How many changes were waiting.
    pub confirmed: usize,
}

/// The answer to `POST /v1/invalidations`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Invalidated {
    /// Keys taken.
    pub keys: usize,
    /// Regions that are told.
    pub regions: Vec<String>,
}

impl From<Done> for Changed {
    fn from(done: Done) -> Self {
        let one = |words: ChangedWords| ChangedValue { what: words.what, old: words.old, new: words.new };
        Self {
            changed: done.changed.into_iter().map(one).collect(),
            until: done.until.map(time_text),
            confirm_by: done.confirm_by.map(time_text),
            notes: done.notes,
        }
    }
}
