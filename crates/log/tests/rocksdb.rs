//! Databases that RocksDB wrote, read without it: every entry, and, damaged, never a panic.
//!
//! `golden/rocksdb/NAME/` are the files of a database, made by the RocksDB of Apache RocketMQ 5.5.0 (8.4.4)
//! with the options that RocketMQ gives it, and `NAME.txt` is what that RocksDB found in a copy of them.
//!
//! | name | what it is |
//! |---|---|
//! | `levels` | closed; tables on levels 0, 4 and 6 with what was overwritten and deleted |
//! | `killed` | killed; three logs, of which each family needs others; a record over the end of a block |
//! | `offsets` | killed before there was a table; an empty record |
//! | `families` | killed; a family that was dropped, one that is only in the log |
//! | `blocks` | closed; tables of several blocks |
//! | `differences` | closed; an index of differences, with another table option than RocketMQ's |

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use kerolox_log::disk::fault::{FaultDisk, Rng};
use kerolox_log::disk::read_only::ReadOnly;
use kerolox_log::disk::real::RealDisk;
use kerolox_log::disk::{Disk, Open};
use kerolox_log::rocksdb::Database;

const NAMES: [&str; 6] = ["levels", "killed", "offsets", "families", "blocks", "differences"];
const FAMILIES: [&str; 5] = ["default", "kvDataVersion", "forbidden", "later", "dropped"];

/// A table that the list of files does not name: of the family that was dropped.
const LEFT_OVER: &str = "000020.sst";

type Entries = BTreeMap<Vec<u8>, Vec<u8>>;
type Files = BTreeMap<String, Vec<u8>>;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/rocksdb").join(name)
}

fn open(disk: &dyn Disk, dir: &Path) -> io::Result<BTreeMap<String, Entries>> {
    let database = Database::open(disk, dir)?.expect("there is a database");
    let mut all = BTreeMap::new();
    for family in FAMILIES {
        all.insert(family.to_owned(), database.entries(family)?);
    }
    Ok(all)
}

/// What RocksDB found. A line `[NAME]` begins a column family; else key, tab, value, with `\xHH` for what cannot
/// be printed.
fn expected(name: &str) -> BTreeMap<String, Entries> {
    let text = fs::read_to_string(golden(&format!("{name}.txt"))).expect("readable");
    let mut all: BTreeMap<String, Entries> =
        FAMILIES.iter().map(|family| ((*family).to_owned(), Entries::new())).collect();
    let mut family = String::new();
    for line in text.lines() {
        match line.split_once('\t') {
            Some((key, value)) => {
                let entries = all.get_mut(&family).expect("the family is known");
                entries.insert(unescape(key), unescape(value));
            }
            None => family = line.trim_matches(['[', ']']).to_owned(),
        }
    }
    all
}

fn unescape(text: &str) -> Vec<u8> {
    let mut parts = text.split("\\x");
    let mut bytes = parts.next().expect("there is one").as_bytes().to_vec();
    for part in parts {
        let (hex, rest) = part.split_at(2);
        bytes.push(u8::from_str_radix(hex, 16).expect("two digits"));
        bytes.extend_from_slice(rest.as_bytes());
    }
    bytes
}

#[test]
fn every_entry_is_found() {
    for name in NAMES {
        let found = open(&ReadOnly(RealDisk), &golden(name)).expect("it is sound");
        let expected = expected(name);
        assert!(expected["default"].len() > 1, "{name}");
        assert_eq!(found, expected, "{name}");
    }
}

#[test]
fn tables_have_several_blocks() {
    let sizes = |name: &str| files(name).values().map(Vec::len).max();
    assert!(sizes("blocks") > Some(64 << 10));
    assert!(sizes("differences") > Some(20 * 512));
}

#[test]
fn where_there_is_no_database() {
    let empty = tempfile::tempdir().expect("there is room");
    let open = |dir: &Path| Database::open(&RealDisk, dir).expect("no error").is_some();
    assert!(!open(empty.path()));
    assert!(!open(&empty.path().join("no/such/folder")));
}

fn files(name: &str) -> Files {
    let entries = fs::read_dir(golden(name)).expect("readable");
    let file = |path: PathBuf| {
        let name = path.file_name().expect("a name").to_str().expect("a plain name").to_owned();
        (name, fs::read(path).expect("readable"))
    };
    entries.map(|entry| file(entry.expect("readable").path())).collect()
}

fn open_files(files: &Files) -> io::Result<BTreeMap<String, Entries>> {
    let dir = Path::new("/db");
    let disk = FaultDisk::default();
    disk.create_dir(dir).expect("the disk is sound");
    for (name, bytes) in files {
        let file = disk.open(&dir.join(name), Open::Create).expect("the disk is sound");
        file.write_at(&[bytes], 0).expect("the disk is sound");
    }
    open(&disk, dir)
}

fn is_log(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|extension| extension == "log")
}

fn is_table(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|extension| extension == "sst")
}

/// Flips bits of each byte of each file, one at a time.
fn flip_every_byte(name: &str) {
    let expected = expected(name);
    let mut files = files(name);
    for file in files.keys().cloned().collect::<Vec<_>>() {
        for at in 0..files[&file].len() {
            for bits in [0x01, 0x80, 0xff] {
                files.get_mut(&file).expect("it is there")[at] ^= bits;
                match open_files(&files) {
                    // RocksDB passes over what is damaged in a log.
                    Err(why) => assert!(!is_log(&file), "{name}/{file} at {at}: {why}"),
                    Ok(found) => {
                        assert!(!is_table(&file) || found == expected, "{name}/{file} at {at}");
                    }
                }
                files.get_mut(&file).expect("it is there")[at] ^= bits;
            }
        }
    }
}

#[test]
fn flipped_bytes() {
    flip_every_byte("families");
    flip_every_byte("offsets");
}

#[test]
fn files_that_are_cut() {
    for name in ["families", "offsets", "levels"] {
        let sound = files(name);
        for (file, bytes) in &sound {
            if name == "families" && file == LEFT_OVER {
                continue;
            }
            let mut files = sound.clone();
            for size in 0..bytes.len() {
                files.insert(file.clone(), bytes[..size].to_vec());
                match open_files(&files) {
                    Ok(_) => assert!(!is_table(file), "{name}/{file} cut at {size}"),
                    Err(why) => assert!(!is_log(file), "{name}/{file} cut at {size}: {why}"),
                }
            }
            files.remove(file);
            if is_table(file) || file.starts_with("MANIFEST") {
                let why = open_files(&files).expect_err("a file is not there");
                assert!(why.to_string().contains(file.as_str()), "{why}");
            }
        }
    }
}

/// Of a log that is torn, all whole records before count.
#[test]
fn a_torn_log_loses_only_its_end() {
    let sound = files("offsets");
    let log = &sound["000004.log"];
    let mut found_before = 0;
    let mut steps = 0;
    for size in 0..log.len() {
        let mut files = sound.clone();
        files.insert("000004.log".to_owned(), log[..size].to_vec());
        let found = open_files(&files).expect("a torn log is no damage")["default"].len();
        assert!(found == found_before || found == found_before + 1 || size > log.len() - 80);
        steps += usize::from(found > found_before);
        found_before = found;
    }
    assert_eq!(steps, 20);
}

/// Many bytes wrong at once.
#[test]
fn noise() {
    let mut rng = Rng(9);
    for name in ["levels", "killed", "differences"] {
        let sound = files(name);
        let names: Vec<_> = sound.keys().cloned().collect();
        for _ in 0..60 {
            let mut files = sound.clone();
            for _ in 0..rng.below(4) {
                let file = &names[rng.below(names.len() as u64) as usize];
                let bytes = files.get_mut(file).expect("it is there");
                let at = rng.below(bytes.len() as u64) as usize;
                let n = (rng.below(200) as usize).min(bytes.len() - at);
                bytes[at..at + n].iter_mut().for_each(|byte| *byte = rng.below(256) as u8);
            }
            let _ = open_files(&files);
        }
    }
}
