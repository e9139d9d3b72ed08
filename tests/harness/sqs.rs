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
            self.call("CreateQueue", &format!("{{\"QueueName\": \"{queue}\"}}"))?;
        }
        Ok(())
    }

    /// How many messages of a queue are there for everyone, and how many are hidden, since somebody was given them.
    ///
    /// # Errors
    /// When the server does not say.
    pub fn messages(&self, queue: &str) -> Result<(u64, u64)> {
        let url = format!("http://{}/123456789012/{queue}", self.address);
        let body = format!("{{\"QueueUrl\": \"{url}\", \"AttributeNames\": [\"All\"]}}");
        let text = self.call("GetQueueAttributes", &body)?;
        let number = |name: &str| -> Result<u64> {
            let found = text.split_once(&format!("\"{name}\": \""));
            let digits = found.and_then(|(_, rest)| rest.split('"').next());
            digits.with_context(|| format!("no {name} in {text}"))?.parse().with_context(|| text.clone())
        };
        Ok((number("ApproximateNumberOfMessages")?, number("ApproximateNumberOfMessagesNotVisible")?))
    }

    fn call(&self, action: &str, body: &str) -> Result<String> {
        let action = format!("X-Amz-Target: AmazonSQS.{action}");
        let head = [
            action.as_str(),
            "Content-Type: application/x-amz-json-1.0",
            "Authorization: AWS4-HMAC-SHA256 Credential=a/20250101/us-east-1/sqs/aws4_request, SignedHeaders=host, Signature=0",
        ];
        let answer = http::tcp(self.address, "POST", "/", &head, body.as_bytes())?;
        ensure!(answer.status == 200, "{action} {body}: {}", answer.text());
        Ok(answer.text())
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
