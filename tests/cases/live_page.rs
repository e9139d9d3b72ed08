//! The live page in a headless Chromium, on a status with everything in it. Holds no rule of the page.
//!
//! `UPDATE_SCREENSHOTS=1` writes the pictures in docs/pictures anew.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};
use tidegate_tests::browser::{self, Browser};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

const EVIL: &str = "<img src=x onerror=\"document.title='owned'\">";

/// The n-th status: a second apart each, with rates that move and a region's name that tries to be markup.
fn status(sample: &Value, n: u64, evil: bool) -> Value {
    let mut status = sample.clone();
    status["now"] = json!(format!("2026-11-24T20:{:02}:{:02}Z", n / 60 % 60, n % 60));
    status["regions"][0]["requests_per_second"]["local"] = json!(11_000 + (n * 37 % 40) * 45);
    status["regions"][1]["requests_per_second"]["local"] = json!(4_000 + (n * 13 % 30) * 30);
    status["regions"][1]["misrouted"] = json!(1_000 + n * 250);
    status["nic"]["reasons"][1]["packets"] = json!(1_000 + n * 90);
    if evil {
        status["regions"][1]["reason"] = json!(EVIL);
        status["warnings"] = json!([EVIL]);
    }
    status
}

fn events(evil: bool) -> String {
    let at = |second: u32| format!("2026-11-24T20:00:{second:02}.5Z");
    let request = if evil { EVIL } else { "GET /web/start" };
    let lines = [
        json!({"at": at(1), "kind": "failover", "region": "us-east-1", "on": true, "cause": "automatic", "reason": null}),
        json!({"at": at(2), "kind": "ceiling", "ceiling": "from-us", "measure": "requests_per_second", "old": 1000, "new": 2000, "cause": "clock"}),
        json!({"at": at(3), "kind": "admin", "uid": 0, "pid": 7, "what": "ceiling from-us requests_per_second", "old": "5000", "new": "8000", "cause": "operator"}),
        json!({"at": at(4), "kind": "shed", "layer": "proxy", "reason": "requests_per_second", "home": "us-east-1", "source": "198.51.100.7",
               "port": null, "size": null, "request": request, "observed": false, "skipped": 211}),
    ];
    lines.iter().map(|line| format!("{line}\n")).collect()
}

fn serve(evil: bool) -> String {
    let page = std::fs::read_to_string(root().join("daemon/src/admin/page/page.html")).expect("the page");
    let sample =
        std::fs::read_to_string(root().join("daemon/src/admin/top/testdata/status.json")).expect("a status");
    let sample: Value = serde_json::from_str(&sample).expect("JSON");
    let pages = move |path: &str, n: u64| match path {
        "/" => Some(("text/html; charset=utf-8", page.clone())),
        "/v1/status" => Some(("application/json", status(&sample, n, evil).to_string())),
        "/v1/events" => Some(("application/x-ndjson", events(evil))),
        _ => None,
    };
    format!("http://{}/", browser::serve(Arc::new(pages)).expect("a port"))
}

#[test]
fn the_page_shows_status_and_events() {
    let (elements, console) = Browser::new().expect("a browser").elements(&serve(false)).expect("shown");
    for shown in [
        "main in eu-west-1",
        "us-east-1",
        "in failover: automatic",
        "0 of 2",
        "212 shed/s",
        "ramp at 40 %",
        "100 %",
        "eth0 native",
        "sessions",
        "http://127.0.0.1:8081",
        "us-east-1 into failover (automatic)",
        "GET /web/start (and 211 more)",
        "role=\"status\" class=\"good\"",
    ] {
        assert!(elements.contains(shown), "\"{shown}\" is not shown in\n{elements}");
    }
    assert!(console.is_empty(), "{console:?}");
}

#[test]
fn what_clients_send_never_becomes_markup() {
    let (elements, console) = Browser::new().expect("a browser").elements(&serve(true)).expect("shown");
    assert!(elements.contains("&lt;img src=x onerror="), "it is shown as text: {elements}");
    assert!(!elements.contains("<img"), "{elements}");
    assert!(elements.contains("<title>tidegate main in eu-west-1</title>"));
    assert!(console.is_empty(), "{console:?}");
}

#[test]
fn it_is_drawn_on_a_wall_a_desk_and_a_phone() {
    let update = std::env::var_os("UPDATE_SCREENSHOTS").is_some();
    let folder = tidegate_tests::scratch::Folder::new("pictures").expect("a folder");
    let pictures = if update { root().join("docs/pictures") } else { folder.path().to_path_buf() };
    std::fs::create_dir_all(&pictures).expect("a folder");
    let (url, browser) = (serve(false), Browser::new().expect("a browser"));
    for (name, size, dark) in [
        ("page-desktop.png", (1280, 900), false),
        ("page-dark.png", (1280, 900), true),
        ("page-phone.png", (500, 1600), false),
    ] {
        let file = pictures.join(name);
        browser.picture(&url, size, dark, &file).unwrap_or_else(|error| panic!("{name}: {error:#}"));
        let png = std::fs::read(&file).expect("readable");
        assert!(png.starts_with(b"\x89PNG") && png.len() > 10_000, "{name} is empty: {} bytes", png.len());
    }
}
