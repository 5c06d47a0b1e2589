#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| marbre::fuzzing::ssi(input));
