//! The arguments; completions and man pages come from the same description. Carries out nothing.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::decide::verb::PacketQuestion;

/// Where the configuration is unless `--config` says otherwise.
pub const CONFIG: &str = "/etc/tidegate/tidegate.toml";

/// Regional load shedder: NIC ceilings, home-region routing, cache invalidation between regions.
#[derive(Clone, Debug, Parser)]
#[command(name = "tidegate", version, propagate_version = true, max_term_width = 100)]
pub struct Cli {
    /// Socket of the daemon; else --instance, else the variable TIDEGATE_SOCKET, else /run/tidegate/main.sock.
    #[arg(long, global = true, value_name = "PATH", help_heading = "Daemon")]
    pub socket: Option<PathBuf>,
    /// Instance of the daemon: its socket is /run/tidegate/NAME.sock.
    #[arg(long, global = true, value_name = "NAME", conflicts_with = "socket", help_heading = "Daemon")]
    pub instance: Option<String>,
    /// Print JSON with stable keys.
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Where the configuration is.
#[derive(Args, Clone, Debug)]
pub struct File {
    /// The configuration's file.
    #[arg(long, value_name = "FILE", default_value = CONFIG)]
    pub config: PathBuf,
}

/// Terms of a change.
#[derive(Args, Clone, Debug, Default)]
pub struct Terms {
    /// Afterwards, what was there before holds again, e.g. 30m.
    #[arg(long = "for", value_name = "TIME")]
    pub valid_for: Option<String>,
    /// Undo unless `tidegate confirm` follows within this time, e.g. 60s.
    #[arg(long, value_name = "TIME")]
    pub confirm: Option<String>,
    /// Why, in words; kept with the change and logged.
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
}

impl Terms {
    /// Nothing is said.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.valid_for.is_none() && self.confirm.is_none() && self.reason.is_none()
    }
}

/// Every command.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Run the daemon.
    Run {
        /// Where the configuration is.
        #[command(flatten)]
        file: File,
        /// Take the listening sockets over from the daemon that runs as the same instance, which then finishes its requests and ends.
        #[arg(long)]
        replace: bool,
    },
    /// Check the configuration: every fault at once, with its place and what is allowed.
    Check(File),
    /// Regions, ceilings, rates, NIC and relay on one screen.
    Status,
    /// The same, live.
    Top,
    /// Put a region into failover, take it back, or list.
    Failover {
        /// What to do.
        #[arg(value_enum)]
        action: Switch,
        /// The region; this host's where left out.
        region: Option<String>,
        /// Terms.
        #[command(flatten)]
        terms: Terms,
    },
    /// The mode for mis-routed requests: set it, go back to the file's, or (without MODE) show it.
    Misroute {
        /// The mode; `reset` goes back to the file's.
        #[arg(value_enum)]
        mode: Option<Mode>,
        /// Terms.
        #[command(flatten)]
        terms: Terms,
    },
    /// Show or change ceilings.
    #[command(subcommand)]
    Ceiling(Ceiling),
    /// The list of prefixes that are always shed.
    #[command(subcommand)]
    Deny(List),
    /// The list of prefixes that are never shed.
    #[command(subcommand)]
    Allow(List),
    /// The NIC program's verdict on a packet, or with --url the proxy's route for a request.
    Explain(Explain),
    /// Tell the other regions to forget keys of a pool.
    Invalidate {
        /// The pool.
        pool: String,
        /// The keys; with `-` they are read from standard input, one per line.
        #[arg(required = true)]
        keys: Vec<String>,
    },
    /// Per pool and region: pending, oldest, lag, and the books.
    Relay {
        /// What else to do.
        #[command(subcommand)]
        action: Option<RelayAction>,
    },
    /// Events as they happen.
    Watch {
        /// Only these kinds.
        #[arg(long, value_delimiter = ',', value_name = "KIND,...")]
        kind: Vec<String>,
    },
    /// Which ceilings would fill if a region failed over here.
    Simulate {
        /// The region.
        #[arg(long, value_name = "REGION")]
        fail: String,
    },
    /// Read the configuration again; a file with faults changes nothing.
    Reload {
        /// Undo unless `tidegate confirm` follows within this time, e.g. 60s.
        #[arg(long, value_name = "TIME")]
        confirm: Option<String>,
    },
    /// Keep the changes that wait for a confirmation.
    Confirm,
    /// Take the program off the NIC and remove the pins; works without a daemon.
    Detach(Detach),
    /// Print completions for a shell.
    Completions {
        /// The shell.
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
    /// Write the man pages into a folder.
    Man {
        /// The folder.
        dir: PathBuf,
    },
}

/// What else is done with the relay.
#[derive(Clone, Debug, Subcommand)]
pub enum RelayAction {
    /// Send the deletes in mcrouter's asynclog files to the other regions; doing it twice does no harm.
    Import {
        /// The pool of every line; else the one that a line names, or the only one there is.
        #[arg(long, value_name = "POOL")]
        pool: Option<String>,
        /// Leave faulty lines out; without this, one faulty line means that nothing is sent.
        #[arg(long)]
        skip_faulty: bool,
        /// The files.
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
}

/// On, off or list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    /// Into failover.
    On,
    /// Back.
    Off,
    /// Show every region's.
    List,
}

/// Modes for mis-routed requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// Proxy to the home region.
    Isthmus,
    /// Send the client there.
    Redirect,
    /// Handle it here.
    Local,
    /// The file's mode.
    Reset,
}

/// `ceiling`
#[derive(Clone, Debug, Subcommand)]
pub enum Ceiling {
    /// Every ceiling.
    List,
    /// One ceiling.
    Show {
        /// Its name.
        name: String,
    },
    /// Change limits: KEY=VALUE, e.g. requests_per_second=8000 bits_per_second=4Gbit observe=true; VALUE `off` is no limit.
    Set {
        /// Its name.
        name: String,
        /// What to set.
        #[arg(required = true, value_name = "KEY=VALUE")]
        values: Vec<String>,
        /// Move there linearly within this time, e.g. 15m.
        #[arg(long, value_name = "TIME")]
        over: Option<String>,
        /// Terms.
        #[command(flatten)]
        terms: Terms,
    },
    /// Back to the file.
    Reset {
        /// Its name.
        name: String,
        /// Terms.
        #[command(flatten)]
        terms: Terms,
    },
}

/// `deny` and `allow`
#[derive(Clone, Debug, Subcommand)]
pub enum List {
    /// Put a prefix on the list.
    Add {
        /// ADDRESS/LENGTH, or one address.
        #[arg(required = true, value_name = "PREFIX")]
        prefixes: Vec<String>,
        /// Terms.
        #[command(flatten)]
        terms: Terms,
    },
    /// Take a prefix off the list.
    Del {
        /// ADDRESS/LENGTH, or one address.
        #[arg(required = true, value_name = "PREFIX")]
        prefixes: Vec<String>,
        /// Terms.
        #[command(flatten)]
        terms: Terms,
    },
    /// Show the list.
    List {
        /// Only what holds this prefix or is within it; the exit status is 1 where nothing does.
        #[arg(value_name = "PREFIX")]
        prefix: Option<String>,
    },
}

/// `explain`
#[derive(Args, Clone, Debug)]
pub struct Explain {
    /// The client's address.
    #[arg(long, value_name = "ADDR")]
    pub from: IpAddr,
    /// Destination port of the packet; the first of `[xdp].ports` where left out.
    #[arg(long, value_name = "N", conflicts_with = "url")]
    pub port: Option<u16>,
    /// Protocol of the packet; a TCP packet is a SYN.
    #[arg(long, value_enum, conflicts_with = "url")]
    pub proto: Option<Proto>,
    /// Bytes of the whole frame; the shortest where left out.
    #[arg(long, value_name = "N", conflicts_with = "url", value_parser = size())]
    pub size: Option<u16>,
    /// Ask about a request for this URL or path instead.
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
    /// Method of the request.
    #[arg(long, value_name = "METHOD", requires = "url")]
    pub method: Option<String>,
    /// A header of the request; may be repeated.
    #[arg(long, value_name = "'NAME: VALUE'", requires = "url")]
    pub header: Vec<String>,
}

fn size() -> clap::builder::RangedI64ValueParser<u16> {
    clap::value_parser!(u16).range(i64::from(PacketQuestion::SMALLEST)..=i64::from(PacketQuestion::LARGEST))
}

/// Protocols of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Proto {
    /// A SYN.
    Tcp,
    /// A datagram.
    Udp,
}

/// `detach`
#[derive(Args, Clone, Debug)]
pub struct Detach {
    /// Read the instance's name from this file. Without --instance and --config, the daemon on the socket says it, else
    /// /etc/tidegate/tidegate.toml does, else it is `main`.
    #[arg(long, value_name = "FILE", conflicts_with = "instance")]
    pub config: Option<PathBuf>,
}
