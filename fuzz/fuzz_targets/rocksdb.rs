//! libFuzzer's entry to `kerolox_fuzzing::rocksdb`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| kerolox_fuzzing::rocksdb(input));
