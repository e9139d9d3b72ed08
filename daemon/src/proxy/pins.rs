//! Session pins at work: the keys' file, a request's cookie, a response's. Never decides what a pin is worth; `decide::pin` does.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use http::{HeaderMap, Response};

use super::body::ResponseBody;
use super::conn::Client;
use super::facts::Arrival;
use super::stats;
use crate::config::Config;
use crate::decide::pin::{KeyFault, Pin, PinKeys, Pins};
use crate::decide::region::RegionId;

/// `[session]` can't be used.
#[derive(Debug, thiserror::Error)]
pub enum PinError {
    /// The key file can't be read.
    #[error("session.key_file {path:?} can't be read: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The key file can't be used.
    #[error("session.key_file {path:?}: {fault}")]
    Faulty {
        /// The file.
        path: PathBuf,
        /// What is wrong and what to do.
        fault: KeyFault,
    },
}

/// Reads the keys; `None` where nothing is pinned.
pub(crate) fn load(config: &Config) -> Result<Option<Arc<Pins>>, PinError> {
    let Some(session) = &config.session else { return Ok(None) };
    let path = session.key_file.clone();
    let file = std::fs::read(&path).map_err(|source| PinError::Unreadable { path: path.clone(), source })?;
    let keys = PinKeys::parse(&file).map_err(|fault| PinError::Faulty { path, fault })?;
    let names = config.regions.map(|(_, region)| region.name.clone());
    Ok(Some(Arc::new(Pins::new(session.cookie.clone(), session.ttl, keys, names))))
}

fn now_unix() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// The pin in a request's head; one that is ignored is counted.
pub(crate) fn read(client: &Client, headers: &HeaderMap) -> Pin {
    let pins = client.worker.shared.pins.load();
    let pin = pins.as_ref().map_or(Pin::Absent, |pins| pins.read(headers, now_unix()));
    if matches!(pin, Pin::Ignored(_)) {
        stats::add(&client.worker.stats.pins_ignored, 1);
    }
    pin
}

/// Pins the client to its home, where that is not pinned yet or the pin is getting old.
pub(crate) fn write(
    client: &Client,
    arrival: &Arrival,
    home: RegionId,
    response: &mut Response<ResponseBody>,
) {
    let pins = client.worker.shared.pins.load();
    let Some(pins) = pins.as_ref().filter(|_| arrival.pin.is_due(home)) else { return };
    if let Some((name, value)) = pins.write(home, now_unix(), arrival.secure) {
        response.headers_mut().append(name, value);
    }
}
