//! The packet's path.
//!
//! ```text
//!  PmdThread::turn        thread     every queue this thread owns, once per turn; the snapshot is read here
//!   └ Pipeline::poll      pipeline   READ FIRST: the path, one line per stage
//!       rx burst          weft-pmd   frames: port → burst
//!       decap             decap      on the fabric's port: tunnel packets from other nodes are unwrapped, once
//!       parse             parse      keys[i], headers[i]; truncated and malformed frames are dropped
//!       classify          classify   per-core flow table: hit → the flow's program
//!         resolve         resolve    misses only, cold: rules → anti-spoofing → routed | bridged → program
//!       action            action     the program rewrites bytes in place and gives the verdict
//!       egress            egress     verdict → transmit burst, hand-off, punt or pool; the only place that frees
//! ```
//!
//! # What a packet costs
//! Each stage runs over the whole burst before the next begins, so that its code and tables stay in cache and what it asks
//! of memory can be fetched ahead: `parse` fetches the tags of the flow table once they have outgrown the core's cache,
//! `classify` fetches the slots that the tags name and confirms them in a second round. An IPv4 flow is one cache line,
//! so a packet of a million flows waits for memory once, with 63 others. One burst in 64 is timed stage by stage
//! ([`stats::StageCounters`], `weftctl pmd list`); `perf/README.md` has the figures.
//!
//! A burst is 64: measured in memory, 8 frames cost 108 cycles each, 16 92, 32 and 64 85, 128 93 (the columns leave the
//! first-level cache).
//!
//! Tunnel packets are unwrapped before they are parsed, not after: so every packet is parsed once, and where it came from
//! (the other node, and the network) is part of its flow's key like a port is.
//!
//! # Several threads
//! Nothing that a packet touches is written by two threads: flow tables, pools and counters are each thread's own, the
//! latter in rows padded to cache lines; the snapshot is read only, and read anew once a turn; a rule's policer and the
//! frame depot, which a pool visits once in some 250 frames, are the exceptions. So throughput grows with the threads
//! until memory bandwidth ends it: a packet of many flows moves two lines of the flow table and two of its own, 256
//! bytes, which at 20 Mpps a core is 5 GB/s of the 20 to 40 that a core's share of a socket has. Measured on the two cores
//! there are: both at once do 92 to 101 % of what each does alone (`weft-perf scale`, 100,000 flows each).
//!
//! A frame whose queue another thread owns is handed over with the others of its burst, a ring operation and a look at the
//! bell for all of them. What remains are its lines, which another core has to fetch: between two cores of a virtual
//! machine 6 to 9 million frames a second were handed over, generator and decision included (`weft-perf scale`).
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
//! - Nobody's packets take what is others': slow path, learning, flooding and the copies it makes are divided by who sends
//!   ([`share`]).
//! - Every dropped packet passes `losses`: counted always, remembered by way of a sample ([`recorder`]).
#![forbid(unsafe_code)]

pub mod action;
pub mod batch;
mod budget;
pub mod capture;
pub mod classify;
mod decap;
pub mod egress;
pub mod filter;
pub mod key;
mod losses;
pub mod mailbox;
pub mod parse;
pub mod pipeline;
pub mod police;
pub mod program;
pub mod publish;
pub mod reason;
pub mod recorder;
pub mod resolve;
pub mod rules;
pub mod share;
pub mod snapshot;
pub mod stats;
mod sync;
pub mod table;
pub mod thread;
pub mod trace;
pub mod tunnel;
