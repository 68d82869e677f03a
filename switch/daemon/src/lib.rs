//! The daemon: configuration in, a running switch out.
//!
//! ```text
//!  file ─► Config ─► Desired ─► compile (pure) ─► Snapshot ─► PMD threads
//!         as typed   as meant       ▲
//!         spec       desired        └ Facts: opened ports, neighbours, learnt addresses
//! ```
//! [`desired`] checks, [`compile`] translates, [`plan`] tells what a change would do, [`runtime`] owns threads and memory,
//! [`slowpath`] answers punted packets. [`roles`] says who may change things, [`audit`] who did, [`state`] what outlives weftd;
//! [`history`] remembers the last minutes and [`metrics`] tells Prometheus. A port that can't be opened yet waits
//! ([`switch::Waiting`]) and is tried again; what becomes of devices meanwhile is seen by [`netlink::devices`].
//!
//! For people: [`packet`] puts packets into words, [`trace`] their paths through a [`switch::View`], a compiled configuration with
//! names; [`switch::Gone`] knows what was dropped at what is gone.
//!
//! What this crate deliberately is not: it never touches a packet that the flow table knows.
#![forbid(unsafe_code)]

pub mod assign;
pub mod audit;
pub mod bfd;
pub mod capture;
pub mod compile;
pub mod config;
pub mod control;
pub mod desired;
pub mod event;
pub mod history;
pub mod log;
pub mod memory;
pub mod metrics;
pub mod netlink;
pub mod packet;
pub mod plan;
pub mod ports;
pub mod roles;
pub mod runtime;
pub mod server;
pub mod slowpath;
pub mod splice;
pub mod state;
pub mod switch;
pub mod trace;
pub mod unix;
