//! Act 3: a burst of orders, more than the store behind inventory can do. Without the queue it would refuse
//! the rest: a second store of the same kind is asked as each order is placed, and what it refuses is
//! counted. With the queue the orders wait, and the store gets as many as it can do.

use std::sync::Arc;
use std::time::Instant;

use crate::report::{Levelling, number, rounded};
use crate::services::Work;
use crate::stage::{Stage, follow};
use crate::store::Store;

const TITLE: &str = "levelling. A burst comes; who refuses what is too much?";

/// Plays it.
pub(crate) async fn play(stage: &Stage) -> anyhow::Result<Levelling> {
    let (plan, inventory) = (&stage.plan, &stage.inventory);
    let (from, refused_by_broker) = (stage.orders.next(), stage.orders.refused());
    stage.live.begin_act(3, TITLE, plan.lag_of_burst());
    stage.set_no_work();
    let store = Arc::new(Store::new(plan.store));
    inventory.set_work(Work { store: Some(store.clone()), ..Work::default() });
    let without = Store::new(plan.store);

    stage.live.say(format!(
        "{} orders a second; the store behind inventory can do {}.",
        number(plan.burst.into()),
        number(plan.store.into())
    ));
    let begin = Instant::now();
    let mut greatest_lag = 0;
    let wanted = plan.burst_orders();
    let burst = stage.orders.flow(
        plan.burst,
        |placed| placed >= wanted,
        || {
            without.ask();
        },
    );
    tokio::select! {
        burst = burst => burst?,
        () = follow(stage, inventory, &mut greatest_lag) => {}
    }
    let burst_seconds = rounded(begin.elapsed());
    stage.live.say(format!(
        "The burst is over. Without the queue the store would have refused {}.",
        number(without.refused())
    ));
    tokio::select! {
        () = stage.wait_for_lag(inventory, 0) => {}
        () = follow(stage, inventory, &mut greatest_lag) => {}
    }
    let drained_seconds = rounded(begin.elapsed());
    stage.wait_until_drained().await;
    let refused_with = store.refused() + stage.orders.refused() - refused_by_broker;
    let (lost, twice) = stage.faults_from(from);
    stage.live.say(format!(
        "Done after {drained_seconds:.1} s. Refused: {refused_with}. Lost: {lost}. Done twice: {twice}."
    ));
    Ok(Levelling {
        orders: stage.orders.next() - from,
        burst_seconds,
        store_per_second: plan.store,
        refused_without_the_queue: without.refused(),
        refused_with_the_queue: refused_with,
        greatest_lag,
        drained_seconds,
        lost,
        twice,
    })
}
