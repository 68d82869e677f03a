//! The real switch on the real kernel, in namespaces: real AF_XDP sockets, taps, stacks. Needs root.

mod announce;
mod around;
mod bridge;
mod capture;
mod changes;
mod devices;
mod errors;
mod fabric;
mod geneve;
mod memory;
mod pairs;
mod path_mtu;
mod queues;
mod shares;
mod starting;
mod tags;
mod taps;
mod trace;
mod transaction;
mod underlay;
