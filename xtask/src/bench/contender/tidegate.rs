//! tidegate as a contender. Never measured with anything switched off that is on by default, but the access log and the NIC.

use std::fs;
use std::net::SocketAddr;

use anyhow::Result;
use tidegate_tests::certs::Pair;
use tidegate_tests::daemon::Daemon;

use super::{Contender, Setting, Site, free};

pub(super) fn start(site: &Site, setting: Setting) -> Result<Contender> {
    if setting == Setting::Isthmus {
        return isthmus(site);
    }
    let address = free()?;
    let tls = match setting {
        Setting::Tls => tls(&site.server),
        _ => String::new(),
    };
    let ceilings = match setting {
        Setting::Watched => {
            ceiling("everyone", "", 10_000_000)
                + "concurrent_requests = 100000\n"
                + &ceiling("home", "home = \"here\"\n", 10_000_000)
                + "concurrent_requests = 100000\n"
        }
        Setting::Ceiling(rate) => ceiling("everyone", "", rate),
        Setting::Classes(rate) => {
            ceiling("everyone", "", rate) + "[[priority]]\nclass = \"critical\"\npath_prefix = \"/play\"\n"
        }
        _ => String::new(),
    };
    let body = format!(
        "[[region]]\nname = \"here\"\n[geo]\ndefault_region = \"here\"\n{}{}{ceilings}",
        common(site.origin),
        listener("public", address, &tls)
    );
    Ok(Contender::daemon_at(address, daemon(site, "here", &body)?))
}

/// Two edges: every client's home is the far one.
fn isthmus(site: &Site) -> Result<Contender> {
    let (near, far) = (free()?, free()?);
    let text = |identity: &Pair, listener: &str| {
        format!(
            "[[region]]\nname = \"here\"\n[[region]]\nname = \"there\"\nedges = [\"https://{far}\"]\n\
             [geo]\ndefault_region = \"there\"\n[identity]\ncertificate = {:?}\nkey = {:?}\nauthority = {:?}\n{}{listener}",
            identity.certificate,
            identity.key,
            site.authority.file,
            common(site.origin)
        )
    };
    let [here, there] = &site.identities;
    let far_daemon = daemon(site, "there", &text(there, &listener("peer", far, "kind = \"peer\"\n")))?;
    let near_daemon = daemon(site, "here", &text(here, &listener("public", near, "")))?;
    let mut contender = Contender::daemon_at(near, near_daemon);
    contender.far = Some(Box::new(Contender::daemon_at(far, far_daemon)));
    Ok(contender)
}

fn common(origin: SocketAddr) -> String {
    format!(
        "[xdp]\ninterfaces = []\n[log]\naccess = \"off\"\n[[upstream]]\nname = \"origin\"\nendpoints = [\"http://{origin}\"]\n"
    )
}

fn listener(name: &str, address: SocketAddr, more: &str) -> String {
    format!("[[listener]]\nname = \"{name}\"\naddress = \"{address}\"\nupstream = \"origin\"\n{more}")
}

fn tls(pair: &Pair) -> String {
    format!("tls = {{ certificate = {:?}, key = {:?} }}\n", pair.certificate, pair.key)
}

fn ceiling(name: &str, home: &str, rate: u64) -> String {
    format!("[[ceiling]]\nname = \"{name}\"\n{home}requests_per_second = {rate}\n")
}

/// One worker; everything else is as by default.
fn daemon(site: &Site, region: &str, body: &str) -> Result<Daemon> {
    let mut daemon = Daemon::prepare_from(site.binary.clone(), None, region, body)?;
    let file = daemon.configuration();
    let text = fs::read_to_string(&file)?.replacen("[host]\n", "[host]\nworkers = 1\n", 1);
    fs::write(&file, text)?;
    daemon.run()?;
    Ok(daemon)
}
