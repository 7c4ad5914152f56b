//! libFuzzer's entry to `kerolox_fuzzing::dialect`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| kerolox_fuzzing::dialect(input));
