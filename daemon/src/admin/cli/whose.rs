//! Which daemon is meant, and what it says of itself, for what works without one. Never waits long, and changes nothing.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use http::Method;
use serde_json::Value;

use super::args::Cli;
use super::client::Client;
use crate::admin::wire::status::Status;

/// Longest wait for a daemon's word: what `detach` is for may not wait for one that hangs.
const PATIENCE: Duration = Duration::from_secs(2);
/// A daemon looks at its interfaces each second: what it says after this is not what was so before a detachment.
const LOOKS: Duration = Duration::from_secs(3);

/// `--socket`, else the instance's, else `TIDEGATE_SOCKET`, else the default.
pub(super) fn socket(cli: &Cli) -> PathBuf {
    let of = |instance: &str| PathBuf::from(format!("/run/tidegate/{instance}.sock"));
    match (&cli.instance, &cli.socket) {
        (_, Some(socket)) => socket.clone(),
        (Some(instance), None) => of(instance),
        (None, None) => std::env::var_os("TIDEGATE_SOCKET").map_or_else(|| of("main"), PathBuf::from),
    }
}

/// The instance of the daemon on the socket that --socket or TIDEGATE_SOCKET names: by its own word, else by where the socket is. `None`
/// where neither names one.
///
/// # Errors
/// Nobody answers there in time, and the socket's place says nothing.
pub async fn instance(cli: &Cli) -> Option<Result<String, String>> {
    let named = cli.socket.is_some() || std::env::var_os("TIDEGATE_SOCKET").is_some();
    if !named {
        return None;
    }
    let path = socket(cli);
    let answer = status(cli).await.and_then(|status| Some(status.get("instance")?.as_str()?.to_owned()));
    let by_place = || {
        let name = path.strip_prefix("/run/tidegate").ok()?.to_str()?.strip_suffix(".sock")?;
        (!name.contains('/')).then(|| name.to_owned())
    };
    Some(
        answer
            .or_else(by_place)
            .ok_or_else(|| format!("no daemon on {} says which instance it is", path.display())),
    )
}

/// The interfaces on which the daemon of `instance` says that its program is, and goes on saying so; none where no such daemon answers in time.
pub async fn attached(cli: &Cli, instance: &str) -> Vec<String> {
    let until = Instant::now() + LOOKS;
    loop {
        let on = attached_now(cli, instance).await;
        if on.is_empty() || Instant::now() > until {
            return on;
        }
        tokio::time::sleep(LOOKS / 10).await;
    }
}

async fn attached_now(cli: &Cli, instance: &str) -> Vec<String> {
    let status = status(cli).await.and_then(|status| serde_json::from_value::<Status>(status).ok());
    let Some(status) = status.filter(|status| status.instance == instance) else { return Vec::new() };
    let on = status.nic.interfaces.into_iter().filter(|interface| interface.state == "attached");
    on.map(|interface| interface.name).collect()
}

async fn status(cli: &Cli) -> Option<Value> {
    let client = Client::new(&socket(cli));
    let asked = tokio::time::timeout(PATIENCE, client.ask(Method::GET, "/v1/status", None)).await;
    asked.ok()?.ok()
}
