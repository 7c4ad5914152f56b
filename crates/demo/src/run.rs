//! From arguments to an exit code: everything is started, the acts are played and shown, everything goes.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use crate::broker::Broker;
use crate::plan::Plan;
use crate::report::Figures;
use crate::screen::{self, Screen};
use crate::stage::Stage;
use crate::web::Web;
use crate::{DemoArgs, DemoError, acts};

/// How often screen and page are drawn.
const FRAME: Duration = Duration::from_millis(100);

/// Runs the demo to its end. The exit code is not 0 if an order was lost or done twice.
pub fn run(args: &DemoArgs) -> Result<ExitCode, DemoError> {
    let plan = Plan::new(args).map_err(DemoError::Arguments)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("the demo's event loop could not be made")?;
    // Signals are caught before anything starts: whatever comes, the folder goes away.
    let signals = runtime.block_on(async { Signals::new() });
    let mut signals = signals.context("signals could not be caught")?;
    let web = args.web.then(|| runtime.block_on(Web::bind(args.http_port))).transpose()?;
    let broker = Broker::start()?;
    let mut screen = Screen::new(args.json, plan.line_every);
    let address = broker.address();
    let run = perform(args, plan, &address, &mut screen, web.as_ref(), &mut signals);
    let ended = runtime.block_on(Box::pin(run));
    // First the connections, then the broker that they lead to.
    drop(runtime);
    drop(broker);
    ended
}

async fn perform(
    args: &DemoArgs,
    plan: Plan,
    broker: &str,
    screen: &mut Screen,
    web: Option<&Web>,
    signals: &mut Signals,
) -> Result<ExitCode, DemoError> {
    let (faults, mut faulty) = mpsc::unbounded_channel();
    let stage = Stage::open(plan, broker, faults).await?;
    screen.open(broker, web.map(Web::url).as_deref())?;
    let figures = tokio::select! {
        figures = acts::play(&stage) => figures?,
        error = show(&stage, screen, web) => return Err(error),
        Some(error) = faulty.recv() => return Err(error.into()),
        signal = signals.next() => return Err(DemoError::Stopped(signal)),
    };
    if let Some(web) = web {
        web.publish(&stage.snapshot());
    }
    screen.close(&stage, &figures)?;
    if args.json {
        let text = serde_json::to_string(&figures).map_err(anyhow::Error::from)?;
        screen::write(&format!("{text}\n"))?;
    }
    complain(&figures);
    if let Some(web) = web {
        screen.note(&format!("The page stays at {} until Ctrl-C.", web.url()))?;
        signals.next().await;
    }
    Ok(if figures.good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Shows what is to be seen, until showing it fails.
async fn show(stage: &Stage, screen: &mut Screen, web: Option<&Web>) -> DemoError {
    let mut frames = tokio::time::interval(FRAME);
    frames.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        frames.tick().await;
        let snapshot = stage.snapshot();
        if let Some(web) = web {
            web.publish(&snapshot);
        }
        if let Err(error) = screen.draw(&snapshot, stage.live.take_told()) {
            return error.into();
        }
    }
}

/// Names the orders that were lost or done twice.
fn complain(figures: &Figures) {
    let mut out = std::io::stderr().lock();
    for line in figures.complaints() {
        // The exit code says it, too.
        let _ = writeln!(out, "kerolox: {line}");
    }
}

struct Signals([(&'static str, Signal); 3]);

impl Signals {
    fn new() -> std::io::Result<Signals> {
        Ok(Signals([
            ("SIGTERM", signal(SignalKind::terminate())?),
            ("SIGINT", signal(SignalKind::interrupt())?),
            ("SIGHUP", signal(SignalKind::hangup())?),
        ]))
    }

    /// The name of the next one.
    async fn next(&mut self) -> &'static str {
        let [(term, terminate), (int, interrupt), (hup, hangup)] = &mut self.0;
        tokio::select! {
            _ = terminate.recv() => *term,
            _ = interrupt.recv() => *int,
            _ = hangup.recv() => *hup,
        }
    }
}
