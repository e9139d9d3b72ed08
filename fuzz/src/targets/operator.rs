//! What operators give: configurations, geofeeds, databases, logs of mcrouter. Whatever is in them is used or told with its place, and nothing
//! breaks. Never opens a file that they name.

use std::path::Path;
use std::sync::LazyLock;

use tidegate::config::types::Geo;
use tidegate::config::{LoadError, from_sources};
use tidegate::decide::geo::{database, feed, home};
use tidegate::decide::relay::asynclog;

use crate::Target;

/// The configuration's text.
pub(super) const CONFIGURATION: Target = Target {
    name: "configuration",
    run: configuration,
    seeds: || {
        let texts: [&[u8]; 3] = [
            include_bytes!("../../../packaging/default.toml"),
            include_bytes!("../../../packaging/examples/edge-eu.toml"),
            include_bytes!("../../../packaging/examples/relay.toml"),
        ];
        texts.map(<[u8]>::to_vec).to_vec()
    },
    words: &[
        b"[host]\n",
        b"[[region]]\n",
        b"[[listener]]\n",
        b"[[upstream]]\n",
        b"[[ceiling]]\n",
        b"[[relay.pool]]\n",
        b"[xdp]\n",
        b"name = ",
        b"region = ",
        b"\"eu\"",
        b"= [",
        b"= {",
        b"\"1s\"",
        b"\"10ms\"",
        b"\"1Gbit\"",
        b"\"100%\"",
        b"true",
        b"\"192.0.2.1:443\"",
        b"\"[::1]:443\"",
        b"\"2001:db8::/32\"",
        b"schedule = ",
        b"\"Mon-Fri 08:00-18:00\"",
        b"timezone = ",
        b"18446744073709551615",
        b"-1",
        b"1e308",
        b"\"\"",
    ],
    most_bytes: 16_384,
};

fn configuration(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let faults = match from_sources(vec![(Path::new("fuzz.toml").to_owned(), text.to_owned())]) {
        Ok(loaded) => loaded.warnings,
        Err(LoadError::Faulty(faults)) => {
            assert!(!faults.is_empty(), "refused without a fault");
            faults
        }
        Err(other) => panic!("{other}"),
    };
    for fault in faults {
        assert!(fault.line >= 1 && fault.line <= text.lines().count() + 1, "{fault}");
        assert!(fault.column >= 1, "{fault}");
        assert!(!fault.problem.is_empty() && !fault.problem.contains("please report"), "{fault}");
    }
}

/// An RFC 8805 geofeed.
pub(super) const GEOFEED: Target = Target {
    name: "geofeed",
    run: geofeed,
    seeds: || {
        vec![
            b"# feed\n192.0.2.0/24,us,US-NY,New York,\n\n2001:db8::/32,FR,,,\n192.0.2.7\n".to_vec(),
            b"\xef\xbb\xbf192.0.2.1/24,US,,,\r\n198.51.100.0/24,USA,,,\n\"198.51.100.0/24\",US,FR-75,,\nnonsense\n".to_vec(),
        ]
    },
    words: &[
        b"192.0.2.0/24",
        b"2001:db8::/32",
        b",US,",
        b"US-NY",
        b"\n",
        b"#",
        b"\"",
        b"/129",
        b"::ffff:1.2.3.4/96",
    ],
    most_bytes: 1024,
};

fn geofeed(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (located, bad) = feed::parse(text);
    let lines = text.lines().count();
    assert!(located.len() + bad.len() <= lines, "more entries than lines");
    for entry in &located {
        assert_eq!(entry.prefix.trunc(), entry.prefix, "host bits behind the prefix");
        _ = home(&GEO, &entry.place);
    }
    for line in bad {
        assert!(line.line >= 1 && line.line <= lines && !line.problem.is_empty());
    }
}

/// A MaxMind-format database; its seed is in `corpus/`.
pub(super) const GEO_DATABASE: Target = Target {
    name: "geo_database",
    run: |data| _ = database::read(data, &GEO),
    seeds: Vec::new,
    words: &[
        b"\xab\xcd\xefMaxMind.com",
        b"\x47country",
        b"\x48iso_code",
        b"\x4ccountry_code",
        b"\x49continent",
        b"record_size",
        b"node_count",
        b"ip_version",
        b"\xff\xff\xff\xff",
        b"\x20\0",
        b"\x3f\xff\xff\xff",
    ],
    most_bytes: 8192,
};

static GEO: LazyLock<Geo> = LazyLock::new(|| {
    let text = "[host]\nregion = \"eu\"\n[[region]]\nname = \"eu\"\n[[region]]\nname = \"us\"\n[[region]]\nname = \"ny\"\n\
        [[region]]\nname = \"oc\"\n[[geo.record]]\nregion = \"us\"\ncountries = [\"US\", \"CA\"]\n\
        [[geo.record]]\nregion = \"ny\"\nsubdivisions = [\"US-NY\", \"GB-ENG\"]\n\
        [[geo.record]]\nregion = \"oc\"\ncontinents = [\"OC\"]\n";
    match from_sources(vec![(Path::new("geo.toml").to_owned(), text.to_owned())]) {
        Ok(loaded) => loaded.config.geo,
        Err(error) => panic!("{error}"),
    }
});

/// A line of mcrouter's asynclog.
pub(super) const ASYNCLOG: Target = Target {
    name: "asynclog",
    run: asynclog,
    seeds: || {
        vec![
            br#"["AS1.0",1289416829.836,"C",["10.0.0.1",11302,"delete foo\r\n"]]"#.to_vec(),
            br#"["AS2.0",1410611229.747,"C",{"f":"flavor","h":"[10.0.0.1]:11302","p":"pool","k":"/eu/a/key\r\n"}]"#.to_vec(),
        ]
    },
    words: &[
        b"\"AS1.0\"",
        b"\"AS2.0\"",
        b"\"C\"",
        b"\"p\":",
        b"\"k\":",
        b"delete ",
        b"\\r\\n",
        b"\\u0000",
        b"[",
        b"{",
        b"null",
    ],
    most_bytes: 1024,
};

fn asynclog(data: &[u8]) {
    if let Ok(delete) = asynclog::parse(data) {
        for key in delete.keys() {
            let plain = key.iter().all(|&byte| byte > b' ' && byte != 0x7f);
            assert!(plain && (1..=250).contains(&key.len()), "{delete:?}");
        }
    }
}
