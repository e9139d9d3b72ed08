//! Transport `sqs`: one queue per region holds other regions' letters, and their words about this region's. Never needs the broker to be
//! safe: what it loses or repeats is sent again from the spool, or applied again.

mod desk;
mod held;
mod incoming;
mod letter;
mod outgoing;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::{BehaviorVersion, Region};
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use self::held::Held;
use self::incoming::Incoming;
use self::outgoing::Mail;
use super::link::door::Door;
use super::link::lanes::Lanes;
use super::post::sender::Sender;
use super::post::{Word, life};
use crate::decide::region::RegionId;

/// Pause after a queue could not be found.
const PAUSE: Duration = Duration::from_secs(2);

/// What the transport needs.
pub(crate) struct Sqs {
    /// `None` is AWS itself.
    pub(crate) endpoint: Option<String>,
    /// Every region's queue, this one's too.
    pub(crate) queues: Vec<(RegionId, String)>,
    pub(crate) door: Door,
    /// The lanes towards each region.
    pub(crate) regions: Vec<Lanes>,
    pub(crate) stop: CancellationToken,
}

/// The client and the queues' names.
pub(super) struct Office {
    client: Client,
    queues: HashMap<String, String>,
    /// Letters of this region's queue that this host was given.
    held: Held,
}

impl Office {
    /// The URL of a region's queue.
    async fn queue(&self, region: &str) -> Result<String, String> {
        let name = self.queues.get(region).ok_or_else(|| format!("region {region} has no queue"))?;
        let found = self.client.get_queue_url().queue_name(name).send().await;
        let found = found.map_err(|error| format!("queue {name}: {}", said(&error)))?;
        found.queue_url().map(str::to_owned).ok_or_else(|| format!("queue {name} has no URL"))
    }
}

/// An error with its causes.
fn said(error: &(dyn std::error::Error + 'static)) -> String {
    aws_sdk_sqs::error::DisplayErrorContext(error).to_string().chars().take(300).collect()
}

impl Sqs {
    /// Works until it is stopped; then gives back the letters that it has.
    pub(crate) async fn run(self) {
        let stop = self.stop.clone();
        let client = tokio::select! {
            () = stop.cancelled() => return,
            client = client(self.endpoint.as_deref()) => client,
        };
        let names = self.door.names.clone();
        let queues = self.queues.iter().map(|(region, queue)| (names[*region].clone(), queue.clone()));
        let office = Arc::new(Office { client, queues: queues.collect(), held: Held::default() });
        let own = names[self.door.own].clone();
        let mut lives = HashMap::new();
        let mut tasks = tokio::task::JoinSet::new();
        for lanes in self.regions {
            let life = life();
            let (to, words) = mpsc::channel(1024);
            lives.insert(life.clone(), to.clone());
            tasks.spawn(look(Arc::clone(&office), lanes.name.clone(), to));
            let carrier = Mail::new(&office, &own, &lanes.name, &life);
            tasks.spawn(Sender { lanes, carrier, words, stop: self.stop.clone() }.run());
        }
        Incoming::new(&office, self.door, own, lives).run(stop.clone()).await;
        stop.cancelled().await;
    }
}

/// Looks for a region's queue until it is there.
async fn look(office: Arc<Office>, region: String, to: mpsc::Sender<Word>) {
    loop {
        let found = office.queue(&region).await;
        let up = found.is_ok();
        let word = match found {
            Ok(url) => Word::Up(url),
            Err(why) => Word::Down(why),
        };
        if to.send(word).await.is_err() || up {
            return;
        }
        sleep(PAUSE).await;
    }
}

/// Credentials and region as AWS's own tools find them: environment, profile, instance.
async fn client(endpoint: Option<&str>) -> Client {
    let tls = Provider::Rustls(CryptoMode::Ring);
    let http = aws_smithy_http_client::Builder::new().tls_provider(tls).build_https();
    let mut loader = aws_config::defaults(BehaviorVersion::latest()).http_client(http);
    if let Some(endpoint) = endpoint {
        loader = loader.endpoint_url(endpoint);
    }
    let shared = loader.load().await;
    let mut config = aws_sdk_sqs::config::Builder::from(&shared);
    if shared.region().is_none() && endpoint.is_some() {
        // An endpoint of one's own signs for whatever region it is told.
        config = config.region(Region::new("us-east-1"));
    }
    Client::from_conf(config.build())
}
