//! haproxy as a contender: one thread; its usual idiom for a ceiling is a stick table with a rate over one second.
//! Never shares a file with the system's own.

use std::fs;
use std::net::SocketAddr;
use std::process::Command;

use anyhow::Result;
use tidegate_tests::certs::Pair;
use tidegate_tests::process::Process;
use tidegate_tests::scratch::Folder;

use super::{Contender, Kind, Setting, Site, free};

pub(super) fn start(site: &Site, setting: Setting) -> Result<Contender> {
    let folder = Folder::new("haproxy")?;
    if setting == Setting::Isthmus {
        return isthmus(site, folder);
    }
    let bind = match setting {
        Setting::Tls => format!("ssl crt {} alpn h2,http/1.1", together(&folder, &site.server)?),
        Setting::Http2 => "proto h2".to_owned(),
        _ => String::new(),
    };
    let limit = match setting {
        Setting::Watched => limit(10_000_000),
        Setting::Ceiling(rate) => limit(rate),
        _ => String::new(),
    };
    run(folder, &bind, &limit, &format!("server one {}", site.origin))
}

/// Two of them, with HTTP/2 over mutual TLS between: the same work as an isthmus.
fn isthmus(site: &Site, folder: Folder) -> Result<Contender> {
    let [here, there] = &site.identities;
    let authority = site.authority.file.display();
    let far_folder = Folder::new("haproxy")?;
    let crt = together(&far_folder, there)?;
    let bind = format!("ssl crt {crt} ca-file {authority} verify required alpn h2");
    let far = run(far_folder, &bind, "", &format!("server one {}", site.origin))?;
    let crt = together(&folder, here)?;
    let server =
        format!("server one {} ssl crt {crt} ca-file {authority} verify required alpn h2", far.address);
    let mut near = run(folder, "", "", &server)?;
    near.far = Some(Box::new(far));
    Ok(near)
}

fn run(folder: Folder, bind: &str, limit: &str, server: &str) -> Result<Contender> {
    let address: SocketAddr = free()?;
    let text = format!(
        "global\n  nbthread 1\n  maxconn 9000\ndefaults\n  mode http\n  timeout connect 1s\n  timeout client 75s\n  timeout server 30s\n\
         frontend public\n  bind {address} {bind}\n{limit}  option forwardfor\n  default_backend origin\n\
         backend origin\n  http-reuse always\n  {server}\n"
    );
    let file = folder.write("haproxy.cfg", &text)?;
    let mut command = Command::new("haproxy");
    command.arg("-db").arg("-f").arg(file);
    let process = Process::spawn("haproxy", &mut command, &folder.file("log"))?;
    Ok(Contender::other(Kind::Haproxy, address, process, folder))
}

/// Certificate and key in one file.
fn together(folder: &Folder, pair: &Pair) -> Result<String> {
    let both = fs::read_to_string(&pair.certificate)? + &fs::read_to_string(&pair.key)?;
    Ok(folder.write("both.pem", &both)?.display().to_string())
}

fn limit(rate: u64) -> String {
    format!(
        "  stick-table type integer size 1 expire 10s store http_req_rate(1s)\n  http-request track-sc0 int(1)\n\
         \x20 http-request deny deny_status 503 if {{ sc_http_req_rate(0) gt {rate} }}\n"
    )
}
