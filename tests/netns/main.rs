//! The real switch on the real kernel, in namespaces: real AF_XDP sockets, taps, stacks. Needs root.

mod bridge;
mod capture;
mod changes;
mod errors;
mod fabric;
mod geneve;
mod pairs;
mod queues;
mod shares;
mod trace;
mod transaction;
mod underlay;
