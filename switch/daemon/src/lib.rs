//! The daemon: configuration in, a running switch out.
//!
//! ```text
//!  file ─► Config ─► Desired ─► compile (pure) ─► Snapshot ─► PMD threads
//!         as typed   as meant       ▲
//!         spec       desired        └ Facts: opened ports, neighbours, learnt addresses
//! ```
//! [`desired`] checks, [`compile`] translates, [`runtime`] owns threads and memory, [`slowpath`] answers punted packets.
//!
//! For people: [`packet`] puts packets into words, [`trace`] their paths; [`switch::History`] knows names and drops of what is gone.
//!
//! What this crate deliberately is not: it never touches a packet that the flow table knows.
#![forbid(unsafe_code)]

pub mod assign;
pub mod capture;
pub mod compile;
pub mod config;
pub mod control;
pub mod desired;
pub mod event;
pub mod netlink;
pub mod packet;
pub mod ports;
pub mod runtime;
pub mod server;
pub mod slowpath;
pub mod switch;
pub mod trace;
