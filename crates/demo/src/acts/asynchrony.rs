//! Act 2: an order needs three services, which take their time. Each order is answered three ways at the
//! same moment: after a call of one service after the other, after calls of all in parallel, and as soon as
//! the broker has stored it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::live::Answers;
use crate::orders::Orders;
use crate::report::{Asynchrony, Spread};
use crate::services::{Service, Work};
use crate::stage::Stage;

const TITLE: &str = "asynchrony. How long does a customer wait for the answer?";
/// What an order takes, in ms.
const INVENTORY: u64 = 300;
const LOGISTICS: u64 = 450;
const PAYMENT: u64 = 200;

/// The times of one way, in the order of the answers.
type Times = Arc<Mutex<Vec<Duration>>>;

/// Plays it.
pub(crate) async fn play(stage: &Stage) -> anyhow::Result<Asynchrony> {
    let plan = &stage.plan;
    let from = stage.orders.next();
    stage.live.begin_act(2, TITLE, u64::from(plan.asked_rate));
    stage.live.say(format!(
        "An order takes inventory {INVENTORY}, logistics {LOGISTICS} and payment {PAYMENT} ms."
    ));
    for (service, takes) in stage.services().into_iter().zip([INVENTORY, LOGISTICS, PAYMENT]) {
        service.set_work(Work { takes: Duration::from_millis(takes), store: None });
    }

    let [serial, parallel, queued] = [(); 3].map(|()| Times::default());
    let services = stage.services().map(Arc::clone);
    let mut tick = tokio::time::interval(Duration::from_secs(1) / plan.asked_rate);
    let mut asked = JoinSet::new();
    for _ in 0..plan.asked {
        tick.tick().await;
        asked.spawn(one_after_the_other(services.clone(), serial.clone()));
        asked.spawn(in_parallel(services.clone(), parallel.clone()));
        asked.spawn(with_the_queue(stage.orders.clone(), queued.clone()));
        show(stage, &serial, &parallel, &queued);
    }
    while let Some(answered) = asked.join_next().await {
        answered??;
        show(stage, &serial, &parallel, &queued);
    }
    stage.live.say("All are answered. With the queue the work goes on, and nobody waits for it.");
    stage.wait_until_drained().await;
    let (lost, twice) = stage.faults_from(from);
    let [serial, parallel, queued] =
        [serial, parallel, queued].map(|times| spread(&times).unwrap_or_default());
    stage.live.say(format!(
        "Medians: {}, {}, with the queue {}. Lost: {lost}. Done twice: {twice}.",
        serial.p50, parallel.p50, queued.p50
    ));
    Ok(Asynchrony {
        orders: stage.orders.next() - from,
        one_after_the_other_ms: serial,
        in_parallel_ms: parallel,
        with_the_queue_ms: queued,
        lost,
        twice,
    })
}

async fn one_after_the_other(services: [Arc<Service>; 3], times: Times) -> anyhow::Result<()> {
    let begin = Instant::now();
    for service in &services {
        service.call().await;
    }
    note(&times, begin.elapsed());
    Ok(())
}

async fn in_parallel([a, b, c]: [Arc<Service>; 3], times: Times) -> anyhow::Result<()> {
    let begin = Instant::now();
    tokio::join!(a.call(), b.call(), c.call());
    note(&times, begin.elapsed());
    Ok(())
}

async fn with_the_queue(orders: Arc<Orders>, times: Times) -> anyhow::Result<()> {
    if let Some(took) = orders.place().await? {
        note(&times, took);
    }
    Ok(())
}

fn note(times: &Times, took: Duration) {
    times.lock().unwrap_or_else(PoisonError::into_inner).push(took);
}

fn spread(times: &Times) -> Option<Spread> {
    Spread::of(times.lock().unwrap_or_else(PoisonError::into_inner).clone())
}

fn show(stage: &Stage, serial: &Times, parallel: &Times, queued: &Times) {
    let median = |times| spread(times).map(|spread| spread.p50);
    stage.live.set_answers(Answers {
        one_after_the_other: median(serial),
        in_parallel: median(parallel),
        with_the_queue: median(queued),
    });
}
