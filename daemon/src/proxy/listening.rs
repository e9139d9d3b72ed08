//! The listening sockets: opened, inherited, kept over changes of the configuration, handed on. Never accepts a connection.
//!
//! Every listener has one socket per worker, so that the kernel spreads connections. Sockets that were inherited (from the service manager
//! or the daemon before) are used as they are, however many: what waits in their queues would be reset otherwise.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use super::bind::{self, BindError};
use super::stream;
use super::tls::{Entry, Identities};
use super::worker::Opening;
use crate::config::Config;
use crate::config::types::Listener;
use crate::link::{PublicTls, TlsFault};

/// A listener and its sockets.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    spec: Listener,
    entry: Entry,
    local: SocketAddr,
    sockets: Arc<Vec<TcpListener>>,
    open: Arc<AtomicUsize>,
    /// Tells these sockets from all others of the process's life.
    number: u64,
    /// Changes with `spec` and `entry`.
    version: u64,
}

/// Every listener, in file order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Listening(Vec<Held>);

/// Listeners can't be had as configured.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ListenError {
    /// A socket could not be opened.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// A certificate or key can't be used.
    #[error(transparent)]
    Tls(#[from] TlsFault),
}

/// Most bytes that wait in the kernel for a client to take more (`TCP_NOTSENT_LOWAT`), beyond those that are on their way.
const UNSENT_BYTES: u32 = 128 << 10;

/// Makes a socket fit to be accepted from; connections have these options from it.
fn prepare(socket: &TcpListener) -> std::io::Result<()> {
    socket.set_nonblocking(true)?;
    let socket = socket2::SockRef::from(socket);
    // Without it the last piece of an answer waits until the client has acknowledged those before, which it puts off for up to 40 ms.
    socket.set_tcp_nodelay(true)?;
    // Without it a tunnel whose client has lost its power or its network keeps its places and its upstream for ever.
    socket.set_tcp_keepalive(&stream::keep_alive())?;
    // Without it a client that does not read costs megabytes of the kernel's memory.
    socket.set_tcp_notsent_lowat(UNSENT_BYTES)
}

fn next() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Relaxed)
}

impl Listening {
    /// What `config` wants: sockets of `before` and inherited ones are used where they fit, the others are opened. Until it is given to the
    /// workers nothing has changed; dropped, what was opened is closed.
    pub(crate) fn plan(
        config: &Config,
        identities: &Identities,
        before: &Self,
        inherited: &mut Vec<(String, TcpListener)>,
        workers: usize,
    ) -> Result<Self, ListenError> {
        let mut planned = Vec::with_capacity(config.listeners.len());
        for spec in &config.listeners {
            let known = before.fitting(spec);
            let entry = match before.0.iter().find(|held| held.spec.name == spec.name) {
                Some(held) if held.spec.tls == spec.tls && held.spec.kind == spec.kind => {
                    held.entry.renewed()?
                }
                _ => identities.entry(spec)?,
            };
            planned.push(match known {
                Some(held) => held.changed(spec, entry),
                None => Held::open(spec, entry, inherited, workers)?,
            });
        }
        Ok(Self(planned))
    }

    /// The listener whose sockets are where `spec` wants them.
    fn fitting(&self, spec: &Listener) -> Option<&Held> {
        let fits = |held: &&Held| {
            held.spec.address == spec.address && (held.spec.name == spec.name || spec.address.port() != 0)
        };
        self.0.iter().find(fits)
    }

    /// What a worker accepts from: handles of its own.
    pub(crate) fn openings(&self, worker: usize, workers: usize) -> std::io::Result<Vec<Opening>> {
        let opening = |held: &Held| {
            let count = held.sockets.len();
            let own = (0..count).filter(|at| at % workers == worker);
            // Fewer sockets than workers: some are shared.
            let shared = (count <= worker && count > 0).then(|| worker % count);
            let sockets =
                own.chain(shared).map(|at| held.sockets[at].try_clone()).collect::<Result<_, _>>()?;
            Ok(Opening {
                number: held.number,
                version: held.version,
                spec: held.spec.clone(),
                entry: held.entry.clone(),
                sockets,
                open: Arc::clone(&held.open),
            })
        };
        self.0.iter().map(opening).collect()
    }

    /// Where each listener really listens (its port may have been 0).
    pub(crate) fn addresses(&self) -> Vec<(String, SocketAddr)> {
        self.0.iter().map(|held| (held.spec.name.clone(), held.local)).collect()
    }

    /// Handles of all sockets, for whoever listens next.
    pub(crate) fn sockets(&self) -> std::io::Result<Vec<(String, TcpListener)>> {
        let each = self.0.iter().flat_map(|held| held.sockets.iter().map(|socket| (&held.spec.name, socket)));
        each.map(|(name, socket)| Ok((name.clone(), socket.try_clone()?))).collect()
    }

    /// Certificates shown to clients.
    pub(crate) fn shown(&self) -> Vec<Arc<PublicTls>> {
        let public = |held: &Held| match &held.entry {
            Entry::Public(tls) => Some(Arc::clone(tls)),
            Entry::Plain | Entry::Peer(_) => None,
        };
        self.0.iter().filter_map(public).collect()
    }
}

impl Held {
    fn open(
        spec: &Listener,
        entry: Entry,
        inherited: &mut Vec<(String, TcpListener)>,
        workers: usize,
    ) -> Result<Self, BindError> {
        let failed = |source| BindError { name: spec.name.clone(), address: spec.address, source };
        let mut sockets = take(inherited, spec);
        if sockets.is_empty() {
            sockets = bind::open(&spec.name, spec.address, workers)?;
        }
        sockets.iter().try_for_each(prepare).map_err(failed)?;
        let local = sockets[0].local_addr().map_err(failed)?;
        Ok(Self {
            spec: spec.clone(),
            entry,
            local,
            sockets: Arc::new(sockets),
            open: Arc::default(),
            number: next(),
            version: 0,
        })
    }

    /// The same sockets, perhaps with other terms.
    fn changed(&self, spec: &Listener, entry: Entry) -> Self {
        let same = self.spec == *spec && self.entry.is_same(&entry);
        let version = if same { self.version } else { self.version + 1 };
        Self { spec: spec.clone(), entry, version, ..self.clone() }
    }
}

/// Takes the inherited sockets that are where `spec` wants them.
fn take(inherited: &mut Vec<(String, TcpListener)>, spec: &Listener) -> Vec<TcpListener> {
    let fits = |(name, socket): &(String, TcpListener)| {
        let wanted = spec.address;
        let place = socket
            .local_addr()
            .is_ok_and(|at| at.ip() == wanted.ip() && (wanted.port() == 0 || at.port() == wanted.port()));
        let listens = socket2::SockRef::from(socket).is_listener().unwrap_or(false);
        place && listens && (*name == spec.name || wanted.port() != 0)
    };
    inherited.extract_if(.., |socket| fits(socket)).map(|(_, socket)| socket).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "[host]\nregion = \"eu\"\n[[region]]\nname = \"eu\"\n[geo]\ndefault_region = \"eu\"\n[xdp]\ninterfaces = []\n\
        [[upstream]]\nname = \"origin\"\nendpoints = [\"http://127.0.0.1:9\"]\n";

    fn config(listeners: &str) -> Config {
        let text = format!("{FILE}{listeners}");
        crate::config::from_text(std::path::Path::new("test.toml"), &text).expect("no faults").config
    }

    fn plan(config: &Config, before: &Listening, inherited: &mut Vec<(String, TcpListener)>) -> Listening {
        let identities = Identities::load(config).expect("no certificates");
        Listening::plan(config, &identities, before, inherited, 3).expect("free ports")
    }

    #[test]
    fn sockets_that_fit_are_kept_and_the_others_opened() {
        let one = config("[[listener]]\nname = \"a\"\naddress = \"127.0.0.1:0\"\n");
        let first = plan(&one, &Listening::default(), &mut Vec::new());
        assert_eq!(first.0[0].sockets.len(), 3);
        let two = config(
            "[[listener]]\nname = \"a\"\naddress = \"127.0.0.1:0\"\nlimits = { headers = 50 }\n\
             [[listener]]\nname = \"b\"\naddress = \"127.0.0.1:0\"\n",
        );
        let second = plan(&two, &first, &mut Vec::new());
        assert_eq!(
            (second.0[0].number, second.0[0].version),
            (first.0[0].number, 1),
            "same sockets, new limits"
        );
        assert_eq!(second.0[0].local, first.0[0].local);
        assert_ne!(second.0[1].local, first.0[0].local);
        let third = plan(&two, &second, &mut Vec::new());
        assert_eq!((third.0[0].version, third.0[1].version), (1, 0), "nothing changed");
    }

    #[test]
    fn connections_hold_nothing_back_and_little_in_the_kernel() {
        let wanted = config("[[listener]]\nname = \"a\"\naddress = \"127.0.0.1:0\"\n");
        let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = socket.local_addr().expect("bound");
        let inherited = &mut vec![("a".to_owned(), socket)];
        let listening = plan(&wanted, &Listening::default(), inherited);
        let [socket] = &listening.0[0].sockets[..] else { panic!("{listening:?}") };
        socket.set_nonblocking(false).expect("a socket");
        let _client = std::net::TcpStream::connect(address).expect("it listens");
        let (connection, _) = socket.accept().expect("a connection");
        let connection = socket2::SockRef::from(&connection);
        assert!(connection.tcp_nodelay().expect("an option"));
        assert_eq!(connection.tcp_notsent_lowat().expect("an option"), UNSENT_BYTES);
        let asks = connection.keepalive().expect("an option");
        let after = connection.tcp_keepalive_time().expect("an option").as_secs();
        assert!(asks && after <= 60, "a silent client is asked after {after} s: {asks}");
    }

    #[test]
    fn every_inherited_socket_is_accepted_from() {
        let wanted = config("[[listener]]\nname = \"a\"\naddress = \"127.0.0.1:0\"\n");
        for count in 1..=7 {
            let mut inherited: Vec<(String, TcpListener)> =
                bind::open("a", "127.0.0.1:0".parse().expect("an address"), count)
                    .expect("a free port")
                    .into_iter()
                    .map(|socket| ("a".to_owned(), socket))
                    .collect();
            let other = TcpListener::bind("127.0.0.1:0").expect("a free port");
            inherited.push(("b".to_owned(), other));
            let at = inherited[0].1.local_addr().expect("bound");
            let held = plan(&wanted, &Listening::default(), &mut inherited);
            assert_eq!((held.0[0].local, held.0[0].sockets.len()), (at, count));
            assert_eq!(inherited.len(), 1, "another name's socket is left");
            let each: Vec<usize> =
                (0..3).map(|worker| held.openings(worker, 3).expect("handles")[0].sockets.len()).collect();
            assert!(each.iter().all(|sockets| *sockets > 0), "{count}: {each:?}");
            assert_eq!(each.iter().sum::<usize>(), count.max(3), "{count}: {each:?}");
        }
    }
}
