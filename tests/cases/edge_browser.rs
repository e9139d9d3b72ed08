//! A headless Chromium that a redirect sends home, and that stays there by its pin. Holds no rule of the edge.

use std::net::{Ipv4Addr, TcpListener};

use anyhow::Result;
use tidegate_tests::browser::Browser;
use tidegate_tests::edges::Edge;
use tidegate_tests::origin::{Answer, Origin, Recorded};
use tidegate_tests::relocate::Relocated;
use tidegate_tests::scratch::Folder;

const AT_HOME_IN_US: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 9);
const AT_HOME_IN_EU: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 9);

/// Each region's origin: `/first` goes on to `/second` on the port it is told, anything else says where it was served.
fn origin(region: &'static str) -> Result<Origin> {
    Origin::start(TcpListener::bind("127.0.0.1:0")?, move |request: &Recorded| {
        let next =
            request.target.strip_prefix("/first?then=").map(|url| url.split('&').next().unwrap_or(url));
        let script =
            next.map(|url| format!("<script>location.replace({url:?})</script>")).unwrap_or_default();
        let mut answer = Answer::text(&format!("<title>{region}</title><p>served in {region}</p>{script}"));
        answer.fields = vec!["Content-Type: text/html".into()];
        answer
    })
}

fn edge(folder: &Folder, region: &str, origin: &Origin, ports: [u16; 2]) -> Result<Edge> {
    let key = folder.write("session.key", &"5a".repeat(32))?;
    let [eu, us] = ports;
    Edge::start(&format!(
        "[host]\nregion = {region:?}\nworkers = 1\n\
         [[region]]\nname = \"eu\"\npublic_url = \"http://eu.example.com:{eu}\"\n\
         [[region]]\nname = \"us\"\npublic_url = \"http://us.example.com:{us}\"\n\
         [geo]\ndefault_region = \"eu\"\n[[geo.record]]\nregion = \"us\"\nprefixes = [\"203.0.113.0/24\"]\n\
         [misroute]\nmode = \"redirect\"\n[xdp]\ninterfaces = []\n\
         [session]\ncookie = \"tg_home\"\nttl = \"1h\"\nkey_file = {key:?}\n\
         [[upstream]]\nname = \"origin\"\nendpoints = [{:?}]\n\
         [[listener]]\nname = \"public\"\naddress = \"127.0.0.1:0\"\nproxy_protocol = \"require\"\nupstream = \"origin\"\n",
        origin.url()
    ))
}

#[test]
fn a_browser_is_redirected_home_and_stays_there() -> Result<()> {
    if !tidegate_tests::tools::has_program("chromium") {
        println!("skipped: needs chromium (`cargo xtask setup`)");
        return Ok(());
    }
    let folder = Folder::new("browser-home")?;
    let (eu_origin, us_origin) = (origin("eu")?, origin("us")?);
    // What stands before the edges says where the client is: at first in the US, on the third way in Europe.
    let (eu_way, us_way, us_moved) =
        (Relocated::open(AT_HOME_IN_US)?, Relocated::open(AT_HOME_IN_US)?, Relocated::open(AT_HOME_IN_EU)?);
    let ports = [eu_way.address().port(), us_way.address().port()];
    let (eu, us) = (edge(&folder, "eu", &eu_origin, ports)?, edge(&folder, "us", &us_origin, ports)?);
    eu_way.lead_to(eu.address("public")?);
    us_way.lead_to(us.address("public")?);
    us_moved.lead_to(us.address("public")?);

    let second = format!("http://us.example.com:{}/second", us_moved.address().port());
    let first = format!("http://eu.example.com:{}/first?then={second}", ports[0]);
    let names = [("eu.example.com", Ipv4Addr::LOCALHOST), ("us.example.com", Ipv4Addr::LOCALHOST)];
    let (page, _) = Browser::new()?.with_names(&names).elements(&first)?;
    assert!(page.contains("served in us"), "{page}");
    let served: Vec<_> = us_origin.take().iter().map(|seen| seen.target.clone()).collect();
    let pages: Vec<_> = served.iter().filter(|target| !target.contains("favicon")).collect();
    assert_eq!(pages, [&format!("/first?then={second}"), "/second"], "tg_from is for edges alone");
    assert!(eu_origin.take().is_empty(), "Europe's origin never saw this client");

    // The same way without a pin: a client in Europe belongs to Europe.
    let fresh = Browser::new()?.with_names(&names);
    let (page, _) = fresh.elements(&second)?;
    assert!(page.contains("served in eu"), "{page}");
    Ok(())
}
