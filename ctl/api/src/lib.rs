//! The contract between `weftd` and whoever drives it: the words of a configuration, one struct per verb, replies, the
//! codec and a blocking client. Neither side's property: it knows nothing of the packet path.
#![forbid(unsafe_code)]

pub mod spec;
