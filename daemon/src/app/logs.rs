//! Where the daemon's log lines go and in which shape. Never logs itself.

use std::io::IsTerminal;

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry};

use crate::config::types::{Log, LogFormat};

/// Starts logging by `[log]`; `RUST_LOG` stands above its level. Calling it twice keeps the first.
pub fn init(log: &Log) {
    let filter = EnvFilter::try_from_default_env()
        .or_else(|_| EnvFilter::try_new(&log.level))
        .unwrap_or_else(|_| EnvFilter::new("info"));
    // A second call finds logging started: the first one stays.
    _ = tracing_subscriber::registry().with(output(log.format).with_filter(filter)).try_init();
}

fn output(format: LogFormat) -> Box<dyn Layer<Registry> + Send + Sync> {
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let terminal = std::io::stderr().is_terminal();
    match format {
        LogFormat::Auto if std::env::var_os("JOURNAL_STREAM").is_some() => match tracing_journald::layer() {
            Ok(journal) => journal.with_syslog_identifier("tidegate".to_owned()).boxed(),
            Err(_) => lines.json().boxed(),
        },
        LogFormat::Auto if !terminal => lines.json().boxed(),
        LogFormat::Json => lines.json().boxed(),
        LogFormat::Auto | LogFormat::Text => {
            let color = terminal && std::env::var_os("NO_COLOR").is_none();
            lines.with_ansi(color).boxed()
        }
    }
}
