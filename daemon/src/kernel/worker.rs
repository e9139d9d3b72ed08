//! The thread that owns the NIC: it takes one command after the other, so that no two changes ever mix. Never runs async code.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use netlink_sys::Socket;
use tidegate_common::verdict::Outcome;
use tokio::sync::{broadcast, mpsc, oneshot, watch};

use super::adopt::{self, Adoption};
use super::attach::{self, Attached};
use super::detach::{Detached, clear_maps};
use super::events::Reader;
use super::homes::Homes;
use super::lease::{Heartbeat, monotonic_ns};
use super::lines::Listener;
use super::load::{self, Loaded};
use super::maps::{ControlMap, SharedMapError, SharedMaps};
use super::netlink::{self, Interface};
use super::nic::{NicOptions, NicWish};
use super::pins::{Claim, Pins};
use super::preflight;
use super::{ApplyError, ApplyReport, AttachError, ExplainError, LimitsError, OpenError, ReportError};
use crate::decide::event::Event;
use crate::decide::nic::{LimitRow, Limits};
use crate::decide::report::nic::{ApplyTimes, AttachState, NicReport};

type Answer<T> = oneshot::Sender<T>;
type Addresses = Arc<BTreeSet<IpAddr>>;

/// What the thread can be asked for.
pub(crate) enum Command {
    /// Load and swap.
    Apply(Box<NicWish>, Answer<Result<ApplyReport, ApplyError>>),
    /// The same, unless it was detached by hand.
    Follow(Box<NicWish>, Answer<Result<ApplyReport, ApplyError>>),
    /// Limits alone.
    SetLimits(Vec<LimitRow>, Answer<Result<(), LimitsError>>),
    /// Counters and state.
    Report(Answer<Result<NicReport, ReportError>>),
    /// A verdict.
    Explain(Vec<u8>, Answer<Result<Outcome, ExplainError>>),
    /// Interfaces or addresses may have changed.
    Look,
}

/// Maps and what goes with them; they come with the first load, or from an earlier daemon.
pub(crate) struct Shared {
    pub(crate) control: Arc<ControlMap>,
    pub(crate) maps: SharedMaps,
    heartbeat: Option<Heartbeat>,
    reader: Option<Reader>,
}

/// The NIC's state; one thread's own.
pub(crate) struct Worker {
    pub(crate) pins: Pins,
    claim: Option<Claim>,
    object: &'static [u8],
    lease: Duration,
    events: broadcast::Sender<Arc<Event>>,
    pub(crate) left_out: Arc<AtomicU64>,
    addresses: watch::Sender<Addresses>,
    pub(crate) adopted: bool,
    pub(crate) shared: Option<Shared>,
    pub(crate) loaded: Option<Loaded>,
    lines: Option<Listener>,
    pub(crate) wish: Option<NicWish>,
    pub(crate) states: BTreeMap<String, AttachState>,
    pub(crate) last_apply: Option<ApplyTimes>,
    pub(crate) detached: bool,
}

impl Worker {
    /// See [`super::Nic::open`]; also gives the addresses' channel and the socket of changes.
    pub(crate) fn open(options: NicOptions) -> Result<(Self, watch::Receiver<Addresses>, Socket), OpenError> {
        preflight::check()?;
        let socket = netlink::changes()?;
        let (addresses, receiver) = watch::channel(Arc::new(netlink::addresses()?));
        let pins = Pins::of(&options.instance)?;
        let claim = pins.claim()?;
        let adoption = adopt::examine(&pins)?;
        let mut worker = Self {
            pins,
            claim: Some(claim),
            object: options.object,
            lease: options.lease,
            events: options.events,
            left_out: Arc::new(AtomicU64::new(0)),
            addresses,
            adopted: adoption == Adoption::Adopt,
            shared: None,
            loaded: None,
            lines: None,
            wish: None,
            states: BTreeMap::new(),
            last_apply: None,
            detached: false,
        };
        worker.take_over(adoption)?;
        Ok((worker, receiver, socket))
    }

    /// What an earlier daemon left goes on: its lease is renewed from now on, unless it has ended already.
    fn take_over(&mut self, adoption: Adoption) -> Result<(), OpenError> {
        match adoption {
            Adoption::Fresh => tracing::debug!("no pinned maps: counters start at zero"),
            Adoption::Replace(version) => {
                tracing::warn!(version, "pinned maps of an older version are replaced: counters restart");
                clear_maps(&self.pins, &mut Detached::default())?;
                self.claim = None;
                self.claim = Some(self.pins.claim()?);
            }
            Adoption::Adopt => match Shared::open(&self.pins) {
                Ok(mut shared) => {
                    if shared.control.read()?.deadline_ns > monotonic_ns() {
                        shared.beat(self.lease)?;
                    }
                    tracing::info!("adopted pinned maps: counters and bucket levels are kept");
                    self.shared = Some(shared);
                }
                // Some maps are missing: the daemon before ended while making them. Loading makes the rest.
                Err(error) => tracing::info!(%error, "pinned maps are incomplete; the rest is made"),
            },
        }
        Ok(())
    }

    /// Serves commands until every handle is gone.
    pub(crate) fn run(mut self, mut inbox: mpsc::Receiver<Command>) {
        while let Some(command) = inbox.blocking_recv() {
            // Whoever asked and no longer waits gets no answer; what was asked for is done all the same.
            match command {
                Command::Apply(wish, answer) => drop(answer.send(self.apply(*wish))),
                Command::Follow(wish, answer) => drop(answer.send(self.follow(*wish))),
                Command::SetLimits(limits, answer) => drop(answer.send(self.set_limits(limits))),
                Command::Report(answer) => drop(answer.send(self.report())),
                Command::Explain(frame, answer) => drop(answer.send(self.explain(&frame))),
                Command::Look => self.look(),
            }
        }
    }

    fn apply(&mut self, wish: NicWish) -> Result<ApplyReport, ApplyError> {
        let started = Instant::now();
        self.claim_again()?;
        if self.is_same(&wish) {
            self.enforce(&wish)?;
            self.wish = Some(wish);
            return Ok(self.nothing_done(false));
        }
        let loaded = load::load(self.object, &wish.plan, &self.pins)?;
        let load_ns = nanoseconds(started);
        self.enforce(&wish)?;
        let swapping = Instant::now();
        let failures = self.put_on(loaded, wish)?;
        let times = ApplyTimes { load_ns, swap_ns: nanoseconds(swapping) };
        self.last_apply = Some(times);
        Ok(ApplyReport { times, adopted: self.adopted, failures, stays_off: false })
    }

    fn follow(&mut self, wish: NicWish) -> Result<ApplyReport, ApplyError> {
        if !self.is_detached() {
            return self.apply(wish);
        }
        self.wish = Some(wish);
        Ok(self.nothing_done(true))
    }

    fn nothing_done(&self, stays_off: bool) -> ApplyReport {
        let (times, failures) = (ApplyTimes::default(), Vec::new());
        ApplyReport { times, adopted: self.adopted, failures, stays_off }
    }

    /// By hand. Asked of the pin itself: `look` hears of it a moment later.
    pub(crate) fn is_detached(&self) -> bool {
        self.detached || (self.loaded.is_some() && !self.pins.program().exists())
    }

    /// The program is loaded, and everywhere it should be.
    fn is_same(&self, wish: &NicWish) -> bool {
        let on = |name: &String| matches!(self.states.get(name), Some(AttachState::Attached { .. }));
        self.loaded.is_some()
            && self.wish.as_ref().is_some_and(|before| {
                before.plan.is_same_program(&wish.plan)
                    && (&before.interfaces, before.mode) == (&wish.interfaces, wish.mode)
            })
            && wish.interfaces.iter().all(on)
    }

    /// After `detach` everything is made anew: its maps are not ours any more.
    fn claim_again(&mut self) -> Result<(), ApplyError> {
        if self.claim.as_ref().is_some_and(|claim| claim.holds(&self.pins)) {
            return Ok(());
        }
        self.claim = None;
        self.claim = Some(self.pins.claim()?);
        (self.shared, self.loaded, self.adopted, self.detached) = (None, None, false, false);
        Ok(())
    }

    /// Limits and lease, before any program reads them.
    fn enforce(&mut self, wish: &NicWish) -> Result<(), ApplyError> {
        let shared = match self.shared.take() {
            Some(shared) => self.shared.insert(shared),
            None => self.shared.insert(Shared::open(&self.pins)?),
        };
        shared.rename_homes(&self.pins, &wish.regions)?;
        shared.set_limits(&wish.limits)?;
        shared.beat(wish.lease)?;
        if shared.reader.is_none() {
            let ring = super::maps::open_ring(&self.pins)?;
            let reader = Reader::start(ring, self.events.clone(), Arc::clone(&self.left_out));
            shared.reader = Some(reader.map_err(ApplyError::Thread)?);
        }
        self.lease = wish.lease;
        Ok(())
    }

    /// Swaps the program in everywhere, then pins it, then clears away what is no longer wanted.
    fn put_on(&mut self, mut loaded: Loaded, wish: NicWish) -> Result<Vec<AttachError>, ApplyError> {
        let present = netlink::interfaces()?;
        let mut failures = Vec::new();
        self.states.clear();
        for name in &wish.interfaces {
            let state = self.put_on_one(&mut loaded, name, &present, &wish);
            let state = state.unwrap_or_else(|error| {
                let state = failed_state(&error);
                failures.push(error);
                state
            });
            self.states.insert(name.clone(), state);
        }
        load::pin_program(&mut loaded, &self.pins)?;
        self.leave_unwanted(&wish)?;
        self.lines = loaded.take_lines().map(Listener::start).transpose().map_err(ApplyError::Thread)?;
        self.loaded = Some(loaded);
        self.wish = Some(wish);
        Ok(failures)
    }

    fn put_on_one(
        &self,
        loaded: &mut Loaded,
        name: &str,
        present: &[Interface],
        wish: &NicWish,
    ) -> Result<AttachState, AttachError> {
        let interface = present.iter().find(|interface| interface.name == name);
        let interface = interface.ok_or_else(|| AttachError::Missing { interface: name.to_owned() })?;
        let attached = attach::attach(loaded.program()?, interface, wish.mode, &self.pins)?;
        let since = self.pins.link(name).metadata().and_then(|pin| pin.modified()).ok();
        let (mode, adopted) = match attached {
            Attached::Swapped(mode) => (mode, self.loaded.is_none()),
            Attached::Fresh(mode) => (mode, false),
        };
        let adopted =
            adopted || matches!(self.states.get(name), Some(AttachState::Attached { adopted: true, .. }));
        tracing::info!(
            interface = name,
            mode = mode.label(),
            swapped = matches!(attached, Attached::Swapped(_)),
            "NIC program is on"
        );
        Ok(AttachState::Attached { mode, since, adopted })
    }

    fn leave_unwanted(&self, wish: &NicWish) -> Result<(), ApplyError> {
        for (interface, pin) in self.pins.links()? {
            if !wish.interfaces.contains(&interface) {
                attach::take_off(&interface, &pin)
                    .map_err(|why| ApplyError::Leave { interface: interface.clone(), why })?;
                tracing::info!(interface, "no longer in [xdp] interfaces: detached");
            }
        }
        Ok(())
    }

    fn set_limits(&mut self, limits: Vec<LimitRow>) -> Result<(), LimitsError> {
        let (Some(shared), Some(wish)) = (self.shared.as_mut(), self.wish.as_mut()) else {
            return Err(LimitsError::NotLoaded);
        };
        shared.set_limits(&limits)?;
        wish.limits = limits;
        Ok(())
    }

    fn explain(&self, frame: &[u8]) -> Result<Outcome, ExplainError> {
        let loaded = self.loaded.as_ref().ok_or(ExplainError::NotLoaded)?;
        if self.is_detached() {
            return Err(ExplainError::Detached);
        }
        loaded.explain(frame)
    }

    /// Looks whether addresses changed, and whether the program is still where it is wanted.
    fn look(&mut self) {
        match netlink::addresses() {
            Ok(now) => {
                self.addresses.send_if_modified(|known| {
                    let changed = **known != now;
                    if changed {
                        *known = Arc::new(now);
                    }
                    changed
                });
            }
            Err(error) => tracing::warn!(%error, "cannot look for local addresses"),
        }
        if self.loaded.is_some() && !self.detached {
            self.look_at_interfaces();
        }
    }

    fn look_at_interfaces(&mut self) {
        if !self.pins.program().exists() {
            tracing::warn!("the NIC program was detached by hand; a reload or a restart attaches it again");
            self.detached = true;
            self.states.clear();
            return;
        }
        match netlink::interfaces() {
            Ok(present) => self.repair(&present),
            Err(error) => tracing::warn!(%error, "cannot look at interfaces"),
        }
    }

    /// Attaches where the program is missing: on an interface that appeared (again), or that a foreign program has left.
    fn repair(&mut self, present: &[Interface]) {
        let (Some(wish), Some(mut loaded)) = (self.wish.clone(), self.loaded.take()) else { return };
        for name in &wish.interfaces {
            let interface = present.iter().find(|interface| interface.name == *name);
            let is_on = interface.is_some_and(|interface| attach::is_ours(&self.pins, interface).is_some());
            let was_on = matches!(self.states.get(name), Some(AttachState::Attached { .. }));
            if is_on && was_on {
                continue;
            }
            let state = self
                .put_on_one(&mut loaded, name, present, &wish)
                .unwrap_or_else(|error| failed_state(&error));
            if self.states.get(name) != Some(&state) {
                if !matches!(state, AttachState::Attached { .. }) {
                    tracing::warn!(interface = name, ?state, "NIC program is not on");
                }
                self.states.insert(name.clone(), state);
            }
        }
        self.loaded = Some(loaded);
    }
}

impl Shared {
    fn open(pins: &Pins) -> Result<Self, SharedMapError> {
        let control = Arc::new(ControlMap::open(pins)?);
        Ok(Self { control, maps: SharedMaps::open(pins)?, heartbeat: None, reader: None })
    }

    /// Where a home number stands for another region than before, its counters start again.
    fn rename_homes(&mut self, pins: &Pins, regions: &[String]) -> Result<(), SharedMapError> {
        let mut homes = Homes::open(pins)?;
        for home in homes.changed(regions)? {
            let region = regions.get(usize::from(home) - 1);
            tracing::warn!(region, "regions changed their order: the NIC's counters of this one start again");
            self.maps.forget_home(home)?;
        }
        homes.set(regions)
    }

    /// Limits follow on those in force: what CPUs have leased under these is forgotten where it has to be.
    fn set_limits(&mut self, rows: &[LimitRow]) -> Result<(), SharedMapError> {
        let in_force = self.maps.bank(&self.control)?;
        let limits = Limits::new(rows, online_cpus(), in_force.as_ref());
        self.maps.set_limits(&self.control, &limits)
    }

    fn beat(&mut self, lease: Duration) -> Result<(), SharedMapError> {
        match &self.heartbeat {
            Some(heartbeat) => heartbeat.set_lease(lease),
            None => {
                self.heartbeat = Some(Heartbeat::start(Arc::clone(&self.control), lease)?);
                Ok(())
            }
        }
    }
}

/// Each may hold a lease; those that are offline hold none.
fn online_cpus() -> u32 {
    aya::util::online_cpus().map_or(1, |cpus| u32::try_from(cpus.len()).unwrap_or(u32::MAX))
}

fn failed_state(error: &AttachError) -> AttachState {
    if error.is_missing() { AttachState::Missing } else { AttachState::Failed(error.to_string()) }
}

fn nanoseconds(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX)
}
