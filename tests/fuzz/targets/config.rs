//! Any text is a configuration or a clear error; a valid one compiles and survives being saved.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weftd::{
    compile::{Facts, compile},
    config,
    desired::Desired,
};

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(parsed) = config::parse(text) else { return };
    let saved = config::to_toml(&parsed).expect("a configuration can be written");
    assert_eq!(config::parse(&saved).expect("what was written can be read"), parsed);
    if let Ok(desired) = Desired::try_from(&parsed) {
        compile(&desired, &Facts::default());
    }
});
