//! The packet's path.
//!
//! ```text
//!  PmdThread::turn        thread     every queue this thread owns, once per turn; the snapshot is read here
//!   └ Pipeline::poll      pipeline   READ FIRST: the path, one line per stage
//!       rx burst          weft-pmd   frames: port → burst
//!       parse             parse      keys[i], headers[i]; truncated and malformed frames are dropped
//!       classify          classify   per-core flow table: hit → the flow's program
//!         resolve         resolve    misses only, cold: rules → anti-spoofing → routed | bridged → program
//!       action            action     the program rewrites bytes in place and gives the verdict
//!       egress            egress     verdict → transmit burst, hand-off, punt or pool; the only place that frees
//! ```
//!
//! What this crate deliberately is not: it has no I/O of its own (ports are `weft-pmd`'s), no clock (time is an
//! argument, in nanoseconds of any monotonic clock), no configuration format, no logger, no async. Packets that need
//! an answer (ARP, ND, ICMP) are punted to the daemon's slow path; it answers.
//!
//! **Invariants**
//! - A stage *decides* a packet ([`batch::Batch::decide`], once) or leaves it; only `egress` frees or sends.
//! - No lock, allocation, log call or virtual call per packet.
//! - Verdicts partition what was received: `rx = forwarded + flooded + punted + dropped`, per port, and every drop
//!   has a reason ([`reason::DropReason`]).
//! - A flow entry is valid only under the generation it was resolved under; configuration never walks the tables.
//! - One writer per counter: the thread that owns the row.
#![forbid(unsafe_code)]

pub mod action;
pub mod batch;
pub mod classify;
pub mod egress;
pub mod key;
pub mod mailbox;
pub mod parse;
pub mod pipeline;
pub mod police;
pub mod program;
pub mod publish;
pub mod reason;
pub mod resolve;
pub mod rules;
pub mod snapshot;
pub mod stats;
mod sync;
pub mod table;
pub mod thread;
