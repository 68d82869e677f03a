//! Laws: the switch agrees with a naive oracle that shares no code with it; offloads are undone by reassembly; nothing is
//! lost, and nobody's answers are, whatever comes in.

mod bridge;
mod checks;
mod filter;
mod merge;
mod offload;
mod peers;
mod router;
mod shares;
mod trace;
