//! What clients get through the front is what their memcached says, to the letter, and ends where that ends: odd dialogues, directly and
//! through it, byte by byte, with how much of each is captured.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tidegate_tests::memcached::{Memcached, Places};
use tidegate_tests::process::wait_until;

const BOUND: Duration = Duration::from_secs(60);
/// Bytes of the largest value by default, with what belongs to the item.
const ITEM: usize = 1024 * 1024;

/// Says all of it, then no more, and hears all that comes until the other side closes.
fn say(to: SocketAddr, request: &[u8]) -> Result<Vec<u8>> {
    let mut stream = TcpStream::connect(to)?;
    stream.set_read_timeout(Some(BOUND))?;
    let mut speaker = stream.try_clone()?;
    let mut answer = Vec::new();
    std::thread::scope(|scope| {
        // Who has heard enough closes: then the rest is not taken.
        scope.spawn(move || speaker.write_all(request).and_then(|()| speaker.shutdown(Shutdown::Write)));
        match stream.read_to_end(&mut answer) {
            Err(error) if error.kind() != ErrorKind::ConnectionReset => Err(error),
            _ => Ok(()),
        }
    })
    .with_context(|| format!("no end behind {} bytes", answer.len()))?;
    Ok(answer)
}

fn frame(opcode: u8, opaque: u32, extras: &[u8], key: &[u8], value: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0u8; 24];
    (bytes[0], bytes[1], bytes[4]) = (0x80, opcode, extras.len() as u8);
    bytes[2..4].copy_from_slice(&(key.len() as u16).to_be_bytes());
    bytes[8..12].copy_from_slice(&((extras.len() + key.len() + value.len()) as u32).to_be_bytes());
    bytes[12..16].copy_from_slice(&opaque.to_be_bytes());
    [&bytes, extras, key, value].concat()
}

/// Text: a request, and how many captures it comes to.
const TEXT: &[(&str, u64)] = &[
    ("set a 5 0 3\r\nabc\r\ngat 100 a no\r\ngat\r\ngat 10\r\ngat x a\r\ngats\r\n", 1),
    (
        "touch a 10\r\ntouch no 1\r\ntouch a 1 noreply\r\ntouch a 0 noreply\r\ntouch\r\ntouch a x\r\nget a\r\n",
        0,
    ),
    ("verbosity 1\r\nverbosity\r\nverbosity 0 noreply\r\nversion\r\n", 0),
    ("cache_memlimit 64\r\ncache_memlimit\r\ncache_memlimit 64 noreply\r\ncache_memlimit x\r\nget a\r\n", 0),
    ("shutdown\r\nshutdown graceful\r\nget a\r\n", 0),
    ("lru_crawler disable\r\nlru_crawler\r\nlru_crawler bogus\r\nlru_crawler metadump\r\nget a\r\n", 0),
    ("lru mode flat\r\nlru\r\nlru bogus\r\nslabs automove 0\r\nslabs\r\nslabs bogus x\r\nget a\r\n", 0),
    ("stats bogus\r\nstats reset\r\nstats detail on\r\nstats detail off\r\nset s 0 0 1\r\nx\r\n", 1),
    ("watch bogus\r\nget a\r\n", 0),
    ("\r\n\n \r\nfoo\r\nget\r\nset\r\nGET a\r\nget a\r\n", 0),
    ("set lf 0 0 1\nx\r\nget lf\ndelete lf\n", 2),
    ("set n 0 -1 1\r\nx\r\nget n\r\nset n 0 0 01\r\nx\r\n  get   n  \r\n", 2),
    ("delete a 0\r\ndelete a 5\r\ndelete\r\ndelete a b c d e\r\nget a\r\ndelete a 0 noreply\r\nget a\r\n", 2),
    ("set i 0 0 2\r\n10\r\nincr i 5\r\ndecr i 100\r\nincr i x\r\nincr i\r\nincr i 1 noreply\r\nget i\r\n", 4),
    (
        "set p 0 0 1\r\nx\r\nappend p 0 0 1\r\ny\r\nprepend p 0 0 1 noreply\r\nz\r\nget p\r\nappend no 0 0 1\r\ny\r\n",
        3,
    ),
    ("ms AGI= 2 b T0 F7\r\nhi\r\nmg AGI= b k v f t s\r\nmd AGI= b k\r\n", 2),
    ("ms m 2 T90 F5 I\r\nhi\r\nms m 2 ME\r\nhi\r\nms m 2 MA k O7\r\nxx\r\nmg m s v\r\nmg m k v O1\r\n", 2),
    ("ms m S2\r\nhi\r\nms m 2 MA\r\nxx\r\nmg m v\r\n", 2),
    ("ms n 1\r\n5\r\nma n v\r\nma n MD D2 v\r\nma no\r\nma n q\r\nma no q\r\nmd no q\r\nmn\r\n", 6),
    ("mg no v q\r\nmg no k v q O5\r\nmg m v q\r\nget m\r\nme no\r\nme no q\r\nmn x\r\nmx a\r\nmn\r\n", 0),
    ("ms m abc\r\nmn\r\n", 0),
    ("version\r\nquit\r\n", 0),
    // Nothing comes behind what memcached itself closes at.
    ("version\r\nquit\r\nget a\r\nget b\r\n", 0),
    ("GET / HTTP/1.1\r\nHost: x\r\n\r\n", 0),
    ("get a\r\nPOST / HTTP/1.1\r\nHost: x\r\n\r\n", 0),
    // The client leaves inside a line, or inside a value.
    ("get a\r\nset h 0 0 1", 0),
    ("get m\r\nset h 0 0 10\r\n12345", 0),
    ("ms h 10 q\r\n12345", 0),
];

#[test]
fn odd_dialogues_come_out_to_the_letter() -> Result<()> {
    let region = Places::pick()?.region(0, 1, "", "")?;
    let direct = Memcached::start(&[])?;
    let mut dialogues: Vec<(Vec<u8>, u64)> =
        TEXT.iter().map(|&(request, captured)| (request.as_bytes().to_vec(), captured)).collect();
    let large = |size: usize, how: &str| {
        let head = format!("set big 0 0 {size}{how}\r\n");
        [head.as_bytes(), &vec![b'x'; size], b"\r\nget big\r\n"].concat()
    };
    dialogues.extend([(large(ITEM - 200, ""), 1), (large(ITEM - 200, " noreply"), 1), (large(ITEM, ""), 1)]);
    let storm = |one: fn(usize) -> String| (0..20_000).map(one).collect::<String>().into_bytes();
    dialogues.push((storm(|n| format!("set s{} 0 0 1 noreply\r\nx\r\n", n % 500)), 20_000));
    dialogues.push((storm(|n| format!("get s{}\r\n", n % 600)), 0));
    let extras = [0; 8];
    let noop = frame(0x0a, 9, &[], b"", b"");
    dialogues.extend([
        ((0..500).flat_map(|n| frame(0x11, n, &extras, b"q", b"v")).chain(noop.clone()).collect(), 500),
        (
            [frame(0x1e, 1, &[0, 0, 0, 9], b"no", b""), frame(0x14, 2, &[], b"no", b""), noop.clone()]
                .concat(),
            1,
        ),
        ([frame(0x01, 1, &[], b"k", b"v"), noop.clone()].concat(), 0),
        ([frame(0x07, 1, &[], b"", b""), noop.clone()].concat(), 0),
        ([noop.clone(), frame(0x01, 1, &extras, b"h", &[b'v'; 100])[..70].to_vec()].concat(), 0),
    ]);
    for (request, captures) in dialogues {
        let name = String::from_utf8_lossy(&request[..request.len().min(200)]).into_owned();
        let before = region.book("captured")?;
        let said = say(direct.address(), &request).with_context(|| format!("directly: {name}"))?;
        let heard = say(region.front(), &request).with_context(|| format!("through the front: {name}"))?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(&bytes[..bytes.len().min(2000)]).into_owned();
        ensure!(said == heard, "{name}\ndirectly: {}\nthrough the front: {}", text(&said), text(&heard));
        let captured = || region.book("captured").unwrap_or_default() - before;
        wait_until("what is captured", BOUND, || captured() >= captures)?;
        ensure!(captured() == captures, "{name}: {} captured", captured());
    }
    wait_until("no client left", BOUND, || region.book("connections").is_ok_and(|count| count == 0))
}

/// A client that is gone inside a value leaves nothing behind, with several servers too.
#[test]
fn who_leaves_inside_a_value_is_gone() -> Result<()> {
    let region = Places::pick()?.region(0, 3, "", "")?;
    for n in 0..20 {
        let mut client = region.client()?;
        client.send(format!("get a{n} b{n} c{n}\r\nset k{n} 0 0 1000\r\n123").as_bytes())?;
    }
    wait_until("no client left", BOUND, || region.book("connections").is_ok_and(|count| count == 0))?;
    assert_eq!(region.book("captured")?, 0);
    Ok(())
}

/// A client that does not read for a moment, and a server that does not, hold up what is behind a backlog and not what comes after it.
#[test]
fn who_was_slow_gets_everything() -> Result<()> {
    let region = Places::pick()?.region(0, 1, "", "")?;
    let value = [b"set big 0 0 1000000\r\n", &vec![b'x'; 1_000_000][..], b"\r\n"].concat();
    ensure!(say(region.front(), &value)? == b"STORED\r\n", "the value is not stored");
    for round in 0..12 {
        let mut slow = TcpStream::connect(region.front())?;
        slow.set_read_timeout(Some(BOUND / 3))?;
        slow.write_all(&b"get big\r\n".repeat(8))?;
        // tidy: sleep because what does not fit between the two is to wait in the front; where it does not yet, the round shows less.
        std::thread::sleep(Duration::from_millis(50));
        let mut answer = vec![0; 8 * (1_000_000 + "VALUE big 0 1000000\r\n\r\nEND\r\n".len())];
        slow.read_exact(&mut answer).with_context(|| format!("round {round}: the rest does not come"))?;
    }
    let quiet = value.strip_prefix(b"set big 0 0 1000000").context("a set")?;
    let quiet = [b"set big 0 0 1000000 noreply", quiet].concat().repeat(30);
    let id = rustix::process::Pid::from_raw(i32::try_from(region.servers[0].id().context("it runs")?)?);
    let id = id.context("a process")?;
    for round in 0..3 {
        let mut client = TcpStream::connect(region.front())?;
        client.set_read_timeout(Some(BOUND / 3))?;
        rustix::process::kill_process(id, rustix::process::Signal::STOP)?;
        let said = std::thread::scope(|scope| -> Result<Vec<u8>> {
            let (mut speaker, quiet) = (client.try_clone()?, &quiet);
            scope.spawn(move || speaker.write_all(quiet).and_then(|()| speaker.write_all(b"get none\r\n")));
            // tidy: sleep because what does not fit between the two is to wait in the front; where it does not yet, the round shows less.
            std::thread::sleep(Duration::from_millis(100));
            rustix::process::kill_process(id, rustix::process::Signal::CONT)?;
            let mut answer = vec![0; 5];
            let heard = client.read_exact(&mut answer);
            client.shutdown(Shutdown::Both)?;
            heard.with_context(|| format!("round {round}: no answer behind what has none"))?;
            Ok(answer)
        })?;
        assert_eq!(said, b"END\r\n");
    }
    Ok(())
}
