//! Changes of the configuration while the server runs (25, 318), on a simulated disk whose power goes at each
//! call: the next start knows all keys of a change or none, and those of an answered one.

#![expect(clippy::unwrap_used, reason = "what helps a test may fail as it does")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use kerolox_engine::keeper::Keeper;
use kerolox_engine::state::Setting;
use kerolox_engine::{Config, Engine};
use kerolox_log::append::Appender;
use kerolox_log::disk::Disk;
use kerolox_log::disk::fault::{FaultDisk, Faults, Rng};
use kerolox_log::files::Files;
use kerolox_log::flush::Writer;
use kerolox_log::identity::Identity;
use kerolox_log::recover;

const FILE_SIZE: u64 = 16 << 10;
const IDENTITY: Identity = Identity { number: [7; 16], writer: 1 };
/// Changes of one run: enough to go through several log files.
const CHANGES: usize = 24;
const KEYS: [&str; 3] = ["maxMessageSize", "deleteWhen", "traceOn"];

/// A broker as far as its configuration goes.
struct Broker {
    engine: Engine,
    writer: Writer,
}

impl Broker {
    fn start(disk: &FaultDisk) -> Broker {
        let dir = Path::new("/data");
        disk.create_dir(dir).unwrap();
        let files = Arc::new(Files::open(Arc::new(disk.clone()), dir, FILE_SIZE).unwrap());
        let config = Config::default();
        let found = Keeper::open(files.clone(), dir.to_owned(), IDENTITY, &config).unwrap();
        let mut state = found.state;
        let (resume, report) =
            recover::recover(&files, dir, &IDENTITY, found.origin, &mut state).unwrap();
        assert_eq!(report.lost, []);
        let log = Appender::new(IDENTITY, FILE_SIZE, resume);
        let engine = Engine::new(config, state, log, found.keeper.blocks, &report);
        let writer = Writer::new(files, engine.confirmed());
        Broker { engine, writer }
    }

    /// Changes all keys, and tells whether that is answered.
    fn change(&mut self, number: usize) -> bool {
        let setting = |key| (key, Some(value(number)));
        let confirm_at = self.engine.put_settings(&KEYS.map(setting), number as i64);
        let rounds = self.engine.log.take_rounds();
        if self.writer.write(&rounds).and_then(|()| self.writer.sync()).is_err() {
            return false;
        }
        let flushed = self.writer.watermarks().flushed;
        self.engine.log.set_flushed(flushed);
        flushed >= confirm_at
    }

    /// The number of the change that holds, of which all keys tell; 0: none was made.
    fn holds(&self) -> usize {
        let settings = &self.engine.state.settings;
        let known = (0..=CHANGES).find(|number| *settings == settings_of(*number));
        known.unwrap_or_else(|| panic!("no change has left {settings:?}"))
    }
}

fn value(number: usize) -> Setting {
    // Large, so that a change does not fit the rest of most files.
    let value = format!("{number} {}", "x".repeat(1000));
    Setting { value, over: "what was configured".to_owned() }
}

fn settings_of(number: usize) -> BTreeMap<String, Setting> {
    let keys = KEYS.iter().filter(|_| number > 0);
    keys.map(|key| ((*key).to_owned(), value(number))).collect()
}

#[test]
fn a_change_of_the_configuration_is_whole_or_not_there_wherever_the_power_goes() {
    let (mut cut, mut lost) = (0, 0);
    for calls in 0.. {
        let disk = FaultDisk::default();
        let mut broker = Broker::start(&disk);
        disk.set_faults(Faults { power_off_in: Some(calls), ..Faults::default() });
        let answered = (1..=CHANGES).take_while(|number| broker.change(*number)).count();
        if answered == CHANGES {
            break;
        }
        cut += 1;
        drop(broker);
        disk.power_cycle(&mut Rng(calls));
        let mut holds = 0;
        for start in 0..2 {
            holds = Broker::start(&disk).holds();
            let possible = answered..=answered + 1;
            assert!(possible.contains(&holds), "call {calls}, start {start}: {holds} holds");
        }
        lost += usize::from(holds == answered);
    }
    assert!(cut > 2 * CHANGES && (1..cut).contains(&lost), "{cut} cuts, {lost} lost a change");
}

#[test]
fn a_change_that_no_seal_follows_is_not_there_after_a_kill() {
    let disk = FaultDisk::default();
    let mut broker = Broker::start(&disk);
    assert!(broker.change(1));
    broker.engine.put_settings(&KEYS.map(|key| (key, Some(value(2)))), 2);
    assert_eq!(broker.holds(), 2);
    drop(broker);
    disk.reopen();
    assert_eq!(Broker::start(&disk).holds(), 1);
}
