//! hyper alone as a contender: a proxy without a decision, the floor of the library that tidegate's doors are built on.
//! Never measured with TLS, ceilings or an isthmus.

use std::process::Command;

use anyhow::{Result, ensure};
use tidegate_tests::process::Process;
use tidegate_tests::scratch::Folder;

use super::{Contender, Kind, Setting, Site, free};
use crate::build;

pub(super) fn start(site: &Site, setting: Setting) -> Result<Contender> {
    ensure!(matches!(setting, Setting::Plain | Setting::Http2), "hyper alone only forwards");
    let (folder, address) = (Folder::new("bare")?, free()?);
    let mut command = Command::new(build::bare_proxy()?);
    command.arg(address.to_string()).arg(site.origin.to_string());
    if setting == Setting::Http2 {
        command.arg("h2");
    }
    let process = Process::spawn("bare proxy", &mut command, &folder.file("log"))?;
    Ok(Contender::other(Kind::Bare, address, process, folder))
}
