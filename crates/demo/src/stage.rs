//! All that plays, put together: the shop that places orders, and the three services.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use crate::live::{Live, ServiceView, Snapshot};
use crate::orders::Orders;
use crate::plan::Plan;
use crate::services::{Service, Work};

/// How often something is looked at that is waited for.
pub(crate) const LOOK: Duration = Duration::from_millis(5);
/// Without any progress for so long, what is missing is lost.
const STUCK: Duration = Duration::from_secs(30);

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) plan: Plan,
    pub(crate) orders: Arc<Orders>,
    pub(crate) inventory: Arc<Service>,
    pub(crate) logistics: Arc<Service>,
    pub(crate) payment: Arc<Service>,
    pub(crate) live: Live,
}

impl Stage {
    /// Makes the topic and starts the services. What goes wrong with one later comes to `faults`.
    pub(crate) async fn open(
        plan: Plan,
        broker: &str,
        faults: mpsc::UnboundedSender<anyhow::Error>,
    ) -> anyhow::Result<Stage> {
        let orders = Orders::open(broker).await?;
        let service = |name| Service::new(name, broker, faults.clone());
        let stage = Stage {
            plan,
            orders,
            inventory: service("inventory"),
            logistics: service("logistics"),
            payment: service("payment"),
            live: Live::default(),
        };
        for service in stage.services() {
            service.start().await?;
        }
        Ok(stage)
    }

    /// All three.
    pub(crate) fn services(&self) -> [&Arc<Service>; 3] {
        [&self.inventory, &self.logistics, &self.payment]
    }

    /// Every service does its orders at once, until an act says otherwise.
    pub(crate) fn set_no_work(&self) {
        self.services().iter().for_each(|service| service.set_work(Work::default()));
    }

    /// Accepted orders that a service has not done yet.
    pub(crate) fn lag(&self, service: &Service) -> u64 {
        // An order may be done before the shop has heard that it was accepted.
        self.orders.accepted().saturating_sub(service.done())
    }

    /// Waits until a service has at most `lag` orders before it. Gives up if it does nothing for long: the
    /// books will tell.
    pub(crate) async fn wait_for_lag(&self, service: &Service, lag: u64) {
        let (mut done, mut since) = (service.done(), Instant::now());
        while self.lag(service) > lag && since.elapsed() < STUCK {
            tokio::time::sleep(LOOK).await;
            if service.done() != done {
                (done, since) = (service.done(), Instant::now());
            }
        }
    }

    /// Waits until every service has done every accepted order.
    pub(crate) async fn wait_until_drained(&self) {
        for service in self.services() {
            self.wait_for_lag(service, 0).await;
        }
    }

    /// Orders from number `from` on that were lost, and that were done twice, by any service.
    pub(crate) fn faults_from(&self, from: u64) -> (u64, u64) {
        let accepted = self.orders.accepted_from(from);
        let audits = self.services().map(|service| service.audit(&accepted));
        let sum = |count: fn(&crate::services::Audit) -> usize| {
            audits.iter().map(|audit| count(audit) as u64).sum()
        };
        (sum(|audit| audit.lost.len()), sum(|audit| audit.twice.len()))
    }

    /// What is to be seen now.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let services = self.services().map(|service| ServiceView {
            name: service.name,
            down: service.is_down(),
            done: service.done(),
            lag: self.lag(service),
        });
        self.live.snapshot(self.orders.accepted(), services)
    }
}

/// Follows the lag of a service, and keeps the greatest. Never ends.
pub(crate) async fn follow(stage: &Stage, service: &Service, greatest: &mut u64) {
    loop {
        *greatest = stage.lag(service).max(*greatest);
        tokio::time::sleep(LOOK).await;
    }
}
