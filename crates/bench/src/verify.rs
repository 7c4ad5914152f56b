//! `bench verify`. In: ledgers. Out: whether the brokers hold exactly what they acknowledged.
//!
//! Reads every queue that the ledgers name, from its first message to its last, and hands each
//! message to [`books`].

use std::collections::VecDeque;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use kerolox_client::{Connection, Error, Options};
use kerolox_protocol::record;
use kerolox_protocol::remoting::codes::response;
use tokio::task::JoinSet;

use crate::ledger::Ledger;
use crate::puller::{Puller, Step};
use crate::report::Output;
use crate::{exit_code, runtime};

mod books;

pub use books::Report;
use books::{Books, Place};

/// A group that every broker knows.
const GROUP: &str = "TOOLS_CONSUMER";
/// Queues read at once.
const READERS: usize = 16;
/// Messages asked for at once.
const BATCH: i32 = 256;
/// The pause before a broker that cannot be reached is tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// Arguments of `bench verify`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Ledgers that `bench produce --ledger` wrote.
    #[arg(long, value_name = "FILE", required = true, num_args = 1..)]
    pub ledger: Vec<PathBuf>,
    #[command(flatten)]
    pub access: Access,
    /// Messages of one connection may stand in another order.
    #[arg(long)]
    pub allow_reorder: bool,
    /// One JSON object instead of text.
    #[arg(long)]
    pub json: bool,
}

/// How the brokers are reached.
#[derive(Debug, Clone, clap::Args)]
pub struct Access {
    /// Where the broker is now, instead of the address in the ledgers.
    #[arg(long, value_name = "HOST:PORT")]
    pub broker: Option<String>,
    /// Seconds within which a broker must be there.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(..=1_000_000_000))]
    pub wait: u64,
}

impl Default for Access {
    fn default() -> Self {
        Access { broker: None, wait: 30 }
    }
}

/// Runs to the end and prints.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let report = verify(&args.ledger, &args.access)?;
    Output::new(args.json).result(&report)?;
    Ok(exit_code(report.violations(args.allow_reorder) == 0))
}

/// Compares what the brokers hold with these ledgers.
pub fn verify(ledgers: &[PathBuf], access: &Access) -> anyhow::Result<Report> {
    let ledgers: Vec<_> =
        ledgers.iter().map(|path| Ledger::read(path)).collect::<anyhow::Result<_>>()?;
    check(&ledgers, access)
}

pub(crate) fn check(ledgers: &[Ledger], access: &Access) -> anyhow::Result<Report> {
    let books = Books::new(ledgers);
    let first = books.places().first().map(|place| &place.broker);
    let one_broker = books.places().iter().all(|place| Some(&place.broker) == first);
    ensure!(
        access.broker.is_none() || one_broker,
        "the ledgers name several brokers: --broker would replace them all"
    );
    let work = books.places().iter().cloned().enumerate().collect();
    let shared = Arc::new(Shared { work: Mutex::new(work), books: Mutex::new(books) });
    runtime()?.block_on(async {
        let mut readers = JoinSet::new();
        for _ in 0..READERS {
            readers.spawn(read_places(shared.clone(), access.clone()));
        }
        while let Some(ended) = readers.join_next().await {
            ended??;
        }
        anyhow::Ok(())
    })?;
    let shared = Arc::into_inner(shared).context("a reader is still at work")?;
    let books = shared.books.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(books.finish())
}

struct Shared {
    /// Queues that nobody has taken yet.
    work: Mutex<VecDeque<(usize, Place)>>,
    books: Mutex<Books>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads one queue after the other until none is left.
async fn read_places(shared: Arc<Shared>, access: Access) -> anyhow::Result<()> {
    let mut present: Option<Connection> = None;
    loop {
        let Some((number, place)) = lock(&shared.work).pop_front() else { return Ok(()) };
        let addr = access.broker.as_ref().unwrap_or(&place.broker);
        let connection = match present.take() {
            Some(connection) if connection.addr() == addr => connection,
            _ => connect(addr, access.wait).await?,
        };
        read_place(&shared, number, &place, &connection).await?;
        present = Some(connection);
    }
}

/// Connects as soon as the broker is there: it may be starting.
async fn connect(addr: &str, wait: u64) -> anyhow::Result<Connection> {
    let deadline = Instant::now() + Duration::from_secs(wait);
    let options = Options { timeout: Duration::from_secs(10), ..Options::default() };
    loop {
        match Connection::connect_with(addr, options.clone()).await {
            Ok(connection) => return Ok(connection),
            Err(e) if Instant::now() >= deadline => return Err(e.into()),
            Err(_) => tokio::time::sleep(RETRY_PAUSE).await,
        }
    }
}

async fn read_place(
    shared: &Shared,
    number: usize,
    place: &Place,
    connection: &Connection,
) -> anyhow::Result<()> {
    let context = || format!("reading {place}");
    // Of a topic that is gone, nothing is found: the books say so.
    let Some(end) =
        existing(connection.max_offset(&place.topic, place.queue).await).with_context(context)?
    else {
        return Ok(());
    };
    let start = connection.min_offset(&place.topic, place.queue).await.with_context(context)?;
    let mut puller = Puller {
        connection,
        group: GROUP,
        topic: &place.topic,
        queue: place.queue,
        offset: start.max(0),
        batch: BATCH,
        wait: Duration::ZERO,
        stuck: 0,
    };
    let mut scan = lock(&shared.books).scan(number);
    while puller.offset < end {
        match puller.next().await? {
            Step::Drained => break,
            Step::Nothing => {}
            Step::Records(body) => {
                let mut books = lock(&shared.books);
                let mut size = 0;
                for message in record::walk(&body) {
                    size += message.bytes.len();
                    books.see(&mut scan, &message);
                }
                let rest = body.len() - size;
                ensure!(rest == 0, "{place}: {rest} bytes of a pull reply are no message");
            }
        }
    }
    Ok(())
}

/// `None` if the broker does not know the topic.
fn existing(offset: kerolox_client::Result<i64>) -> Result<Option<i64>, Error> {
    match offset {
        Err(e) if e.refused_with() == Some(response::TOPIC_NOT_EXIST) => Ok(None),
        offset => offset.map(Some),
    }
}
