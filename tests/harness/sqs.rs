//! A queue service that speaks SQS: moto's server, from PyPI. Never keeps a queue beyond its end.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::http;
use crate::ports::free_address;
use crate::process::Process;
use crate::scratch::Folder;
use crate::tools;

/// Its folder among the tools.
const MOTO: &str = "moto-5.2.5";
/// Longest wait for the server to answer.
const BOUND: Duration = Duration::from_secs(60);

/// A server that ends with its owner.
#[derive(Debug)]
pub struct SqsServer {
    program: PathBuf,
    address: SocketAddr,
    folder: Folder,
    process: Option<Process>,
}

impl SqsServer {
    /// Starts one with these queues.
    ///
    /// # Errors
    /// When moto is not installed or can't be started.
    pub fn start(queues: &[&str]) -> Result<Self> {
        let program = tools::folder(MOTO)?.join("bin").join("moto_server");
        let mut server =
            Self { program, address: free_address()?, folder: Folder::new("sqs")?, process: None };
        server.run(queues)?;
        Ok(server)
    }

    /// Starts it again on the same address, with these queues, empty.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn run(&mut self, queues: &[&str]) -> Result<()> {
        let mut command = Command::new(&self.program);
        command.args(["-H", &self.address.ip().to_string(), "-p", &self.address.port().to_string()]);
        let mut process = Process::spawn("moto_server", &mut command, &self.folder.file("log"))?;
        let address = self.address;
        process.wait_until("moto answering", BOUND, || {
            http::tcp(address, "GET", "/moto-api/", &[], b"").is_ok()
        })?;
        self.process = Some(process);
        for queue in queues {
            let body = format!("{{\"QueueName\": \"{queue}\"}}");
            let head = [
                "X-Amz-Target: AmazonSQS.CreateQueue",
                "Content-Type: application/x-amz-json-1.0",
                "Authorization: AWS4-HMAC-SHA256 Credential=a/20250101/us-east-1/sqs/aws4_request, SignedHeaders=host, Signature=0",
            ];
            let made = http::tcp(address, "POST", "/", &head, body.as_bytes())?;
            ensure!(made.status == 200, "no queue {queue}: {}", made.text());
        }
        Ok(())
    }

    /// SIGKILL; its queues are gone.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill(&mut self) -> Result<()> {
        self.process.take().context("moto does not run")?.kill()
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}
