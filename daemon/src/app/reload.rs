//! Reads the file again and puts it into force as a whole; a file with faults changes nothing. Decides no value.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::apply::Prepared;
use super::core::Core;
use super::error::RunError;
use super::geo::{self, Records};
use super::nic::{Occasion, Wanted};
use super::unconfirmed::{self, Unconfirmed};
use super::{inherit, notify};
use crate::config::{self, Config, LoadError, Loaded};
use crate::decide::event::{Admin, Cause, What};
use crate::decide::overrides::Caller;
use crate::decide::verb::{Refusal, RefusalKind, Reloaded};
use crate::decide::view::GeoSummary;
use crate::proxy::StartError;

/// The configuration before an unconfirmed reload.
pub(super) struct Rollback {
    pub(super) deadline: Timestamp,
    to: Next,
}

/// Told while the file says something else than what holds.
pub(super) const NOT_CONFIRMED: &str =
    "the last reload was not confirmed: the configuration before it is in force again, the file differs";
/// Told while the files are alike, and a geofeed or the database was read anew by the reload.
const RECORDS_NOT_CONFIRMED: &str = "the last reload was not confirmed: the geo records before it are in force again, those in the files differ";

/// The texts of a configuration's files.
pub(super) type Sources = Arc<Vec<(PathBuf, String)>>;

/// A new configuration with everything that is made from it.
struct Next {
    config: Arc<Config>,
    sources: Sources,
    records: Records,
    warnings: Vec<String>,
}

impl Rollback {
    /// Found at the start: the time to confirm has not run out.
    ///
    /// # Errors
    /// A geofeed can't be used.
    pub(super) fn at_start(deadline: Timestamp, before: Loaded) -> Result<Self, geo::GeoError> {
        let records = geo::records(&before.config, false)?;
        let (config, sources) = (Arc::new(before.config), Arc::new(before.sources));
        Ok(Self { deadline, to: Next { config, sources, records, warnings: Vec::new() } })
    }
}

impl Core {
    /// Reads the file again. `caller` is `None` for SIGHUP.
    pub(super) async fn reload(
        &mut self,
        confirm: Option<Duration>,
        caller: Option<Caller>,
    ) -> Result<Reloaded, Refusal> {
        notify::reloading();
        let now = Timestamp::now();
        let result = self.try_reload(confirm, caller, now).await;
        let told = result.as_ref().map(drop).map_err(|refusal| {
            if refusal.faults.is_empty() { refusal.text.clone() } else { refusal.faults.join("\n") }
        });
        if let Err(error) = &told {
            tracing::error!(error, "reload changed nothing");
        }
        self.source.last_reload = Some((now, told));
        notify::ready(&self.line());
        result
    }

    async fn try_reload(
        &mut self,
        confirm: Option<Duration>,
        caller: Option<Caller>,
        now: Timestamp,
    ) -> Result<Reloaded, Refusal> {
        let next = read(&self.path, self.records.summary).await?;
        let kept = cannot_change(&self.config, &next.config);
        if !kept.is_empty() {
            let text = format!(
                "nothing changed: only a restart takes in another {} (the NIC goes on enforcing meanwhile, and no connection is refused)",
                kept.join(", ")
            );
            return Err(Refusal { kind: RefusalKind::Conflict, text, faults: Vec::new() });
        }
        let warnings = next.warnings.clone();
        let deadline = confirm.map(|time| now.saturating_add(time).unwrap_or(Timestamp::MAX));
        let kept = self.keep_way_back(deadline, &next.sources).await?;
        let before = match self.take_over(next, Occasion::Asked, now).await {
            Ok(before) => before,
            Err(refusal) => {
                self.restore_way_back(kept).await;
                return Err(refusal);
            }
        };
        // Over an unconfirmed reload the last confirmed configuration stays the one to go back to.
        let first = self.rollback.take().map(|first| first.to);
        self.rollback = deadline.map(|deadline| Rollback { deadline, to: first.unwrap_or(before) });
        self.log_reload(caller, Cause::Reload, now);
        let generation = self.source.generation;
        Ok(Reloaded { generation, warnings, confirm_by: deadline })
    }

    /// Before anything changes: what is to come back at `deadline` is on disk, or what was there is forgotten. Returns what was kept.
    async fn keep_way_back(
        &self,
        deadline: Option<Timestamp>,
        tried: &Sources,
    ) -> Result<Option<Unconfirmed>, Refusal> {
        let (store, present, tried) = (Arc::clone(&self.store), Arc::clone(&self.sources), Arc::clone(tried));
        let running = self.rollback.is_some();
        let kept = tokio::task::spawn_blocking(move || {
            let kept = unconfirmed::kept(&store);
            let first = kept.clone().filter(|_| running);
            match (deadline, first) {
                (None, _) => unconfirmed::forget(&store)?,
                (Some(deadline), Some(first)) => first.again(deadline, &tried).keep(&store)?,
                (Some(deadline), None) => Unconfirmed::new(deadline, &present, &tried).keep(&store)?,
            }
            Ok::<_, crate::admin::StoreError>(kept)
        });
        let failed = |error: String| Refusal::new(RefusalKind::Failed, format!("nothing changed: {error}"));
        kept.await.map_err(|error| failed(error.to_string()))?.map_err(|error| failed(error.to_string()))
    }

    /// The reload was refused: what was kept before is kept again.
    async fn restore_way_back(&self, kept: Option<Unconfirmed>) {
        let store = Arc::clone(&self.store);
        let restored = tokio::task::spawn_blocking(move || match kept {
            Some(kept) => kept.keep(&store),
            None => unconfirmed::forget(&store),
        });
        if let Ok(Err(error)) = restored.await {
            tracing::error!(%error, "the way back from the unconfirmed reload before is not on disk any more");
        }
    }

    /// Puts a configuration into force and returns the one before.
    async fn take_over(&mut self, next: Next, occasion: Occasion, now: Timestamp) -> Result<Next, Refusal> {
        let held = self.in_force_at(&self.config, &self.overrides, now);
        let in_force = self.in_force_at(&next.config, &self.overrides, now);
        let (config, records) = (Arc::clone(&next.config), next.records.clone());
        let (allow, deny) = (in_force.allow.clone(), in_force.deny.clone());
        let compiled = notify::patiently(tokio::task::spawn_blocking(move || {
            geo::compile(&config, &records, &allow, &deny)
        }))
        .await;
        let faulty = |error: String| Refusal::new(RefusalKind::Faulty, format!("nothing changed: {error}"));
        let tables = compiled
            .map_err(|error| faulty(error.to_string()))?
            .map_err(|error| faulty(error.to_string()))?;
        // All that can be refused comes first: sockets, certificates and keys, then the NIC.
        let proxy = self.proxy.prepare(Arc::clone(&next.config)).map_err(|error| not_prepared(&error))?;
        let wanted = Wanted { config: &next.config, in_force: &in_force, tables: &tables.0 };
        let present = Wanted { config: &self.config, in_force: &self.in_force, tables: &self.tables };
        self.nic.switch(present, wanted, occasion, &self.events).await.map_err(|error| refused(&error))?;
        let listened = self.proxy.addresses();
        self.proxy.commit(proxy);
        inherit::store_again(&self.proxy, &listened);
        let before = Next {
            config: std::mem::replace(&mut self.config, next.config),
            sources: std::mem::replace(&mut self.sources, next.sources),
            records: std::mem::replace(&mut self.records, next.records),
            warnings: std::mem::replace(&mut self.warnings, next.warnings),
        };
        self.source.files = self.sources.iter().map(|(path, _)| path.clone()).collect();
        self.source.generation += 1;
        self.source.loaded = now;
        self.ramps.tidy(&self.config.ceilings, now);
        *self.admin.write_group.lock().unwrap_or_else(std::sync::PoisonError::into_inner) =
            self.config.admin.write_group.clone();
        let notes = self.take_up(Prepared { in_force, tables: Some(tables) });
        self.warnings.extend(notes);
        self.tell_differences(&held, Cause::Reload, now);
        Ok(before)
    }

    /// Goes back where an unconfirmed reload has run out.
    pub(super) async fn roll_back(&mut self, now: Timestamp) {
        if self.rollback.as_ref().is_none_or(|rollback| rollback.deadline > now) {
            return;
        }
        let Some(rollback) = self.rollback.take() else { return };
        let mut to = rollback.to;
        if to.sources != self.sources {
            to.warnings.push(NOT_CONFIRMED.to_owned());
        } else if to.records.prefixes != self.records.prefixes {
            to.warnings.push(RECORDS_NOT_CONFIRMED.to_owned());
        }
        // The way back stays on disk: a restart goes by it until the file is another one, or is reloaded.
        match self.take_over(to, Occasion::Followed, now).await {
            Ok(_) => self.log_reload(None, Cause::Expired, now),
            Err(error) => tracing::error!(%error, "the configuration before could not be put back"),
        }
    }

    fn log_reload(&self, caller: Option<Caller>, cause: Cause, now: Timestamp) {
        let (uid, pid) = (caller.map(|caller| caller.uid), caller.map(|caller| caller.pid));
        let generation = self.source.generation;
        tracing::info!(
            uid,
            pid,
            generation,
            cause = crate::admin::wire::event::cause(cause),
            "configuration in force"
        );
        let (old, new) = ((generation - 1).to_string(), generation.to_string());
        self.tell(now, What::Admin(Admin { uid, pid, what: "configuration".to_owned(), old, new, cause }));
    }

    /// The line for `systemctl status`.
    pub(super) fn line(&self) -> String {
        let own = self.config.regions.get(self.config.host.region).map_or("", |region| region.name.as_str());
        format!("region {own}, configuration {}", self.source.generation)
    }
}

async fn read(path: &Path, before: GeoSummary) -> Result<Next, Refusal> {
    let path = path.to_owned();
    let read = tokio::task::spawn_blocking(move || {
        let Loaded { config, warnings, sources } = config::load(&path).map_err(faulty)?;
        let records = geo::records(&config, before.geofeeds + before.database > 0)
            .map_err(|error| Refusal::new(RefusalKind::Faulty, format!("nothing changed: {error}")))?;
        let told = warnings.iter().map(ToString::to_string).chain(records.warnings.clone()).collect();
        Ok(Next { config: Arc::new(config), sources: Arc::new(sources), records, warnings: told })
    });
    notify::patiently(read).await.map_err(|error| Refusal::new(RefusalKind::Failed, error.to_string()))?
}

fn faulty(error: LoadError) -> Refusal {
    match error {
        LoadError::Faulty(faults) => {
            // Warnings are among them, and are not what it is refused for.
            let errors = faults.iter().filter(|fault| fault.severity == config::Severity::Error);
            let faults: Vec<String> = errors.map(ToString::to_string).collect();
            let text = format!("nothing changed: the configuration has {} faults", faults.len());
            Refusal { kind: RefusalKind::Faulty, text, faults }
        }
        other => Refusal::new(RefusalKind::Faulty, format!("nothing changed: {other}")),
    }
}

/// What a file names and can't be used is its fault; an address that somebody else holds is not.
fn not_prepared(error: &StartError) -> Refusal {
    let kind = match error {
        StartError::Tls(_) | StartError::Pins(_) => RefusalKind::Faulty,
        StartError::Bind(_) | StartError::Thread(_) => RefusalKind::Conflict,
    };
    Refusal::new(kind, format!("nothing changed: {error}"))
}

fn refused(error: &RunError) -> Refusal {
    Refusal::new(RefusalKind::Conflict, format!("nothing changed: {error}"))
}

/// What can't change while things run, by name.
fn cannot_change(old: &Config, new: &Config) -> Vec<&'static str> {
    let regions = |config: &Config| -> Vec<String> {
        config.regions.iter().map(|(_, region)| region.name.clone()).collect()
    };
    let debug = |value: &dyn std::fmt::Debug| format!("{value:?}");
    let same = |old: &dyn std::fmt::Debug, new: &dyn std::fmt::Debug| debug(old) == debug(new);
    let parts = [
        ("[host].instance", old.host.instance == new.host.instance),
        ("[host].state_dir", old.host.state_dir == new.host.state_dir),
        ("[host].region", old.host.region == new.host.region),
        ("[host].workers", old.host.workers == new.host.workers),
        ("list of [[region]]s or order of them", regions(old) == regions(new)),
        ("[identity]", same(&old.identity, &new.identity)),
        ("[relay]", same(&old.relay, &new.relay)),
        ("[admin].socket", old.admin.socket == new.admin.socket),
        ("[admin].metrics", old.admin.metrics == new.admin.metrics),
        ("[log]", same(&old.log, &new.log)),
    ];
    parts.into_iter().filter(|(_, same)| !same).map(|(name, _)| name).collect()
}
