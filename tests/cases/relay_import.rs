//! `tidegate relay import`: mcrouter's asynclog files, in its own format, forget keys in the other region; faulty ones are named and nothing is half-done.

use anyhow::{Result, ensure};
use tidegate_tests::memcached::{Places, RelayRegion};

fn pair() -> Result<(RelayRegion, RelayRegion)> {
    let places = Places::pick()?;
    let pool = "repeat_after = \"0s\"";
    Ok((places.region(0, 1, "", pool)?, places.region(1, 1, "", pool)?))
}

/// As mcrouter writes it with `use_asynclog_version2`, and without.
fn version2(pool: &str, key: &str) -> String {
    format!(
        "[\"AS2.0\",1764028800.123,\"C\",{{\"p\":\"{pool}\",\"k\":\"{key}\",\"h\":\"[10.0.0.1]:11302\",\"f\":\"web\"}}]\n"
    )
}

fn version1(key: &str) -> String {
    format!("[\"AS1.0\",1764028800.123,\"C\",[\"10.0.0.1\",11302,\"delete {key}\\r\\n\"]]\n")
}

#[test]
fn deletes_of_both_versions_are_sent_once_and_again() -> Result<()> {
    let (eu, us) = pair()?;
    let mut copies = us.servers[0].client()?;
    let keys: Vec<String> = (0..25_000).map(|n| format!("k{n}")).collect();
    for key in ["k0", "k24999", "old", "bare", "/eu/web/bare", "stays"] {
        copies.set(key, "x")?;
    }
    let folder = eu.daemon.folder();
    let many =
        folder.write("20251125T00-1", &keys.iter().map(|key| version2("p", key)).collect::<String>())?;
    let few = folder.write("20251125T00-2", &(version1("old") + "\n" + &version1("/eu/web/bare")))?;
    let files = [many.to_str().unwrap_or_default(), few.to_str().unwrap_or_default()];
    let said = eu.daemon.tell(&["relay", "import", files[0], files[1]])?;
    ensure!(said.contains("25003 keys of pool p are on their way\n25002 lines, 0 faulty\n"), "{said}");
    eu.settle()?;
    for key in ["k0", "k24999", "old", "bare", "/eu/web/bare"] {
        ensure!(copies.get(key)?.is_none(), "{key} is still there");
    }
    ensure!(copies.get("stays")?.is_some(), "a key that no file names is gone");
    let again = eu.daemon.tell(&["relay", "import", "--json", files[1]])?;
    ensure!(again.contains("\"sent\": true") && again.contains("\"p\": 3"), "{again}");
    eu.settle()
}

#[test]
fn one_faulty_line_and_nothing_is_sent() -> Result<()> {
    let (eu, us) = pair()?;
    let mut copies = us.servers[0].client()?;
    copies.set("good", "x")?;
    let lines =
        version2("p", "good") + &version2("elsewhere", "a") + "[\"AS2.0\",1,\"C\",{\"p\":\"p\",\"k\":\"cut";
    let file = eu.daemon.folder().write("asynclog", &lines)?;
    let file = file.to_str().unwrap_or_default();
    let refused = eu.daemon.ask(&["relay", "import", file])?;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    ensure!(refused.status.code() == Some(1), "{:?}: {said}", refused.status);
    for part in [
        &format!("{file}:2: there is no relay pool \"elsewhere\" (there are: p); --pool says which"),
        &format!("{file}:3: EOF"),
        "2 of 3 lines are faulty; nothing was sent",
    ] {
        ensure!(said.contains(part), "{part:?} is not in {said}");
    }
    ensure!(eu.book("captured")? == 0, "something was sent");
    let skipped = eu.daemon.tell(&["relay", "import", "--skip-faulty", file])?;
    ensure!(skipped.contains("1 keys of pool p are on their way\n3 lines, 2 faulty\n"), "{skipped}");
    eu.settle()?;
    ensure!(copies.get("good")?.is_none(), "the good line was not sent");
    let named = eu.daemon.tell(&["relay", "import", "--skip-faulty", "--pool", "p", "--json", file])?;
    ensure!(named.contains("\"faulty\": 1") && named.contains("\"line\": 3"), "{named}");
    for (arguments, code) in [
        (vec!["relay", "import", "--pool", "nowhere", file], 1),
        (vec!["relay", "import", "/nonexistent"], 1),
        (vec!["relay", "import"], 2),
    ] {
        let refused = eu.daemon.ask(&arguments)?;
        ensure!(refused.status.code() == Some(code), "{arguments:?}: {:?}", refused.status);
    }
    Ok(())
}
