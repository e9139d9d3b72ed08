//! The NIC's place in the daemon while the kernel side is not joined yet: interfaces in the configuration are refused. Never touches the kernel.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use tidegate_common::verdict::Outcome;
use tokio::sync::{broadcast, watch};

use super::error::RunError;
use crate::config::Config;
use crate::decide::event::Event;
use crate::decide::inforce::InForce;
use crate::decide::report::nic::NicReport;
use crate::decide::sources::SourceTables;

pub(super) struct NicPart;

/// There is none.
pub(super) enum Nic {}

impl Nic {
    pub(super) async fn explain(&self, _frame: Vec<u8>) -> Result<Outcome, String> {
        match *self {}
    }
}

impl NicPart {
    pub(super) async fn open(
        config: &Config,
        _events: &broadcast::Sender<Arc<Event>>,
    ) -> Result<Self, RunError> {
        if config.xdp.interfaces.is_empty() { Ok(Self) } else { Err(RunError::NoNic) }
    }

    pub(super) async fn follow(
        &mut self,
        config: &Config,
        events: &broadcast::Sender<Arc<Event>>,
    ) -> Result<(), RunError> {
        Self::open(config, events).await.map(drop)
    }

    pub(super) fn handle(&self) -> Option<Nic> {
        None
    }

    pub(super) fn addresses(&self) -> BTreeSet<IpAddr> {
        BTreeSet::new()
    }

    pub(super) fn watch(&self) -> Option<watch::Receiver<Arc<BTreeSet<IpAddr>>>> {
        None
    }

    pub(super) async fn apply(
        &mut self,
        _: &Config,
        _: &InForce,
        _: &Arc<SourceTables>,
    ) -> Result<(), RunError> {
        Ok(())
    }

    pub(super) async fn set_limits(&mut self, _: &Config, _: &InForce) -> Result<(), String> {
        Ok(())
    }

    pub(super) async fn report(_: Option<Nic>, _: Option<String>) -> Option<NicReport> {
        None
    }

    pub(super) fn failure(&self) -> Option<String> {
        None
    }
}

pub(super) async fn addresses_changed(_: &mut Option<watch::Receiver<Arc<BTreeSet<IpAddr>>>>) {
    std::future::pending::<()>().await;
}
