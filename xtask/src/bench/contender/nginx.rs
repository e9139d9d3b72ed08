//! nginx as a contender: one process; its ceiling is `limit_req` with a burst of 100 ms, as tidegate's is by default.
//! Never shares a file with the system's own.

use std::process::Command;

use anyhow::{Result, ensure};
use tidegate_tests::process::Process;
use tidegate_tests::scratch::Folder;

use super::{Contender, Kind, Setting, Site, free};

pub(super) fn start(site: &Site, setting: Setting) -> Result<Contender> {
    ensure!(setting != Setting::Isthmus, "nginx has no HTTP/2 towards servers");
    let (folder, address) = (Folder::new("nginx")?, free()?);
    let (zone, limit) = match setting {
        Setting::Watched => request_limit(10_000_000),
        Setting::Ceiling(rate) => request_limit(rate),
        _ => (String::new(), String::new()),
    };
    let (listen, tls) = match setting {
        Setting::Tls => {
            let (certificate, key) = (site.server.certificate.display(), site.server.key.display());
            ("ssl http2", format!("ssl_certificate {certificate}; ssl_certificate_key {key};"))
        }
        Setting::Http2 => ("http2", String::new()),
        _ => ("", String::new()),
    };
    let (at, origin) = (folder.path().display(), site.origin);
    let text = format!(
        "daemon off; master_process off; pid {at}/pid; error_log stderr crit;\nevents {{ worker_connections 9000; }}\n\
         http {{ access_log off; client_body_temp_path {at}/b; proxy_temp_path {at}/p; fastcgi_temp_path {at}/f; uwsgi_temp_path {at}/u;\n\
         scgi_temp_path {at}/s; keepalive_requests 100000000; {zone}\n\
         upstream origin {{ server {origin}; keepalive 256; keepalive_requests 100000000; }}\n\
         server {{ listen {address} {listen}; {tls} location / {{ {limit} proxy_http_version 1.1; proxy_set_header Connection \"\";\n\
         proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; proxy_pass http://origin; }} }} }}\n"
    );
    let file = folder.write("nginx.conf", &text)?;
    let mut command = Command::new("nginx");
    command.arg("-c").arg(file).arg("-p").arg(folder.path()).arg("-e").arg("stderr");
    let process = Process::spawn("nginx", &mut command, &folder.file("log"))?;
    Ok(Contender::other(Kind::Nginx, address, process, folder))
}

fn request_limit(rate: u64) -> (String, String) {
    let zone = format!("limit_req_zone $server_port zone=all:1m rate={rate}r/s; limit_req_status 503;");
    (zone, format!("limit_req zone=all burst={} nodelay;", (rate / 10).max(1)))
}
