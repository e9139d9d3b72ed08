//! A region's store and cache: a real MariaDB that follows the other region's with a lag to order, and a real memcached.
//! Never touches a database server or a data folder of the machine.

use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use tidegate_tests::netns::{Netns, finish};
use tidegate_tests::process::{Process, wait_until};
use tidegate_tests::scratch::Folder;

/// Longest wait for a server to answer.
const START: Duration = Duration::from_secs(120);
/// Where memcached listens on the edge host.
pub(super) const MEMCACHED: &str = "127.0.0.1:11211";

/// A running store; it ends with its owner.
pub(super) struct Store {
    _mariadb: Process,
    _memcached: Process,
    socket: PathBuf,
    _folder: Folder,
}

impl Store {
    /// Starts both on the edge host; MariaDB (`number` 1 or 2) also at the edge's address, for the other one.
    pub(super) fn start(edge: &Netns, address: &str, number: u32) -> Result<Self> {
        let folder = Folder::new("store")?;
        let data = folder.file("data");
        let mut install = Command::new("mariadb-install-db");
        install.args(["--no-defaults", "--user=mysql", "--auth-root-authentication-method=normal"]);
        install.args(["--skip-test-db", "--skip-name-resolve", "--innodb-log-file-size=4M"]);
        install.arg(format!("--datadir={}", data.display()));
        finish(&mut install).context("making a database")?;
        let socket = data.join("socket");
        let mut mariadb = edge.command("mariadbd");
        mariadb.args(["--no-defaults", "--user=mysql", "--skip-name-resolve", "--skip-slave-start"]);
        mariadb.args(["--innodb-buffer-pool-size=16M", "--innodb-log-file-size=4M", "--log-bin=changes"]);
        mariadb.args(["--slave-net-timeout=4", "--log-slave-updates=OFF", "--port=3306"]);
        mariadb.args([format!("--server-id={number}"), format!("--gtid-domain-id={number}")]);
        mariadb.args([format!("--datadir={}", data.display()), format!("--socket={}", socket.display())]);
        mariadb.arg(format!("--bind-address={address}"));
        let mut mariadb = Process::spawn("mariadbd", &mut mariadb, &folder.file("mariadb.log"))?;
        let mut memcached = edge.command("memcached");
        memcached.args(["-u", "nobody", "-U", "0", "-t", "1", "-m", "16", "-l", "127.0.0.1", "-p", "11211"]);
        let mut memcached = Process::spawn("memcached", &mut memcached, &folder.file("memcached.log"))?;
        let accepts = || edge.run(|| TcpStream::connect(MEMCACHED).is_ok()).unwrap_or(false);
        memcached.wait_until("memcached accepting", START, accepts)?;
        let ask = || query(&socket, "SELECT 1").is_ok();
        mariadb.wait_until("MariaDB answering", START, ask)?;
        Ok(Self { _mariadb: mariadb, _memcached: memcached, socket, _folder: folder })
    }

    /// Follows the store at `other` from now on, with a table of its own.
    pub(super) fn follow(&self, other: &str) -> Result<()> {
        // What either makes for itself is not for the other to repeat.
        self.sql("SET sql_log_bin = 0; CREATE DATABASE shop; CREATE TABLE shop.profiles (id VARCHAR(64) PRIMARY KEY, name VARCHAR(64)); CREATE USER follower@'%' IDENTIFIED BY 'demo'; GRANT REPLICATION SLAVE ON *.* TO follower@'%'")?;
        self.sql(&format!(
            "CHANGE MASTER TO MASTER_HOST='{other}', MASTER_USER='follower', MASTER_PASSWORD='demo', MASTER_USE_GTID=slave_pos, MASTER_CONNECT_RETRY=1, MASTER_HEARTBEAT_PERIOD=1; START SLAVE"
        ))
        .map(drop)
    }

    /// Turns the lag to so many whole seconds: MariaDB applies a change when its second is that long past.
    pub(super) fn lag(&self, seconds: u32) -> Result<()> {
        self.sql(&format!("STOP SLAVE; CHANGE MASTER TO MASTER_DELAY={seconds}; START SLAVE")).map(drop)
    }

    /// Whether it follows: both of MariaDB's threads for that run.
    pub(super) fn follows(&self) -> Result<bool> {
        let shown = self.sql("SHOW SLAVE STATUS")?;
        Ok(shown.split('\t').filter(|column| *column == "Yes").count() >= 2)
    }

    /// Writes rows.
    pub(super) fn write(&self, rows: &[(String, String)]) -> Result<()> {
        let rows: Vec<String> = rows.iter().map(|(id, name)| format!("('{id}', '{name}')")).collect();
        self.sql(&format!("REPLACE INTO shop.profiles VALUES {}", rows.join(", "))).map(drop)
    }

    /// Reads a row.
    pub(super) fn read(&self, id: &str) -> Result<Option<String>> {
        let found = self.sql(&format!("SELECT name FROM shop.profiles WHERE id = '{id}'"))?;
        Ok(found.lines().next().map(str::to_owned))
    }

    /// Waits until a row says this.
    pub(super) fn until(&self, id: &str, name: &str, bound: Duration) -> Result<()> {
        wait_until(&format!("the store saying {id} = {name}"), bound, || {
            self.read(id).is_ok_and(|found| found.as_deref() == Some(name))
        })
    }

    fn sql(&self, statements: &str) -> Result<String> {
        query(&self.socket, statements)
    }
}

fn query(socket: &std::path::Path, statements: &str) -> Result<String> {
    let mut client = Command::new("mariadb");
    client.args(["--no-defaults", "--user=root", "--batch", "--skip-column-names", "--connect-timeout=2"]);
    client.arg(format!("--socket={}", socket.display())).arg("--execute").arg(statements);
    finish(&mut client)
}
