//! Packet filters that clients send.

use weft_ctl_api::{Code, Error, filter};
use weft_dataplane::filter::{Filter, Instruction};

/// Checks a client's program.
pub fn load(filter: &filter::Filter) -> Result<Filter, Error> {
    let instruction = |&filter::Instruction(code, jt, jf, k): &_| Instruction { code, jt, jf, k };
    let program: Vec<_> = filter.program.iter().map(instruction).collect();
    Filter::load(&program).map_err(|error| {
        Error::new(Code::Invalid, format!("the filter `{}` can't be used: {error}", filter.text))
            .remedy("use a simpler expression")
    })
}
