//! Every seed of `fuzz/corpus`, and seeded mutations of each, through its target.

use std::path::{Path, PathBuf};

use kerolox_fuzzing::{TARGETS, Target};
use kerolox_log::disk::fault::Rng;

fn folder(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target)
}

#[track_caller]
fn check(name: &str, mutations: u64) {
    let (_, target): (_, Target) =
        *TARGETS.iter().find(|(known, _)| *known == name).expect("a target has this name");
    let entries = std::fs::read_dir(folder(name)).expect("each target has seeds");
    let mut seeds: Vec<PathBuf> = entries.map(|entry| entry.expect("readable").path()).collect();
    seeds.sort();
    assert!(!seeds.is_empty());
    for seed in &seeds {
        let bytes = std::fs::read(seed).expect("readable");
        run(target, &bytes, seed, 0);
        for mutation in 1..=mutations {
            run(target, &mutated(&bytes, &mut Rng(mutation)), seed, mutation);
        }
    }
}

fn run(target: Target, bytes: &[u8], seed: &Path, mutation: u64) {
    if std::panic::catch_unwind(|| target(bytes)).is_err() {
        panic!("{}, mutation {mutation}: see the panic above", seed.display());
    }
}

/// The bytes with up to four changes.
fn mutated(bytes: &[u8], rng: &mut Rng) -> Vec<u8> {
    const ODD: [u8; 8] = [0, 1, 0x7f, 0x80, 0xff, b'"', b'{', b'\\'];
    let mut bytes = bytes.to_vec();
    for _ in 0..=rng.below(4) {
        let at = rng.below(bytes.len() as u64 + 1) as usize;
        let n = (rng.below(16) as usize).min(bytes.len() - at);
        match rng.below(6) {
            0 if at < bytes.len() => bytes[at] ^= 1 << rng.below(8),
            1 if at < bytes.len() => bytes[at] = ODD[rng.below(8) as usize],
            2 => drop(bytes.drain(at..at + n)),
            3 => {
                let part = bytes[at..at + n].to_vec();
                let to = rng.below(bytes.len() as u64 + 1) as usize;
                bytes.splice(to..to, part);
            }
            4 => bytes.truncate(at),
            _ => bytes.insert(at, rng.below(256) as u8),
        }
    }
    bytes
}

#[test]
fn frame() {
    check("frame", 400);
}

#[test]
fn record() {
    check("record", 2_000);
}

#[test]
fn batch() {
    check("batch", 2_000);
}

#[test]
fn dialect() {
    check("dialect", 1_000);
}

#[test]
fn seal() {
    check("seal", 2_000);
}

#[test]
fn snapshot() {
    check("snapshot", 1_000);
}

#[test]
fn block() {
    check("block", 1_000);
}

#[test]
fn recovery() {
    check("recovery", 40);
}

#[test]
fn rocksdb() {
    check("rocksdb", 2_000);
}

/// A folder of seeds that no target reads would go unnoticed.
#[test]
fn every_folder_of_seeds_has_a_target() {
    for entry in std::fs::read_dir(folder("")).expect("there are seeds") {
        let name = entry.expect("readable").file_name();
        assert!(TARGETS.iter().any(|(known, _)| name == *known), "{}", name.display());
    }
}
