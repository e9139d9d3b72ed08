//! What stands at the beginning of a connection or of a session: PROXY protocol headers and pins. Never believes more than was signed or spelt
//! out.

use std::sync::LazyLock;
use std::time::Duration;

use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};
use tidegate::decide::pin::{Pin, PinKeys, Pins};
use tidegate::decide::proxy_protocol::{MOST_BYTES, Progress, parse};
use tidegate::decide::region::{RegionId, Regions};

use crate::Target;

/// A PROXY protocol header, of either version.
pub(super) const HEADER: Target = Target {
    name: "proxy_header",
    run: header,
    seeds: header_seeds,
    words: &[
        b"PROXY ",
        b"TCP4 ",
        b"TCP6 ",
        b"UNKNOWN",
        b"\r\n",
        b"\r\n\r\n\0\r\nQUIT\n",
        b"\x21\x11\0\x0c",
        b"\x21\x21\0\x24",
        b"\x20\0\0\0",
        b"::1 ",
        b"192.0.2.1 ",
        b"65535",
        b"2001:db8::",
    ],
    most_bytes: 512,
};

fn header_seeds() -> Vec<Vec<u8>> {
    let signature = b"\r\n\r\n\0\r\nQUIT\n";
    let two = |rest: &[u8]| [&signature[..], rest].concat();
    vec![
        b"PROXY TCP4 192.0.2.1 198.51.100.1 4711 443\r\nGET".to_vec(),
        b"PROXY TCP6 2001:db8::1 2001:db8::2 4711 443\r\n".to_vec(),
        b"PROXY UNKNOWN\r\n".to_vec(),
        two(&[0x21, 0x11, 0, 12, 192, 0, 2, 1, 198, 51, 100, 1, 0x12, 0x67, 1, 0xbb]),
        two(&[&[0x21, 0x21, 0, 36][..], &[1; 36]].concat()),
        two(&[0x20, 0, 0, 0]),
        two(&[&[0x21, 0x31, 0, 216][..], &[b'/'; 216]].concat()),
        two(&[&[0x21, 0x11, 0, 19][..], &[1; 12], &[3, 0, 4, 0, 0, 0, 0]].concat()),
    ]
}

fn header(data: &[u8]) {
    let whole = parse(data);
    match whole {
        Ok(Progress::Incomplete(least)) => assert!(least > data.len() && least <= MOST_BYTES, "{least}"),
        Ok(Progress::Complete { bytes, .. }) => {
            assert!(bytes <= data.len() && bytes <= MOST_BYTES);
            assert_eq!(parse(&data[..bytes]), whole, "what follows a header changes it");
        }
        Err(_) => {}
    }
    for cut in 0..data.len().min(MOST_BYTES) {
        match parse(&data[..cut]) {
            Ok(Progress::Incomplete(least)) => assert!(least > cut && least <= MOST_BYTES),
            Ok(complete) => assert_eq!(Ok(complete), whole, "cut at {cut}"),
            Err(_) => assert!(whole.is_err(), "refused at {cut}, but the whole is not"),
        }
    }
}

/// A session's pin in a cookie.
pub(super) const PIN: Target = Target {
    name: "session_pin",
    run: pin,
    seeds: || {
        vec![cookie().into_bytes(), b"a=b; tidegate=1.eu.99999999999.AAAA; c=d".to_vec(), b"k".repeat(64)]
    },
    words: &[b"tidegate=", b"; ", b"1.eu.", b".", b"=", b"\"", b"18446744073709551615", b"\r\n"],
    most_bytes: 512,
};

const NOW: u64 = 1_800_000_000;

static PINS: LazyLock<Option<Pins>> = LazyLock::new(|| {
    let keys = PinKeys::parse(b"0123456789abcdef0123456789abcdef").ok()?;
    let names = Regions::new(vec!["eu".to_owned(), "us".to_owned()])?;
    Some(Pins::new("tidegate".to_owned(), Duration::from_secs(3600), keys, names))
});

/// A pin as clients send it back.
fn cookie() -> String {
    let written =
        PINS.as_ref().zip(RegionId::new(0)).and_then(|(pins, region)| pins.write(region, NOW, true));
    let written = written.map(|(_, value)| String::from_utf8_lossy(value.as_bytes()).into_owned());
    written.unwrap_or_default().split(';').next().unwrap_or_default().to_owned()
}

fn pin(data: &[u8]) {
    _ = PinKeys::parse(data);
    let (Some(pins), Ok(value)) = (PINS.as_ref(), HeaderValue::from_bytes(data)) else { return };
    let mut headers = HeaderMap::new();
    headers.insert(COOKIE, value);
    let genuine = cookie();
    let genuine = genuine.trim_start_matches("tidegate=");
    let holds = data.windows(genuine.len()).any(|here| here == genuine.as_bytes());
    match pins.read(&headers, NOW) {
        Pin::Valid { region, .. } => assert!(holds && region.index() == 0, "a pin that nobody signed"),
        Pin::Absent | Pin::Ignored(_) => {}
    }
    assert_eq!(pins.read(&headers, NOW + 3600).region(), None, "a pin outlives its time");
}
