//! The NIC alone, driven by lines on standard input, for tests that kill it. One answer per line: `ok …` or `error …`.
//!
//! `apply`, `limits` take the words of [`tidegate_tests::nic_plan`]; also `report`, `explain HEX`, `addresses`, `events`.

use std::io::BufRead;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tidegate::kernel::{Nic, NicOptions, NicWish, object};
use tidegate_tests::nic_plan;

#[tokio::main(flavor = "multi_thread", worker_threads = 1)]
async fn main() {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_env_filter("tidegate=warn").init();
    if let Err(error) = serve().await {
        println!("error {}", flat(&error));
    }
}

async fn serve() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let instance = arguments.next().context("INSTANCE LEASE_MS")?;
    let lease = Duration::from_millis(arguments.next().context("LEASE_MS")?.parse()?);
    let (events, mut heard) = tokio::sync::broadcast::channel(1024);
    let nic = Nic::open(NicOptions { instance, object: object()?, lease, events }).await?;
    println!("ok");
    let mut lines = std::io::stdin().lock().lines();
    while let Some(line) = lines.next().transpose()? {
        let answer = match line.split_once(' ').unwrap_or((&line, "")) {
            ("events", _) => Ok(count(&mut heard)),
            (order, words) => obey(&nic, order, words, lease).await,
        };
        match answer {
            Ok(text) => println!("ok {text}"),
            Err(error) => println!("error {}", flat(&error)),
        }
    }
    Ok(())
}

async fn obey(nic: &Nic, order: &str, words: &str, lease: Duration) -> Result<String> {
    match order {
        "apply" => apply(nic, words, lease).await,
        "limits" => {
            let wish = wish(nic, words, lease)?;
            nic.set_limits(wish.limits).await?;
            Ok(String::new())
        }
        "report" => report(nic).await,
        "explain" => {
            let frame = (0..words.len() / 2).map(|i| u8::from_str_radix(&words[2 * i..2 * i + 2], 16));
            let outcome = nic.explain(frame.collect::<Result<_, _>>()?).await?;
            Ok(format!("{} {}", outcome.reason.label(), outcome.home))
        }
        "addresses" => Ok(format!("{:?}", **nic.addresses().borrow())),
        _ => bail!("no such order"),
    }
}

async fn apply(nic: &Nic, words: &str, lease: Duration) -> Result<String> {
    let report = nic.apply(wish(nic, words, lease)?).await?;
    match report.failures.first() {
        Some(failure) => bail!("{failure}"),
        None => Ok(format!("adopted={} load_ns={}", report.adopted, report.times.load_ns)),
    }
}

fn wish(nic: &Nic, words: &str, lease: Duration) -> Result<NicWish> {
    nic_plan::wish(words, &nic.addresses().borrow(), lease)
}

async fn report(nic: &Nic) -> Result<String> {
    let report = nic.report().await?;
    let mut words = vec![
        format!("state={:?}", report.state),
        format!("adopted={}", report.adopted),
        format!("program={}", report.program_id.unwrap_or(0)),
        format!("lease={}", if format!("{:?}", report.lease).starts_with("Held") { "held" } else { "none" }),
    ];
    for interface in report.interfaces {
        words.push(format!("on.{}={}", interface.name, format!("{:?}", interface.state).replace(' ', "_")));
    }
    for count in report.counts {
        let home = count.home.map_or(0, |region| region.home());
        words.push(format!("packets.{}.{home}={}", count.reason, count.packets));
    }
    for limit in report.limits {
        words.push(format!("limit.{}={}", limit.measure, limit.limit_per_second));
    }
    Ok(words.join(" "))
}

fn count<T: Clone>(heard: &mut tokio::sync::broadcast::Receiver<T>) -> String {
    std::iter::from_fn(|| heard.try_recv().ok()).count().to_string()
}

/// One line, with causes.
fn flat(error: &anyhow::Error) -> String {
    format!("{error:#}").replace('\n', " ")
}
