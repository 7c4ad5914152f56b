//! Act 1: orders come at a steady rate; logistics goes down and comes back. Nobody who orders notices.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crate::report::{Decoupling, number, rounded};
use crate::services::Work;
use crate::stage::{Stage, follow};
use crate::store::Store;

const TITLE: &str = "decoupling. A service goes down; do orders go on?";
/// A service that is not further behind than what comes in this part of a second has caught up.
const CAUGHT_UP: u32 = 20;

/// Plays it.
pub(crate) async fn play(stage: &Stage) -> anyhow::Result<Decoupling> {
    let plan = &stage.plan;
    let (from, redelivered) = (stage.orders.next(), stage.logistics.redelivered());
    stage.live.begin_act(1, TITLE, plan.lag_of_first_act());
    stage.set_no_work();
    let store = Some(Arc::new(Store::new(plan.logistics_rate)));
    stage.logistics.set_work(Work { store, ..Work::default() });

    let over = AtomicBool::new(false);
    let orders = stage.orders.flow(plan.rate, |_| over.load(Ordering::Relaxed), || ());
    let story = async {
        let told = tell(stage).await;
        over.store(true, Ordering::Relaxed);
        told
    };
    let ((), mut figures) = tokio::try_join!(orders, story)?;
    stage.wait_until_drained().await;
    figures.orders = stage.orders.next() - from;
    figures.redelivered = stage.logistics.redelivered() - redelivered;
    (figures.lost, figures.twice) = stage.faults_from(from);
    stage.live.say(format!(
        "Accepted in this act: {}. Lost: {}. Done twice: {}.",
        number(stage.orders.accepted_from(from).len() as u64),
        figures.lost,
        figures.twice
    ));
    Ok(figures)
}

async fn tell(stage: &Stage) -> anyhow::Result<Decoupling> {
    let (plan, logistics) = (&stage.plan, &stage.logistics);
    stage
        .live
        .say(format!("{} orders a second come in, and all three services are up.", plan.rate));
    tokio::time::sleep(plan.calm).await;

    logistics.crash().await;
    let down = Instant::now();
    let before = stage.orders.accepted();
    stage.live.say("Logistics is down. Orders are accepted, and wait for it in the broker.");
    tokio::time::sleep(plan.down).await;
    let accepted_while_down = stage.orders.accepted() - before;
    let seconds_down = rounded(down.elapsed());

    let mut greatest_lag = stage.lag(logistics);
    logistics.start().await?;
    let back = Instant::now();
    stage.live.say("Logistics is back. It goes on where it was, and catches up.");
    tokio::select! {
        () = stage.wait_for_lag(logistics, (plan.rate / CAUGHT_UP).max(2).into()) => {}
        () = follow(stage, logistics, &mut greatest_lag) => {}
    }
    let catch_up_seconds = rounded(back.elapsed());
    stage.live.say(format!("It caught up in {catch_up_seconds:.1} s, while orders went on."));
    tokio::time::sleep(plan.calm / 2).await;
    Ok(Decoupling {
        orders: 0,
        seconds_down,
        accepted_while_down,
        greatest_lag,
        catch_up_seconds,
        redelivered: 0,
        lost: 0,
        twice: 0,
    })
}
