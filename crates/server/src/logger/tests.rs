//! The log thread over a disk during whose syncs something arrives.

use std::path::Path;
use std::sync::OnceLock;

use kerolox_engine::keeper::{Found, Keeper};
use kerolox_engine::{Config, Engine};
use kerolox_log::append::Appender;
use kerolox_log::disk::fault::{FaultDisk, Faults};
use kerolox_log::disk::{Disk, DiskFile, Entry, Open, Space};
use kerolox_log::files::Files;
use kerolox_log::identity::Identity;
use kerolox_log::recover;
use kerolox_namesrv::Names;

use super::*;
use crate::limits::IN_TURN_MAX;
use crate::options::{Advertise, Options, Ports, Roles};
use crate::settings::Settings;
use crate::settings::keys::find;
use crate::settings::values::Values;

const IDENTITY: Identity = Identity { number: [1; 16], writer: 2 };
const FILE_SIZE: u64 = 1 << 20;

/// What happens during each sync.
type During = Arc<OnceLock<Box<dyn Fn() + Send + Sync>>>;

#[derive(Clone)]
struct Busy(FaultDisk, During);

struct BusyFile(Arc<dyn DiskFile>, During);

impl Disk for Busy {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.0.create_dir(dir)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        self.0.list(dir)
    }
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(BusyFile(self.0.open(path, how)?, self.1.clone())))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.remove(path)
    }
    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        self.0.remove_dir(dir)
    }

    fn sync_all(&self, dir: &Path) -> io::Result<()> {
        self.0.sync_all(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.0.sync_dir(dir)
    }
    fn space(&self, dir: &Path) -> io::Result<Space> {
        self.0.space(dir)
    }
}

impl DiskFile for BusyFile {
    fn size(&self) -> io::Result<u64> {
        self.0.size()
    }
    fn set_size(&self, size: u64) -> io::Result<()> {
        self.0.set_size(size)
    }
    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        self.0.read_at(buf, at)
    }
    fn write_at(&self, parts: &[&[u8]], at: u64) -> io::Result<()> {
        self.0.write_at(parts, at)
    }
    fn sync(&self) -> io::Result<()> {
        if let Some(during) = self.1.get() {
            during();
        }
        self.0.sync()
    }
    fn next_data(&self, at: u64) -> io::Result<Option<u64>> {
        self.0.next_data(at)
    }
}

/// Recovers what the disk holds.
fn open(disk: Arc<dyn Disk>) -> (Arc<Files>, Engine, recover::Report) {
    let dir = Path::new("/data");
    disk.create_dir(dir).unwrap();
    let files = Arc::new(Files::open(disk, dir, FILE_SIZE).unwrap());
    let config = Config::default();
    let found = Keeper::open(files.clone(), dir.to_owned(), IDENTITY, &config).unwrap();
    let Found { keeper, mut state, origin, .. } = found;
    let (resume, report) = recover::recover(&files, dir, &IDENTITY, origin, &mut state).unwrap();
    let log = Appender::new(IDENTITY, FILE_SIZE, resume);
    (files, Engine::new(config, state, log, keeper.blocks, &report), report)
}

/// One shard, nothing else configured.
fn configured(flush: &str) -> (Settings, Options) {
    let roles = Roles { names: true, broker: true };
    let mut values = Values::default();
    for (key, text) in [("flushDiskType", flush), ("kerolox.shards", "1")] {
        values.set(find(key).unwrap(), text, "test".to_owned()).unwrap();
    }
    let settings = Settings::new(values.clone(), roles, 0, 0);
    let options = Options::new(roles, Ports::default(), Advertise::default(), values);
    (settings, options.unwrap())
}

/// A round that was taken when the last ones were confirmed was forgotten: what it held was
/// confirmed with the seal behind it, and gone after a start.
#[test]
fn what_arrives_during_the_last_syncs_is_written_or_not_confirmed() {
    let disk = FaultDisk::default();
    let during = During::default();
    let (files, engine, _) = open(Arc::new(Busy(disk.clone(), during.clone())));
    let names = Names::new(Default::default());
    let (settings, options) = configured("SYNC_FLUSH");
    let shared = Arc::new(Shared::new(engine, names, settings, &options, files));
    let arrived = Arc::new(Mutex::new(Vec::new()));
    let arrive = {
        let (shared, arrived) = (Arc::downgrade(&shared), arrived.clone());
        move || {
            let Some(shared) = shared.upgrade() else { return };
            let mut arrived = arrived.lock();
            let key = format!("k{}", arrived.len());
            let at = shared.with_core(|core, _| core.engine.put_kv("n", &key, Some("v"), 0));
            arrived.push((key, at));
        }
    };
    assert!(during.set(Box::new(arrive)).is_ok());
    shared.stopping.store(true, Ordering::Release);
    Logger::new(shared.clone()).run();
    let confirmed = shared.confirmed();
    let (_, engine, report) = open(Arc::new(disk));
    assert!(report.cut.is_none() && report.end >= confirmed, "{report:?}, {confirmed} confirmed");
    let arrived = arrived.lock();
    assert!(arrived.len() >= 2);
    for (key, at) in arrived.iter().filter(|(_, at)| *at <= confirmed) {
        let known = engine.state.kv.get(&("n".to_owned(), key.clone()));
        assert!(known.is_some(), "{key}, confirmed at {at}, is gone");
    }
}

#[test]
fn with_async_flush_a_turn_writes_itself_and_leaves_to_the_log_thread_what_it_cannot() {
    let disk = FaultDisk::default();
    let (files, engine, _) = open(Arc::new(disk.clone()));
    let names = Names::new(Default::default());
    let (settings, options) = configured("ASYNC_FLUSH");
    let shared = Arc::new(Shared::new(engine, names, settings, &options, files));
    let put = |key: &str| shared.with_core(|core, _| core.engine.put_kv("n", key, Some("v"), 0));
    let at = put("alone");
    assert!(shared.confirmed() >= at, "{} of {at}", shared.confirmed());
    // A large round is left to it,
    let value = "x".repeat(IN_TURN_MAX);
    let large = shared.with_core(|core, _| {
        core.engine.put_kv("n", "large", Some(&value), 0);
        core.engine.put_kv("n", "large, too", Some(&value), 0)
    });
    assert!(shared.confirmed() < large);
    // and what comes while it writes or syncs, and what the disk has no room for.
    let pen = shared.pen.lock();
    let later = put("later");
    assert!(shared.confirmed() < later);
    drop(pen);
    let logger = Logger::new(shared.clone());
    let running = std::thread::spawn(move || logger.run());
    let wait_for = |position| {
        while shared.confirmed() < position {
            std::thread::yield_now();
        }
    };
    wait_for(later);
    disk.set_faults(Faults { room: Some(0), ..Faults::default() });
    let stuck = put("stuck");
    std::thread::sleep(Duration::from_millis(50));
    assert!(shared.confirmed() < stuck && shared.failed().is_none());
    disk.set_faults(Faults::default());
    wait_for(stuck);
    shared.stopping.store(true, Ordering::Release);
    shared.log.wake();
    running.join().unwrap();
    assert!(shared.pen.lock().is_idle() && !shared.pen.lock().is_unflushed());
    let too_late = put("too late");
    assert!(shared.confirmed() < too_late, "it is written behind the last seal");
    let (_, engine, report) = open(Arc::new(disk));
    assert_eq!(report.cut, None);
    for key in ["alone", "large", "large, too", "later", "stuck"] {
        assert!(engine.state.kv.contains_key(&("n".to_owned(), key.to_owned())), "{key}");
    }
    assert_eq!(engine.state.kv.len(), 5);
}
