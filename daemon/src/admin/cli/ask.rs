//! Carries out commands that need the daemon: one request each, its answer shown as text or JSON. Starts no daemon.

use std::io::{self, BufRead};
use std::net::IpAddr;

use http::Method;
use ipnet::IpNet;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::args::{Ceiling, Cli, Command, Explain, List, Mode, Proto, RelayAction, Switch, Terms};
use super::client::{Client, ClientError, segment};
use super::exit::Exit;
use super::import::Import;
use super::output::{Paint, plain, print};
use super::whose::socket;
use super::{render, render_relay, top, watch};
use crate::admin::wire::change::{Changed, Confirmed, Invalidated, Reloaded};
use crate::admin::wire::status::{self, Status};
use crate::admin::wire::{Ceilings, List as WireList, Regions};
use crate::decide::verb::{PacketAnswer, RequestAnswer, Simulation};

/// Why a command did not succeed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The daemon is away, or refused.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// An answer of another version.
    #[error("the daemon's answer is not understood ({0}): daemon and command line may differ in version")]
    Answer(#[from] serde_json::Error),
    /// Standard output can't be written.
    #[error("cannot write: {0}")]
    Output(#[from] io::Error),
    /// The arguments make no sense.
    #[error("{0}")]
    Usage(String),
    /// The thing asked about is not so.
    #[error("{0}")]
    Refused(String),
}

impl Failure {
    fn exit(&self) -> Exit {
        match self {
            Self::Client(ClientError::NoDaemon { error, .. })
                if error.kind() == io::ErrorKind::PermissionDenied =>
            {
                Exit::NotPermitted
            }
            Self::Client(ClientError::NoDaemon { .. } | ClientError::Broken { .. }) => Exit::NoDaemon,
            Self::Client(ClientError::Problem(problem)) => match problem.status {
                400 | 422 => Exit::Usage,
                403 => Exit::NotPermitted,
                _ => Exit::Refused,
            },
            Self::Usage(_) => Exit::Usage,
            Self::Answer(_) | Self::Output(_) | Self::Refused(_) => Exit::Refused,
        }
    }
}

/// Carries out a command over the socket.
pub async fn run(cli: &Cli) -> Exit {
    let client = Client::new(&socket(cli));
    match command(cli, &client).await {
        Ok(()) => Exit::Done,
        Err(failure) => {
            told(&failure, cli.json);
            failure.exit()
        }
    }
}

fn told(failure: &Failure, json: bool) {
    if let Failure::Client(ClientError::Problem(problem)) = failure {
        if json {
            // Whoever reads JSON gets the problem document as JSON, on standard error like any error.
            eprintln!("{}", serde_json::to_string(problem).unwrap_or_default());
            return;
        }
        eprintln!("tidegate: {}", plain(&problem.detail));
        for fault in &problem.faults {
            eprintln!("  {}", plain(fault));
        }
        return;
    }
    eprintln!("tidegate: {}", plain(&failure.to_string()));
}

async fn command(cli: &Cli, client: &Client) -> Result<(), Failure> {
    let asking = Asking { client, json: cli.json, paint: Paint::detect() };
    match &cli.command {
        Command::Status => asking.get("/v1/status", |s: &Status, p| render::status(s, p)).await,
        Command::Failover { action, region, terms } => {
            asking.failover(*action, region.as_deref(), terms).await
        }
        Command::Misroute { mode, terms } => asking.misroute(*mode, terms).await,
        Command::Ceiling(ceiling) => asking.ceiling(ceiling).await,
        Command::Deny(list) => asking.list("deny", list).await,
        Command::Allow(list) => asking.list("allow", list).await,
        Command::Explain(explain) => asking.explain(explain).await,
        Command::Invalidate { pool, keys } => asking.invalidate(pool, keys).await,
        Command::Relay { action: None } => asking.relay().await,
        Command::Relay { action: Some(RelayAction::Import { pool, skip_faulty, files }) } => {
            let (pool, json) = (pool.as_deref(), cli.json);
            Import { client, json, pool, skip_faulty: *skip_faulty, files }.run().await
        }
        Command::Top => top::top(client, cli.json).await,
        Command::Watch { kind } => watch::watch(client, kind, cli.json).await,
        Command::Simulate { fail } => asking.simulate(fail).await,
        Command::Reload { confirm } => asking.reload(confirm.as_deref()).await,
        Command::Confirm => {
            let show = |done: &Confirmed, _: Paint| format!("kept {} changes\n", done.confirmed);
            asking.send(Method::POST, "/v1/confirm", &json!({}), show).await
        }
        _ => Err(Failure::Usage("this command does not ask the daemon".to_owned())),
    }
}

/// How to ask and how to show.
struct Asking<'a> {
    client: &'a Client,
    json: bool,
    paint: Paint,
}

impl Asking<'_> {
    async fn get<T: DeserializeOwned>(
        &self,
        target: &str,
        show: impl Fn(&T, Paint) -> String,
    ) -> Result<(), Failure> {
        let value = self.client.ask(Method::GET, target, None).await?;
        self.show(&value, show)
    }

    async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        target: &str,
        body: &Value,
        show: impl Fn(&T, Paint) -> String,
    ) -> Result<(), Failure> {
        let value = self.client.ask(method, target, Some(body)).await?;
        self.show(&value, show)
    }

    fn show<T: DeserializeOwned>(
        &self,
        value: &Value,
        show: impl Fn(&T, Paint) -> String,
    ) -> Result<(), Failure> {
        let text = if self.json {
            format!("{}\n", serde_json::to_string_pretty(value)?)
        } else {
            show(&serde_json::from_value(value.clone())?, self.paint)
        };
        Ok(print(&text)?)
    }

    async fn change(&self, method: Method, target: &str, body: &Value) -> Result<(), Failure> {
        self.send(method, target, body, |changed: &Changed, _| changes(changed)).await
    }

    async fn failover(&self, action: Switch, region: Option<&str>, terms: &Terms) -> Result<(), Failure> {
        if action == Switch::List {
            only_asks(terms, "failover list")?;
            return self.failover_list(region).await;
        }
        let region = match region {
            Some(region) => region.to_owned(),
            None => self.own_region().await?,
        };
        let target = format!("/v1/regions/{}/failover", segment(&region));
        let body = with_terms(json!({"on": action == Switch::On}), terms);
        self.change(Method::PUT, &target, &body).await
    }

    async fn failover_list(&self, region: Option<&str>) -> Result<(), Failure> {
        let mut value = self.client.ask(Method::GET, "/v1/regions", None).await?;
        if let Some(region) = region {
            let regions = value["regions"].as_array().cloned().unwrap_or_default();
            let found: Vec<Value> = regions.into_iter().filter(|found| found["name"] == region).collect();
            if found.is_empty() {
                return Err(Failure::Refused(format!("no region is called \"{region}\"")));
            }
            value["regions"] = found.into();
        }
        self.show(&value, |regions: &Regions, paint| render::failover(&regions.regions, paint))
    }

    async fn own_region(&self) -> Result<String, Failure> {
        let value = self.client.ask(Method::GET, "/v1/regions", None).await?;
        let regions: Regions = serde_json::from_value(value)?;
        let own = regions.regions.into_iter().find(|region| region.own);
        own.map(|region| region.name)
            .ok_or_else(|| Failure::Refused("the daemon names no region as its own".to_owned()))
    }

    async fn misroute(&self, mode: Option<Mode>, terms: &Terms) -> Result<(), Failure> {
        let mode = match mode {
            None => {
                only_asks(terms, "misroute without MODE")?;
                let show = |status: &Status, _: Paint| {
                    format!("{} (file: {})\n", status.misroute.mode, status.misroute.file)
                };
                let value = self.client.ask(Method::GET, "/v1/status", None).await?;
                if self.json {
                    return Ok(print(&format!("{}\n", serde_json::to_string_pretty(&value["misroute"])?))?);
                }
                return self.show(&value, show);
            }
            Some(Mode::Isthmus) => json!("isthmus"),
            Some(Mode::Redirect) => json!("redirect"),
            Some(Mode::Local) => json!("local"),
            Some(Mode::Reset) => Value::Null,
        };
        self.change(Method::PUT, "/v1/misroute", &with_terms(json!({"mode": mode}), terms)).await
    }

    async fn ceiling(&self, ceiling: &Ceiling) -> Result<(), Failure> {
        match ceiling {
            Ceiling::List => {
                let show = |list: &Ceilings, paint| render::ceilings(&list.ceilings, paint);
                self.get("/v1/ceilings", show).await
            }
            Ceiling::Show { name } => {
                let target = format!("/v1/ceilings/{}", segment(name));
                let show = |one: &status::Ceiling, paint| render::ceilings(std::slice::from_ref(one), paint);
                self.get(&target, show).await
            }
            Ceiling::Set { name, values, over, terms } => {
                let mut body = key_values(values)?;
                if let Some(over) = over {
                    body.insert("over".to_owned(), json!(over));
                }
                let target = format!("/v1/ceilings/{}", segment(name));
                self.change(Method::PATCH, &target, &with_terms(Value::Object(body), terms)).await
            }
            Ceiling::Reset { name, terms } => {
                let target = format!("/v1/ceilings/{}/override", segment(name));
                self.change(Method::DELETE, &target, &with_terms(json!({}), terms)).await
            }
        }
    }

    async fn list(&self, name: &str, list: &List) -> Result<(), Failure> {
        let target = format!("/v1/{name}");
        let (action, prefixes, terms) = match list {
            List::List { prefix: Some(prefix) } => return self.listed(name, prefix).await,
            List::List { prefix: None } => {
                return self.get(&target, |list: &WireList, paint| render::list(list, paint)).await;
            }
            List::Add { prefixes, terms } => ("add", prefixes, terms),
            List::Del { prefixes, terms } => ("del", prefixes, terms),
        };
        let body = with_terms(json!({"action": action, "prefixes": prefixes}), terms);
        self.change(Method::POST, &target, &body).await
    }

    async fn listed(&self, name: &str, prefix: &str) -> Result<(), Failure> {
        let asked = network(prefix).ok_or_else(|| {
            Failure::Usage(format!("\"{prefix}\" is neither an address nor ADDRESS/LENGTH"))
        })?;
        let mut list: WireList =
            serde_json::from_value(self.client.ask(Method::GET, &format!("/v1/{name}"), None).await?)?;
        list.prefixes.retain(|entry| {
            network(&entry.prefix).is_some_and(|held| held.contains(&asked) || asked.contains(&held))
        });
        let none = list.prefixes.is_empty();
        if !none || self.json {
            self.show(&serde_json::to_value(&list)?, |list: &WireList, paint| render::list(list, paint))?;
        }
        if none {
            return Err(Failure::Refused(format!("nothing of {asked} is on the {name} list")));
        }
        Ok(())
    }

    async fn explain(&self, explain: &Explain) -> Result<(), Failure> {
        let mut body = json!({"from": explain.from});
        if let Some(url) = &explain.url {
            body["url"] = json!(url);
            body["headers"] = json!(explain.header);
            if let Some(method) = &explain.method {
                body["method"] = json!(method);
            }
            return self.send(Method::POST, "/v1/explain", &body, request_text).await;
        }
        if let Some(port) = explain.port {
            body["port"] = json!(port);
        }
        if let Some(proto) = explain.proto {
            body["proto"] = json!(match proto {
                Proto::Tcp => "tcp",
                Proto::Udp => "udp",
            });
        }
        if let Some(size) = explain.size {
            body["size"] = json!(size);
        }
        self.send(Method::POST, "/v1/explain", &body, packet_text).await
    }

    async fn invalidate(&self, pool: &str, keys: &[String]) -> Result<(), Failure> {
        let keys = if keys == ["-"] {
            io::stdin().lock().lines().collect::<Result<Vec<_>, _>>()?
        } else {
            keys.to_vec()
        };
        let show = |done: &Invalidated, _: Paint| {
            format!("{} keys of pool {pool} are on their way to {}\n", done.keys, done.regions.join(", "))
        };
        self.send(Method::POST, "/v1/invalidations", &json!({"pool": pool, "keys": keys}), show).await
    }

    async fn relay(&self) -> Result<(), Failure> {
        let show = |relay: &Option<status::Relay>, paint| match relay {
            Some(relay) => render_relay::relay(relay, paint),
            None => "  no [[relay.pool]] in the configuration\n".to_owned(),
        };
        self.get("/v1/relay", show).await
    }

    async fn simulate(&self, region: &str) -> Result<(), Failure> {
        let value = self.client.ask(Method::POST, "/v1/simulate", Some(&json!({"fail": region}))).await?;
        self.show(&value, simulation_text)
    }

    async fn reload(&self, confirm: Option<&str>) -> Result<(), Failure> {
        let body = confirm.map_or_else(|| json!({}), |confirm| json!({"confirm": confirm}));
        self.send(Method::POST, "/v1/reload", &body, |done: &Reloaded, _| reload_text(done)).await
    }
}

/// A prefix, or an address as one.
fn network(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

fn key_values(values: &[String]) -> Result<Map<String, Value>, Failure> {
    let mut body = Map::new();
    for pair in values {
        let Some((key, value)) =
            pair.split_once('=').filter(|(key, value)| !key.is_empty() && !value.is_empty())
        else {
            return Err(Failure::Usage(format!(
                "\"{pair}\" is not KEY=VALUE, e.g. requests_per_second=8000"
            )));
        };
        if matches!(key, "for" | "over" | "confirm" | "reason") {
            return Err(Failure::Usage(format!("{key} is an option: --{key} {value}")));
        }
        if body.insert(key.to_owned(), json!(value)).is_some() {
            return Err(Failure::Usage(format!("{key} is given twice")));
        }
    }
    Ok(body)
}

fn with_terms(mut body: Value, terms: &Terms) -> Value {
    for (key, value) in [("for", &terms.valid_for), ("confirm", &terms.confirm), ("reason", &terms.reason)] {
        if let Some(value) = value {
            body[key] = json!(value);
        }
    }
    body
}

fn changes(changed: &Changed) -> String {
    let mut text = String::new();
    if changed.changed.is_empty() {
        text.push_str("nothing differs: it was so already\n");
    }
    for change in &changed.changed {
        text.push_str(&format!("{}: {} -> {}\n", change.what, change.old, change.new));
    }
    if let Some(until) = &changed.until {
        text.push_str(&format!("until {until}\n"));
    }
    if let Some(by) = &changed.confirm_by {
        text.push_str(&format!("undone at {by} unless you say `tidegate confirm`\n"));
    }
    for note in &changed.notes {
        text.push_str(&format!("note: {}\n", plain(note)));
    }
    text
}

/// Terms of a change, given to what changes nothing, are a mistake that the operator should hear of.
fn only_asks(terms: &Terms, what: &str) -> Result<(), Failure> {
    if terms.is_empty() {
        return Ok(());
    }
    Err(Failure::Usage(format!("{what} changes nothing: --for, --confirm and --reason say nothing here")))
}

fn packet_text(answer: &PacketAnswer, _: Paint) -> String {
    let home = answer.home.as_deref().unwrap_or("not looked up");
    let reset = if answer.reset { ", answered with RST" } else { "" };
    format!("{} ({}){reset}\n  {}\n  home: {home}\n", answer.verdict, answer.reason, answer.packet)
}

fn request_text(answer: &RequestAnswer, _: Paint) -> String {
    let mut text = format!(
        "{} ({})\n  home: {}\n  list: {}\n  class: {}\n",
        answer.route, answer.reason, answer.home, answer.list, answer.class
    );
    if !answer.ceilings.is_empty() {
        text.push_str(&format!("  ceilings: {}\n", answer.ceilings.join(", ")));
    }
    if let Some(location) = &answer.location {
        text.push_str(&format!("  location: {}\n", plain(location)));
    }
    text
}

fn simulation_text(simulation: &Simulation, paint: Paint) -> String {
    let added = render::number(simulation.added_per_second);
    let mut text = format!("if {} failed over here: {added} requests/s seen from here\n", simulation.region);
    for ceiling in &simulation.ceilings {
        let line = format!(
            "  {} {}: {} of {} now, {} after{}\n",
            ceiling.ceiling,
            ceiling.measure,
            render::number(ceiling.now),
            ceiling.limit,
            render::number(ceiling.after),
            if ceiling.fills { ": fills" } else { "" }
        );
        text.push_str(&if ceiling.fills { paint.bad(&line) } else { line });
    }
    text.push_str(&format!("  basis: {}\n", simulation.basis));
    text
}

fn reload_text(done: &Reloaded) -> String {
    let mut text = format!("configuration {} is in force\n", done.generation);
    for warning in &done.warnings {
        text.push_str(&format!("warning: {}\n", plain(warning)));
    }
    if let Some(by) = &done.confirm_by {
        text.push_str(&format!("undone at {by} unless you say `tidegate confirm`\n"));
    }
    text
}
