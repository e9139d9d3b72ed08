//! The running configuration as `GET /v1/config` shows it: what is loaded, from where, and what differs. Never shows a key's contents.

use serde_json::{Value, json};

use super::show;
use crate::config::units::show_origin;
use crate::decide::view::View;

/// The running configuration with its overrides apart.
#[must_use]
pub(super) fn config(view: &View) -> Value {
    let status = show::status(view);
    let config = &view.config;
    let paths = |paths: &[std::path::PathBuf]| -> Vec<String> {
        paths.iter().map(|path| path.display().to_string()).collect()
    };
    json!({
        "files": status.config.files,
        "generation": status.config.generation,
        "loaded": status.config.loaded,
        "last_reload": status.config.last_reload,
        "overrides": status.overrides,
        "pending": status.pending,
        "document": config.document,
        "host": {
            "region": status.region,
            "instance": config.host.instance,
            "state_dir": config.host.state_dir.display().to_string(),
            "workers": config.host.workers,
        },
        "regions": config.regions.iter().map(|(_, region)| json!({
            "name": region.name,
            "public_url": region.public_url.as_ref().map(show_origin),
            "edges": region.edges.iter().map(show_origin).collect::<Vec<_>>(),
        })).collect::<Vec<_>>(),
        "geo": {
            "default_region": show::name(view, config.geo.default_region),
            "database": config.geo.database.as_ref().map(|path| path.display().to_string()),
            "geofeeds": paths(&config.geo.geofeeds),
            "records": config.geo.records.len(),
        },
        "listeners": config.listeners.iter().map(|listener| json!({
            "name": listener.name,
            "address": listener.address.to_string(),
            "upstream": config.upstreams.get(listener.upstream).map(|upstream| upstream.name.as_str()),
        })).collect::<Vec<_>>(),
        "upstreams": config.upstreams.iter().map(|upstream| json!({
            "name": upstream.name,
            "endpoints": upstream.endpoints.iter().map(ToString::to_string).collect::<Vec<_>>(),
        })).collect::<Vec<_>>(),
        "ceilings": status.ceilings,
        "xdp": {
            "interfaces": config.xdp.interfaces,
            "ports": config.xdp.ports,
            "lease_ms": u64::try_from(config.xdp.lease.as_millis()).unwrap_or(u64::MAX),
        },
        "relay": {
            "pools": config.relay.pools.iter().map(|pool| pool.name.as_str()).collect::<Vec<_>>(),
        },
    })
}
