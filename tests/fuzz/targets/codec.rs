//! Any bytes from a control socket are a message, half of one, or an error; arguments of every verb are read or refused.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weft_ctl_api::codec::{self, REPLY_MAX, REQUEST_MAX, Reply, Request};

fuzz_target!(|data: &[u8]| {
    let _ = codec::decode::<Reply>(data, REPLY_MAX);
    if let Ok(Some((request, used))) = codec::decode::<Request>(data, REQUEST_MAX) {
        assert!(used <= data.len());
        let again = codec::encode(&request, REQUEST_MAX).expect("what was read can be written");
        assert_eq!(codec::decode::<Request>(&again, REQUEST_MAX), Ok(Some((request, again.len()))));
    }
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = text.parse::<weft_ctl_api::spec::ActionSpec>().map(|action| {
            assert_eq!(action.to_string().parse(), Ok(action));
        });
        let _ = text.parse::<weft_ctl_api::spec::MatchSpec>().map(|matching| {
            assert_eq!(matching.to_string().parse(), Ok(matching));
        });
    }
});
