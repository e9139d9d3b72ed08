//! Clients that share a front's connection to memcached: each gets its own answers, in its own order, whoever else is there.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tidegate_tests::chance::Chance;
use tidegate_tests::memcached::{Client, Memcached, Places, RelayRegion};
use tidegate_tests::process::wait_until;

const BOUND: Duration = Duration::from_secs(60);

fn connections(server: &Memcached) -> Result<usize> {
    let mut client = server.client()?;
    client.send(b"stats\r\n")?;
    let mut found = None;
    loop {
        let line = client.line()?;
        if let Some(count) = line.strip_prefix("STAT curr_connections ") {
            found = Some(count.parse()?);
        }
        if line == "END" {
            return found.context("no curr_connections");
        }
    }
}

/// One worker before one server, once clients share its connection: a new one costs the server none.
fn sharing() -> Result<RelayRegion> {
    let region = Places::pick()?.with_workers(1).region(0, 1, "", "")?;
    let mut kept = Vec::new();
    wait_until("clients share a connection", BOUND, || {
        let before = connections(&region.servers[0]).unwrap_or(0);
        let mut fresh: Vec<Client> = (0..5).filter_map(|_| region.client().ok()).collect();
        let asked = fresh.iter_mut().all(|client| matches!(client.get("nothing"), Ok(None)));
        let same = connections(&region.servers[0]).is_ok_and(|after| after <= before);
        kept.extend(fresh);
        asked && same
    })?;
    Ok(region)
}

#[test]
fn many_clients_cost_the_server_one_connection_and_each_gets_its_own_answer() -> Result<()> {
    let region = sharing()?;
    let before = connections(&region.servers[0])?;
    let mut clients = (0..64).map(|_| region.client()).collect::<Result<Vec<_>>>()?;
    for round in 0..50 {
        for (n, client) in clients.iter_mut().enumerate() {
            let value = format!("{n}/{round}");
            client.send(format!("set k{n} {n} 0 {}\r\n{value}\r\n", value.len()).as_bytes())?;
        }
        for client in &mut clients {
            assert_eq!(client.line()?, "STORED");
        }
        for (n, client) in clients.iter_mut().enumerate() {
            // Hits, misses, numbers, refusals: answers of all lengths behind one another.
            let ask = match (n + round) % 4 {
                0 => format!("get k{n}\r\n"),
                1 => format!("get none{n}\r\n"),
                2 => format!("incr k{n} 1\r\n"),
                _ => format!("mg k{n} v f O{n}\r\n"),
            };
            client.send(ask.as_bytes())?;
        }
        for (n, client) in clients.iter_mut().enumerate() {
            let value = format!("{n}/{round}");
            match (n + round) % 4 {
                0 => {
                    assert_eq!(client.line()?, format!("VALUE k{n} {n} {}", value.len()));
                    assert_eq!((client.line()?, client.line()?), (value, "END".into()));
                }
                1 => assert_eq!(client.line()?, "END"),
                2 => assert!(client.line()?.starts_with("CLIENT_ERROR cannot increment")),
                _ => {
                    assert_eq!(client.line()?, format!("VA {} f{n} O{n}", value.len()));
                    assert_eq!(client.line()?, value);
                }
            }
        }
    }
    assert!(connections(&region.servers[0])? <= before + 1, "clients that wait share a connection");
    Ok(())
}

/// A client that never waits the same way twice, and always reads what it wrote last.
fn mix(front: SocketAddr, name: &str, rounds: usize) -> Result<()> {
    let mut chance = Chance::of(name.bytes().map(u64::from).sum());
    let mut client = Client::connect(front)?;
    let mut now = "0".to_owned();
    assert_eq!(client.set(name, &now)?, "STORED");
    for round in 1..rounds {
        let next = format!("{round}");
        let set = format!("set {name} 0 0 {}", next.len());
        match chance.below(8) {
            0 => client.send(format!("{set} noreply\r\n{next}\r\n").as_bytes())?,
            1 => client.send(format!("ms {name} {} q\r\n{next}\r\n", next.len()).as_bytes())?,
            2 => {
                client.send(format!("{set}\r\n{next}\r\nget none\r\n").as_bytes())?;
                ensure!((client.line()?, client.line()?) == ("STORED".into(), "END".into()), "pipelined");
            }
            3 => {
                // In two pieces, so that the second comes while nothing, or the answer, is under way.
                client.send(format!("get {name}\r\n{set}\r\n").as_bytes())?;
                client.send(format!("{next}\r\n").as_bytes())?;
                let old = (client.line()?, client.line()?, client.line()?);
                ensure!(
                    old == (format!("VALUE {name} 0 {}", now.len()), now.clone(), "END".into()),
                    "{old:?}"
                );
                ensure!(client.line()? == "STORED", "in pieces");
            }
            4 => {
                // The next request comes before the answer to the last.
                client.send(format!("{set}\r\n{next}\r\n").as_bytes())?;
                client.send(b"version\r\n")?;
                ensure!(client.line()? == "STORED" && client.line()?.starts_with("VERSION "), "early");
            }
            5 => {
                // Leaves while an answer is due.
                client.send(b"get none\r\n")?;
                client = Client::connect(front)?;
                ensure!(client.set(name, &next)? == "STORED", "after a new connection");
            }
            _ => ensure!(client.set(name, &next)? == "STORED", "set"),
        }
        now = next;
        let seen = client.get(name)?;
        ensure!(seen.as_deref() == Some(now.as_str()), "{name}: wrote {now}, read {seen:?}");
    }
    Ok(())
}

#[test]
fn a_client_reads_what_it_has_written_however_it_asks() -> Result<()> {
    let region = sharing()?;
    let front = region.front();
    let threads: Vec<_> =
        (0..6).map(|n| std::thread::spawn(move || mix(front, &format!("client{n}"), 400))).collect();
    for thread in threads {
        thread.join().map_err(|_| anyhow::anyhow!("a client panicked"))??;
    }
    Ok(())
}

#[test]
fn who_does_not_read_holds_up_nobody_and_gets_all_in_the_end() -> Result<()> {
    let region = sharing()?;
    let mut client = region.client()?;
    let big = "b".repeat(900_000);
    assert_eq!(client.set("big", &big)?, "STORED");
    let mut idle = Vec::new();
    for _ in 0..20 {
        let mut stream = TcpStream::connect(region.front())?;
        stream.set_read_timeout(Some(BOUND))?;
        stream.write_all(b"get big\r\n")?;
        idle.push(stream);
    }
    for n in 0..200 {
        assert_eq!(client.set("small", &n.to_string())?, "STORED");
        assert_eq!(client.get("small")?, Some(n.to_string()));
    }
    for mut stream in idle {
        let mut answer = vec![0; "VALUE big 0 900000\r\n".len() + big.len() + "\r\nEND\r\n".len()];
        stream.read_exact(&mut answer)?;
        assert!(answer.starts_with(b"VALUE big 0 900000\r\nbbb") && answer.ends_with(b"bbb\r\nEND\r\n"));
    }
    Ok(())
}

#[test]
fn when_memcached_ends_all_who_share_are_told() -> Result<()> {
    let mut region = sharing()?;
    let mut clients = (0..10).map(|_| region.client()).collect::<Result<Vec<_>>>()?;
    for client in &mut clients {
        assert_eq!(client.get("nothing")?, None);
    }
    region.servers[0].kill()?;
    for client in &mut clients {
        assert!(client.line().is_err(), "as memcached itself: its end is the connection's");
    }
    region.servers[0].run(&[])?;
    wait_until("the front answers again", BOUND, || {
        region.client().and_then(|mut client| client.get("nothing")).is_ok_and(|answer| answer.is_none())
    })
}
